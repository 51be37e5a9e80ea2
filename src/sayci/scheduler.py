"""Starts the builds that may start, and keeps a runner for each that runs; cancel, rebuild and deploy are asked of it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci import trigger
from sayci.background import Background
from sayci.build import Build, BuildState
from sayci.bus import Bus
from sayci.change import Change, check_branch, check_commit, ref_of
from sayci.errors import Conflict, IllegalMove, Invalid, RepositoryRefused, SayciError, Unavailable
from sayci.event import BuildChanged, Event
from sayci.interfaces import Remote, Sources, Store
from sayci.ledger import Ledger
from sayci.project import Project
from sayci.queue import startable, why_waiting
from sayci.runner import Runner
from sayci.space import Space

#: Seconds until a build whose runner had to give up, because the store took no writes, is taken up again.
PAUSE = 5.0
#: Seconds between two looks whether there is room again for builds.
SPACE_PAUSE = 10.0


class Scheduler:
    """All builds that wait or run, as the bus tells of them, and a runner for each that runs."""

    _log = Logger()

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        sources: Sources,
        bus: Bus,
        clock: IReactorTime,
        *,
        slots: int,
        runner_of: Callable[[Build], Runner],
        space: Space | None = None,
    ) -> None:
        self.slots = slots
        self.space = space or Space()
        self._store = store
        self._ledger = ledger
        self._sources = sources
        self._bus = bus
        self._clock = clock
        self._runner_of = runner_of
        self._open: dict[int, Build] = {}
        self._runners: dict[int, Runner] = {}
        self._claiming: set[int] = set()
        self._background = Background()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._accepting = False
        self._lack = ""
        self._waits_for_space = False
        self._held = False
        self._idle: list[Deferred[None]] = []

    # -- its life

    async def start(self) -> None:
        """Take up what an earlier server left, then whatever comes.  Raises Unavailable; then it may be called again."""
        self._unsubscribe()
        self._unsubscribe = self._bus.subscribe(self._heard)
        for build in await self._store.open_builds():
            self._open.setdefault(build.id, build)
        self._background.start(self._sources.sweep(list(self._open)), "sweeping workspaces")
        self._accepting = not self._held
        for build in list(self._open.values()):
            if build.state is not BuildState.QUEUED and build.id not in self._runners:
                self._drive(build)
        self._start_some()

    async def drain(self, limit: float) -> None:
        """Start nothing more, and wait until nothing runs, at most `limit` seconds."""
        self._held, self._accepting = True, False
        if limit <= 0 or not (self._runners or self._claiming):
            return
        self._log.info("waiting for {count} running builds, {limit} s at most", count=len(self._runners), limit=limit)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        timer = self._clock.callLater(limit, idle.callback, None)
        await idle
        self._idle.remove(idle)
        if timer.active():
            timer.cancel()

    async def stop(self) -> None:
        """Start nothing more, and let go of what runs: the commands go on, and the next server takes them up."""
        self._accepting = False
        self._unsubscribe()
        self._background.cancel()
        await self._background.idle()

    # -- verbs

    async def build_by_hand(self, project: Project, branch: str | None, asked_by: str) -> Build:
        """Build the head of a branch, by default of the default branch, as the repository has it now.

        Raises Invalid, RepositoryRefused (also for a branch that is not there) and RepositoryUnreachable.
        """
        branch = check_branch(branch or project.settings.default_branch)
        remote = Remote(project.settings.url, await self._store.access_token(project.id))
        commit = (await self._sources.heads(remote)).get(branch)
        if commit is None:
            raise RepositoryRefused("the repository has no such branch", branch)
        return await self._ledger.add(trigger.build_by_hand(project, Change(ref_of(branch), commit), asked_by))

    async def rebuild(self, build: Build, asked_by: str) -> Build:
        """Run an ended build's commit again.  Raises IllegalMove while it has not ended."""
        project = await self._store.project_by_id(build.project_id)
        is_newest = await self._store.is_newest(build)
        return await self._ledger.add(trigger.rebuild_of(project, build, asked_by, is_newest=is_newest))

    async def deploy(
        self, project: Project, asked_by: str, *, commit: str | None = None, number: int | None = None
    ) -> Build:
        """Deploy a green commit, named by itself or by a build of it.

        Raises Invalid unless exactly one is given, NotGreen, NothingToDeploy and UnknownBuild.
        """
        if (commit is None) == (number is None):
            raise Invalid("name either the commit to deploy or a build of it")
        if commit is not None:
            green = await self._store.green_build(project.id, check_commit(commit))
        else:
            green = await self._store.build(project.id, number or 0)
            if green.source is not None and not green.tests:
                green = await self._store.green_build(project.id, green.commit)
        return await self._ledger.add(trigger.deploy_of(project, green, asked_by))

    async def cancel(self, build: Build, asked_by: str) -> Build:
        """End a build, whether it waits or runs.  Raises IllegalMove when it has ended already; safe to repeat."""
        if build.state is BuildState.CANCELLING:
            return build
        now = self._ledger.now()
        build = await self._ledger.advance(build.id, lambda build: build.cancelled(now, f"cancelled by {asked_by}"))
        runner = self._runners.get(build.id)
        if runner is not None:
            runner.cancel()
        return build

    async def answer(self, build: Build, asked_by: str, *, arrived: bool) -> Build:
        """Keep what a person says of a deploy whose end nobody knew.  Raises IllegalMove where that is no question."""
        now = self._ledger.now()
        return await self._ledger.advance(build.id, lambda build: build.answered(now, asked_by, arrived=arrived))

    def why_waiting(self, build: Build) -> str:
        """Why a queued build has not started, as a sentence; "" for one that has."""
        if build.state is not BuildState.QUEUED:
            return ""
        if self._held:
            return "For the next server: this one is being stopped."
        before = [other for other in self._open.values() if other.state is not BuildState.QUEUED or other.id < build.id]
        running = [other for other in before if other.state is not BuildState.QUEUED]
        lack = self.space.lack()
        if lack:
            return lack
        if len(running) >= self.slots:
            return why_waiting(build, before, slots=len(before) + 1) or "For a free slot."
        return why_waiting(build, before, slots=len(before) + 1)

    def waiting_and_running(self) -> tuple[list[Build], list[Build]]:
        """Every build that waits, and every one that runs, the oldest first."""
        builds = sorted(self._open.values(), key=lambda build: build.id)
        return (
            [build for build in builds if build.state is BuildState.QUEUED],
            [build for build in builds if build.state is not BuildState.QUEUED],
        )

    @property
    def is_busy(self) -> bool:
        """Whether a build runs; may be asked in any thread."""
        return bool(self._runners)

    def require_idle(self, project_id: int) -> None:
        """Raises Conflict while a build of the project waits or runs."""
        if any(build.project_id == project_id for build in self._open.values()):
            raise Conflict("builds of the project wait or run; cancel them first")

    # -- what moves it

    def _heard(self, event: Event) -> None:
        if not isinstance(event, BuildChanged):
            return
        if event.build.is_open:
            self._open[event.build.id] = event.build
        else:
            self._open.pop(event.build.id, None)
        if self._accepting and event.build.state in (BuildState.QUEUED, BuildState.FINISHED):
            self._start_some()

    def _start_some(self) -> None:
        if not self._accepting:
            return
        # Those that are being claimed, or whose runner is still clearing up, hold their place already.
        held = self._claiming | self._runners.keys()
        as_running = [
            build.claimed(0.0) if build.id in held and build.state is BuildState.QUEUED else build
            for build in self._open.values()
        ]
        chosen = startable(as_running, self.slots)
        if chosen and not self._has_space():
            return
        for build in chosen:
            self._claiming.add(build.id)
            self._background.start(self._claim(build), f"claiming {build.project} #{build.number}")

    def _has_space(self) -> bool:
        """Whether there is room for a build; where there is none, look again later."""
        lack = self.space.lack()
        if bool(lack) != bool(self._lack):
            self._log.warn("{words}", words=f"{lack} Builds wait." if lack else "There is space again: builds go on.")
        self._lack = lack
        if lack and not self._waits_for_space:
            self._waits_for_space = True
            self._background.start(self._look_again(), "waiting for space")
        return not lack

    async def _look_again(self) -> None:
        try:
            await deferLater(self._clock, SPACE_PAUSE)
        finally:
            self._waits_for_space = False
        self._start_some()

    async def _claim(self, build: Build) -> None:
        try:
            claimed = await self._ledger.advance(build.id, lambda build: build.claimed(self._ledger.now()))
        except IllegalMove:
            return  # cancelled or superseded in the meantime
        except Unavailable:
            await deferLater(self._clock, PAUSE)
            return
        finally:
            self._claiming.discard(build.id)
            self._clock.callLater(0, self._start_some)
            self._clock.callLater(0, self._tell_if_idle)
        self._drive(claimed)

    def _drive(self, build: Build) -> None:
        runner = self._runner_of(build)
        self._runners[build.id] = runner
        self._background.start(self._run(runner), f"running {build.project} #{build.number}")

    async def _run(self, runner: Runner) -> None:
        build_id = runner.build.id
        try:
            await runner.run()
        except Unavailable:
            self._log.failure("build {build} waits for the database", build=build_id)
            await deferLater(self._clock, PAUSE)
            await self._take_up_again(build_id)
        finally:
            if self._runners.get(build_id) is runner:
                del self._runners[build_id]
            self._start_some()
            self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self._runners and not self._claiming:
            for idle in list(self._idle):
                if not idle.called:
                    idle.callback(None)

    async def _take_up_again(self, build_id: int) -> None:
        while True:
            try:
                found = next((build for build in await self._store.open_builds() if build.id == build_id), None)
            except CancelledError:
                raise
            except SayciError:
                await deferLater(self._clock, PAUSE)
                continue
            if found is not None and found.state is not BuildState.QUEUED:
                self._drive(found)
            return
