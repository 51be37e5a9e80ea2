"""store/readers.py: reads in threads of their own."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from sayci.errors import Unavailable, UnknownBuild
from sayci.store.engine import open_engines, read_url
from sayci.store.readers import Pool, Readers, at_once


@pytest.fixture
def engines(tmp_path):
    opened = open_engines(read_url(f"sqlite:///{tmp_path}/x.sqlite"), readers=2, busy_timeout=0.1)
    with opened.writer.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x)"))
        connection.execute(sa.text("INSERT INTO t VALUES (7)"))
    yield opened
    opened.close()


@pytest.fixture
def pool():
    threaded: Any = reactor
    threads = Pool(threaded, 2)
    yield threads
    threads.stop()


def seven(connection):
    return connection.execute(sa.text("SELECT x FROM t")).scalar()


@pytest_twisted.ensureDeferred
async def test_reads_run_beside_each_other_in_threads_and_answer_in_the_reactors(engines, pool):
    readers = Readers(engines.reader, pool)
    both = threading.Barrier(2)

    def work(connection):
        both.wait(timeout=30)  # passes only if two are here at once
        assert threading.current_thread() is not threading.main_thread()
        return seven(connection)

    def note(value):
        assert threading.current_thread() is threading.main_thread()
        return value

    assert await gatherResults([readers.do(work).addCallback(note) for _ in range(6)]) == [7] * 6
    await readers.close()


def test_what_a_read_raises_reaches_its_caller(engines):
    def work(_connection):
        raise UnknownBuild("no such build", 7)

    failures = []
    Readers(engines.reader, at_once).do(work).addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], UnknownBuild)


def test_a_database_that_does_not_answer_is_unavailable(tmp_path):
    (tmp_path / "x.sqlite").write_bytes(b"this is no database, and long enough to be seen as none" * 100)
    engines = open_engines(read_url(f"sqlite:///{tmp_path}/x.sqlite"), readers=1)
    failures = []
    Readers(engines.reader, at_once).do(seven).addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], Unavailable)
    assert str(failures[0]) == "the database cannot do it now: file is not a database"
    engines.close()


@pytest_twisted.ensureDeferred
async def test_reads_go_on_while_something_is_being_written(engines, pool):
    readers = Readers(engines.reader, pool)
    with contextlib.closing(sqlite3.connect(engines.writer.url.database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE t SET x = 8")
        assert await readers.do(seven) == 7
        other.commit()
    assert await readers.do(seven) == 8
    await readers.close()


@pytest_twisted.ensureDeferred
async def test_closing_waits_for_reads_also_for_one_that_nobody_waits_for_any_more(engines, pool):
    readers = Readers(engines.reader, pool)
    go_on = threading.Event()
    ended = []

    def work(connection):
        go_on.wait(timeout=30)
        ended.append(seven(connection))

    waited, left = readers.do(work), readers.do(work)
    left.cancel()
    with pytest.raises(CancelledError):
        await left
    closed = Deferred.fromCoroutine(readers.close())
    assert not closed.called
    with pytest.raises(Unavailable):
        await readers.do(seven)
    go_on.set()
    await closed
    await waited
    assert ended == [7, 7]


@pytest_twisted.ensureDeferred
async def test_readers_that_never_read_close(engines, pool):
    await Readers(engines.reader, pool).close()
