"""The server's own directory: private to it, and locked against a second server."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sayci.errors import CannotStart

#: The file that says where this server listens on this machine, a line for each address; for programs beside it.
ADDRESS = "address"
#: The directory in it that users of builds may pass through.
WORKSPACES = "workspaces"


class DataDirectory:
    """The directory at `path`, ours for as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def workspaces(self) -> Path:
        """What builds work in."""
        return self.path / WORKSPACES

    def take(self) -> None:
        """Make it, and make sure that nobody else reads or writes it.  Raises CannotStart."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0 and self.path.stat().st_uid != 0:
                os.chown(self.path, 0, 0)  # a new volume may belong to the user of whom its image thought
            # Builds that an earlier server has left running still pass through it.
            self.path.chmod(self.path.stat().st_mode & 0o711 | 0o700)
            self._lock = _private(os.fspath(self.path / "lock"), os.O_WRONLY | os.O_CREAT)
        except OSError as error:
            raise CannotStart("the data directory cannot be used", self.path, error.strerror or error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart("another sayci is using this data directory", self.path) from None

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


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
