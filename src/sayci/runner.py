"""Drives one build through its steps with a Launcher.

A runner keeps nothing that is not in the store: a later server takes up a running build where this one left it, by the
step that is running and its handle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci import make
from sayci.build import Build, BuildState
from sayci.buildlog import key_of
from sayci.errors import (
    LauncherError,
    RepositoryDenied,
    RepositoryError,
    RepositoryUnreachable,
    SayciError,
    Unavailable,
)
from sayci.interfaces import Ended, Job, Launcher, LogStore, LogWriter, Remote, Sources, Store
from sayci.ledger import Ledger
from sayci.limits import Limits
from sayci.project import MirrorState, Project, environment_for
from sayci.space import Space
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, StepState
from sayci.verdict import verdict_of

#: An interrupted build whose tests can be run again is queued again at most so many times.
ATTEMPTS_LIMIT = 3
#: Seconds between the tries to read a repository that does not answer.
FETCH_PAUSES = (2, 10)
#: Seconds between two looks whether there is room for a checkout.
SPACE_PAUSE = 10.0

#: What every step is given, unless its project says otherwise.
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "CI": "true",
}
_DEBUG_WORDS = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Orders:
    """All that a build's steps are run with, read once when a runner takes the build up."""

    project: Project
    remote: Remote = field(repr=False)
    environment: Mapping[str, Mapping[str, str]] = field(repr=False)
    secrets: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def debugs(self) -> bool:
        """Whether any step is to explain itself; then the checkout does too."""
        return any(is_debugging(given) for given in self.environment.values())

    def target(self, step: str) -> str:
        """The make target of a step."""
        settings = self.project.settings
        return settings.deploy_target if step == DEPLOY else settings.test_target


def is_debugging(given: Mapping[str, str]) -> bool:
    """Whether a step with this environment is to explain itself: ``DEBUG=1``."""
    return given.get("DEBUG", "").lower() in _DEBUG_WORDS


def stated_environment(build: Build, workspace: Path, given: Mapping[str, str], page: str) -> dict[str, str]:
    """The whole environment of a step: a small base, what the project gives, and what sayci says of the build."""
    return {
        **BASE_ENVIRONMENT,
        **given,
        "CI": "true",
        "HOME": str(workspace / "home"),
        "TMPDIR": str(workspace / "tmp"),
        "SAYCI_PROJECT": build.project,
        "SAYCI_BUILD": str(build.number),
        "SAYCI_COMMIT": build.commit,
        "SAYCI_REF": build.ref,
        "SAYCI_BRANCH": build.branch or "",
        "SAYCI_URL": page,
    }


class _Interrupted(Exception):
    """The step was lost, and the whole build may run again."""


class Runner:
    """Takes one build from claimed to finished.

    `limits` are what the operator allows every step, `grace` the seconds between asking one to end and killing it.
    """

    _log = Logger()

    def __init__(
        self,
        build: Build,
        *,
        store: Store,
        ledger: Ledger,
        sources: Sources,
        launcher: Launcher,
        logs: LogStore,
        page_of: Callable[[Build], str],
        limits: Limits,
        grace: float = 10.0,
        clock: IReactorTime,
        monotonic: Callable[[], float] = time.monotonic,
        space: Space | None = None,
    ) -> None:
        self.build = build
        self._store = store
        self._ledger = ledger
        self._sources = sources
        self._launcher = launcher
        self._logs = logs
        self._page_of = page_of
        self._limits = limits
        self._grace = grace
        self._clock = clock
        self._monotonic = monotonic
        self._space = space or Space()
        self._cancel_asked = build.state is BuildState.CANCELLING
        self._checking_out: Deferred[Path] | None = None

    def cancel(self) -> None:
        """The build is to end: its running command is asked to, and no further step begins."""
        self._cancel_asked = True
        if self._checking_out is not None:
            self._checking_out.cancel()
        for step in self.build.steps:
            if step.state is StepState.RUNNING and step.handle is not None and step.name != CHECKOUT:
                self._launcher.cancel(step.handle)

    async def run(self) -> None:
        """Drive the build to its end, from wherever it is.

        Raises CancelledError when this server stops and Unavailable when the store does not take writes: then the build
        is as it was, and another runner can take it up.  Nothing else is raised: a build never stays "running" for ever.
        """
        try:
            await self._drive(await self._orders())
        except (CancelledError, Unavailable):
            raise
        except _Interrupted:
            await self._advance(self._interrupted)
        except Exception as error:  # noqa: BLE001 - whatever it is, the build must not stay "running"; it is logged
            self._log.failure("build {project} #{number} failed", project=self.build.project, number=self.build.number)
            await self._end_steps()
            told = (
                str(error)
                if isinstance(error, SayciError)
                else "sayci made a mistake; the server's log has the details"
            )
            await self._advance(lambda build: build.finished(self._ledger.now(), Result.ERROR, told))
        await self._sources.discard(self.build.project_id, self.build.id)

    def _cancelled(self) -> bool:
        return self._cancel_asked

    async def _end_steps(self) -> None:
        """End what runs of a build that cannot go on: nobody would look after it any more."""
        for step in self.build.steps:
            if step.state is StepState.RUNNING and step.handle is not None and step.name != CHECKOUT:
                self._launcher.cancel(step.handle)
                await self._launcher.result(step.handle)

    # -- the sequence

    async def _drive(self, orders: Orders) -> None:
        for name in [step.name for step in self.build.steps]:
            step = self.build.step(name)
            if step.state is not StepState.FINISHED and not self._cancelled():
                await (self._checkout(orders) if name == CHECKOUT else self._make(name, orders))
            elif step.state is StepState.RUNNING and name != CHECKOUT:
                await self._make(name, orders)
            if self._cancelled() or self.build.step(name).result is not Result.SUCCESS:
                break
        await self._advance(lambda build: build.finished(self._ledger.now(), self._cancelled_result(build)))

    def _interrupted(self, build: Build) -> Build:
        """What becomes of a build of which a step was lost: its tests may run again, though not for ever."""
        reason = "sayci was interrupted while it ran"
        if build.state is BuildState.CANCELLING:
            return build.finished(self._ledger.now(), Result.CANCELLED)
        if build.attempt >= ATTEMPTS_LIMIT:
            return build.finished(self._ledger.now(), Result.ERROR, f"{reason}, {build.attempt} times")
        return build.requeued(reason)

    @staticmethod
    def _cancelled_result(build: Build) -> Result | None:
        """A cancel that came when all was done has changed nothing."""
        done = all(step.state is StepState.FINISHED for step in build.steps)
        return Result.CANCELLED if build.state is BuildState.CANCELLING and not done else None

    async def _orders(self) -> Orders:
        project = await self._store.project_by_id(self.build.project_id)
        variables = await self._store.variables(project.id, revealed=True)
        token = await self._store.access_token(project.id)
        given = {name: environment_for(name, variables) for name in (TEST, DEPLOY)}
        return Orders(
            project,
            Remote(project.settings.url, token),
            {name: environment for name, (environment, _) in given.items()},
            {name: secrets for name, (_, secrets) in given.items()},
        )

    async def _advance(self, move: Callable[[Build], Build]) -> None:
        self.build = await self._ledger.advance(self.build.id, move)

    async def _step_started(self, name: str, handle: str | None) -> None:
        now = self._ledger.now()
        await self._advance(lambda build: build.with_step(build.step(name).started(now, handle)))

    async def _step_finished(
        self, name: str, result: Result, reason: str, exit_code: int | None, duration: float
    ) -> None:
        now = self._ledger.now()
        await self._advance(
            lambda build: build.with_step(build.step(name).finished(now, result, reason, exit_code, duration))
        )

    # -- checkout

    async def _checkout(self, orders: Orders) -> None:
        """Fetch and check out; the step's handle is the workspace, so that a later server finds it."""
        started = self._monotonic()
        await self._step_started(CHECKOUT, None)
        log = self._logs.writer(key_of(self.build, CHECKOUT))
        try:
            self._checking_out = Deferred.fromCoroutine(self._fetch(orders, log))
            workspace = await self._checking_out
        except RepositoryError as error:
            log.write(f"{error}\n".encode())
            await self._step_finished(CHECKOUT, Result.ERROR, str(error), None, self._monotonic() - started)
            return
        except CancelledError:
            if not self._cancelled():
                raise
            await self._step_finished(CHECKOUT, Result.CANCELLED, "", None, self._monotonic() - started)
            return
        finally:
            self._checking_out = None
            log.close()
        message, author = self.build.message, self.build.author
        if not message:  # a build by hand: nobody has said yet what the commit is
            message, author = await self._sources.describe(self.build.project_id, self.build.commit)
        duration = self._monotonic() - started
        now = self._ledger.now()
        await self._advance(
            lambda build: build.described(message, author).with_step(
                build.step(CHECKOUT).started(now, str(workspace)).finished(now, Result.SUCCESS, duration=duration)
            )
        )

    async def _fetch(self, orders: Orders, log: LogWriter) -> Path:
        """The workspace; a repository that does not answer is asked again, after FETCH_PAUSES seconds."""
        await self._room(log)
        if orders.project.mirror is MirrorState.REVOKED:
            await self._ask_again(orders)
        for pause in (*FETCH_PAUSES, None):
            try:
                return await self._sources.checkout(
                    self.build.project_id,
                    orders.remote,
                    self.build.commit,
                    self.build.id,
                    log.write,
                    debug=orders.debugs,
                )
            except RepositoryUnreachable as error:
                if pause is None:
                    raise
                log.write(f"{error}\nsayci tries again in {pause} s\n".encode())
                await deferLater(self._clock, pause)
        raise AssertionError  # the last round returns or raises

    async def _ask_again(self, orders: Orders) -> None:
        """Whether a repository lets us in again that did not, before anything is copied of it."""
        try:
            await self._sources.heads(orders.remote)
        except RepositoryDenied as error:
            words = "sayci has lost the access to the repository, and has removed its clone"
            raise RepositoryDenied(words, *error.args) from None

    async def _room(self, log: LogWriter) -> None:
        """Wait until there is room for a checkout; a build that was taken up again may find none."""
        told = False
        while lack := self._space.lack():
            if not told:
                log.write(f"{lack} sayci waits for it.\n".encode())
                told = True
            await deferLater(self._clock, SPACE_PAUSE)

    # -- make

    async def _make(self, name: str, orders: Orders) -> None:
        """Run a step's target, or wait for the one that an earlier server started."""
        step = self.build.step(name)
        ended = None
        if step.state is StepState.RUNNING and step.handle is not None:
            if self._cancelled():
                self._launcher.cancel(step.handle)
            ended = await self._launcher.result(step.handle)
        if ended is None or (ended.why == "never_started" and not self._cancelled()):
            ended = await self._launch(name, orders)
        if ended is None:
            return
        if ended.why in ("lost", "never_started") and self._cancelled() and name != DEPLOY:
            ended = replace(ended, why="cancelled")
        if ended.why == "lost" and name != DEPLOY:
            raise _Interrupted
        target = orders.target(name)
        tail = await self._tail(name)
        is_a_file = self._is_a_file(target)
        result, reason = verdict_of(name, target, ended, tail, self._limits_of(orders), is_a_file=is_a_file)
        await self._step_finished(name, result, reason, ended.exit_code, ended.duration)

    def _is_a_file(self, target: str) -> bool:
        return os.path.lexists(Path(self.build.step(CHECKOUT).handle or "") / "tree" / target)

    async def _launch(self, name: str, orders: Orders) -> Ended | None:
        """Start a step's target and wait for its end; None when there was nothing to start, which is recorded."""
        workspace = Path(self.build.step(CHECKOUT).handle or "")
        try:
            names = [path.name for path in (workspace / "tree").iterdir()]
        except OSError:
            raise _Interrupted from None  # swept away while no server was there; nothing of this step has run
        if not make.has_makefile(names):
            result, reason = make.no_makefile(orders.target(name))
            await self._step_finished(name, result, reason, None, 0.0)
            return None
        job = self._job(name, orders, workspace)
        # The key is recorded before anything runs: a later server finds the step by it, or finds that it never started.
        # For that the run directory is made before: one that is not there may have been lost with all that was in it.
        self._logs.writer(job.key).close()
        await self._step_started(name, job.key)
        if self._cancelled():
            return Ended(None, "cancelled")
        try:
            handle = await self._launcher.start(job)
        except LauncherError as error:
            return Ended(None, "start_failed", str(error))
        if handle != job.key:
            await self._step_started(name, handle)
        if self._cancelled():
            self._launcher.cancel(handle)
        return await self._launcher.result(handle)

    def _job(self, name: str, orders: Orders, workspace: Path) -> Job:
        given = orders.environment[name]
        return Job(
            key_of(self.build, name),
            make.command(orders.target(name), debug=is_debugging(given)),
            stated_environment(self.build, workspace, given, self._page_of(self.build)),
            workspace / "tree",
            orders.secrets[name],
            limits=self._limits_of(orders),
            grace=self._grace,
            beside=(workspace / "home", workspace / "tmp"),
            image=orders.project.settings.image,
        )

    def _limits_of(self, orders: Orders) -> Limits:
        return orders.project.settings.limits.within(self._limits)

    async def _tail(self, name: str) -> bytes:
        key = key_of(self.build, name)
        size = self._logs.size(key)
        return await self._logs.read(key, max(0, size - make.TAIL), make.TAIL)
