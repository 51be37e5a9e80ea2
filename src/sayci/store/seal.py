"""Secrets in the database, sealed under a key that is not in it.

A copy of the database alone tells no secret.  AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits; the place of
a value is authenticated with it, so that one that was moved to another row or column does not open.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sayci.errors import CannotStart, Unavailable

KEY_SIZE = 32
_VERSION = b"\x01"
_NONCE_SIZE = 12


class Seal:
    """Seals texts, and opens them again at the place for which they were sealed: table, row, column."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def sealed(self, text: str, *place: str | int) -> bytes:
        """`text` as it may be kept at `place`: a version, a nonce, what AES-GCM makes of it."""
        nonce = os.urandom(_NONCE_SIZE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), _bound(place))

    def opened(self, sealed: bytes, *place: str | int) -> str:
        """The text that was sealed for `place`.

        Raises Unavailable when this key does not open it, or it was sealed for another place.
        """
        version, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE_SIZE], sealed[1 + _NONCE_SIZE :]
        try:
            if version != _VERSION:
                raise InvalidTag
            return self._cipher.decrypt(nonce, rest, _bound(place)).decode()
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise Unavailable("a secret in the database does not open with this server's key", *place) from None


def _bound(place: tuple[str | int, ...]) -> bytes:
    return json.dumps(place).encode()


def load_key(path: Path) -> bytes:
    """The key in `path`.

    Raises CannotStart when it cannot be read, is not a file of 32 bytes, or can be read by others than its owner.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor, so that what is checked is what is read
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise CannotStart("the key is not a file", path)
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise CannotStart("others can read the key; say: chmod 600", path)
            key = file.read(KEY_SIZE + 1)
    except OSError as error:
        raise CannotStart("cannot read the key", path, error.strerror) from None
    if len(key) != KEY_SIZE:
        raise CannotStart("the key is not a file of 32 bytes", path)
    return key


def make_key(path: Path) -> bytes:
    """A new key in `path`, for its owner alone; the one that is there if there is one.

    The file is complete as soon as it has its name, also after a loss of power.  Raises CannotStart.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor, which was made with its mode
                file.write(os.urandom(KEY_SIZE))
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(part, path)  # as O_EXCL would: never over one that is there
        finally:
            part.unlink()
        _sync_directory(path.parent)
    except OSError as error:
        raise CannotStart("cannot make the key", path, error.strerror) from None
    return load_key(path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
