"""store/sql_store.py: opening and closing, memory, secrets at rest, crashes and full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from sayci.account import Access, Actor, Origin, digest_of
from sayci.build import Cause
from sayci.delivery import Verdict
from sayci.errors import CannotStart, NotGreen, Unavailable
from sayci.interfaces import Wanted
from sayci.project import MirrorState
from sayci.step import Result
from sayci.store.engine import open_engines, read_url
from sayci.store.migrate import migrate
from sayci.store.readers import Readers, at_once
from sayci.store.seal import KEY_SIZE, Seal
from sayci.store.sql_store import SqlStore
from sayci.store.worker import AtOnce
from sayci.store.writer import Writer
from tests.factories import COMMIT, MAIN, NOW, a_store, a_variable, commit, new_build, new_delivery, settings

THE_REACTOR: Any = reactor


def now(coroutine):
    """What a coroutine of a store without threads has answered already."""
    outcomes: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcomes.append)
    if isinstance(outcomes[0], Failure):
        outcomes[0].raiseException()
    return outcomes[0]


def url_in(directory):
    return f"sqlite:///{directory}/sayci.sqlite"


@pytest_twisted.async_yield_fixture
async def store(tmp_path):
    """One that does not wait long for a lock."""
    opened = SqlStore.open(url_in(tmp_path), tmp_path / "key", THE_REACTOR, busy_timeout=0.1)
    yield opened
    await opened.close()


def raw(directory, statement, *values):
    """Straight into the file."""
    with contextlib.closing(sqlite3.connect(directory / "sayci.sqlite")) as connection, connection:
        return connection.execute(statement, values).fetchall()


# ------------------------------------------------------------------------------------------------ opening and closing


def test_a_store_without_threads_needs_no_reactor(tmp_path):
    store = a_store(tmp_path)
    project = now(store.add_project(settings(), "secret", "", NOW))
    assert now(store.project("web-shop")) == project
    now(store.close())


def test_the_time_of_a_build_that_a_delivery_makes_is_the_clocks(tmp_path):
    clock = Clock()
    store = a_store(tmp_path, clock)
    project = now(store.add_project(settings(), "secret", "", NOW))
    delivery = now(store.accept(new_delivery(project.id))).delivery
    clock.advance(5)
    assert now(store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id))).build.created_at == NOW + 5


@pytest.mark.parametrize("url", ("mysql://db/sayci", "nonsense", "sqlite:///{0}/nowhere/x.sqlite", "sqlite:///{0}"))
def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path, url):
    with pytest.raises(CannotStart):
        SqlStore.open(url.format(tmp_path), tmp_path / "key", Clock(), in_process=True)
    assert not (tmp_path / "key").exists()


@pytest_twisted.ensureDeferred
async def test_a_closed_store_is_unavailable_and_closing_again_is_nothing(store):
    await gatherResults([Deferred.fromCoroutine(store.close()) for _ in range(2)])
    await store.close()
    with pytest.raises(Unavailable):
        await store.projects()
    with pytest.raises(Unavailable):
        await store.add_sign_in_code(b"", NOW)


@pytest_twisted.ensureDeferred
async def test_closing_finishes_every_write_and_every_read(store, tmp_path):
    project = await store.add_project(settings(), "secret", "", NOW)
    accepts = [Deferred.fromCoroutine(store.accept(new_delivery(project.id, forge_id=str(n)))) for n in range(200)]
    reads = [Deferred.fromCoroutine(store.project("web-shop")) for _ in range(20)]
    await store.close()
    assert len({accepted.delivery.id for accepted in await gatherResults(accepts)}) == 200
    assert await gatherResults(reads) == [project] * 20
    assert raw(tmp_path, "SELECT count(*) FROM deliveries") == [(200,)]


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_the_write_ahead_log_after_closing(store, tmp_path):
    await store.add_project(settings(), "secret", "", NOW)
    await store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "sayci.sqlite"]


# ------------------------------------------------------------------------------------------------ secrets at rest


def test_no_secret_is_in_the_file_and_all_open_at_their_places(tmp_path):
    store = a_store(tmp_path)
    project = now(store.add_project(settings(), "WEBHOOK-SECRET", "ACCESS-TOKEN", NOW))
    now(store.set_variable(project.id, a_variable("TOKEN", "SECRET-VALUE", secret=True)))
    now(store.set_variable(project.id, a_variable("LEVEL", "PLAIN-VALUE")))
    now(store.set_webhook_secret("web-shop", "WEBHOOK-SECRET-2"))
    now(store.close())
    kept = (tmp_path / "sayci.sqlite").read_bytes()
    assert b"PLAIN-VALUE" in kept
    for secret in (b"WEBHOOK-SECRET", b"ACCESS-TOKEN", b"SECRET-VALUE"):
        assert secret not in kept
    again = a_store(tmp_path)
    assert now(again.webhook_secret("web-shop"))[1] == "WEBHOOK-SECRET-2"
    assert now(again.access_token(project.id)) == "ACCESS-TOKEN"
    assert [variable.value for variable in now(again.variables(project.id, revealed=True))] == [
        "PLAIN-VALUE",
        "SECRET-VALUE",
    ]


def test_secrets_that_were_swapped_in_the_database_do_not_open(tmp_path):
    store = a_store(tmp_path)
    ids = [now(store.add_project(settings(name), f"secret of {name}", "token", NOW)).id for name in ("one", "two")]
    for name in ("A", "B"):
        now(store.set_variable(ids[0], a_variable(name, f"value of {name}", secret=True)))
    raw(tmp_path, "UPDATE projects SET webhook_secret = (SELECT webhook_secret FROM projects WHERE name = 'one')")
    raw(tmp_path, "UPDATE projects SET access_token = webhook_secret WHERE name = 'one'")
    raw(tmp_path, "UPDATE variables SET sealed = (SELECT sealed FROM variables WHERE name = 'A')")
    with pytest.raises(Unavailable, match="does not open"):
        now(store.webhook_secret("two"))
    with pytest.raises(Unavailable, match="does not open"):
        now(store.access_token(ids[0]))
    with pytest.raises(Unavailable, match="does not open"):
        now(store.variables(ids[0], revealed=True))
    assert now(store.webhook_secret("one"))[1] == "secret of one"


def test_another_key_is_refused_at_the_start(tmp_path):
    now(a_store(tmp_path).add_project(settings(), "secret", "", NOW))
    (tmp_path / "key").write_bytes(os.urandom(KEY_SIZE))
    with pytest.raises(CannotStart, match="not the one that sealed them"):
        a_store(tmp_path)


def test_a_missing_key_is_not_replaced_when_there_are_secrets(tmp_path):
    now(a_store(tmp_path).add_project(settings(), "secret", "", NOW))
    (tmp_path / "key").rename(tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match="the key is missing"):
        a_store(tmp_path)
    assert not (tmp_path / "key").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "key")
    assert now(a_store(tmp_path).webhook_secret("web-shop"))[1] == "secret"


def test_a_key_that_others_can_read_is_refused_at_the_start(tmp_path):
    a_store(tmp_path)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(CannotStart, match="chmod 600"):
        a_store(tmp_path)


# ------------------------------------------------------------------------------------------------ memory


class Later:
    """A Run that reads at once and answers when it is told to."""

    def __init__(self):
        self.held: list[tuple[Deferred[Any], Any]] | None = None

    def __call__(self, function):
        if self.held is None:
            return at_once(function)
        answer: Deferred[Any] = Deferred()
        self.held.append((answer, function()))
        return answer

    def hold(self):
        self.held = []

    def release(self):
        held, self.held = self.held or [], None
        for answer, value in held:
            answer.callback(value)


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def slow_store(tmp_path, later):
    """A store without threads whose reads may be held between the database and the answer."""
    address = read_url(url_in(tmp_path))
    migrate(address)
    engines = open_engines(address, readers=1)
    writer = Writer(engines.writer, AtOnce(), lambda function, *arguments: function(*arguments))
    yield SqlStore(engines, Seal(os.urandom(KEY_SIZE)), writer, Readers(engines.reader, later), lambda: None)
    engines.close()


def test_what_was_read_before_a_write_is_not_kept_when_it_comes_after_it(slow_store, later):
    project = now(slow_store.add_project(settings(), "old", "", NOW))
    later.hold()
    reading = Deferred.fromCoroutine(slow_store.webhook_secret("web-shop"))
    now(slow_store.set_webhook_secret("web-shop", "new"))
    later.release()
    seen: list[Any] = []
    reading.addCallback(seen.append)
    assert seen == [(project, "old")]
    assert now(slow_store.webhook_secret("web-shop")) == (project, "new")


def test_a_token_that_is_removed_while_it_is_being_read_does_not_stay(slow_store, later):
    digest = digest_of("token")
    token = now(slow_store.add_token("bot", Access.READ, digest, NOW, None))
    later.hold()
    reading = Deferred.fromCoroutine(slow_store.actor_of_token(digest, NOW))
    now(slow_store.remove_token(token.id))
    later.release()
    assert reading.called
    assert now(slow_store.actor_of_token(digest, NOW)) is None


def test_a_session_that_is_removed_while_it_is_being_read_does_not_stay(slow_store, later):
    digest = digest_of("session")
    now(slow_store.add_session(digest, Actor("ada", Access.ADMIN), NOW, NOW + 10, Origin()))
    later.hold()
    reading = Deferred.fromCoroutine(slow_store.actor_of_session(digest, NOW))
    now(slow_store.remove_session(digest))
    later.release()
    assert reading.called
    assert now(slow_store.actor_of_session(digest, NOW)) is None


def test_what_is_known_is_answered_without_the_database(slow_store, later):
    token, session = digest_of("token"), digest_of("session")
    project = now(slow_store.add_project(settings(), "secret", "", NOW))
    now(slow_store.add_token("bot", Access.READ, token, NOW, None))
    now(slow_store.add_session(session, Actor("ada", Access.ADMIN), NOW, NOW + 10, Origin()))
    first = [
        now(slow_store.webhook_secret("web-shop")),
        now(slow_store.actor_of_token(token, NOW)),
        now(slow_store.actor_of_session(session, NOW)),
    ]
    later.hold()
    assert first == [(project, "secret"), Actor("bot", Access.READ), Actor("ada", Access.ADMIN)]
    assert now(slow_store.webhook_secret("WEB-SHOP")) == first[0]
    assert now(slow_store.actor_of_token(token, NOW)) == first[1]
    assert now(slow_store.actor_of_session(session, NOW)) == first[2]


@pytest_twisted.ensureDeferred
async def test_memory_follows_a_write_that_nobody_waited_for(store):
    await store.add_project(settings(), "old", "", NOW)
    assert (await store.webhook_secret("web-shop"))[1] == "old"
    left = Deferred.fromCoroutine(store.set_webhook_secret("web-shop", "new"))
    left.cancel()
    with pytest.raises(CancelledError):
        await left
    await store.add_sign_in_code(b"a write after it", NOW)
    assert (await store.webhook_secret("web-shop"))[1] == "new"


@pytest_twisted.ensureDeferred
async def test_a_token_is_good_also_while_its_use_cannot_be_noted(store, tmp_path):
    digest = digest_of("token")
    await store.add_token("bot", Access.READ, digest, NOW, None)
    with locked(tmp_path):
        assert await store.actor_of_token(digest, NOW) == Actor("bot", Access.READ)
        with pytest.raises(Unavailable):  # what comes after the note has waited for the lock as well
            await store.add_sign_in_code(b"", NOW)
    assert (await store.tokens())[0].last_used_at is None
    await store.actor_of_token(digest, NOW + 60)
    await store.add_sign_in_code(b"a write after it", NOW)
    assert (await store.tokens())[0].last_used_at == NOW + 60


# ------------------------------------------------------------------------------------------------ crashes and full disks


@contextlib.contextmanager
def locked(directory):
    """While another process, as it were, writes."""
    with contextlib.closing(sqlite3.connect(directory / "sayci.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


@pytest_twisted.ensureDeferred
async def test_a_locked_database_takes_no_writes_but_answers_and_recovers(store, tmp_path):
    project = await store.add_project(settings(), "secret", "", NOW)
    with locked(tmp_path):
        with pytest.raises(Unavailable, match="locked"):
            await store.accept(new_delivery(project.id))
        assert await store.project("web-shop") == project
    assert (await store.accept(new_delivery(project.id))).fresh


@pytest_twisted.ensureDeferred
async def test_a_lock_that_goes_away_in_time_is_waited_for(tmp_path):
    store = SqlStore.open(url_in(tmp_path), tmp_path / "key", THE_REACTOR, busy_timeout=60)
    with locked(tmp_path):
        adding = Deferred.fromCoroutine(store.add_project(settings(), "secret", "", NOW))
        await deferLater(THE_REACTOR, 0.1)
        assert not adding.called
    assert (await adding).name == "web-shop"
    await store.close()


@pytest_twisted.ensureDeferred
async def test_too_many_writes_at_once_are_refused(tmp_path):
    store = SqlStore.open(url_in(tmp_path), tmp_path / "key", THE_REACTOR, most_waiting=10)
    project = await store.add_project(settings(), "secret", "", NOW)
    with locked(tmp_path):
        accepts = [Deferred.fromCoroutine(store.accept(new_delivery(project.id, forge_id=str(n)))) for n in range(30)]
        refused = [accept for accept in accepts if accept.called]
    for accept in refused:
        accept.addErrback(lambda failure: failure.trap(Unavailable))
    await gatherResults(accepts)
    assert 10 <= len(refused) <= 20
    assert len((await store.deliveries(project.id)).items) == 30 - len(refused)
    await store.close()


def run(script, *arguments, **options):
    """A Python program that can import what this one can."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


ACCEPT_FOR_EVER = """
    import sys
    from pathlib import Path
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from sayci.store.sql_store import SqlStore
    from tests.factories import NOW, new_delivery, settings

    directory = Path(sys.argv[1])
    store = SqlStore.open(f"sqlite:///{directory}/sayci.sqlite", directory / "key", reactor)

    async def accept(worker):
        project = await store.project_by_id(1)
        number = 0
        while True:
            number += 1
            forge_id = f"{worker}-{number}"
            await store.accept(new_delivery(project.id, forge_id=forge_id, body=forge_id.encode() * 200))
            print(forge_id, flush=True)

    async def main():
        await store.add_project(settings(), "secret", "", NOW)
        for worker in range(16):
            Deferred.fromCoroutine(accept(worker)).addErrback(lambda failure: failure.printTraceback())

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
    reactor.run()
    """


def test_what_was_answered_is_there_after_a_kill(tmp_path):
    with run(ACCEPT_FOR_EVER, tmp_path) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline().strip() for _ in range(500)]
        process.kill()
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert all(re.fullmatch(r"\d+-\d+", forge_id) for forge_id in answered)
    store = a_store(tmp_path)
    left: list[Any] = []
    while page := now(store.unsettled(after=left[-1][0].id if left else 0, limit=1000)):
        left += page
    bodies = {delivery.forge_id: stored.body for delivery, stored in left}
    assert {forge_id: bodies.get(forge_id) for forge_id in answered} == {
        forge_id: forge_id.encode() * 200 for forge_id in answered
    }
    assert raw(tmp_path, "PRAGMA integrity_check") == [("ok",)]


A_DISK_THAT_FILLS = """
    import resource, sys
    from pathlib import Path
    from twisted.internet.defer import Deferred
    from sayci.errors import Unavailable
    from tests.factories import NOW, a_store, new_delivery, settings

    def say(coroutine):
        deferred = Deferred.fromCoroutine(coroutine)
        deferred.addCallbacks(lambda _: print("taken"), lambda failure: print(failure.type.__name__))

    def fill(size):  # what is written beyond it fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    store = a_store(Path(sys.argv[1]))
    say(store.add_project(settings(), "secret", "", NOW))
    say(store.accept(new_delivery(1, forge_id="1")))
    fill(100_000)
    say(store.accept(new_delivery(1, forge_id="2", body=b" " * 10_000_000)))
    fill(resource.RLIM_INFINITY)
    say(store.accept(new_delivery(1, forge_id="3")))
    say(store.accept(new_delivery(1, forge_id="2", body=b" " * 10_000_000)))
    say(store.close())
    """


def test_a_write_that_the_disk_refuses_is_unavailable_and_those_after_it_are_taken(tmp_path):
    with run(A_DISK_THAT_FILLS, tmp_path) as process:
        told = process.communicate(timeout=60)[0].split()
    assert told == ["taken", "taken", "Unavailable", "taken", "taken", "taken"]
    assert raw(tmp_path, "SELECT forge_id FROM deliveries ORDER BY id") == [("1",), ("3",), ("2",)]
    assert raw(tmp_path, "PRAGMA integrity_check") == [("ok",)]


A_DIRECTORY_THAT_IS_NOT_OURS = """
    import os, sys
    from pathlib import Path
    from sayci.errors import CannotStart
    from tests.factories import a_store

    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        a_store(Path(sys.argv[1]))
    except CannotStart as error:
        print(error)
    """


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path):
    now(a_store(tmp_path).close())
    shutil.copytree(tmp_path, copy := Path("/tmp") / f"sayci-read-only-{os.getpid()}")
    try:
        copy.chmod(0o555)
        for path in copy.iterdir():
            path.chmod(0o444)
        with run(A_DIRECTORY_THAT_IS_NOT_OURS, copy) as process:
            told = process.communicate(timeout=60)[0]
    finally:
        copy.chmod(0o755)
        shutil.rmtree(copy)
    assert told.startswith("cannot open the database: ")
    assert told.endswith("Permission denied\n")


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_restarted_is_found_again(postgresql, tmp_path):
    store = SqlStore.open(postgresql.migrated(), tmp_path / "key", THE_REACTOR, busy_timeout=2)
    project = await store.add_project(settings(), "secret", "", NOW)
    assert await store.project("web-shop") == project
    postgresql.stop()
    try:
        for asking in (store.accept(new_delivery(project.id)), store.project("web-shop")):
            with pytest.raises(Unavailable):
                await asking
    finally:
        postgresql.start()
    assert (await store.accept(new_delivery(project.id))).fresh
    assert await store.project("web-shop") == project
    await store.close()


# ------------------------------------------------------------------------------------------------ how it asks


def listen(store):
    """Every statement with its parameters, from now on."""
    statements: list[tuple[str, Any]] = []
    for engine in (store._engines.reader, store._engines.writer):
        sa.event.listen(
            engine, "before_cursor_execute", lambda *arguments: statements.append((arguments[2], arguments[3]))
        )
    return statements


def _plans(store, statements):
    """What SQLite would do for each statement, by its text."""
    with store._engines.reader.connect() as connection:
        driver = connection.connection.dbapi_connection
        return {
            statement: [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in statements
        }


def test_no_question_is_answered_by_looking_at_every_row_of_a_long_table(tmp_path):
    store = a_store(tmp_path)
    project = now(store.add_project(settings(), "secret", "token", NOW))
    delivery = now(store.accept(new_delivery(project.id))).delivery
    statements = listen(store)
    build = now(store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id))).build
    now(store.add_build(new_build(project.id, commit=commit(1)), NOW))
    now(store.advance(build.id, lambda old: dataclasses.replace(old, reason="moved")))
    now(store.unsettled())
    now(store.delivery(project.id, delivery.id))
    now(store.deliveries(project.id))
    now(store.deliveries(project.id, before=9))
    for options in ({}, {"before": 9}, {"ref": MAIN}, {"deploys_only": True}, {"deploys_only": True, "ref": MAIN}):
        now(store.builds(project.id, **options))
    looked_for = Wanted(frozenset({Result.FAILURE}), Cause.PUSH, ("shoes",))
    for options in ({}, {"ref": MAIN}, {"before": 9}):
        now(store.builds(project.id, wanted=looked_for, **options))
    now(store.refs(project.id))
    now(store.outlooks())
    now(store.outlooks([project.id]))
    now(store.open_builds())
    with contextlib.suppress(NotGreen):
        now(store.green_build(project.id, COMMIT))
    now(store.is_newest(build))
    now(store.was_built(project.id, MAIN, COMMIT))
    now(store.supersede([1, 2, 3], "newer"))
    now(store.set_access_token("web-shop", "another"))
    for due in now(store.due_statuses(NOW)):
        now(store.status_failed(due.id, due.version, "no", NOW))
        now(store.status_told(due.id, due.version))
    now(store.next_due())
    now(store.told_statuses(project.id, COMMIT))
    now(store.set_mirror(project.id, MirrorState.READY))
    plans = _plans(store, [each for each in statements if each[0].startswith(("SELECT", "UPDATE", "DELETE"))])
    assert len(plans) > 20
    long_tables = ("builds", "steps", "deliveries", "statuses")
    few = ("ix_builds_open", "ix_deliveries_received", "ix_statuses_due")
    for statement, plan in plans.items():
        for line in plan:
            scans = line.startswith("SCAN") and line.split()[1] in long_tables
            assert not scans or any(index in line for index in few), (statement, plan)
        if "LIMIT" in statement:
            assert not any("TEMP B-TREE" in line for line in plan), (statement, plan)


@pytest.mark.parametrize(
    ("words", "index"),
    (
        ("builds.ref = ? AND builds.state = ?", "ix_builds_open"),
        ("steps.result = ?", "ix_builds_project_id_commit_number"),
        ("builds.deploys", "ix_builds_deploys"),
    ),
)
def test_few_rows_are_found_by_their_own_index(tmp_path, words, index):
    store = a_store(tmp_path)
    project = now(store.add_project(settings(), "secret", "", NOW))
    statements = listen(store)
    now(store.add_build(new_build(project.id), NOW))
    now(store.builds(project.id, deploys_only=True))
    with pytest.raises(NotGreen):
        now(store.green_build(project.id, COMMIT))
    (plan,) = _plans(store, [each for each in statements if words in each[0]]).values()
    assert any(index in line for line in plan), plan


def test_a_move_writes_what_differs_and_nothing_else(tmp_path):
    store = a_store(tmp_path)
    project = now(store.add_project(settings(), "secret", "", NOW))
    build = now(store.add_build(new_build(project.id), NOW)).build
    statements = listen(store)

    def written_by(move):
        statements.clear()
        now(store.advance(build.id, move))
        words = [re.split(r" WHERE| \(", statement)[0] for statement, _ in statements]
        return [each for each in words if each.startswith(("UPDATE", "INSERT", "DELETE"))]

    assert written_by(lambda old: old) == []
    claimed = written_by(lambda old: old.claimed(NOW))
    assert claimed == ["UPDATE builds SET state=?, started_at=?", "INSERT INTO statuses"]
    started = written_by(lambda old: old.with_step(old.step("checkout").started(NOW, "handle")))
    assert started == ["UPDATE steps SET state=?, handle=?, started_at=?", "INSERT INTO statuses"]
