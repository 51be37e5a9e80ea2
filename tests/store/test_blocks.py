"""store/blocks.py: files that are compressed in blocks, and read by ranges."""

from __future__ import annotations

import gzip
import os
import random
import zlib

import pytest

from sayci.errors import Unavailable
from sayci.store import blocks

BLOCK = 1000


@pytest.fixture
def packed(tmp_path):
    """Compress some bytes; a descriptor of the result."""
    opened: list[int] = []

    def make(data):
        plain, target = tmp_path / "plain", tmp_path / "packed.gz"
        plain.write_bytes(data)
        source = os.open(plain, os.O_RDONLY)
        result = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        opened.extend((source, result))
        done = list(blocks.compress(source, result, len(data), block=BLOCK))
        assert done[-1:] == ([len(data)] if data else [])
        return result, target

    yield make
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("size", (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK, 7 * BLOCK + 3))
def test_every_range_is_what_it_was_and_any_tool_reads_the_whole(packed, size):
    chance = random.Random(size)
    data = chance.randbytes(size)
    descriptor, path = packed(data)
    assert blocks.size_in(descriptor) == size
    assert gzip.decompress(path.read_bytes()) == data
    ranges = [(0, size + 10), (size, 5), (size + 9, 5), (0, 0), (max(0, size - 1), 1), (BLOCK - 1, 2)]
    ranges += [(chance.randrange(size + 1), chance.randrange(3 * BLOCK)) for _ in range(50)]
    for start, length in ranges:
        assert blocks.read(descriptor, start, length) == data[start : start + length], (start, length)


def test_a_range_decompresses_only_its_blocks(packed, monkeypatch):
    descriptor, _ = packed(bytes(100 * BLOCK))
    asked: list[int] = []
    decompress = zlib.decompress

    def counted(data, wbits):
        asked.append(len(data))
        return decompress(data, wbits=wbits)

    monkeypatch.setattr(zlib, "decompress", counted)
    blocks.read(descriptor, 50 * BLOCK - 1, 2)
    assert len(asked) == 2


def test_the_blocks_of_a_very_large_log_are_larger_so_that_the_index_fits():
    assert blocks.block_for(256 << 20) == blocks.BLOCK
    block = blocks.block_for(10**12)
    index = blocks.Index(10**12, block, (0,) * -(-(10**12) // block))
    assert len(index.header()) == index.start < 70_000


@pytest.mark.parametrize(
    "damage", (slice(0, 2), slice(12, 14), slice(16, 17), slice(17, 25), slice(40, 42), slice(-9, -5))
)
def test_what_is_damaged_is_said_to_be_and_never_read_as_something_else(packed, damage):
    data = random.Random(1).randbytes(3 * BLOCK)
    descriptor, path = packed(data)
    damaged = bytearray(path.read_bytes())
    damaged[damage] = bytes(byte ^ 0x55 for byte in damaged[damage])
    os.pwrite(descriptor, damaged, 0)
    with pytest.raises(Unavailable, match="compressed log"):
        blocks.read(descriptor, 0, len(data))


@pytest.mark.parametrize("length", (0, 10, 30, 45, 500))
def test_what_is_cut_short_is_said_to_be(packed, length):
    descriptor, _ = packed(random.Random(1).randbytes(3 * BLOCK))
    os.ftruncate(descriptor, length)
    with pytest.raises(Unavailable, match="compressed log"):
        blocks.read(descriptor, 0, 10)


def test_a_log_that_becomes_shorter_meanwhile_is_left(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(b"x" * 10)
    with (
        path.open("rb") as source,
        (tmp_path / "packed").open("wb") as target,
        pytest.raises(Unavailable, match="shorter"),
    ):
        list(blocks.compress(source.fileno(), target.fileno(), 11))
