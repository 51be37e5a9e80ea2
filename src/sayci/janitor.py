"""Makes room slowly: removes what may go by retention.py, and has ended builds' logs compressed while none runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci.background import Background
from sayci.bus import Bus
from sayci.errors import SayciError, UnknownProject
from sayci.event import BuildChanged, Event
from sayci.interfaces import LogStore, Store
from sayci.retention import Keep, Remains, builds_to_go, deliveries_before, logs_to_go, needed

#: Seconds from the start to the first round, from one round to the next, and that where something was left over.
FIRST, EVERY, SOON = 60.0, 3600.0, 30.0
#: How many builds, logs of builds, and deliveries go in one round, and how many of them in one transaction.
MOST, TOGETHER = 500, 50
#: Seconds between two looks for logs to compress, and after which one is compressed although builds run.
PAUSE, OVERDUE = 5.0, 3600.0


class Janitor:
    """Works in rounds.  `wall` answers seconds since the epoch; `is_busy` whether a step runs, also in a thread."""

    _log = Logger()

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        bus: Bus,
        clock: IReactorTime,
        *,
        keep: Keep,
        wall: Callable[[], float],
        is_busy: Callable[[], bool],
    ) -> None:
        self._store = store
        self._logs = logs
        self._bus = bus
        self._clock = clock
        self._keep = keep
        self._wall = wall
        self._is_busy = is_busy
        self._background = Background()
        self._plain: dict[int, float] = {}  # builds whose logs are to be compressed, and since when
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stopped = False

    def start(self) -> None:
        """Begin, after a while."""
        self._unsubscribe = self._bus.subscribe(self._heard)
        self._background.start(self._rounds(), "making room")
        self._background.start(self._compress(), "compressing logs")

    async def stop(self) -> None:
        """End, within one block of a log."""
        self._stopped = True
        self._unsubscribe()
        self._background.cancel()
        await self._background.idle()

    def _heard(self, event: Event) -> None:
        if isinstance(event, BuildChanged) and not event.build.is_open:
            self._plain.setdefault(event.build.id, self._clock.seconds())

    # -- compressing

    async def _compress(self) -> None:
        while True:
            await deferLater(self._clock, PAUSE)
            while self._plain:
                build_id, since = next(iter(self._plain.items()))
                may_go_on = partial(self._may_compress, since)
                if not may_go_on() or not await self._logs.compress(build_id, may_go_on):
                    break
                del self._plain[build_id]

    def _may_compress(self, since: float) -> bool:
        """Also called in a thread."""
        if self._stopped:
            return False
        return not self._is_busy() or self._clock.seconds() - since > OVERDUE

    # -- removing

    async def _rounds(self) -> None:
        await deferLater(self._clock, FIRST)
        # What an earlier server has not come to compress; those that are compressed already cost a look.
        for build_id in sorted((await self._logs.kept()).keys() - await self._open(), reverse=True):
            self._plain.setdefault(build_id, self._clock.seconds())
        while True:
            is_done = True
            try:
                is_done = await self.round()
            except SayciError:
                self._log.failure("a round of making room ended early")
            await deferLater(self._clock, EVERY if is_done else SOON)

    async def _open(self) -> set[int]:
        return {build.id for build in await self._store.open_builds()}

    async def round(self) -> bool:
        """Remove what may go, up to MOST of each kind; whether that was all.  Raises what the store does."""
        now = self._wall()
        # Before the builds are read: whatever has logs by now is among these, or its project is gone.
        sizes = await self._logs.kept()
        builds = await self._builds()
        old = [build_id for of_one in builds for build_id in builds_to_go(of_one, self._keep, now)]
        gone, is_done = old[:MOST], len(old) <= MOST
        ended = {build.id: build.ended_at for of_one in builds for build in of_one if build.ended_at is not None}
        stay = frozenset(build_id for of_one in builds for build_id in needed(of_one)) | frozenset(old)
        logs = logs_to_go(ended, stay, sizes, self._keep, now)
        for build_id in logs[:MOST]:
            await self._logs.clear(build_id)
        await self._forget(gone)
        known = {build.id for of_one in builds for build in of_one}
        for build_id in sorted(sizes.keys() - known)[
            :MOST
        ]:  # of a project that was removed, or a server that was killed
            await self._logs.remove(build_id)
        deliveries = await self._forget_deliveries(now)
        if gone or logs or any(deliveries):
            self._log.info(
                "removed what is old: {builds} builds, {logs} logs, {bodies} bodies of deliveries, {deliveries} deliveries",
                builds=len(gone),
                logs=len(logs[:MOST]),
                bodies=deliveries[0],
                deliveries=deliveries[1],
            )
        return is_done and len(logs) <= MOST and max(deliveries) < MOST

    async def _forget(self, build_ids: Sequence[int]) -> None:
        for start in range(0, len(build_ids), TOGETHER):
            together = build_ids[start : start + TOGETHER]
            await self._store.forget_builds(together)
            for build_id in together:
                await self._logs.remove(build_id)

    async def _forget_deliveries(self, now: float) -> tuple[int, int]:
        """How many bodies, and how many deliveries."""
        bodies_before, deliveries_gone_before = deliveries_before(self._keep, now)
        bodies = await self._store.forget_bodies(bodies_before, MOST)
        return bodies, await self._store.forget_deliveries(deliveries_gone_before, MOST)

    async def _builds(self) -> list[Sequence[Remains]]:
        """The builds of every project."""
        found: list[Sequence[Remains]] = []
        after: int | None = 0
        while after is not None:
            page = await self._store.projects(after=after)
            for project in page.items:
                with suppress(UnknownProject):  # removed meanwhile
                    found.append(await self._store.remains(project.id))
            after = page.next
        return found
