"""store/writer.py: many writes in one transaction, and none of them harmed by another."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from sqlalchemy import exc
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from sayci.errors import IllegalMove, Unavailable
from sayci.store.engine import open_engines, read_url
from sayci.store.worker import AtOnce, OneThread
from sayci.store.writer import MOST_TOGETHER, Writer


class Steps:
    """A worker that works when it is told to."""

    def __init__(self):
        self.tasks = []

    def do(self, task):
        self.tasks.append(task)

    def quit(self):
        self.tasks.append(None)

    def flush(self):
        while self.tasks:
            task = self.tasks.pop(0)
            if task is not None:
                task()


class Transcript:
    """What the database was told: BEGIN, COMMIT, ROLLBACK; and what came back into the reactor."""

    def __init__(self, engine):
        self.lines: list[str] = []
        sa.event.listen(engine, "begin", lambda _: self.lines.append("begin"))
        sa.event.listen(engine, "commit", lambda _: self.lines.append("commit"))
        sa.event.listen(engine, "rollback", lambda _: self.lines.append("rollback"))

    def call(self, function, *arguments):
        self.lines.append("call")
        function(*arguments)


@pytest.fixture
def engines(tmp_path):
    opened = open_engines(read_url(f"sqlite:///{tmp_path}/x.sqlite"), readers=1, busy_timeout=0.1)
    with opened.writer.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x UNIQUE NOT NULL)"))
    yield opened
    opened.close()


@pytest.fixture
def transcript(engines):
    return Transcript(engines.writer)


@pytest.fixture
def worker():
    return Steps()


@pytest.fixture
def writer(engines, worker, transcript):
    return Writer(engines.writer, worker, transcript.call, most_waiting=1500)


def insert(value):
    def work(connection):
        connection.execute(sa.text("INSERT INTO t VALUES (:x)"), {"x": value})
        return value

    return work


def refuse(connection):
    connection.execute(sa.text("INSERT INTO t VALUES ('never')"))
    raise IllegalMove("no")


def outcomes(*deferreds):
    """The values, or the names of the exceptions, of those that have fired."""
    seen: list[object] = []
    for deferred in deferreds:
        deferred.addCallbacks(seen.append, lambda failure: seen.append(type(failure.value).__name__))
    return seen


def rows(engines):
    with engines.reader.begin() as connection:
        return [row.x for row in connection.execute(sa.text("SELECT x FROM t ORDER BY rowid"))]


@contextlib.contextmanager
def locked(engines):
    """While another process, as it were, writes."""
    with contextlib.closing(sqlite3.connect(engines.writer.url.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def test_all_that_waits_is_committed_in_one_transaction_and_told_in_one_call(writer, worker, transcript, engines):
    written = outcomes(*(writer.do(insert(number)) for number in range(5)))
    assert written == []
    worker.flush()
    assert written == [0, 1, 2, 3, 4]
    assert transcript.lines == ["begin", "commit", "call"]
    assert rows(engines) == [0, 1, 2, 3, 4]


def test_what_comes_while_others_are_written_is_written_next(writer, worker, transcript):
    def late(connection):
        seen.extend(outcomes(writer.do(insert("late"))))
        return "first"

    seen: list[object] = []
    first = outcomes(writer.do(late))
    worker.flush()
    assert first == ["first"]
    assert transcript.lines == ["begin", "commit", "call"] * 2


def test_no_transaction_is_too_long(writer, worker, transcript, engines):
    for number in range(MOST_TOGETHER + 1):
        writer.do(insert(number))
    worker.flush()
    assert transcript.lines == ["begin", "commit", "call"] * 2
    assert len(rows(engines)) == MOST_TOGETHER + 1


def test_one_failure_affects_none_of_the_others(writer, worker, transcript, engines):
    written = outcomes(writer.do(insert(1)), writer.do(refuse), writer.do(insert(1)), writer.do(insert(2)))
    worker.flush()
    assert written == [1, "IllegalMove", "IntegrityError", 2]
    assert rows(engines) == [1, 2]
    together, alone = ["begin", "rollback"], ["begin", "commit"]
    assert transcript.lines == [*together, *alone, *together, *together, *alone, "call"]


def test_a_failure_alone_is_not_tried_again(writer, worker, transcript):
    written = outcomes(writer.do(refuse))
    worker.flush()
    assert written == ["IllegalMove"]
    assert transcript.lines == ["begin", "rollback", "call"]


def test_a_locked_database_refuses_all_that_waits_at_once_and_then_goes_on(writer, worker, transcript, engines):
    with locked(engines):
        written = outcomes(*(writer.do(insert(number)) for number in range(50)))
        worker.flush()
    assert written == ["Unavailable"] * 50
    assert transcript.lines == ["rollback", "call"]
    written = outcomes(writer.do(insert("after")))
    worker.flush()
    assert written == ["after"]
    assert rows(engines) == ["after"]


def test_a_full_disk_refuses_what_does_not_fit_and_takes_what_does(writer, worker, engines):
    def with_pages(most):
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {most}").scalar()

    writer.do(with_pages(50))
    worker.flush()
    large = "x" * 10_000_000
    written = outcomes(writer.do(insert("one")), writer.do(insert(large)), writer.do(insert("two")))
    worker.flush()
    assert written == ["one", "Unavailable", "two"]
    writer.do(with_pages(1_000_000))
    written = outcomes(writer.do(insert(large)))
    worker.flush()
    assert written == [large]
    assert rows(engines) == ["one", "two", large]


def test_a_read_only_database_is_unavailable_until_it_is_not(writer, worker, engines):
    def read_only(word):
        def work():
            with engines.writer.connect() as connection:
                connection.connection.dbapi_connection.execute(f"PRAGMA query_only = {word}")

        return work

    worker.do(read_only("ON"))
    worker.flush()
    written = outcomes(writer.do(insert(1)), writer.do(insert(2)))
    worker.flush()
    assert written == ["Unavailable", "Unavailable"]
    worker.do(read_only("OFF"))
    written = outcomes(writer.do(insert(1)))
    worker.flush()
    assert written == [1]


def test_a_failure_to_commit_is_a_failure_of_what_was_written(writer, worker, engines):
    def work(connection):
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE child (parent REFERENCES parent)")
        connection.exec_driver_sql("INSERT INTO child VALUES (1)")

    written = outcomes(writer.do(insert(1)), writer.do(work), writer.do(insert(2)))
    worker.flush()
    assert written == [1, "IntegrityError", 2]
    assert rows(engines) == [1, 2]


def test_too_many_that_wait_are_refused_and_the_others_written(writer, worker, engines):
    written = outcomes(*(writer.do(insert(number)) for number in range(1501)))
    assert written == ["Unavailable"]
    worker.flush()
    assert len(rows(engines)) == 1500
    written = outcomes(writer.do(insert("after")))
    worker.flush()
    assert written == ["after"]


def test_to_stop_waiting_does_not_stop_the_write(writer, worker, engines):
    told = []
    deferred = writer.do(insert(1), lambda: told.append("written"))
    answer = outcomes(deferred)
    deferred.cancel()
    worker.flush()
    assert answer == ["CancelledError"]
    assert told == ["written"]
    assert rows(engines) == [1]


def test_who_is_told_first_hears_of_writes_alone(writer, worker):
    told: list[object] = []
    writer.do(insert(1), lambda: told.append("first")).addCallback(told.append)
    writer.do(refuse, lambda: told.append("never")).addErrback(lambda _: told.append("refused"))
    worker.flush()
    assert told == ["first", 1, "refused"]


def test_closing_finishes_what_waits_and_takes_no_more(writer, worker, engines):
    log: list[object] = []
    writer.do(insert(1)).addCallback(log.append)
    writer.close(lambda: log.append("last")).addCallback(log.append)
    refused = outcomes(writer.do(insert(2)))
    worker.flush()
    assert refused == ["Unavailable"]
    assert log == [1, "last", None]
    assert rows(engines) == [1]


def test_without_a_thread_everything_is_done_at_once(engines, transcript):
    writer = Writer(engines.writer, AtOnce(), transcript.call)
    seen = outcomes(writer.do(insert(1)).addCallback(lambda value: writer.do(insert(value + 1))))
    assert seen == [2]
    assert rows(engines) == [1, 2]


@pytest_twisted.ensureDeferred
async def test_with_a_thread_the_answers_come_into_the_reactors_thread(engines):
    threaded: Any = reactor
    writer = Writer(engines.writer, OneThread("a-writer"), threaded.callFromThread)
    threads = []

    def work(connection):
        threads.append(threading.current_thread().name)
        return insert(len(threads))(connection)

    def note(value):
        assert threading.current_thread() is threading.main_thread()
        return value

    answers = await gatherResults([writer.do(work).addCallback(note) for _ in range(100)])
    await writer.close()
    assert answers == list(range(1, 101))
    assert set(threads) == {"a-writer"}
    assert len(rows(engines)) == 100
    for thread in threading.enumerate():
        if thread.name == "a-writer":
            thread.join(timeout=30)
            assert not thread.is_alive()


def test_each_who_is_refused_has_an_exception_of_its_own(writer, worker, engines):
    failures = []
    with locked(engines):
        for number in range(2):
            writer.do(insert(number)).addErrback(lambda failure: failures.append(failure.value))
        worker.flush()
    assert all(isinstance(failure, Unavailable) for failure in failures)
    assert failures[0] is not failures[1]


def test_errors_do_not_tell_values(writer, worker):
    failures = []
    for _ in range(2):
        writer.do(insert("a secret value")).addErrback(lambda failure: failures.append(failure.value))
    worker.flush()
    (failure,) = failures
    assert isinstance(failure, exc.IntegrityError)
    assert "a secret value" not in str(failure)
