"""Measures the file systems on which the server's directories are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sayci.space import Volume


def measured(paths: Sequence[Path]) -> list[Volume]:
    """The file systems of these paths, each once, as they are now; one that cannot be asked is left out."""
    found: dict[int, Volume] = {}
    for path in paths:
        try:
            device = path.stat().st_dev
            if device not in found:
                found[device] = _volume(path)
        except OSError:
            continue
    return list(found.values())


def _volume(path: Path) -> Volume:
    status = os.statvfs(path)
    # What is kept back for root is not counted as free: builds are not root, and the server should not live on it.
    unit = status.f_frsize
    return Volume(os.fspath(path), status.f_blocks * unit, status.f_bavail * unit, status.f_files, status.f_favail)
