"""What a TLS client says first: read from its bytes before OpenSSL sees them (RFC 8446, 4.1.2; RFC 6066; RFC 7301).

Only what decides about a connection is read: the name, the protocols and the versions. Everything else is for OpenSSL,
which gets the same bytes afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from sayci.errors import Malformed

#: The most bytes that are taken before the ClientHello must be complete; real ones have a few hundred to some thousand.
HELLO_SIZE = 64 * 1024
#: The type of a record that carries a handshake: the first byte of every connection of TLS.
HANDSHAKE = 22

_CLIENT_HELLO = 1  # type of a handshake message
_RECORD_BEGIN = bytes((HANDSHAKE, 3))
_RECORD_HEAD = 5
_MESSAGE_HEAD = 4
_RECORD_SIZE = 2**14
_RANDOM = 32
_SERVER_NAME, _ALPN, _VERSIONS = 0, 16, 43  # types of extensions
_HOST_NAME = 0  # type of a name


class BadHello(Malformed):
    """These bytes are not the beginning of a TLS connection."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A ClientHello.

    `server_name` is the name that the client wants, in lower case and without a dot at its end; "" if it names none.
    `protocols` are the names of ALPN in the client's order; empty where it does not use ALPN. `versions` are those
    that it can speak, as numbers on the wire (0x0303 is TLS 1.2); before TLS 1.3 clients tell only the highest.
    """

    server_name: str
    protocols: tuple[bytes, ...]
    versions: tuple[int, ...]


class HelloReader:
    """Reads a ClientHello that arrives in any pieces, in time proportional to its length.

    `received` is everything that was fed, to be fed to OpenSSL. At most `limit` bytes are taken before it is complete.
    """

    def __init__(self, limit: int = HELLO_SIZE) -> None:
        self.received = bytearray()
        self._limit = limit
        self._position = 0  # of the next record
        self._message = bytearray()  # what the records before it carry

    def feed(self, data: bytes) -> Hello | None:
        """Take some more bytes: the ClientHello once it is there, None until then.  Raises BadHello."""
        self.received += data
        size = self._size()
        while size is None or len(self._message) < size:
            if not self._take_record():
                if len(self.received) > self._limit:
                    raise BadHello("the ClientHello does not end", self._limit)
                return None
            size = self._size()
        return _hello_of(bytes(self._message[_MESSAGE_HEAD:size]))

    def _take_record(self) -> bool:
        """Take the next record, if it is there whole; what is there of it must be right."""
        head = bytes(self.received[self._position : self._position + _RECORD_HEAD])
        if not head[:2].startswith(_RECORD_BEGIN[: len(head)]):
            raise BadHello("not a handshake of TLS")
        if len(head) < _RECORD_HEAD:
            return False
        length = int.from_bytes(head[3:], "big")
        if not 0 < length <= _RECORD_SIZE:
            raise BadHello("a record of TLS has an impossible length", length)
        begin, end = self._position + _RECORD_HEAD, self._position + _RECORD_HEAD + length
        if len(self.received) < end:
            return False
        self._message += self.received[begin:end]
        self._position = end
        return True

    def _size(self) -> int | None:
        """The length of the whole message with its head; None while that is not known."""
        if self._message and self._message[0] != _CLIENT_HELLO:
            raise BadHello("a handshake that does not begin with a ClientHello")
        if len(self._message) < _MESSAGE_HEAD:
            return None
        size = _MESSAGE_HEAD + int.from_bytes(self._message[1:_MESSAGE_HEAD], "big")
        if size > self._limit:
            raise BadHello("the ClientHello is too long", size)
        return size


def parse_hello(data: bytes, limit: int = HELLO_SIZE) -> Hello | None:
    """The ClientHello at the beginning of `data`; None if it is not complete yet.  Raises BadHello."""
    return HelloReader(limit).feed(data)


class _Cursor:
    """Takes bytes apart from the front; too few of them are a BadHello."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        begin, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise BadHello("the ClientHello ends too early")
        return self._data[begin : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Bytes with their length before them, a number of `size` bytes."""
        return self.take(self.number(size))

    def is_at_end(self) -> bool:
        return self._position == len(self._data)


def _hello_of(body: bytes) -> Hello:
    cursor = _Cursor(body)
    version = cursor.number(2)
    cursor.take(_RANDOM)
    cursor.vector(1)  # session id
    cursor.vector(2)  # cipher suites
    cursor.vector(1)  # compression methods
    extensions = {} if cursor.is_at_end() else _extensions(cursor.vector(2))
    if not cursor.is_at_end():
        raise BadHello("the ClientHello has something after its extensions")
    return Hello(
        _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else "",
        _protocols(extensions[_ALPN]) if _ALPN in extensions else (),
        _versions(extensions[_VERSIONS]) if _VERSIONS in extensions else (version,),
    )


def _extensions(data: bytes) -> dict[int, bytes]:
    cursor = _Cursor(data)
    found: dict[int, bytes] = {}
    while not cursor.is_at_end():
        kind = cursor.number(2)
        if kind in found:
            raise BadHello("an extension comes twice", kind)
        found[kind] = cursor.vector(2)
    return found


def _inside(data: bytes, size: int) -> _Cursor:
    """What is in an extension that is one list, whose length has `size` bytes."""
    cursor = _Cursor(data)
    inside = cursor.vector(size)
    if not inside or not cursor.is_at_end():
        raise BadHello("an extension has a wrong length")
    return _Cursor(inside)


def _server_name(data: bytes) -> str:
    cursor = _inside(data, 2)
    names = []
    while not cursor.is_at_end():
        kind, name = cursor.number(1), cursor.vector(2)
        if kind == _HOST_NAME:
            names.append(name)
    if len(names) != 1 or not names[0].isascii() or b"\0" in names[0]:
        raise BadHello("the ClientHello does not name one server")
    return plain_name(names[0].decode("ascii"))


def _protocols(data: bytes) -> tuple[bytes, ...]:
    cursor = _inside(data, 2)
    found = []
    while not cursor.is_at_end():
        found.append(cursor.vector(1))
    if b"" in found:
        raise BadHello("a protocol without a name")
    return tuple(found)


def _versions(data: bytes) -> tuple[int, ...]:
    cursor = _inside(data, 1)
    found = []
    while not cursor.is_at_end():
        found.append(cursor.number(2))
    return tuple(found)


def plain_name(name: str) -> str:
    """A name as it is compared: in lower case and without the dot at its end."""
    return name.lower().removesuffix(".")
