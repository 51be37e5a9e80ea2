"""store/prepared.py: a statement that goes to the driver as it is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from sayci.store.engine import open_engines, read_url
from sayci.store.prepared import Prepared

INSERT = sa.text("INSERT INTO t (x, y) VALUES (:first, :second) ON CONFLICT (x) DO NOTHING RETURNING x")


@pytest.fixture(params=("sqlite", "postgresql"))
def engines(request, tmp_path):
    url = request.getfixturevalue("postgresql").fresh() if request.param == "postgresql" else f"sqlite:///{tmp_path}/x"
    opened = open_engines(read_url(url), readers=1)
    with opened.writer.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x TEXT PRIMARY KEY, y TEXT NOT NULL)"))
    yield opened
    opened.close()


def test_it_answers_its_first_row_if_it_has_one(engines):
    insert = Prepared(INSERT, engines.writer.dialect)
    with engines.writer.begin() as connection:
        rows = [insert.first(connection, {"second": "%s ?", "first": name}) for name in ("one", "one", "two")]
    assert [row and row[0] for row in rows] == ["one", None, "two"]
    with engines.reader.begin() as connection:
        assert connection.execute(sa.text("SELECT y FROM t")).scalars().all() == ["%s ?", "%s ?"]


def test_it_is_part_of_the_transaction(engines):
    insert = Prepared(INSERT, engines.writer.dialect)
    with engines.writer.connect() as connection, connection.begin() as transaction:
        insert.first(connection, {"first": "one", "second": ""})
        transaction.rollback()
    with engines.reader.begin() as connection:
        assert connection.execute(sa.text("SELECT x FROM t")).all() == []


def test_its_errors_are_sqlalchemys_and_tell_no_values(engines):
    insert = Prepared(INSERT, engines.writer.dialect)
    with engines.writer.connect() as connection, pytest.raises(exc.IntegrityError) as raised:
        insert.first(connection, {"first": "a secret value", "second": None})
    assert "a secret value" not in str(raised.value).partition("DETAIL")[0]
    assert not raised.value.connection_invalidated


def test_a_connection_that_was_lost_is_not_used_again(postgresql):
    engines = open_engines(read_url(postgresql.fresh()), readers=1)
    insert = Prepared(sa.text("SELECT :first, :second"), engines.writer.dialect)
    with engines.reader.connect() as other, engines.writer.connect() as connection, connection.begin() as transaction:
        process = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar()
        other.execute(sa.text("SELECT pg_terminate_backend(:process, 30000)"), {"process": process})
        with pytest.raises(exc.OperationalError) as raised:
            insert.first(connection, {"first": 1, "second": 2})
        assert raised.value.connection_invalidated
        assert connection.invalidated
        transaction.rollback()
    with engines.writer.begin() as connection:
        assert insert.first(connection, {"first": "1", "second": "2"}) == ("1", "2")
    engines.close()
