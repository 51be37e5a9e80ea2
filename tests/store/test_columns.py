"""store/columns.py: the same values in every database."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import Access
from sayci.step import Result
from sayci.store.columns import Number, Words, plain, word


@pytest.mark.parametrize(
    ("text", "kept"),
    (("", ""), ("ünïcode 🚀\n", "ünïcode 🚀\n"), ("a\0b", "a\ufffdb"), ("\ud83d", "?"), ("ü\udfff\0", "ü?\ufffd")),
)
def test_only_what_no_database_can_keep_becomes_something_else(text, kept):
    assert plain(text) == kept
    assert plain(kept) == kept


@given(st.text(st.characters()))
def test_every_text_can_be_kept(text):
    with sqlite3.connect(":memory:") as connection:
        assert connection.execute("SELECT ?", (plain(text),)).fetchone() == (plain(text),)
    assert "\0" not in plain(text)


@pytest.fixture
def table():
    table = sa.Table(
        "t",
        sa.MetaData(),
        sa.Column("n", Number),
        sa.Column("w", Words),
        sa.Column("r", word(Result)),
        sa.Column("a", word(Access)),
    )
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        connection.info["table"] = table
        yield connection
    engine.dispose()


def test_a_number_beyond_64_bits_is_found_nowhere_and_no_error(table):
    t = table.info["table"]
    table.execute(sa.insert(t).values(n=7))
    for number in (2**63, 10**30, -(10**30)):
        assert table.execute(sa.select(t).where(t.c.n == number)).all() == []
    assert len(table.execute(sa.select(t).where(t.c.n < 10**30, t.c.n > -(10**30))).all()) == 1


def test_members_are_kept_as_words(table):
    t = table.info["table"]
    table.execute(sa.insert(t).values(r=Result.TIMED_OUT, a=Access.ADMIN))
    assert table.execute(sa.text("SELECT r, a FROM t")).one() == ("timed_out", "admin")
    assert table.execute(sa.select(t.c.r, t.c.a)).one() == (Result.TIMED_OUT, Access.ADMIN)
