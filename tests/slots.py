"""Users for builds in tests: of everybody's own, since who has the same ones ends each other's processes."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sayci.launchers import privileges
from sayci.launchers.users import Numbers
from sayci.mirrors.removal import remove

#: Where they begin: above what machines give to people, services and containers.
_FIRST = 1_000_000


def some_numbers(count: int = 4) -> Numbers:
    """Users whom nobody else has, most likely; skips where there can be none."""
    if os.geteuid() != 0 or privileges.missing():
        pytest.skip("giving steps a user of their own takes root")
    return Numbers(_FIRST + 1000 * secrets.randbelow(1_000_000), count)


@contextmanager
def passable_directory() -> Iterator[Path]:
    """A directory through which every user may pass, as those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="sayci-test-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        remove(path)
