"""What sayci takes from txacme: two interfaces and a store; no other module imports it.

Only these two modules of txacme are good on today's Pythons and with today's authorities: they import attrs, pem and
zope.interface, and neither ``acme`` nor ``eliot`` nor ``requests``.  The store is made safe here: files that nobody else
can read, written so that a power cut leaves the old one or the new one.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from twisted.internet.defer import Deferred, execute
from twisted.python.filepath import FilePath
from txacme.interfaces import ICertificateStore, IResponder  # type: ignore[import-untyped]  # txacme has no types
from txacme.store import DirectoryStore  # type: ignore[import-untyped]  # txacme has no types

__all__ = ["ICertificateStore", "IResponder", "PrivateStore", "make_durable", "write_private"]


class PrivateStore(DirectoryStore):  # type: ignore[misc]  # txacme has no types
    """txacme's store, whose files are 0600 and whose changes are on the disk when it says so.

    The directory is not made here; see :class:`sayci.acme.directory.CertificateDirectory`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(FilePath(os.fspath(path)))

    def read(self, server_name: str) -> bytes:
        """What is stored for a name, as it is.  Raises KeyError where there is no file, OSError."""
        try:
            return self._file(server_name).read_bytes()
        except FileNotFoundError:
            raise KeyError(server_name) from None

    def write(self, server_name: str, pem: bytes) -> None:
        """Replace what is stored for a name.  Raises OSError, and then the old one is still there."""
        write_private(self._file(server_name), pem)

    def store(self, server_name: str, pem_objects: list[object]) -> Deferred[None]:
        """As :class:`ICertificateStore` has it; the Deferred fires when it is on the disk, or fails with OSError."""
        return execute(self.write, server_name, b"".join(part.as_bytes() for part in pem_objects))  # type: ignore[attr-defined]  # pem's objects, as txacme has them

    def _file(self, server_name: str) -> Path:
        """Raises twisted.python.filepath.InsecurePath where the name leads out of the directory."""
        return Path(self.path.child(f"{server_name}.pem").path)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file, at once and for good: 0600 from its birth, on the disk before it has its name.  Raises OSError.

    What it is called until then begins with a dot and ends in ``.new``.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(part, "xb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    make_durable(path.parent)


def make_durable(directory: Path) -> None:
    """Have the names in a directory on the disk: a file that is there after a power cut needs its name, too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
