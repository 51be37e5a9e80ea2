"""store/engine.py: URLs, connections, and what errors mean."""

from __future__ import annotations

import sqlite3
import stat

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from sayci.errors import CannotStart, IllegalMove, Unavailable
from sayci.store.engine import explained, is_for_all, make_file, open_engines, read_url


@pytest.fixture
def engines(tmp_path):
    opened = open_engines(read_url(f"sqlite:///{tmp_path}/x.sqlite"), readers=2, busy_timeout=0.05)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "url", ("postgresql://ada@db/sayci", "postgres://ada@db/sayci", "postgresql+psycopg://ada@db/sayci")
)
def test_every_way_to_write_a_postgresql_url_is_one(url):
    assert read_url(url).render_as_string() == "postgresql+psycopg://ada@db/sayci"


@pytest.mark.parametrize(
    "url",
    (
        "",
        "sayci.sqlite",
        "mysql://ada:s3cr3t@db/sayci",
        "postgresql+psycopg2://ada:s3cr3t@db/sayci",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "sqlite+aiosqlite:///x",
        "postgresql://ada:s3cr3t@db:port/sayci",
    ),
)
def test_another_url_is_refused_in_a_sentence_without_its_password(url):
    with pytest.raises(CannotStart) as raised:
        read_url(url)
    assert "s3cr3t" not in str(raised.value)
    assert "sqlite:///" in str(raised.value)


def test_what_is_committed_is_synced_and_there_is_a_write_ahead_log(engines):
    with engines.writer.connect() as connection:
        answers = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert answers == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 50}


def test_readers_cannot_write(engines):
    with engines.writer.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x)"))
    with pytest.raises(exc.OperationalError), engines.reader.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))


def test_a_read_is_a_snapshot_of_what_was_committed(engines):
    def count(connection):
        return connection.execute(sa.text("SELECT count(*) FROM t")).scalar()

    insert = sa.text("INSERT INTO t VALUES (1)")
    with engines.writer.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x)"))
    with engines.writer.connect() as writing, engines.reader.begin() as reading:
        writing.execute(insert)
        assert count(reading) == 0
        writing.commit()
        assert count(reading) == 0
    with engines.reader.begin() as reading:
        assert count(reading) == 1


def test_a_new_file_is_its_owners_alone(tmp_path):
    path = make_file(read_url(f"sqlite:///{tmp_path}/x.sqlite"))
    assert path == tmp_path / "x.sqlite"
    assert stat.S_IMODE((tmp_path / "x.sqlite").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_made_is_said(tmp_path):
    with pytest.raises(CannotStart, match="No such file or directory"):
        make_file(read_url(f"sqlite:///{tmp_path}/nowhere/x.sqlite"))


def _error(kind, orig):
    return kind("INSERT INTO t VALUES (?)", None, orig)


def test_errors_of_the_database_are_explained_and_others_left_alone():
    told = explained(_error(exc.OperationalError, sqlite3.OperationalError("database or disk is full")))
    assert isinstance(told, Unavailable)
    assert str(told) == "the database cannot do it now: database or disk is full"
    assert isinstance(explained(exc.TimeoutError("pool")), Unavailable)
    for error in (IllegalMove("no"), ValueError("x"), _error(exc.IntegrityError, sqlite3.IntegrityError("x"))):
        assert explained(error) is error


def test_only_what_would_befall_any_other_transaction_is_for_all(engines):
    other = sa.create_engine(engines.writer.url, connect_args={"timeout": 0})
    with engines.writer.begin(), other.connect() as connection, pytest.raises(exc.OperationalError) as busy:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    other.dispose()
    assert is_for_all(busy.value)
    assert is_for_all(exc.TimeoutError("pool"))
    assert not is_for_all(_error(exc.OperationalError, sqlite3.OperationalError("full")))
    assert not is_for_all(IllegalMove("no"))
