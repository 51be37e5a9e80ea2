"""words.py: time, numbers and names in words, and tricks made visible."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.web.words import (
    DAY,
    HOUR,
    MINUTE,
    age,
    counted,
    date,
    due,
    duration,
    lasting,
    listed,
    minutes,
    size,
    so_long,
    spelled,
    stamp,
    visible,
)
from tests.factories import NOW


@pytest.mark.parametrize(
    ("seconds", "words"),
    (
        (None, ""),
        (0, "0:00"),
        (0.04, "0.0 s"),
        (0.1, "0.1 s"),
        (0.4, "0.4 s"),
        (0.96, "0:01"),
        (59.6, "1:00"),
        (62, "1:02"),
        (600, "10:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90061, "25:01:01"),
        (-5, "0:00"),
    ),
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("passed", "words"),
    (
        (0, "for less than a minute"),
        (MINUTE, "for 1 minute"),
        (5 * HOUR, "for 5 hours"),
        (DAY, "since yesterday"),
        (2 * DAY, "for 2 days"),
        (59 * DAY, "for 8 weeks"),
        (60 * DAY, "since 22 September 2026"),
    ),
)
def test_for_how_long(passed, words):
    assert so_long(NOW - passed, NOW) == words


@pytest.mark.parametrize(
    ("passed", "words"),
    (
        (0, "just now"),
        (-30, "just now"),
        (59, "just now"),
        (MINUTE, "1 minute ago"),
        (9 * MINUTE + 59, "9 minutes ago"),
        (HOUR, "1 hour ago"),
        (11 * HOUR, "11 hours ago"),
        (13 * HOUR, "yesterday"),
        (DAY, "yesterday"),
        (2 * DAY, "2 days ago"),
        (13 * DAY, "13 days ago"),
        (14 * DAY, "2 weeks ago"),
        (59 * DAY, "8 weeks ago"),
        (60 * DAY, "on 22 September 2026"),
    ),
)
def test_ages_at_noon(passed, words):
    noon = NOW + 12 * HOUR
    assert age(noon - passed, noon) == words


@pytest.mark.parametrize(("passed", "words"), ((5 * HOUR, "5 hours ago"), (7 * HOUR, "yesterday")))
def test_ages_soon_after_midnight(passed, words):
    early = NOW + 1 * HOUR
    assert age(early - passed, early) == words


@given(st.floats(0, 4e9), st.floats(0, 1e9))
def test_every_age_has_words(then, passed):
    assert age(then, then + passed)


def test_moments_are_told_in_utc():
    assert stamp(NOW) == "2026-11-21T00:00:00Z"
    assert date(NOW) == "21 November 2026"


def test_numbers_and_names():
    assert (counted(1, "build"), counted(0, "build"), counted(2, "build")) == ("1 build", "0 builds", "2 builds")
    assert (spelled(4), spelled(11)) == ("four", "11")
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
    assert (minutes(3600), minutes(90), minutes(1)) == ("60", "1.5", "0.0166667")


@pytest.mark.parametrize(
    ("octets", "words"),
    ((0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (12_345, "12.3 KB"), (10**6, "1 MB"), (256 * 2**20, "268 MB")),
)
def test_sizes(octets, words):
    assert size(octets) == words


def test_controls_and_tricks_are_shown():
    assert visible("a\0b\x1b[31m\x7f") == "a\u2400b\u241b[31m\u2421"
    assert visible("good \u202eevil\u2066 \u200b\ufeff") == "good <U+202E>evil<U+2066> <U+200B><U+FEFF>"
    assert visible("\x9b31m \u2028 \ud800") == "<U+009B>31m <U+2028> <U+D800>"


def test_ordinary_text_stays_as_it_is():
    text = "Tab\tand\nline; ünïcode, 日本語, עברית, emoji 🎉, e\u0301"
    assert visible(text) == text


@given(st.text())
def test_nothing_that_reorders_or_acts_is_left(text):
    shown = visible(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n\r"]
    assert not [letter for letter in shown if unicodedata.bidirectional(letter) in ("RLO", "LRO", "RLE", "LRE", "PDF")]
    assert not [letter for letter in shown if unicodedata.bidirectional(letter) in ("RLI", "LRI", "FSI", "PDI")]
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    (
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (MINUTE, "1 minute"),
        (2 * HOUR - 1, "119 minutes"),
        (2 * HOUR, "2 hours"),
        (2 * DAY - 1, "47 hours"),
        (2 * DAY, "2 days"),
        (90.5 * DAY, "90 days"),
    ),
)
def test_long_spans_and_what_is_to_come(seconds, words):
    assert lasting(seconds) == words
    assert due(NOW + seconds, NOW) == (f"in {words}" if seconds else "now")


def test_what_was_due_is_due_now():
    assert due(NOW - DAY, NOW) == "now"
