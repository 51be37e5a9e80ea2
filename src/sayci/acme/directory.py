"""The directory with the certificates: what the operator wants certificates for, what is served, and what has been tried.

Its layout is txacme's: ``NAME.pem`` has a private key, its certificate and the chain; an empty file asks for a certificate.
``client.key`` is the account at Let's Encrypt, ``client-HOST-HASH.key`` that at another authority: accounts are never
shared, so that none can speak for another.  ``acme.json`` says what has been tried; ``acme.lock`` is held while it is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import idna
import msgspec
from twisted.logger import Logger

from sayci.acme.bridge import PrivateStore, make_durable, write_private
from sayci.acme.endpoint import LETS_ENCRYPT
from sayci.acme.keys import AccountKey, load_account_key, new_account_key, pem_of
from sayci.acme.schedule import Record
from sayci.errors import CannotStart, Invalid, TooLarge, Unavailable

#: A file that is larger than this is not one of ours, in bytes.
SIZE_LIMIT = 256 * 1024
#: What there must be room for before a certificate is ordered, in bytes; keys, chain and state are far smaller.
ROOM = 64 * 1024

_SUFFIX = ".pem"
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")

#: What a file looks like from outside: a changed one has another.
Signature = tuple[int, int, int]


def host_name(text: str) -> str:
    """The name that an authority can issue for, as the DNS has it: lower case, international letters as A-labels.

    Raises Invalid for addresses, wildcards, and whatever is not a host name (RFC 1123 2.1).
    """
    name = text.strip().removesuffix(".").lower()
    if "*" in name:
        raise Invalid("certificates with a wildcard need the DNS, which sayci does not change", text)
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        raise Invalid("a certificate is for a host name, not for an address", text)
    with suppress(UnicodeError):  # the labels are looked at below
        name = idna.encode(name, uts46=True).decode() if not name.isascii() else name
    labels = name.split(".")
    if len(name) > 253 or labels[-1].isdigit() or not all(map(_LABEL.match, labels)):
        raise Invalid("not a host name", text[:300])
    return name


class CertificateDirectory:
    """The directory at `path`, ours between :meth:`take` and :meth:`release`.  All methods read or write the disk."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store = PrivateStore(path)
        self._lock: int | None = None
        self._reported: set[str] = set()

    # -- life

    def take(self) -> None:
        """Make it, lock it, and make sure that nobody else reads it; safe to repeat.  Raises CannotStart."""
        if self._lock is not None:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "acme.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise CannotStart("the directory for certificates cannot be used", self.path, _why(error)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise CannotStart("another sayci keeps the certificates in this directory", self.path) from None
            raise CannotStart("the directory for certificates cannot be locked", self.path, _why(error)) from None
        self._lock = lock
        self._tidy()

    def release(self) -> None:
        """Let another process have it; safe to repeat."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _tidy(self) -> None:
        """Close what stands open, as txacme leaves it, and remove what a write that was cut off has left."""
        try:
            _make_private(self.path, 0o700)
            for path in self.path.iterdir():
                if path.name.startswith(".") and path.suffix == ".new":
                    path.unlink()
                elif path.suffix in {_SUFFIX, ".key"} and path.is_file() and not path.is_symlink():
                    _make_private(path, 0o600)
        except OSError as error:
            self._log.warn(
                "private keys in {path} may be read by others: {why}", path=os.fspath(self.path), why=_why(error)
            )

    # -- certificates

    def names(self) -> list[str]:
        """The names that there are files for, in the order of the alphabet.  Raises OSError."""
        return sorted(self.scan())

    def scan(self) -> dict[str, Signature]:
        """The names that there are files for, and what these look like; says once what is ignored.  Raises OSError."""
        with os.scandir(self.path) as entries:
            return dict(self._certificates(entries))

    def _certificates(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, Signature]]:
        for entry in entries:
            name = entry.name.removesuffix(_SUFFIX)
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                with suppress(OSError):  # gone since it was listed, or a link that leads nowhere
                    status = entry.stat()
                    if self._is_ours(entry.name, name, status):
                        yield name, (status.st_mtime_ns, status.st_size, status.st_ino)

    def _is_ours(self, file: str, name: str, status: os.stat_result) -> bool:
        try:
            good = stat.S_ISREG(status.st_mode) and host_name(name) == name
        except Invalid:
            good = False
        if not good and file not in self._reported:
            self._reported.add(file)
            self._log.warn("{file} is not for a host name in lower case; it is ignored", file=file)
        return good

    def add(self, name: str) -> str:
        """Ask for a certificate for a name, unless there is one; answers the name as the DNS has it.

        Raises Invalid for what is no host name, OSError.
        """
        name = host_name(name)
        with suppress(FileExistsError):
            os.close(os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            make_durable(self.path)
        return name

    def get(self, name: str) -> bytes:
        """Key, certificate and chain; empty where a certificate is asked for.  Raises KeyError, TooLarge, OSError."""
        with suppress(FileNotFoundError):
            if self._file(name).stat().st_size > SIZE_LIMIT:
                raise TooLarge("too large for a certificate", f"{name}{_SUFFIX}")
        return self._store.read(host_name(name))

    def store(self, name: str, pem: bytes) -> None:
        """Replace what is stored for a name; on the disk when it answers.  Raises TooLarge, OSError."""
        if len(pem) > SIZE_LIMIT:
            raise TooLarge("too large for a certificate", name)
        self._store.write(host_name(name), pem)

    def ensure_writable(self) -> None:
        """Make sure that a certificate could be stored: what cannot be stored must not be ordered.  Raises Unavailable."""
        part = self.path / f".room.{secrets.token_hex(4)}.new"
        try:
            with part.open("xb") as file:
                file.write(bytes(ROOM))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable("a certificate could not be stored", self.path, _why(error)) from None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.path / f"{host_name(name)}{_SUFFIX}"

    # -- accounts

    def account_key(self, authority: str) -> AccountKey:
        """The key of the account at the authority whose directory has that URL; made where there is none.

        Raises CannotStart for one that cannot be read: it is never overwritten, since the account would be lost with it.
        """
        path = self.path / account_file(authority)
        try:
            return load_account_key(path.read_bytes())
        except FileNotFoundError:
            return self._new_account_key(path)
        except Invalid as error:
            raise CannotStart("the key of the account at the authority cannot be used", path, error) from None
        except OSError as error:
            raise CannotStart("the key of the account at the authority cannot be read", path, _why(error)) from None

    def _new_account_key(self, path: Path) -> AccountKey:
        key = new_account_key()
        try:
            write_private(path, pem_of(key))
        except OSError as error:
            raise CannotStart("the key of the account at the authority cannot be stored", path, _why(error)) from None
        return key

    # -- what has been tried

    def load(self) -> dict[str, Record]:
        """What has been tried for each name; nothing where that cannot be read: it is moved aside and said."""
        path = self.path / "acme.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Record])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error)
            with suppress(OSError):
                path.replace(path.with_name("acme.json.damaged"))
        except OSError as error:
            why = _why(error)
        self._log.warn(
            "what has been tried for certificates is forgotten: {path}: {why}", path=os.fspath(path), why=why
        )
        return {}

    def save(self, records: Mapping[str, Record]) -> None:
        """Keep what has been tried.  Raises OSError."""
        write_private(self.path / "acme.json", msgspec.json.format(msgspec.json.encode(records)))


def account_file(authority: str) -> str:
    """Where the key of the account at an authority is; Let's Encrypt's is where txacme has it."""
    if authority == LETS_ENCRYPT:
        return "client.key"
    host = re.sub(r"[^a-z0-9.-]", "-", urlsplit(authority).hostname or "")[:100]
    return f"client-{host}-{hashlib.sha256(authority.encode()).hexdigest()[:8]}.key"


def _make_private(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o077:
        path.chmod(mode)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
