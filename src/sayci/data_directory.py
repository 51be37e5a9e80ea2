"""The server's own directory: private to it, and locked against a second server."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sayci.errors import CannotStart

#: The file that says where this server listens on this machine, a line for each address; for programs beside it.
ADDRESS = "address"
#: The directory in it that users of builds may pass through.
WORKSPACES = "workspaces"
#: Seconds between two looks whether another server has let go of it.
LOOK = 0.05


class DataDirectory:
    """The directory at `path`, ours for as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def workspaces(self) -> Path:
        """What builds work in."""
        return self.path / WORKSPACES

    def take(self, patience: float | None = 0.0, meanwhile: Callable[[str], None] = lambda _: None) -> None:
        """Make it, and make sure that nobody else reads or writes it.  Raises CannotStart.

        While another server has it, wait up to `patience` seconds, without end for None; until then `meanwhile` is called
        again and again with the other one's process id, "" while that is not known.  Blocks.
        """
        lock = self._opened()
        until = None if patience is None else time.monotonic() + patience
        while not _is_taken(lock):
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            if until is not None and time.monotonic() >= until:
                os.close(lock)
                who = f"process {holder}" if holder else "its process is not known"
                raise CannotStart("another sayci is using this data directory", self.path, who)
            meanwhile(holder)
            time.sleep(LOOK)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _opened(self) -> int:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0 and self.path.stat().st_uid != 0:
                os.chown(self.path, 0, 0)  # a new volume may belong to the user of whom its image thought
            # Builds that an earlier server has left running still pass through it.
            self.path.chmod(self.path.stat().st_mode & 0o711 | 0o700)
            return _private(os.fspath(self.path / "lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise CannotStart("the data directory cannot be used", self.path, error.strerror or error) from None

    def let_through(self) -> None:
        """Let others pass to the workspaces, and to nothing else.  Raises OSError."""
        self.workspaces.mkdir(mode=0o711, exist_ok=True)
        for entry in os.scandir(self.path):
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            if entry.name != WORKSPACES and mode & 0o077 and not entry.is_symlink():
                os.chmod(entry.path, mode & 0o700)  # noqa: PTH101 - an entry is no Path
        self.workspaces.chmod(0o711)
        self.path.chmod(0o711)

    def private(self) -> list[Path]:
        """What nobody else may read: all of it."""
        return [self.path, *(path for path in self.path.iterdir() if path != self.workspaces)]

    def close(self) -> None:
        """Let nobody pass.  Raises OSError."""
        self.path.chmod(0o700)

    def say_address(self, addresses: Iterable[str]) -> None:
        """Write where the server listens.  Raises OSError."""
        part = self.path / f"{ADDRESS}.new"
        with open(part, "w", encoding="ascii", opener=_private) as file:
            file.writelines(f"{address}\n" for address in addresses)
        part.replace(self.path / ADDRESS)

    def release(self) -> None:
        """Let another server have it."""
        if self._lock is not None:
            with suppress(OSError):
                (self.path / ADDRESS).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _is_taken(lock: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
