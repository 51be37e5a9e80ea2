"""Live feeds as server-sent events (WHATWG HTML, section 9.2): of a build, and of a step's log while it grows.

An answer is a handler that goes on: it waits for news, sends them at the pace of the reader, and says a comment when there
are none.  When the reader goes away Klein cancels the handler, and everything is given back in its ``finally``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request

from sayci.build import Build
from sayci.buildlog import Chunk, chunk_of, key_of
from sayci.bus import Bus
from sayci.errors import Unavailable
from sayci.event import BuildChanged, Event
from sayci.interfaces import LogStore, Store
from sayci.step import Result, Step, StepState
from sayci.web import wire
from sayci.web.answer import set_header
from sayci.web.outlet import Outlet

CONTENT_TYPE = "text/event-stream"
#: Seconds of silence after which a comment is sent: proxies close what says nothing, and the dead are found.
HEARTBEAT = 15.0
#: Seconds between two looks at a log that somebody watches.
LOOK = 0.05
#: How much of a log one event holds, in bytes.
PART = 32 * 1024
#: How many feeds are served at once.
FEEDS_LIMIT = 2000
#: Milliseconds after which a browser whose connection broke comes back.
COME_BACK = 2000


class LogEnd(msgspec.Struct):
    """How a log's feed ends."""

    size: int
    result: Result | None
    reason: str


class Restart(msgspec.Struct):
    """The step was interrupted and runs again: what was told of its log before is void."""

    attempt: int


def frame(data: object, *, event: str = "", offset: int | None = None) -> bytes:
    """One event, whose id is `offset`.  `data` becomes JSON, which has no line breaks: nothing in it breaks the framing."""
    lines = [f"event: {event}\n" if event else "", "" if offset is None else f"id: {offset}\n"]
    return "".join(lines).encode("ascii") + b"data: " + msgspec.json.encode(data) + b"\n\n"


class Bell:
    """Wakes the one who waits for news.  Rung while nobody waits, it is heard by the next who does."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._rung = False
        self._waiting: Deferred[None] | None = None

    def ring(self) -> None:
        """There is news."""
        self._rung = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Wait for news, at most so long; whether there are any."""
        if not self._rung:
            self._waiting = Deferred()
            timer = self._clock.callLater(seconds, self._wake)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        heard, self._rung = self._rung, False
        return heard

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


class _WatchedLog:
    """One log that somebody watches: looked at by one call in a loop, however many they are."""

    def __init__(self, logs: LogStore, key: str, clock: IReactorTime) -> None:
        self.bells: set[Bell] = set()
        self._logs = logs
        self._key = key
        self._size = logs.size(key)
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> Deferred[LoopingCall]:
        return self._loop.start(LOOK, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        size = self._logs.size(self._key)
        if size != self._size:
            self._size = size
            for bell in list(self.bells):
                bell.ring()


class Growth:
    """Tells watchers that a log has grown.

    The step's shim writes the file, and nothing tells us; so the file's size is looked at, only while somebody watches.
    """

    _log = Logger()

    def __init__(self, logs: LogStore, clock: IReactorTime) -> None:
        self._logs = logs
        self._clock = clock
        self._watched: dict[str, _WatchedLog] = {}

    @property
    def watched(self) -> int:
        """How many logs are looked at."""
        return len(self._watched)

    @contextmanager
    def watch(self, key: str, bell: Bell) -> Iterator[None]:
        """Within the block, ring `bell` whenever the log's size has changed."""
        log = self._watched.get(key)
        if log is None:
            log = self._watched[key] = _WatchedLog(self._logs, key, self._clock)
            log.start().addErrback(self._failed, key)
        log.bells.add(bell)
        try:
            yield
        finally:
            log.bells.discard(bell)
            if not log.bells:
                log.stop()
                self._watched.pop(key, None)

    def _failed(self, failure: object, key: str) -> None:
        self._log.error("looking at the log {key} failed: {failure}", key=key, failure=failure)


class _Following:
    """A build as the bus tells of it: `build` is always how it is now; the bell rings when it moves."""

    def __init__(self, build: Build, bell: Bell) -> None:
        self.build = build
        self._bell = bell
        self._told = False

    def heard(self, event: Event) -> None:
        if isinstance(event, BuildChanged):
            self.build = event.build
            self._told = True
            self._bell.ring()

    def read(self, build: Build) -> None:
        """What the store said, which the bus may have overtaken."""
        if not self._told:
            self.build = build


class Feeds:
    """Serves the feeds; one for the whole server, so that their number is bounded and logs are looked at once.

    Whoever calls has checked who asks.  `shown` makes a build's JSON.
    """

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        bus: Bus,
        clock: IReactorTime,
        shown: Callable[[Build], wire.Build],
        *,
        limit: int = FEEDS_LIMIT,
    ) -> None:
        self.open = 0
        self.growth = Growth(logs, clock)
        self._store = store
        self._logs = logs
        self._bus = bus
        self._clock = clock
        self._shown = shown
        self._limit = limit

    async def stream_build(self, request: Request, build: Build) -> None:
        """Send the build at once and whenever it changes, as ``event: build``; ends after the finished one.

        Raises Unavailable when too many feeds are open.
        """
        bell = Bell(self._clock)
        with self._opened(request) as outlet, self._followed(build, bell) as following:
            following.read(await self._store.build(build.project_id, build.number))
            bell.ring()
            while True:
                await outlet.ready()
                if not await bell.wait(HEARTBEAT):
                    outlet.write(b":\n\n")
                    continue
                told = following.build
                outlet.write(frame(self._shown(told), event="build"))
                if not told.is_open:
                    return

    async def stream_log(self, request: Request, build: Build, step: str, after: int = 0) -> None:
        """Send the step's log from the offset `after` on, as it grows, to its end.

        An event's id is the byte offset after it, so a reader that comes back with it misses nothing and gets nothing
        twice.  ``event: end`` comes last.  ``event: restart`` says that the step runs again and its log begins anew; so
        it does for an offset that the log does not have, which is one of an earlier attempt.  Raises UnknownStep, and
        Unavailable when too many feeds are open.
        """
        build.step(step)
        bell = Bell(self._clock)
        with self._opened(request) as outlet, self._followed(build, bell) as following:
            following.read(await self._store.build(build.project_id, build.number))
            attempt = build.attempt
            while True:
                log = _Log(self._logs, following, step)
                if after > log.size() or attempt != log.attempt:
                    after = 0
                    outlet.write(frame(Restart(log.attempt), event="restart", offset=0))
                with self.growth.watch(log.key, bell):
                    if await self._send(log, after, outlet, bell):
                        return
                attempt = log.attempt

    async def _send(self, log: _Log, offset: int, outlet: Outlet, bell: Bell) -> bool:
        """Send one attempt's log; false when another attempt has begun."""
        while not log.is_void:
            await outlet.ready()
            chunk, is_last = await log.part(offset)
            if chunk.end > offset:
                outlet.write(frame({"start": offset, "end": chunk.end, "text": chunk.text}, offset=chunk.end))
                offset = chunk.end
            if is_last:
                outlet.write(frame(log.end(offset), event="end"))
                return True
            if chunk.end == chunk.start and not await bell.wait(HEARTBEAT):
                outlet.write(b":\n\n")
        return False

    @contextmanager
    def _opened(self, request: Request) -> Iterator[Outlet]:
        if self.open >= self._limit:
            raise Unavailable("too many feeds are open; try again later")
        self.open += 1
        try:
            request.setResponseCode(200)
            set_header(request, "Content-Type", CONTENT_TYPE)
            set_header(request, "Cache-Control", "no-store")
            set_header(request, "X-Content-Type-Options", "nosniff")
            set_header(request, "X-Accel-Buffering", "no")
            with Outlet(request, self._clock) as outlet:
                outlet.write(b"retry: %d\n\n" % COME_BACK)
                yield outlet
        finally:
            self.open -= 1

    @contextmanager
    def _followed(self, build: Build, bell: Bell) -> Iterator[_Following]:
        following = _Following(build, bell)
        unsubscribe = self._bus.subscribe(following.heard, build_id=build.id)
        try:
            yield following
        finally:
            unsubscribe()


class _Log:
    """The log of one attempt of a step of a build that is followed."""

    def __init__(self, logs: LogStore, following: _Following, step: str) -> None:
        self.attempt = following.build.attempt
        self.key = key_of(following.build, step)
        self._logs = logs
        self._following = following
        self._step = step

    @property
    def is_void(self) -> bool:
        """Whether another attempt has begun."""
        return self._following.build.attempt != self.attempt

    def size(self) -> int:
        return self._logs.size(self.key)

    def _now(self) -> Step:
        return self._following.build.step(self._step)

    async def part(self, offset: int) -> tuple[Chunk, bool]:
        """What follows `offset`, as far as it is there, and whether it is the last that will be."""
        # The state is looked at before the size: a log is complete when its step has finished, not the other way round.
        finished = self._now().state is StepState.FINISHED
        size = self.size()
        data = await self._logs.read(self.key, offset, PART) if size > offset else b""
        is_last = finished and (not data or offset + len(data) >= size)
        return chunk_of(data, offset, final=is_last), is_last

    def end(self, size: int) -> LogEnd:
        step = self._now()
        return LogEnd(size, step.result, step.reason)
