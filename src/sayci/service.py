"""Ties the knot: every part is built here and handed its neighbours; no other file knows more than its own."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource

from sayci import __version__, forge_accounts
from sayci.background import Background
from sayci.bus import Bus
from sayci.catchup import CatchUp
from sayci.data_directory import WORKSPACES, DataDirectory
from sayci.descriptors import for_connections, raise_limit
from sayci.errors import CannotStart, SayciError, Unavailable
from sayci.event import DeliveryChanged, DeliveryRefused
from sayci.forge_people import ForgePeople
from sayci.forges.github import GitHub
from sayci.git import Policy
from sayci.inbox import Inbox
from sayci.interfaces import Isolation, Launcher, Store
from sayci.janitor import Janitor
from sayci.launchers import machine, privileges
from sayci.launchers.docker import DockerLauncher, look_at
from sayci.launchers.isolation import Chosen, choose
from sayci.launchers.local import LocalLauncher
from sayci.launchers.reaper import adopt_orphans
from sayci.launchers.users import SPARE, Numbers, SlotUsers, reserve
from sayci.ledger import Ledger
from sayci.limits import Limits
from sayci.listening import handover
from sayci.mirrors import sample
from sayci.mirrors.sources import GitSources
from sayci.options import ContainerSettings, Options, ServerSettings
from sayci.outbox import Outbox
from sayci.outlook import Outlooks
from sayci.passwords import Passwords
from sayci.people import People
from sayci.ports import Ports
from sayci.project import Settings
from sayci.registry import Registry
from sayci.reporters.commit_status import GitHubStatuses
from sayci.runner import Runner
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.space import Space
from sayci.steady import make_steady
from sayci.store.logs import FileLogs
from sayci.store.sql_store import SqlStore
from sayci.store.volumes import measured
from sayci.web.api import Api
from sayci.web.health import ADDRESSES as HEALTH
from sayci.web.health import CountedReporter, Health, Metrics
from sayci.web.hooks import Hooks
from sayci.web.pages import Pages
from sayci.web.pages_status import Insides
from sayci.web.root import Root
from sayci.web.site import make_site
from sayci.web.validity import NO_CERTIFICATES

__all__ = ["Options", "Sayci", "makeService"]

Value = TypeVar("Value")

#: Threads for files and for big bodies; the database has its own.
THREADS = 4
#: Seconds that requests which are under way have to end when the server does.
REQUESTS_LIMIT = 10.0
#: Seconds until what the database could not take at the start is tried again.
PAUSE = 2.0


class Sayci(Service):
    """The whole server as one Twisted service."""

    _log = Logger()

    def __init__(self, settings: ServerSettings, reactor: Any) -> None:
        self.settings = settings
        self._reactor = reactor
        self._data = DataDirectory(settings.data)
        self._bus = Bus()
        self._metrics = Metrics(self._bus)
        places = [self._data.path, *(self._data.path / name for name in ("mirrors", "builds", WORKSPACES))]
        self._space = Space(partial(measured, places), settings.reserves)
        self._metrics.watch_space(self._space)
        connections = for_connections(raise_limit(), settings.slots)
        self._site = make_site(Resource(), clock=reactor, answered=self._metrics.answered, connections=connections)
        self._metrics.watch_crowd(self._site.crowd)
        self._ports = Ports(settings, self._site, reactor, connections)
        self._addresses = self._ports.addresses
        self._enders: list[Callable[[], Awaitable[None] | None]] = []
        self._background = Background()
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, pool=self._pool)
        self._scheduler: Scheduler | None = None
        self._end_feeds: Callable[[], None] = lambda: None

    def startService(self) -> None:
        """Open everything and listen; a problem is one line on the standard error, and the end.

        While another server has the data directory this waits, with that one's sockets in its hands.
        """
        signal.signal(signal.SIGHUP, _go_on)
        try:
            self._data.take(self.settings.wait, _Successor(self._data.path, self._ports).wait)
            self._ports.listen()
            self._enders.append(handover.Handover(self._reactor, self._data.path, self._ports.sockets).stop)
            self._build(self._isolation())
            _tune_interpreter()
            if os.getpid() == 1:
                self._reactor.callWhenRunning(self._adopt_orphans)
        except (SayciError, OSError) as error:
            sys.stderr.write(f"sayci: {error}\n")
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None
        super().startService()  # type: ignore[no-untyped-call]  # Twisted states no types here

    async def _stop(self) -> None:
        if self._scheduler is not None:
            await self._scheduler.drain(self.settings.drain)
        self._background.cancel()
        await self._ports.stop()
        self._end_feeds()
        await self._site.retire(REQUESTS_LIMIT)
        for end in reversed(self._enders):
            over = end()
            if over is not None:
                await over
        self._data.release()

    def stopService(self) -> Deferred[None]:
        """Start no more builds, let requests end, let go of the running steps, and close; the next server takes them up.

        A second signal ends the process at once, which loses nothing either: it is what a crash does.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # nor here
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end_at_once)
        return Deferred.fromCoroutine(self._stop())

    # -- the place

    def _isolation(self) -> Chosen:
        """What isolates builds here.  Before there is a second thread: what the server gives up, that one would keep."""
        settings = self.settings
        numbers = Numbers(settings.slot_uid, settings.slots + SPARE)
        try:
            chosen = choose(self._wanted(), numbers, self._data, self._ports.private)
        except CannotStart as error:
            if settings.containers is None:
                raise
            raise CannotStart("as root, sayci needs users for --launcher docker", *error.args[2:]) from None
        if chosen.users is not None:
            reserved = reserve(numbers)
            if reserved is not None:
                self._enders.append(reserved.close)
            privileges.keep_needed()
        return chosen

    def _wanted(self) -> str:
        """What is to isolate builds, beside containers: in one nobody is root."""
        if self.settings.containers is None:
            return self.settings.isolation
        return "users" if os.geteuid() == 0 else "none"

    def _adopt_orphans(self) -> None:
        from twisted.internet import process  # noqa: PLC0415 - what the reactor has imported, if it can have children

        adopt_orphans(self._reactor, process.reapProcessHandlers, process.reapAllProcesses)

    # -- the knot

    def _build(self, chosen: Chosen) -> None:
        reactor, bus, metrics, data = self._reactor, self._bus, self._metrics, self._data.path
        settings = self.settings
        threads = ThreadPool(0, THREADS, "sayci")
        threads.start()
        self._enders.append(threads.stop)
        store = SqlStore.open(settings.database, data / "key", reactor)
        self._enders.append(store.close)
        policy = Policy(settings.allowed_schemes, frozenset({sample.url_of(data)} if settings.sample else ()))

        ledger = Ledger(store, bus, time.time)
        logs = FileLogs(data / "builds", reactor, threads)
        launcher = self._launcher(chosen)
        users = SlotUsers(chosen.users, launcher.clear) if chosen.users is not None else None
        sources = self._sources(policy, threads, users, launcher.isolation)
        runner_of = partial(
            Runner,
            store=store,
            ledger=ledger,
            sources=sources,
            launcher=launcher,
            logs=logs,
            page_of=self._addresses.of_build,
            limits=self._limits(),
            grace=settings.grace,
            clock=reactor,
            space=self._space,
        )
        scheduler = Scheduler(
            *(store, ledger, sources, bus, reactor), slots=settings.slots, runner_of=runner_of, space=self._space
        )
        self._scheduler = scheduler
        forge = GitHub()
        inbox = Inbox(store, ledger, forge, reactor)
        registry = Registry(store, sources, logs, bus, policy, time.time, scheduler.require_idle)
        catch_up = CatchUp(
            *(store, sources, inbox, registry, reactor), interval=settings.catch_up, random=random.random
        )
        outbox = self._outbox(store)
        sign_in, people, forge_people = self._accounts(store, threads)
        hooks = Hooks(
            store,
            forge,
            inbox.put,
            reactor,
            wall=time.time,
            in_thread=partial(deferToThreadPool, reactor, threads),
            refused=metrics.delivery_refused,
            ignored=lambda delivery: bus.publish(DeliveryChanged(delivery)),
            news=lambda project_id: bus.publish(DeliveryRefused(project_id)),
        )
        https = self._ports.https
        certificates = https.keeper if https is not None else NO_CERTIFICATES
        api = Api(
            *(store, registry, scheduler, inbox, sign_in, logs, bus, reactor, self._addresses, __version__),
            people=people,
            isolation=launcher.isolation,
            certificates=certificates,
        )
        health = Health(store, metrics, reactor, time.time, {"space": self._space.check})
        pages = Pages(
            store=store,
            outlooks=Outlooks(store.outlooks, bus),
            registry=registry,
            scheduler=scheduler,
            inbox=inbox,
            sign_in=sign_in,
            people=people,
            logs=logs,
            feeds=api.feeds,
            gate=api.gate,
            bus=bus,
            links=api.links,
            clock=time.time,
            reactor=reactor,
            version=__version__,
            isolation=launcher.isolation,
            refusals=hooks.refusals,
            insides=self._insides(health, inbox),
            limits=self._limits(),
            certificates=certificates,
            ports=lambda: self._addresses.local,
            forge_people=forge_people,
        )
        metrics.watch_certificates(certificates)
        self._end_feeds = api.feeds.close
        metrics.watch("sayci_feeds", "Live feeds that are open now", lambda: api.feeds.open)
        self._site.resource = Root(
            hooks.resource, {b"api": api.resource()} | dict.fromkeys(HEALTH, health.app.resource()), pages.resource()
        )

        janitor = self._janitor(store, logs, scheduler)
        # The last in is the first to end: nothing new comes in before what works on it has let go.
        self._enders += [
            self._pool.closeCachedConnections,
            sources.stop,
            outbox.stop,
            registry.stop,
            scheduler.stop,
            inbox.stop,
            catch_up.stop,
            janitor.stop,
            *((forge_people.stop,) if forge_people is not None else ()),
        ]

        if https is not None:
            self._enders.append(https.stop)
        self._data.say_address(self._addresses.local)

        async def begin() -> None:
            if https is not None:
                await https.keeper.start()
            metrics.resume(await self._surely(store.open_builds))
            await self._surely(partial(_sweep, launcher, store))
            await self._surely(partial(self._greet, store, sign_in))
            for start in (
                *(scheduler.start, inbox.start, registry.start),
                partial(forge_accounts.start, forge_people, store),
            ):
                await self._surely(start)
            outbox.start()
            catch_up.start()
            janitor.start()
            if settings.sample:
                await self._add_sample(store, registry, scheduler, sources)

        self._background.start(begin(), "starting")

    def _insides(self, health: Health, inbox: Inbox) -> Insides:
        """What the page of the server's own state asks; git and make are asked for their versions once."""
        tools: list[tuple[str, str]] = []
        self._reactor.callWhenRunning(
            lambda: self._background.start(_versions(self._reactor, tools), "asking versions")
        )
        return Insides(self._metrics.tally, health.states, lambda: inbox.waiting, self.settings.keep, lambda: tools)

    def _accounts(self, store: SqlStore, threads: ThreadPool) -> tuple[SignIn, People, ForgePeople | None]:
        clocks = (time.time, self._reactor.seconds)
        sign_in = SignIn(store, self._bus, *clocks)
        passwords = Passwords(partial(deferToThreadPool, self._reactor, threads))
        by_forge = forge_accounts.forge_people(self.settings, store, sign_in, self._bus, self._agent, self._reactor)
        return sign_in, People(store, sign_in, passwords, self._bus, *clocks), by_forge

    def _limits(self) -> Limits:
        stated = self.settings.limits
        return replace(stated, memory_limit=stated.memory_limit or machine.memory() * 3 // 4)

    def _outbox(self, store: SqlStore) -> Outbox:
        reactor, metrics, bus, settings = self._reactor, self._metrics, self._bus, self.settings
        statuses = GitHubStatuses(self._agent, reactor, settings.github_api)
        return Outbox(
            store,
            CountedReporter(statuses, metrics),
            bus,
            reactor,
            wall=time.time,
            page_of=self._addresses.of_status,
            random=random.random,
        )

    def _sources(
        self, policy: Policy, threads: ThreadPool, users: SlotUsers | None, isolation: Isolation
    ) -> GitSources:
        return GitSources(
            self._reactor,
            self._data.path / "mirrors",
            self._data.workspaces,
            policy,
            threads=threads,
            users=users,
            passed_on=os.environ,
            # A build that runs as the server's own user could change what its workspace has in common with the mirror.
            shares_objects=users is not None or not isolation.holds,
        )

    def _launcher(self, chosen: Chosen) -> LocalLauncher | DockerLauncher:
        root = self._data.path / "builds"
        launcher: LocalLauncher | DockerLauncher
        if self.settings.containers is not None:
            launcher = self._containers(root, self.settings.containers, chosen.users)
        else:
            launcher = LocalLauncher(self._reactor, root, users=chosen.users, wrapper=chosen.wrapper)
        if launcher.isolation.holds:
            self._log.info("{words}", words=launcher.isolation.words)
        else:
            self._log.warn("{words}; build only what you trust", words=launcher.isolation.words)
        return launcher

    def _containers(self, root: Path, settings: ContainerSettings, users: Numbers | None) -> DockerLauncher:
        config = os.environ.get("DOCKER_CONFIG", "") or os.path.expanduser("~/.docker")  # noqa: PTH111 - may be no home
        return DockerLauncher(
            self._reactor,
            root,
            settings,
            look_at(settings, self._data.path),
            data=self._data.path,
            users=users,
            registries=Path(config, "config.json"),
        )

    async def _surely(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """Do it as soon as the database lets us: a server that has not started its work looks well and builds nothing."""
        while True:
            try:
                return await work()
            except Unavailable as error:
                self._log.error("the server waits for its database: {error}", error=error)
                await deferLater(self._reactor, PAUSE)

    async def _greet(self, store: SqlStore, sign_in: SignIn) -> None:
        base = self._addresses()
        lines = [f"sayci {__version__} is at {base}/"]
        if self.settings.sign_in_link or not await store.anyone_signed_in():
            code = await sign_in.new_code()
            lines.append(f"Sign in once, within a day: {base}/sign-in?code={code}")
        # Not sys.stdout: that is the log by now, and a link that signs in does not belong into a log.
        os.write(1, "\n".join([*lines, ""]).encode())

    def _janitor(self, store: SqlStore, logs: FileLogs, scheduler: Scheduler) -> Janitor:
        return Janitor(
            *(store, logs, self._bus, self._reactor),
            keep=self.settings.keep,
            wall=time.time,
            is_busy=lambda: scheduler.is_busy,
        )

    async def _add_sample(self, store: SqlStore, registry: Registry, scheduler: Scheduler, sources: GitSources) -> None:
        if (await store.projects(limit=1)).items:
            return
        await sample.make(self._reactor, self._data.path)
        settings = Settings("sample", sample.url_of(self._data.path), deploy_branch="main")
        project, _ = await registry.register(settings)
        await scheduler.build_by_hand(project, None, "sayci")


async def _sweep(launcher: Launcher, store: Store) -> None:
    """Remove containers that no step is in any more."""
    if isinstance(launcher, DockerLauncher):
        open_builds = await store.open_builds()
        await launcher.sweep({step.handle for build in open_builds for step in build.steps if step.handle})


class _Successor:
    """Who waits for the data directory of another server, and takes that one's sockets as soon as they can be had."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self._directory = directory
        self._ports = ports
        self._told = self._has_sockets = False

    def wait(self, holder: str) -> None:
        """Called again and again while the other server is there."""
        if not self._told:
            self._told = True
            who = f"process {holder}" if holder else "another process"
            sys.stderr.write(f"sayci: waiting for {who}, which uses the data directory {self._directory}, to end\n")
            sys.stderr.flush()
        if not self._has_sockets:
            sockets = handover.ask(self._directory)
            if sockets is not None:
                self._has_sockets = True
                self._ports.inherit(sockets)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """A terminal was closed, or a log was rotated; a handler rather than SIG_IGN, which children would inherit."""


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


async def _versions(reactor: Any, found: list[tuple[str, str]]) -> None:
    """Ask the programs that builds take for their versions, and put these into `found`."""
    for name in ("git", "make"):
        path = shutil.which(name)
        if path is not None:
            output, _, _ = await getProcessOutputAndValue(path, ["--version"], os.environ, reactor=reactor)
            words = output.decode("utf-8", "replace").partition("\n")[0].split()
            found.append((name, words[-1][:40] if words else "does not say"))


def _tune_interpreter() -> None:
    """Settings of the interpreter for one busy reactor thread beside a few that write and read.

    The collector leaves what is here for good alone and looks less often: a request makes some hundred short-lived objects.
    A thread that has something to do waits half a millisecond for the reactor's, not five: with 64 deliveries at a time
    that made 11 and 42 percent more of them in a second, in two pairs of runs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    sys.setswitchinterval(0.0005)


def makeService(options: Options) -> Sayci:
    """The service of ``twist sayci``.  The global reactor is imported here and nowhere else."""
    from twisted.internet import reactor  # noqa: PLC0415 - finding plugins must not install a reactor

    make_steady(reactor)
    return Sayci(options.settings, reactor)
