"""forms.py: fields read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.limits import LONGEST_TIME_LIMIT
from sayci.project import check_name
from sayci.web.forms import Advice, Fields


def test_advice_for_what_is_right_is_empty_and_adds_nothing():
    advice = Advice(name="Choose another.")
    assert (advice["name"], advice["url"]) == ("Choose another.", "")
    assert list(advice) == ["name"]
    assert not Advice()


@pytest.mark.parametrize(
    ("text", "seconds"), (("60", 3600.0), ("", 3600.0), (" 1.5 ", 90.0), ("1,5", 90.0), ("10080", LONGEST_TIME_LIMIT))
)
def test_a_time_limit_is_given_in_minutes(text, seconds):
    fields = Fields({"limit": text})
    assert fields.time_limit("limit") == seconds
    assert not fields.errors


@pytest.mark.parametrize("text", ("soon", "-1", "0", "inf", "nan", "10081", "1e400", "1:00", "0x10", "1_0e9"))
def test_another_time_limit_is_told(text):
    fields = Fields({"limit": text})
    fields.time_limit("limit")
    assert fields.errors["limit"] == "Give a number of minutes, up to 10080 (seven days)."


def test_an_absent_field_is_an_empty_one():
    fields = Fields({})
    assert fields.branch("x") == "main"
    assert fields.branch_or_none("x") is None
    assert fields.target("x", "test") == "test"
    assert fields.access_token("x") == ""
    assert not fields.errors
    fields.project_name("x")
    assert list(fields.errors) == ["x"]


@given(st.text(max_size=80))
def test_a_name_that_is_taken_is_one(text):
    fields = Fields({"name": text})
    name = fields.project_name("name")
    assert bool(name) != bool(fields.errors)
    if name:
        assert check_name(name) == text.strip()


@given(st.text(max_size=40))
def test_a_token_that_is_taken_is_one_word(text):
    fields = Fields({"token": text})
    token = fields.access_token("token")
    assert fields.errors or token == text.strip()
    assert token.isascii()
    assert not token or token.split() == [token]
