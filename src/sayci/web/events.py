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
from twisted.python.failure import Failure
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
from sayci.web.gate import Gate, admission_of
from sayci.web.outlet import Outlet, Over
from sayci.web.readers import Readers

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


def frame(data: object, *, event: str = "", offset: int | str | None = None) -> bytes:
    """One event, whose id is `offset`, or a step and an offset.

    `data` becomes JSON, which has no line breaks: nothing in it breaks the framing.
    """
    lines = [f"event: {event}\n" if event else "", "" if offset is None else f"id: {offset}\n"]
    return "".join(lines).encode("ascii") + b"data: " + msgspec.json.encode(data) + b"\n\n"


class Bell:
    """Wakes the one who waits for news.  Rung while nobody waits, it is heard by the next who does."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._rung = False
        self._over: Over | None = None
        self._waiting: Deferred[None] | None = None

    def end(self, over: Over) -> None:
        """There will be no more, whatever has been rung."""
        self._over = over
        self._wake()

    def ring(self) -> None:
        """There is news."""
        self._rung = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Wait for news, at most so long; whether there are any.  Raises Over."""
        if not self._rung and self._over is None:
            self._waiting = Deferred()
            timer = self._clock.callLater(seconds, self._wake)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        if self._over is not None:
            raise self._over
        heard, self._rung = self._rung, False
        return heard

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


class WatchedLog:
    """One log that is watched: looked at by one loop and read by one thread, however many watch it.

    The step's shim writes the file, and nothing tells us; so its size is looked at.
    """

    _log = Logger()

    def __init__(self, logs: LogStore, key: str, clock: IReactorTime) -> None:
        self.bells: set[Bell] = set()
        self._logs = logs
        self._key = key
        self._size = logs.size(key)
        self._reading: dict[int, list[Deferred[bytes]]] = {}
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._loop.start(LOOK, now=False).addErrback(self._failed)

    def stop(self) -> None:
        """Do not look any more."""
        if self._loop.running:
            self._loop.stop()

    def size(self) -> int:
        """Bytes that the log has now."""
        return self._logs.size(self._key)

    async def read(self, start: int) -> bytes:
        """What follows `start`, at most PART bytes; those who want the same at the same time share one reading."""
        readers = self._reading.setdefault(start, [])
        data: Deferred[bytes] = Deferred()
        readers.append(data)
        if len(readers) == 1:
            Deferred.fromCoroutine(self._read(start)).addBoth(self._hand_out, start)
        return await data

    async def _read(self, start: int) -> bytes:
        return await self._logs.read(self._key, start, PART)

    def _hand_out(self, data: bytes | Failure, start: int) -> None:
        for reader in self._reading.pop(start):
            if not reader.called:  # else it has gone
                reader.callback(data)

    def _look(self) -> None:
        size = self.size()
        if size != self._size:
            self._size = size
            for bell in list(self.bells):
                bell.ring()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("the log {key} cannot be looked at", failure, key=self._key)


class WatchedLogs:
    """The logs that somebody watches."""

    def __init__(self, logs: LogStore, clock: IReactorTime) -> None:
        self._logs = logs
        self._clock = clock
        self._watched: dict[str, WatchedLog] = {}

    def __len__(self) -> int:
        """How many they are."""
        return len(self._watched)

    @contextmanager
    def watch(self, key: str, bell: Bell) -> Iterator[WatchedLog]:
        """Within the block, ring `bell` whenever the log's size has changed."""
        log = self._watched.get(key)
        if log is None:
            log = self._watched[key] = WatchedLog(self._logs, key, self._clock)
        log.bells.add(bell)
        try:
            yield log
        finally:
            log.bells.discard(bell)
            if not log.bells:
                log.stop()
                del self._watched[key]


class Following:
    """A build as the bus tells of it: `build` is always how it is now; the bell rings when it moves."""

    def __init__(self, build: Build, bell: Bell) -> None:
        self.build = build
        self._bell = bell
        self._told = False

    def heard(self, event: Event) -> None:
        """What the bus told."""
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

    Who asks has come through the gate; a feed ends when that reader would not any more.  `shown` makes a build's JSON.
    """

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        bus: Bus,
        clock: IReactorTime,
        shown: Callable[[Build], wire.Build],
        gate: Gate,
        *,
        limit: int = FEEDS_LIMIT,
    ) -> None:
        self._closed = False
        self._readers = Readers(gate, bus, clock)
        self.watched = WatchedLogs(logs, clock)
        self._store = store
        self._bus = bus
        self.clock = clock
        self.shown = shown
        self._limit = limit

    def close(self) -> None:
        """Bring every feed to its end, in the middle of what it tells; whoever reads comes back to the next server."""
        self._closed = True
        self._readers.close()

    @property
    def open(self) -> int:
        """How many there are now."""
        return len(self._readers)

    async def stream_build(self, request: Request, build: Build) -> None:
        """Send the build at once and whenever it changes, as ``event: build``; ends after the finished one.

        Raises Unavailable when too many feeds are open.
        """
        bell = Bell(self.clock)
        with self.opened(request, bell) as outlet, self.followed(build, bell) as following:
            following.read(await self._store.build(build.project_id, build.number))
            bell.ring()
            while True:
                await outlet.ready()
                heard = await bell.wait(HEARTBEAT)
                if not heard:
                    outlet.write(b":\n\n")
                    continue
                told = following.build
                outlet.write(frame(self.shown(told), event="build"))
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
        bell = Bell(self.clock)
        with self.opened(request, bell) as outlet, self.followed(build, bell) as following:
            following.read(await self._store.build(build.project_id, build.number))
            attempt = build.attempt
            while True:
                now = following.build
                with self.watched.watch(key_of(now, step), bell) as log:
                    if after > log.size() or attempt != now.attempt:
                        after = 0
                        outlet.write(frame(Restart(now.attempt), event="restart", offset=0))
                    if await self._send(_Attempt(log, following, step), after, outlet, bell):
                        return
                attempt = now.attempt

    async def _send(self, attempt: _Attempt, offset: int, outlet: Outlet, bell: Bell) -> bool:
        """Send one attempt's log; false when another attempt has begun."""
        while not attempt.is_void:
            await outlet.ready()
            chunk, is_last = await attempt.part(offset)
            if chunk.end > offset:
                outlet.write(frame({"start": offset, "end": chunk.end, "text": chunk.text}, offset=chunk.end))
                offset = chunk.end
            if is_last:
                outlet.write(frame(attempt.end(offset), event="end"))
                return True
            if chunk.end == chunk.start and not await bell.wait(HEARTBEAT):
                outlet.write(b":\n\n")
        return False

    @contextmanager
    def opened(self, request: Request, bell: Bell) -> Iterator[Outlet]:
        """An answer that is a feed, and counts as one; raises Unavailable when too many are open.

        Within the block, waiting for `bell` or for the outlet raises Over when the feed is to end: because the server
        does, or the reader may not read it any more, who is told so by ``event: closed``.  It ends with the block.
        """
        if self._closed:
            raise Unavailable("the server is about to end; come back to the next one")
        if self.open >= self._limit:
            raise Unavailable("too many feeds are open; try again later")
        admission = admission_of(request)
        request.setResponseCode(200)
        set_header(request, "Content-Type", CONTENT_TYPE)
        set_header(request, "Cache-Control", "no-store")
        set_header(request, "X-Content-Type-Options", "nosniff")
        set_header(request, "X-Accel-Buffering", "no")
        with Outlet(request, self.clock) as outlet:

            def end(reason: str) -> None:
                over = Over(reason)
                bell.end(over)
                outlet.end(over)

            outlet.write(b"retry: %d\n\n" % COME_BACK)
            with self._readers.reading(admission, end):
                try:
                    yield outlet
                except Over as over:
                    (reason,) = over.args
                    if reason:
                        request.write(frame({"reason": reason}, event="closed"))

    @contextmanager
    def followed(self, build: Build, bell: Bell) -> Iterator[Following]:
        """Within the block, know how the build is now, and ring `bell` when it moves."""
        following = Following(build, bell)
        unsubscribe = self._bus.subscribe(following.heard, build_id=build.id)
        try:
            yield following
        finally:
            unsubscribe()


class _Attempt:
    """The log of a step in one attempt of a build that is followed."""

    def __init__(self, log: WatchedLog, following: Following, step: str) -> None:
        self._log = log
        self._following = following
        self._step = step
        self._number = following.build.attempt

    @property
    def is_void(self) -> bool:
        """Whether another attempt has begun."""
        return self._following.build.attempt != self._number

    def _now(self) -> Step:
        return self._following.build.step(self._step)

    async def part(self, offset: int) -> tuple[Chunk, bool]:
        """What follows `offset`, as far as it is there, and whether it is the last that will be."""
        # The state is looked at before the size: a log is complete when its step has finished, not the other way round.
        finished = self._now().state is StepState.FINISHED
        size = self._log.size()
        data = await self._log.read(offset) if size > offset else b""
        is_last = finished and (not data or offset + len(data) >= size)
        return chunk_of(data, offset, final=is_last), is_last

    def end(self, size: int) -> LogEnd:
        step = self._now()
        return LogEnd(size, step.result, step.reason)
