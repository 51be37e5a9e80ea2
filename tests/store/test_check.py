"""store/check.py and store/trouble.py: whether the database takes writes, and what is told of its errors."""

from __future__ import annotations

import sqlite3

import pytest
import pytest_twisted
from sqlalchemy import exc
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from sayci.errors import Unavailable
from sayci.store.check import BELIEVED, Check
from sayci.store.trouble import SAID_EVERY, Complaints, words_of
from tests.factories import NOW


class Tried:
    """Work that the test ends."""

    def __init__(self):
        self.begun: list[Deferred[None]] = []
        self.now = 0.0
        self.check = Check(self.work, lambda: self.now)

    def work(self):
        self.begun.append(Deferred())
        return self.begun[-1]

    def ask(self):
        return Deferred.fromCoroutine(self.check.ask())


def test_those_who_ask_at_the_same_time_share_one_try_and_a_good_answer_holds_for_a_while():
    tried = Tried()
    asking = [tried.ask() for _ in range(100)]
    assert len(tried.begun) == 1
    asking[0].cancel()  # one has gone
    asking[0].addErrback(lambda _: None)
    tried.begun[0].callback(None)
    assert all(asked.called for asked in asking)
    assert tried.ask().called
    assert len(tried.begun) == 1
    tried.now = BELIEVED
    assert not tried.ask().called
    assert len(tried.begun) == 2


def test_a_bad_answer_is_told_to_all_and_not_believed_for_long():
    tried = Tried()
    asking = [tried.ask() for _ in range(3)]
    tried.begun[0].errback(Unavailable("full"))
    for asked in asking:
        with pytest.raises(Unavailable):
            asked.result.raiseException()
        asked.addErrback(lambda _: None)
    assert not tried.ask().called
    assert len(tried.begun) == 2


@pytest_twisted.ensureDeferred
async def test_a_database_that_can_only_be_read_is_found_out_and_recovers(store):
    await store.check()
    store._check._good_until = 0.0

    def only_read(connection):
        connection.connection.driver_connection.execute("PRAGMA query_only = ON").close()

    await store._write(only_read)
    with pytest.raises(Unavailable, match="readonly"):
        await store.check()
    with pytest.raises(Unavailable, match="readonly"):
        await store.add_sign_in_code(b"x" * 32, NOW)
    assert await store.projects() is not None  # what is there can still be read
    store._engines.writer.dispose()
    await store.check()
    await store.add_sign_in_code(b"x" * 32, NOW)


class Postgres(Exception):
    """As much of a psycopg.Error as is looked at."""

    def __init__(self, words, sqlstate):
        super().__init__(words)
        self.sqlstate = sqlstate


NAMES = 'connection to server at "db.example.net" (10.0.0.7), user "sayci" failed: FATAL: no'


@pytest.mark.parametrize(
    ("orig", "words"),
    (
        (sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
        (Postgres(NAMES, None), "it does not answer"),
        (Postgres(NAMES, "28P01"), "it does not answer"),
        (Postgres(NAMES, "25006"), "it can only be read"),
        (Postgres(NAMES, "53100"), "its disk is full"),
        (Postgres(NAMES, "53200"), "it has no resources left"),
        (Postgres(NAMES, "57P01"), "it was interrupted or is being shut down"),
        (Postgres(NAMES, "0A000"), "SQLSTATE 0A000"),
    ),
)
def test_what_is_told_names_neither_hosts_nor_users(orig, words):
    assert words_of(exc.OperationalError("SELECT 1", None, orig)) == words


def test_the_log_has_what_was_said_though_not_a_thousand_times():
    now = 0.0
    complaints = Complaints(lambda: now)
    with capturedLogs() as logged:
        for _ in range(1000):
            complaints.add(exc.OperationalError("SELECT 1", None, Postgres(NAMES, None)))
        complaints.add(exc.OperationalError("SELECT 1", None, Postgres("other", None)))
        now = SAID_EVERY
        complaints.add(exc.OperationalError("SELECT 1", None, Postgres("other", None)))
    assert [event["words"] for event in logged] == [NAMES, "other", "other"]
