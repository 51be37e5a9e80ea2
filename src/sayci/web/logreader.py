"""Reads logs of any size for those who look at a few of their lines: where lines are is counted once and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import DeferredLock, DeferredSemaphore

from sayci.firsterror import REACH, Errors, errors_in
from sayci.interfaces import LogStore
from sayci.loglines import (
    BLOCK,
    END,
    HITS_LIMIT,
    Bounds,
    Found,
    Hit,
    Index,
    Place,
    Read,
    Times,
    Window,
    counted,
    find,
    lines_before,
    needle_of,
    window,
)
from sayci.web.rows import Elapsed
from sayci.web.words import duration

#: Of so many logs it is remembered where their lines are (at most 32 KiB each) and which of them are errors.
LOGS_KEPT = 128
#: How many searches are made at once; the threads are there for others, too.
SEARCHES = 2


@dataclass(slots=True)
class _Known:
    """What is known of one log."""

    index: Index = field(default_factory=Index)
    lock: DeferredLock = field(default_factory=DeferredLock)
    errors: tuple[int, Errors] | None = None  # those up to a size


@dataclass(frozen=True, slots=True)
class Search:
    """What was found; `is_all`: there is no more."""

    hits: Sequence[Hit]
    is_all: bool


class LogReader:
    """One for the whole server."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._searches = DeferredSemaphore(SEARCHES)

    def _of(self, key: str) -> _Known:
        known = self._known.setdefault(key, _Known())
        self._known.move_to_end(key)
        while len(self._known) > LOGS_KEPT:
            self._known.popitem(last=False)
        return known

    async def _index(self, key: str, size: int) -> Index:
        """Where the lines of a log's first `size` bytes are."""
        known = self._of(key)
        await known.lock.acquire()
        try:
            while size - known.index.end >= BLOCK:
                start = known.index.end
                counts = await self._logs.work(key, lambda read: counted(read, start))  # noqa: B023 - it is awaited
                known.index.extend(start, counts)
                if not counts:
                    break
        finally:
            known.lock.release()
        return known.index

    async def window(self, key: str, place: Place, bounds: Bounds, size: int | None = None) -> Window:
        """Some lines of a log; with a `size`, as if it had no more bytes."""
        size = self._logs.size(key) if size is None else size
        index = await self._index(key, size)
        return await self._logs.work(key, lambda read: window(read, index, size, place, bounds))

    async def elapsed(self, key: str) -> Elapsed:
        """What the gutter says of a line that begins at an offset: the time since the step's start."""
        times = Times(await self._logs.times(key))
        return lambda offset: duration(floor(times.at(offset)))

    async def end_at(self, key: str, offset: int) -> Window:
        """The last line before an offset."""
        return await self.window(key, END, Bounds(1, BLOCK), offset)

    async def find(self, key: str, words: str, limit: int = HITS_LIMIT) -> Search:
        """The first lines in which the words are."""
        needle = needle_of(words)
        size = self._logs.size(key)
        if not needle or not size or limit <= 0:
            return Search((), is_all=limit > 0)
        await self._searches.acquire()
        try:
            return await self._find(key, needle, size, limit)
        finally:
            self._searches.release()

    async def _find(self, key: str, needle: bytes, size: int, limit: int) -> Search:
        hits: list[Hit] = []
        start = ended = 0
        while start < size and len(hits) < limit:
            found = await self._logs.work(key, _search(needle, start, ended, size, limit - len(hits)))
            hits += [hit for hit in found.hits if not hits or hit.line != hits[-1].line]
            if found.end <= start:
                break
            start, ended = found.end, found.ended
        return Search(hits, is_all=start >= size and len(hits) < limit)

    async def errors(self, key: str) -> Errors:
        """The first errors of a log; of a very large one, of its end."""
        known, size = self._of(key), self._logs.size(key)
        if known.errors is not None and known.errors[0] == size:
            return known.errors[1]
        index = await self._index(key, size)
        start = max(0, size - REACH) // BLOCK * BLOCK

        def look(read: Read) -> Errors:
            return errors_in(read, start, lines_before(read, index, start), size)

        found = await self._logs.work(key, look)
        known.errors = (size, found)
        return found


def floor(seconds: float | None) -> float | None:
    """Whole seconds."""
    return None if seconds is None else seconds // 1


def _search(needle: bytes, start: int, ended: int, size: int, limit: int) -> Callable[[Read], Found]:
    return lambda read: find(read, needle, start, ended, size, limit)
