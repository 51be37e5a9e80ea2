"""Lines of a log that may be far larger than memory: where each begins, windows of them, and finding words in them.

A line ends with a line feed, whatever a carriage return does within it; the first has the number 1, and a number never
changes once it is written.  Everything here works on `Read`, a function that gives parts of the log, and is bounded: a
window by its lines and its bytes, a search by its hits.  An `Index` knows how many lines end in each block of the log,
so that any line is found by reading one block.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

#: ``read(start, length)`` gives at most `length` bytes of the log from `start`; b"" at its end.
Read = Callable[[int, int], bytes]

#: The grain of an index, in bytes.
BLOCK = 64 * 1024
#: How much of a search or of the making of an index is done at a time, in bytes: meanwhile a thread is taken.
SLICE = 8 * 1024 * 1024
#: How much of one line is shown, in bytes; what a terminal would have overwritten is among them.
LINE_BYTES = 32 * 1024
#: How much before a window is looked at for the colour that it begins with, in bytes.
LOOK_BACK = 8 * 1024
#: What is found at most, in lines; and how much of a line is told with it, in characters.
HITS_LIMIT = 200
EXCERPT = 200
#: The longest text that is looked for, in characters.
WORDS_LIMIT = 200

#: Escape sequences as in web/terminal.py, over bytes; none goes on over the end of a line.
ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n\r]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")


# ------------------------------------------------------------------------------------------------ the index


class Index:
    """How many lines have ended up to the end of each whole block."""

    def __init__(self) -> None:
        self._ended = array("Q")

    @property
    def end(self) -> int:
        """The offset up to which the log is known."""
        return len(self._ended) * BLOCK

    def extend(self, start: int, counts: Sequence[int]) -> None:
        """Take what `counted` has counted from `start` on; nothing where that is known already."""
        if start == self.end:
            self._ended.extend(list(accumulate(counts, initial=self._ended[-1] if self._ended else 0))[1:])

    def ended_before(self, block: int) -> int:
        """How many lines have ended before a block."""
        return self._ended[block - 1] if block else 0

    def block_of_end(self, line: int) -> int:
        """The block in which a line ends; the number of all known blocks if it ends in none of them."""
        return bisect_left(self._ended, line)


def counted(read: Read, start: int) -> list[int]:
    """The number of line feeds in each whole block from `start` on, for at most SLICE bytes."""
    data = read(start, SLICE)
    return [data.count(b"\n", at, at + BLOCK) for at in range(0, len(data) - BLOCK + 1, BLOCK)]


def lines_before(read: Read, index: Index, offset: int) -> int:
    """How many lines have ended before an offset.  The index must reach to its block."""
    block = min(offset, index.end) // BLOCK
    return index.ended_before(block) + read(block * BLOCK, offset - block * BLOCK).count(b"\n")


def start_of(read: Read, index: Index, line: int, size: int) -> int:
    """Where a line begins; `size` for one that there is not (yet)."""
    if line <= 1:
        return 0
    block = index.block_of_end(line - 1)
    data = read(block * BLOCK, min(BLOCK, size - block * BLOCK))
    missing = line - 1 - index.ended_before(block)
    at = -1
    for _ in range(missing):
        at = data.find(b"\n", at + 1)
        if at < 0:
            return size
    return block * BLOCK + at + 1


def end_of(read: Read, index: Index, offset: int, size: int) -> int:
    """Where the line ends that has the byte at `offset`: the offset of its line feed; `size` if it has none yet."""
    block = offset // BLOCK
    data = read(offset, min(size, (block + 1) * BLOCK) - offset)
    at = data.find(b"\n")
    if at >= 0:
        return offset + at
    known = index.end // BLOCK
    block = index.block_of_end(index.ended_before(min(block + 1, known)) + 1) if block < known else block + 1
    data = read(block * BLOCK, min(BLOCK, max(0, size - block * BLOCK)))
    at = data.find(b"\n")
    return size if at < 0 else block * BLOCK + at


# ------------------------------------------------------------------------------------------------ windows


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line without its line feed.

    `start` is its offset; `left` counts the bytes of it that are not in `data`: where it is too long the beginning is
    shown, or the end if that has overwritten the beginning.  `is_open`: no line feed has come yet.
    """

    number: int
    start: int
    data: bytes
    left: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a window may be."""

    lines: int
    octets: int

    def half(self) -> Bounds:
        """Half of it, rounded up."""
        return Bounds((self.lines + 1) // 2, (self.octets + 1) // 2)


@dataclass(frozen=True, slots=True)
class Place:
    """Which window is wanted: from a line on, up to a line, around it, or (line None) the end of the log."""

    kind: str = "until"
    line: int | None = None


#: The end of the log.
END = Place()


@dataclass(frozen=True, slots=True)
class Window:
    """Some lines of a log.

    `before` is what came shortly before them, for the colours that are still on.  `end` is the offset after them, `total`
    the number of lines that the log has, `size` its bytes.
    """

    lines: Sequence[RawLine]
    before: bytes
    end: int
    total: int
    size: int

    @property
    def first(self) -> int:
        """The number of the first line; 1 where there is none."""
        return self.lines[0].number if self.lines else 1

    @property
    def last(self) -> int:
        """The number of the last line; 0 where there is none."""
        return self.lines[-1].number if self.lines else 0

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return self.last >= self.total

    @property
    def is_open(self) -> bool:
        """Whether its last line may go on."""
        return bool(self.lines) and self.lines[-1].is_open


def window(read: Read, index: Index, size: int, place: Place, bounds: Bounds) -> Window:
    """The lines of a place.  The index must know all whole blocks of the `size` bytes."""
    total = lines_before(read, index, size)
    if size and read(size - 1, 1) != b"\n":
        total += 1
    line = total if place.line is None else max(1, min(place.line, total))
    if not total:
        return Window((), b"", 0, 0, size)
    match place.kind:
        case "from":
            lines = _forwards(read, index, size, line, bounds)
        case "around":
            earlier = _backwards(read, index, size, line - 1, bounds.half()) if line > 1 else []
            lines = [*earlier, *_forwards(read, index, size, line, bounds.half())]
        case _:
            lines = _backwards(read, index, size, line, bounds)
    end = min(size, lines[-1].start + len(lines[-1].data) + lines[-1].left + 1)
    start = lines[0].start
    back = max(0, start - LOOK_BACK)
    return Window(lines, read(back, start - back), end, total, size)


def _forwards(read: Read, index: Index, size: int, line: int, bounds: Bounds) -> list[RawLine]:
    """Lines from `line` on."""
    start = start_of(read, index, line, size)
    data = read(start, min(bounds.octets, size - start))
    pieces = data.split(b"\n")
    is_all = start + len(data) >= size
    rest = pieces.pop()
    lines = _numbered(pieces[: bounds.lines], line, start)
    if len(pieces) < bounds.lines and rest and (is_all or not lines):
        at = start + len(data) - len(rest)
        lines.append(_whole(read, index, size, line + len(pieces), at))
    return lines


def _backwards(read: Read, index: Index, size: int, line: int, bounds: Bounds) -> list[RawLine]:
    """Lines up to `line`."""
    end = start_of(read, index, line + 1, size)
    start = max(0, end - bounds.octets)
    data = read(start, end - start)
    is_open = not data.endswith(b"\n")
    pieces = data.removesuffix(b"\n").split(b"\n")
    if start and len(pieces) > 1 and read(start - 1, 1) != b"\n":
        start += len(pieces.pop(0)) + 1
    cut = pieces[: -bounds.lines]
    start += sum(map(len, cut)) + len(cut)
    pieces = pieces[-bounds.lines :]
    if len(pieces) == 1:
        return [_whole(read, index, size, line, start_of(read, index, line, size))]
    lines = _numbered(pieces, line - len(pieces) + 1, start)
    if is_open:
        last = lines[-1]
        lines[-1] = RawLine(last.number, last.start, last.data, is_open=True)
    return lines


def _numbered(pieces: Sequence[bytes], number: int, start: int) -> list[RawLine]:
    lines = []
    for piece in pieces:
        lines.append(RawLine(number, start, *_cut(piece)))
        number += 1
        start += len(piece) + 1
    return lines


def _cut(piece: bytes) -> tuple[bytes, int]:
    """What is shown of a line, and how many bytes are not."""
    return shown_of(piece[:LINE_BYTES], piece[-LINE_BYTES:], len(piece))


def _whole(read: Read, index: Index, size: int, number: int, start: int) -> RawLine:
    """The line that begins at `start`, however long it is."""
    end = end_of(read, index, start, size)
    length = end - start
    head = read(start, min(length, LINE_BYTES))
    tail = read(max(start, end - LINE_BYTES), min(length, LINE_BYTES))
    data, left = shown_of(head, tail, length)
    return RawLine(number, start, data, left, is_open=end >= size)


def shown_of(head: bytes, tail: bytes, length: int) -> tuple[bytes, int]:
    """What is shown of a line of `length` bytes with this beginning and end, and how many bytes are not."""
    if length <= LINE_BYTES:
        return head, 0
    overwritten = tail.rstrip(b"\r").find(b"\r")
    data = head if overwritten < 0 else tail[overwritten:]
    return data, length - len(data)


# ------------------------------------------------------------------------------------------------ times

_TIME = struct.Struct("<QI")


class Times:
    """When which part of a log came, as a shim notes it (launchers/shim.py): offsets and milliseconds, both rising."""

    def __init__(self, data: bytes) -> None:
        pairs = list(_TIME.iter_unpack(data[: len(data) // _TIME.size * _TIME.size]))
        self._offsets = [offset for offset, _ in pairs]
        self._moments = [moment for _, moment in pairs]

    def at(self, offset: int) -> float | None:
        """The seconds after which what is at an offset came; None where nobody knows."""
        place = bisect_right(self._offsets, offset)
        return self._moments[place - 1] / 1000 if place else None


# ------------------------------------------------------------------------------------------------ finding


@dataclass(frozen=True, slots=True)
class Hit:
    """A line in which the words are, and a part of it with them."""

    line: int
    excerpt: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a part of a search has found; `end` is where the next part begins, `ended` the lines that end before that."""

    hits: Sequence[Hit]
    end: int
    ended: int


def needle_of(words: str) -> bytes:
    """What is looked for, in small letters; b"" when there is nothing to look for."""
    return words[:WORDS_LIMIT].strip("\r\n").encode("utf-8", "replace").lower()


def find(read: Read, needle: bytes, start: int, ended: int, size: int, limit: int = HITS_LIMIT) -> Found:
    """The lines that have `needle` in them, from `start` on, for at most SLICE bytes and `limit` lines.

    `ended` lines end before `start`.  Letters of ASCII are the same in both cases; escape sequences are no part of the
    text, as a reader does not see them.
    """
    hits: list[Hit] = []
    stop = min(size, start + SLICE)
    while start < stop and len(hits) < limit:
        data = read(start, min(4 * BLOCK, size - start))
        if not data:
            break
        is_last = start + len(data) >= size
        used = len(data) if is_last else data.rfind(b"\n") + 1 or max(1, len(data) - len(needle))
        part = data[:used] if used < len(data) and data[used - 1 : used] == b"\n" else data
        shown = ESCAPES.sub(b"", part) if b"\x1b" in part else part
        for line, excerpt in _hits_in(shown, needle):
            if len(hits) < limit and not (hits and hits[-1].line == ended + line):
                hits.append(Hit(ended + line, excerpt))
        ended += data.count(b"\n", 0, used)
        start += used
    return Found(hits, start, ended)


def _hits_in(data: bytes, needle: bytes) -> Iterator[tuple[int, str]]:
    """The numbers of the lines (from 1) with the needle in them, each with an excerpt."""
    small = data.lower()
    line, counted_to, at = 1, 0, small.find(needle)
    while at >= 0:
        line += data.count(b"\n", counted_to, at)
        begin = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield line, _excerpt(data[max(begin, at - EXCERPT) : min(end, at + len(needle) + EXCERPT)], at - begin)
        counted_to = at
        at = small.find(needle, end)


def _excerpt(data: bytes, lead: int) -> str:
    """Some text with the words in it, cut to EXCERPT characters."""
    text = data.decode("utf-8", "replace").replace("\r", " ")
    begin = max(0, min(lead, EXCERPT) - EXCERPT // 3)
    return ("…" if begin or lead > EXCERPT else "") + text[begin : begin + EXCERPT].strip()
