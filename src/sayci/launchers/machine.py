"""What this machine has, as far as its kernel and its container let us take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory() -> int:
    """Bytes of memory: the machine's, or what the container that we are in may have, if that is less."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_allowed(_CGROUPS)])


def _allowed(cgroups: Path) -> Iterator[int]:
    """What is allowed by a container's own control group, of either version (cgroups(7))."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            said = (cgroups / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if said.isdecimal():  # not "max"
            yield int(said)
