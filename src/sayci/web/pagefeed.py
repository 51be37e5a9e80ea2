"""The feed of a build's page: what becomes of the build, and the rows of the logs of its steps, one after the other.

An event's id is the step and the byte offset after it ("test:4711"), so that a browser which comes back misses nothing.
A row has the same id whenever it is sent: what comes twice replaces itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.web.server import Request

from sayci.build import Build
from sayci.buildlog import chunk_of, key_of
from sayci.interfaces import LogStore, Store
from sayci.loglines import END, Bounds
from sayci.step import Result, Step, StepState
from sayci.web.events import HEARTBEAT, Bell, Feeds, Following, WatchedLog, frame
from sayci.web.logreader import LogReader
from sayci.web.outlet import Outlet
from sayci.web.rows import LiveRows, rows_of

#: A reader that is so many bytes behind is not told all of them, but the end: nobody reads that fast.
FAR = 256 * 1024
#: What such a reader is told.
LEAP = Bounds(500, 64 * 1024)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the logs of a build."""

    step: str
    offset: int

    def __str__(self) -> str:
        """As it is on the wire."""
        return f"{self.step}:{self.offset}"


def shape_of(build: Build) -> str:
    """What a page of the build depends on, beside its logs: the attempt and the states."""
    states = [build.state.value, *(step.state.value for step in build.steps)]
    return f"{build.attempt} {' '.join(states)}"


class PageFeed:
    """Serves these feeds."""

    def __init__(self, feeds: Feeds, store: Store, logs: LogStore, reader: LogReader) -> None:
        self._feeds = feeds
        self._store = store
        self._logs = logs
        self._reader = reader

    async def stream(self, request: Request, build: Build, after: Mark | None) -> None:
        """Send it, from `after` on, until the build has ended.  Raises UnknownStep, Unavailable."""
        if after is not None:
            build.step(after.step)
        bell = Bell(self._feeds.clock)
        with self._feeds.opened(request, bell) as outlet, self._feeds.followed(build, bell) as following:
            following.read(await self._store.build(build.project_id, build.number))
            await _Told(self._feeds, self._logs, self._reader, outlet, following, bell, build.attempt).tell(after)


class _Void(Exception):
    """Another attempt has begun: what was told is of no use any more."""


class _Told:
    """One reader of one build."""

    def __init__(
        self,
        feeds: Feeds,
        logs: LogStore,
        reader: LogReader,
        outlet: Outlet,
        following: Following,
        bell: Bell,
        attempt: int,
    ) -> None:
        self._feeds = feeds
        self._logs = logs
        self._reader = reader
        self._outlet = outlet
        self._following = following
        self._bell = bell
        self._attempt = attempt
        self._shape = ""

    async def tell(self, after: Mark | None) -> None:
        names = [step.name for step in self._following.build.steps]
        begin = names.index(after.step) if after is not None else self._first_open()
        try:
            self._news()
            for name in names[begin:]:
                while self._step(name).state is StepState.PENDING and self._following.build.is_open:
                    await self._pause()
                if self._step(name).started_at is not None:
                    await self._log(name, after.offset if after is not None and after.step == name else 0)
            while self._following.build.is_open:
                await self._pause()
            self._news()
        except _Void:
            self._outlet.write(frame(None, event="restart"))
            return
        self._outlet.write(frame(None, event="end"))

    def _first_open(self) -> int:
        states = [step.state for step in self._following.build.steps]
        return next((place for place, state in enumerate(states) if state is not StepState.FINISHED), len(states))

    def _step(self, name: str) -> Step:
        return self._following.build.step(name)

    def _news(self) -> None:
        """Tell how the build is, if that has changed.  Raises _Void."""
        build = self._following.build
        if build.attempt != self._attempt:
            raise _Void
        shape = shape_of(build)
        if shape != self._shape:
            self._shape = shape
            self._outlet.write(frame(self._feeds.shown(build), event="build"))

    async def _pause(self) -> None:
        """Wait for news, and tell those of the build."""
        await self._outlet.ready()
        if not await self._bell.wait(HEARTBEAT):
            self._outlet.write(b":\n\n")
        self._news()

    async def _log(self, name: str, offset: int) -> None:
        """Tell a step's log from an offset to its end."""
        key = key_of(self._following.build, name)
        with self._feeds.watched.watch(key, self._bell) as log:
            if offset > log.size():
                raise _Void
            rows = LiveRows(name, await self._reader.end_at(key, offset))
            while True:
                await self._outlet.ready()
                self._news()
                # The state before the size: a log is complete when its step has finished, not the other way round.
                is_last = self._step(name).result not in (None, Result.SKIPPED)
                size = log.size()
                if size - offset > FAR:
                    rows, offset = await self._leap(name, key)
                elif size > offset:
                    offset = await self._part(name, log, rows, offset, ended=is_last)
                if offset >= log.size():
                    if is_last:
                        return
                    await self._pause()

    async def _part(self, name: str, log: WatchedLog, rows: LiveRows, offset: int, *, ended: bool) -> int:
        size = log.size()
        data = await log.read(offset)
        chunk = chunk_of(data, offset, final=ended and offset + len(data) >= size)
        if chunk.end == offset:  # the rest of a letter has not come yet
            await self._pause()
            return offset
        rows.timed(await self._reader.elapsed(key_of(self._following.build, name)))
        first, html = rows.feed(chunk.text, chunk.end)
        self._send(name, first, html, chunk.end, leap=False)
        return chunk.end

    async def _leap(self, name: str, key: str) -> tuple[LiveRows, int]:
        window = await self._reader.window(key, END, LEAP)
        rows = LiveRows(name, window)
        shown = rows_of(name, window, await self._reader.elapsed(key), folds=False)
        self._send(name, window.first, str(shown), window.end, leap=True)
        return rows, window.end

    def _send(self, name: str, first: int, html: str, end: int, *, leap: bool) -> None:
        told = {"step": name, "first": first, "leap": leap, "html": html}
        self._outlet.write(frame(told, event="lines", offset=str(Mark(name, end))))
