"""Files that are compressed in blocks, so that any range of what is in them is read without the rest.

They are gzip files (RFC 1952) that every tool reads: one member for each block, all of the same length but for the last.
Before them stands an empty member, whose extra field is the index: the length of the whole, that of a block, and how long
each member is.  These functions block; they are for threads.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sayci.errors import Unavailable

#: The bytes of a block, unless the index would become too long: what one read decompresses for nothing at most.
BLOCK = 128 * 1024
#: Of nine, as zlib counts: beyond it logs become hardly smaller, and take longer.
LEVEL = 6

_MEMBER = struct.Struct("<2sBBIBBH")  # the fixed part of a gzip member with an extra field, and that field's length
_FIELD = struct.Struct("<2sH")
_INDEX = struct.Struct("<BQI")  # version, bytes of all, bytes of a block
_VERSION = 1
_FIELD_NAME = b"SY"
_EMPTY = b"\x03\x00" + b"\0" * 8  # deflate's empty block, its checksum and its length
_MOST_BLOCKS = (0xFFFF - _FIELD.size - _INDEX.size) // 4
_HEAD = _MEMBER.size + _FIELD.size + _INDEX.size


@dataclass(frozen=True, slots=True)
class Index:
    """What a file holds: `size` bytes in blocks of `block`, compressed to `lengths`; the first begins at `start`."""

    size: int
    block: int
    lengths: tuple[int, ...]

    @property
    def start(self) -> int:
        """Where the first block begins in the file."""
        return _HEAD + 4 * len(self.lengths) + len(_EMPTY)

    def header(self) -> bytes:
        """The member that stands before the blocks."""
        count = len(self.lengths)
        length = _INDEX.size + 4 * count
        return b"".join(
            (
                _MEMBER.pack(b"\x1f\x8b", 8, 4, 0, 0, 255, _FIELD.size + length),
                _FIELD.pack(_FIELD_NAME, length),
                _INDEX.pack(_VERSION, self.size, self.block),
                struct.pack(f"<{count}I", *self.lengths),
                _EMPTY,
            )
        )


def block_for(size: int, least: int = BLOCK) -> int:
    """How many bytes a block of a file of `size` has: `least`, doubled until the index fits."""
    while size > least * _MOST_BLOCKS:
        least *= 2
    return least


def size_in(descriptor: int) -> int:
    """How many bytes are in a compressed file.  Raises Unavailable for another one, OSError."""
    return _head_of(os.pread(descriptor, _HEAD, 0))[0]


def index_in(descriptor: int) -> Index:
    """The index of a compressed file.  Raises Unavailable for another one, OSError."""
    size, block, count = _head_of(os.pread(descriptor, _HEAD, 0))
    packed = os.pread(descriptor, 4 * count, _HEAD)
    if len(packed) != 4 * count:
        raise Unavailable("a compressed log is cut short")
    index = Index(size, block, struct.unpack(f"<{count}I", packed))
    # So that no damaged index makes a read take gigabytes; what cannot be made smaller grows by less than that.
    if max(index.lengths, default=0) > block + block // 100 + 100:
        raise Unavailable("a compressed log cannot be read: its index is wrong")
    return index


def _head_of(head: bytes) -> tuple[int, int, int]:
    try:
        magic, method, flags, _, _, _, extra = _MEMBER.unpack_from(head)
        name, length = _FIELD.unpack_from(head, _MEMBER.size)
        version, size, block = _INDEX.unpack_from(head, _MEMBER.size + _FIELD.size)
    except struct.error:
        raise Unavailable("a compressed log is cut short") from None
    count = (length - _INDEX.size) // 4
    told = (magic, method, flags, name, version, extra)
    if told != (b"\x1f\x8b", 8, 4, _FIELD_NAME, _VERSION, length + _FIELD.size):
        raise Unavailable("a compressed log cannot be read: its beginning is another one's")
    if block < 1 or count != -(-size // block):
        raise Unavailable("a compressed log cannot be read: its index is wrong")
    return size, block, count


def read(descriptor: int, start: int, length: int) -> bytes:
    """At most `length` bytes from `start` of what is in a compressed file; b"" at its end.

    Decompresses only the blocks that it needs.  Raises Unavailable for a damaged file, OSError.
    """
    index = index_in(descriptor)
    end = min(start + length, index.size)
    if start >= end:
        return b""
    first, last = start // index.block, (end - 1) // index.block
    place = index.start + sum(index.lengths[:first])
    packed = os.pread(descriptor, sum(index.lengths[first : last + 1]), place)
    try:
        data = b"".join(_blocks(packed, index.lengths[first : last + 1]))
    except zlib.error:
        raise Unavailable("a compressed log is damaged") from None
    skipped = first * index.block
    if len(data) != min((last + 1) * index.block, index.size) - skipped:
        raise Unavailable("a compressed log is damaged")
    return data[start - skipped : end - skipped]


def _blocks(packed: bytes, lengths: tuple[int, ...]) -> Iterator[bytes]:
    place = 0
    for length in lengths:
        yield zlib.decompress(packed[place : place + length], wbits=31)
        place += length


def compress(source: int, target: int, size: int, *, block: int = BLOCK) -> Iterator[int]:
    """Write the first `size` bytes of one file compressed into another, empty one, a block at a time.

    Yields after each block how many bytes are done, so that the caller can rest or give up; once it is through, the index
    is in its place.
    Raises OSError, and Unavailable where the source has become shorter.
    """
    block = block_for(size, block)
    count = -(-size // block)
    place = Index(size, block, (0,) * count).start
    lengths: list[int] = []
    for number in range(count):
        data = os.pread(source, min(block, size - number * block), number * block)
        if len(data) != min(block, size - number * block):
            raise Unavailable("a log became shorter while it was compressed")
        packer = zlib.compressobj(LEVEL, wbits=31)
        packed = packer.compress(data) + packer.flush()
        _write(target, packed, place)
        place += len(packed)
        lengths.append(len(packed))
        yield number * block + len(data)
    _write(target, Index(size, block, tuple(lengths)).header(), 0)


def _write(descriptor: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written


def sync_directory(path: Path) -> None:
    """Make what was renamed in a directory survive a loss of power.  Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
