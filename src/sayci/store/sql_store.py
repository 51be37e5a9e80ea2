"""The store: an asynchronous front of the functions of a connection beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sayci.account import Access, Actor, Origin, Session, Token
from sayci.build import Build, NewBuild
from sayci.delivery import Accepted, Delivery, NewDelivery, Verdict
from sayci.deploying import Deploying
from sayci.errors import CannotStart, Unavailable
from sayci.interfaces import Added, Page, Settled, StoredBody, ToldStatus, Wanted
from sayci.outlook import Outlook
from sayci.person import Member, Person
from sayci.project import MirrorState, Project, Settings, Variable
from sayci.report import DueStatus
from sayci.retention import Remains
from sayci.store import accounts, builds, deliveries, deploys, heads, old, outlooks, people, projects, statuses
from sayci.store.check import Check
from sayci.store.engine import BUSY_TIMEOUT, Engines, cannot_open, open_engines, read_url
from sayci.store.identities import SqlIdentities
from sayci.store.identities import any_secret as any_token
from sayci.store.memory import Memory
from sayci.store.migrate import migrate
from sayci.store.people import Known
from sayci.store.readers import Pool, Readers, at_once
from sayci.store.seal import Seal, load_key, make_key
from sayci.store.worker import AtOnce, OneThread
from sayci.store.writer import MOST_WAITING, Writer

Value = TypeVar("Value")

READERS = 3
#: Seconds between two notes of when a token was last used.
USE_NOTED_EVERY = 60.0
#: The same of when a session was.
SESSION_NOTED_EVERY = 600.0


class SqlStore:
    """interfaces.Store on SQLite or PostgreSQL.

    This process is the only one that writes to its database: what it answers from memory depends on it.
    """

    _log = Logger()

    def __init__(
        self,
        engines: Engines,
        seal: Seal,
        writer: Writer,
        readers: Readers,
        stop_threads: Callable[[], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._engines = engines
        self._seal = seal
        self._wall = wall
        self._writer = writer
        self._readers = readers
        self._stop_threads = stop_threads
        self._inserter = deliveries.Inserter(engines.writer.dialect)
        self._hooks: Memory[str, tuple[Project, str]] = Memory()
        self._tokens: Memory[bytes, Known] = Memory()
        self._sessions: Memory[bytes, Known] = Memory()
        self._actors = (self._sessions, self._tokens)
        self._closing: Deferred[None] | None = None
        self._check = Check(lambda: self._write(people.try_to_write))

    @classmethod
    def open(
        cls,
        url: str,
        key: Path,
        reactor: Any,
        *,
        in_process: bool = False,
        readers: int = READERS,
        busy_timeout: float = BUSY_TIMEOUT,
        most_waiting: int = MOST_WAITING,
    ) -> SqlStore:
        """Open the database of `url`, making or migrating its tables, with the secrets sealed under the key in a file.

        To be called before the reactor runs: it blocks.  `reactor` is an IReactorFromThreads; with `in_process` there are no
        threads, all is done before a method returns, and a clock will do, whose seconds are the time of day.  A database
        that is locked is waited for up to `busy_timeout` seconds.  Raises CannotStart with a sentence.
        """
        address = read_url(url)
        migrate(address, busy_timeout=busy_timeout)
        engines = open_engines(address, readers=readers, busy_timeout=busy_timeout)
        seal = _open_seal(engines, address, key)
        if in_process:
            writer = Writer(engines.writer, AtOnce(), _call, most_waiting=most_waiting)
            return cls(engines, seal, writer, Readers(engines.reader, at_once), _call, reactor.seconds)
        pool = Pool(reactor, readers)
        writer = Writer(engines.writer, OneThread("sayci-writer"), reactor.callFromThread, most_waiting=most_waiting)
        return cls(engines, seal, writer, Readers(engines.reader, pool), pool.stop)

    async def close(self) -> None:
        """Take no more, finish what was taken, and close the database; safe to repeat."""
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._close())
        await self._closing

    async def _close(self) -> None:
        await self._readers.close()
        self._stop_threads()
        await self._writer.close(self._engines.close)

    def _read(self, work: Callable[[Connection], Value]) -> Deferred[Value]:
        return self._readers.do(work)

    def _write(self, work: Callable[[Connection], Value], *outdated: Memory[Any, Any]) -> Deferred[Value]:
        return self._writer.do(work, lambda: _forget(outdated))

    # -- itself

    def identities(self, forge: str) -> SqlIdentities:
        """Who people are at the forge of that address."""
        return SqlIdentities(self._read, lambda work: self._write(work, *self._actors), self._seal, forge)

    async def check(self) -> None:
        """A good answer to the writing holds for a few seconds."""
        await self._read(statuses.next_due)
        await self._check.ask()

    # -- projects

    async def add_project(self, settings: Settings, webhook_secret: str, access_token: str, now: float) -> Project:
        """See interfaces.Store, here and below."""
        return await self._write(
            lambda connection: projects.add(connection, self._seal, settings, webhook_secret, access_token, now)
        )

    async def change_project(self, name: str, change: Callable[[Settings], Settings]) -> Project:
        """`change` may be called more than once."""
        return await self._write(
            lambda connection: projects.change(connection, name, change), self._hooks, *self._actors
        )

    async def set_mirror(self, project_id: int, state: MirrorState, error: str = "") -> Project:
        """Say how far the mirror is."""
        return await self._write(
            lambda connection: projects.set_mirror(connection, project_id, state, error), self._hooks
        )

    async def set_access_token(self, name: str, access_token: str) -> Project:
        """Replace it."""

        def work(connection: Connection) -> Project:
            project = projects.set_access_token(connection, self._seal, name, access_token)
            statuses.try_again(connection, project.id)
            return project

        return await self._write(work, self._hooks)

    async def set_webhook_secret(self, name: str, webhook_secret: str) -> Project:
        """Replace it."""
        return await self._write(
            lambda connection: projects.set_webhook_secret(connection, self._seal, name, webhook_secret), self._hooks
        )

    async def remove_project(self, name: str) -> Project:
        """With all its rows."""
        return await self._write(lambda connection: projects.remove(connection, name), self._hooks)

    async def project(self, name: str) -> Project:
        """By name."""
        return await self._read(lambda connection: projects.find(connection, name))

    async def project_by_id(self, project_id: int) -> Project:
        """By id."""
        return await self._read(lambda connection: projects.find_by_id(connection, project_id))

    async def names_of(self, project_ids: Collection[int]) -> Mapping[int, str]:
        """By id."""
        return await self._read(lambda connection: projects.names_of(connection, project_ids))

    async def projects(
        self, *, after: int = 0, limit: int = 100, granted: Collection[int] | None = None
    ) -> Page[Project]:
        """By id, rising."""
        return await self._read(lambda connection: projects.page(connection, after, limit, granted))

    async def webhook_secret(self, name: str) -> tuple[Project, str]:
        """From memory after the first time."""
        key = projects.key_of(name)
        known = self._hooks.get(key)
        if known is None:
            ticket = self._hooks.ticket
            known = await self._read(lambda connection: projects.webhook_secret(connection, self._seal, name))
            self._hooks.put(ticket, key, known)
        return known

    async def access_token(self, project_id: int) -> str:
        """The forge's token."""
        return await self._read(lambda connection: projects.access_token(connection, self._seal, project_id))

    # -- environment

    async def variables(self, project_id: int, *, revealed: bool = False) -> Sequence[Variable]:
        """By name."""
        return await self._read(
            lambda connection: projects.list_variables(connection, self._seal, project_id, revealed=revealed)
        )

    async def set_variable(self, project_id: int, variable: Variable) -> None:
        """Also raises UnknownProject, and Invalid for a variable without a value."""
        await self._write(lambda connection: projects.set_variable(connection, self._seal, project_id, variable))

    async def remove_variable(self, project_id: int, name: str) -> bool:
        """Whether there was one."""
        return await self._write(lambda connection: projects.remove_variable(connection, project_id, name))

    # -- deliveries

    async def accept(self, delivery: NewDelivery) -> Accepted:
        """Also raises UnknownProject."""
        return await self._write(lambda connection: self._inserter.accept(connection, delivery))

    async def settle(self, delivery_id: int, verdict: Verdict, explanation: str, build: NewBuild | None) -> Settled:
        """A delivery makes one build: where it has made one, that is the answer, whatever else is asked for."""
        now = self._wall()
        return await self._write(
            lambda connection: deliveries.settle(connection, delivery_id, verdict, explanation, build, now)
        )

    async def supersede(self, delivery_ids: Sequence[int], explanation: str) -> None:
        """In one statement."""
        await self._write(lambda connection: deliveries.supersede(connection, delivery_ids, explanation))

    async def unsettled(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[Delivery, StoredBody]]:
        """The oldest first."""
        return await self._read(lambda connection: deliveries.unsettled(connection, after, limit))

    async def delivery(self, project_id: int, delivery_id: int) -> tuple[Delivery, StoredBody]:
        """With its headers and its body."""
        return await self._read(lambda connection: deliveries.find(connection, project_id, delivery_id))

    async def deliveries(
        self,
        project_id: int | None,
        *,
        before: int | None = None,
        limit: int = 50,
        verdicts: Collection[Verdict] = (),
    ) -> Page[Delivery]:
        """The newest first."""
        return await self._read(lambda connection: deliveries.page(connection, project_id, before, limit, verdicts))

    # -- builds

    async def add_build(self, build: NewBuild, now: float) -> Added:
        """With the project's next number."""
        return await self._write(lambda connection: builds.add(connection, build, now))

    async def advance(self, build_id: int, move: Callable[[Build], Build]) -> Build:
        """`move` may be called more than once; what it makes of numbers, refs, commits and steps' names is not kept."""
        return await self._write(lambda connection: builds.advance(connection, build_id, move))

    async def build(self, project_id: int, number: int) -> Build:
        """By number."""
        return await self._read(lambda connection: builds.find(connection, project_id, number))

    async def builds(
        self,
        project_id: int,
        *,
        before: int | None = None,
        limit: int = 50,
        ref: str | None = None,
        deploys_only: bool = False,
        wanted: Wanted | None = None,
    ) -> Page[Build]:
        """The newest first."""
        return await self._read(
            lambda connection: builds.page(
                connection, project_id, before, limit, ref, deploys_only=deploys_only, wanted=wanted
            )
        )

    async def refs(self, project_id: int) -> Sequence[tuple[str, int]]:
        """What was built, the newest first."""
        return await self._read(lambda connection: builds.refs(connection, project_id))

    async def outlooks(self, project_ids: Sequence[int] | None = None) -> Sequence[Outlook]:
        """How projects stand."""
        return await self._read(lambda connection: outlooks.load(connection, project_ids))

    async def deploying(self, project_ids: Sequence[int]) -> Sequence[Deploying]:
        """What is live, what could be, and what waits for an answer."""
        return await self._read(lambda connection: deploys.load(connection, project_ids))

    async def builds_numbered(self, project_id: int, numbers: Collection[int]) -> Mapping[int, Build]:
        """In two statements."""
        return await self._read(lambda connection: builds.numbered(connection, project_id, numbers))

    async def open_builds(self) -> Sequence[Build]:
        """By id."""
        return await self._read(builds.all_open)

    async def green_build(self, project_id: int, commit: str) -> Build:
        """The newest."""
        return await self._read(lambda connection: builds.green(connection, project_id, commit))

    async def was_built(self, project_id: int, ref: str, commit: str) -> bool:
        """Whatever became of that build."""
        return await self._read(lambda connection: builds.is_there(connection, project_id, ref, commit))

    async def found_build(self, project_id: int, ref: str, commit: str) -> Build | None:
        """The newest."""
        return await self._read(lambda connection: builds.found(connection, project_id, ref, commit))

    async def is_newest(self, build: Build) -> bool:
        """Of its ref."""
        return await self._read(lambda connection: builds.is_newest(connection, build))

    # -- branches

    async def seen_heads(self, project_id: int) -> Mapping[str, str] | None:
        """As they were seen last."""
        return await self._read(lambda connection: heads.seen(connection, project_id))

    async def see_heads(self, project_id: int, now: Mapping[str, str]) -> None:
        """Replace them."""
        await self._write(lambda connection: heads.see(connection, project_id, now))

    # -- what is old

    async def remains(self, project_id: int) -> Sequence[Remains]:
        """In no order."""
        return await self._read(lambda connection: old.remains(connection, project_id))

    async def forget_builds(self, build_ids: Sequence[int]) -> None:
        """Those that have ended."""
        await self._write(lambda connection: old.forget_builds(connection, build_ids))

    async def forget_bodies(self, before: float, limit: int) -> int:
        """The oldest first."""
        return await self._write(lambda connection: old.forget_bodies(connection, before, limit))

    async def forget_deliveries(self, before: float, limit: int) -> int:
        """The oldest first."""
        return await self._write(lambda connection: old.forget_deliveries(connection, before, limit))

    # -- commit statuses

    async def due_statuses(self, now: float, limit: int = 20) -> Sequence[DueStatus]:
        """The oldest first."""
        return await self._read(lambda connection: statuses.due(connection, now, limit))

    async def next_due(self) -> float | None:
        """0 when there is one that was not tried yet."""
        return await self._read(statuses.next_due)

    async def hasten_statuses(self, by: float) -> None:
        """In one statement."""
        await self._write(lambda connection: statuses.hasten(connection, by))

    async def status_told(self, status_id: int, version: int) -> None:
        """It was posted."""
        await self._write(lambda connection: statuses.told(connection, status_id, version))

    async def status_failed(self, status_id: int, version: int, error: str, retry_at: float | None) -> None:
        """It was not posted."""
        await self._write(lambda connection: statuses.failed(connection, status_id, version, error, retry_at))

    async def told_statuses(self, project_id: int, commit: str) -> Sequence[ToldStatus]:
        """By context."""
        return await self._read(lambda connection: statuses.of_commit(connection, project_id, commit))

    # -- people and programs

    async def add_token(
        self,
        name: str,
        access: Access,
        digest: bytes,
        now: float,
        expires_at: float | None,
        *,
        person_id: int | None = None,
    ) -> Token:
        """Keep a token by its digest."""
        return await self._write(
            lambda connection: people.add_token(connection, name, access, digest, now, expires_at, person_id)
        )

    async def tokens(self, *, person_id: int | None = None) -> Sequence[Token]:
        """By id."""
        return await self._read(lambda connection: people.all_tokens(connection, person_id))

    async def token(self, digest: bytes) -> Token | None:
        """Of that digest."""
        return await self._read(lambda connection: people.token(connection, digest))

    async def remove_token(self, token_id: int) -> bytes:
        """Raises UnknownToken."""
        return await self._write(lambda connection: people.remove_token(connection, token_id), self._tokens)

    async def actor_of_token(self, digest: bytes, now: float, *, is_use: bool = True) -> Actor | None:
        """From memory after the first time; that it was used is noted at most once a minute."""
        ticket = self._tokens.ticket
        known = self._tokens.get(digest) or await self._read(lambda connection: people.holder(connection, digest))
        if known is None:
            return None
        actor = known.at(now)
        if is_use and actor is not None and now - known.last_used_at >= USE_NOTED_EVERY:
            self._note_use(known.id, now)
            known = replace(known, last_used_at=now)
        self._tokens.put(ticket, digest, known)
        return actor

    def _note_use(self, token_id: int, now: float) -> None:
        noted = self._write(lambda connection: people.used_token(connection, token_id, now))
        noted.addErrback(lambda failure: self._log.failure("cannot note the use of a token", failure))

    async def add_sign_in_code(self, digest: bytes, expires_at: float) -> None:
        """Keep a one-time code."""
        await self._write(lambda connection: people.add_code(connection, digest, expires_at))

    async def use_sign_in_code(self, digest: bytes, now: float) -> bool:
        """Whether it is good."""
        return await self._write(lambda connection: people.use_code(connection, digest, now))

    async def anyone_signed_in(self) -> bool:
        """Whether a code was ever used."""
        return await self._read(people.anyone_signed_in)

    async def add_session(self, digest: bytes, actor: Actor, now: float, expires_at: float, origin: Origin) -> None:
        """Keep a session."""
        await self._write(lambda connection: people.add_session(connection, digest, actor, now, expires_at, origin))

    async def actor_of_session(self, digest: bytes, now: float, *, is_use: bool = True) -> Actor | None:
        """From memory after the first time; that it was used is noted at most once in SESSION_NOTED_EVERY seconds."""
        ticket = self._sessions.ticket
        known = self._sessions.get(digest) or await self._read(lambda connection: people.of_session(connection, digest))
        if known is None:
            return None
        actor = known.at(now)
        if is_use and actor is not None and now - known.last_used_at >= SESSION_NOTED_EVERY:
            noted = self._write(lambda connection: people.used_session(connection, digest, now))
            noted.addErrback(lambda failure: self._log.failure("cannot note the use of a session", failure))
            known = replace(known, last_used_at=now)
        self._sessions.put(ticket, digest, known)
        return actor

    async def sessions(self, name: str, person_id: int | None, now: float) -> Sequence[Session]:
        """The newest first."""
        return await self._read(lambda connection: people.sessions_of(connection, name, person_id, now))

    async def remove_session(self, digest: bytes) -> None:
        """Nothing if there is none."""
        await self._write(lambda connection: people.remove_session(connection, digest), self._sessions)

    async def add_person(self, name: str, role: Access, now: float) -> Person:
        """Without a password."""
        return await self._write(lambda connection: accounts.add(connection, name, role, now))

    async def people(self) -> Sequence[Person]:
        """By name."""
        return await self._read(accounts.everybody)

    async def person(self, name: str) -> Person:
        """By name."""
        return await self._read(lambda connection: accounts.find(connection, name))

    async def password_of(self, name: str) -> tuple[Person | None, str | None]:
        """What is kept of it."""
        return await self._read(lambda connection: accounts.password_of(connection, name))

    async def set_password(self, person_id: int, password: str, *, ends_sessions: bool) -> None:
        """Keep another hash."""
        await self._write(
            lambda connection: accounts.set_password(connection, person_id, password, ends_sessions=ends_sessions),
            self._sessions,
        )

    async def set_role(self, name: str, role: Access) -> Person:
        """From now on, in open sessions and for tokens too."""
        return await self._write(lambda connection: accounts.set_role(connection, name, role), *self._actors)

    async def remove_person(self, name: str) -> None:
        """With sessions, tokens and invitation."""
        await self._write(lambda connection: accounts.remove(connection, name), *self._actors)

    async def members(self, project_id: int) -> Sequence[Member]:
        """By name."""
        return await self._read(lambda connection: accounts.members(connection, project_id))

    async def set_member(self, project_id: int, name: str, role: Access | None) -> Member | None:
        """From now on, in open sessions too."""
        return await self._write(
            lambda connection: accounts.set_member(connection, project_id, name, role), *self._actors
        )

    async def add_invitation(self, person_id: int, digest: bytes, expires_at: float) -> None:
        """In the place of an earlier one."""
        await self._write(lambda connection: accounts.add_invitation(connection, person_id, digest, expires_at))

    async def invited(self, digest: bytes, now: float) -> Person | None:
        """Whose invitation it is."""
        return await self._read(lambda connection: accounts.invited(connection, digest, now))

    async def accept_invitation(self, digest: bytes, password: str, now: float) -> Person | None:
        """Use it up."""
        return await self._write(lambda connection: accounts.accept(connection, digest, password, now), self._sessions)


def _forget(outdated: Sequence[Memory[Any, Any]]) -> None:
    for memory in outdated:
        memory.forget()


def _call(function: Callable[..., object] = lambda: None, *arguments: object) -> None:
    function(*arguments)


def _open_seal(engines: Engines, address: URL, path: Path) -> Seal:
    """The seal under the key in `path`, made if nothing was sealed yet; raises CannotStart if it is not the right one."""
    try:
        with engines.reader.begin() as connection:
            seal = _seal_for(path, has_secrets=projects.any_secret(connection) or any_token(connection))
            projects.check_seal(connection, seal)
            return seal
    except Unavailable:
        engines.close()
        raise CannotStart(
            "the key does not open the secrets in the database; it is not the one that sealed them", path
        ) from None
    except SQLAlchemyError as error:
        engines.close()
        raise cannot_open(address, error) from error
    except CannotStart:
        engines.close()
        raise


def _seal_for(path: Path, *, has_secrets: bool) -> Seal:
    if path.exists():
        return Seal(load_key(path))
    if has_secrets:
        raise CannotStart("the key is missing, and there are secrets in the database that nothing else opens", path)
    return Seal(make_key(path))
