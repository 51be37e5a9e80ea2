"""cli/screen.py: tables, words, and nothing that strangers made act on a terminal."""

from __future__ import annotations

import json
import time

import pytest

from sayci.cli import screen


def test_what_strangers_wrote_is_made_visible_on_one_line():
    assert screen.visible("a\x1b[2Jb\n\tc\u202ed\x9b\x00") == "a␛[2Jb c<U+202E>d<U+009B>␀"


def test_paragraphs_keep_their_lines():
    assert screen.paragraphs("one\n\x1btwo\tthree\n") == "one\n␛two    three"


def test_columns_are_aligned_and_nothing_trails(capsys):
    screen.say_table(("A", "LONGER", "LAST"), [("one", "2", "three"), ("x", "", "")], "none")
    assert capsys.readouterr().out == "A    LONGER  LAST\none  2       three\nx\n"


def test_an_empty_table_is_said_beside_the_output(capsys):
    screen.say_table(("A",), [], "There are none.")
    assert capsys.readouterr() == ("", "There are none.\n")


def test_no_control_character_gets_into_a_table(capsys):
    screen.say_table(("A",), [(("evil\x1b]0;x\x07\r\n", "red"),)], "none")
    assert "\x1b" not in capsys.readouterr().out


def test_facts_leave_out_what_is_empty(capsys):
    screen.say_facts([("Name", "demo"), ("Longer name", ("ready", "green")), ("Gone", ""), ("None", None)])
    assert capsys.readouterr().out == "Name         demo\nLonger name  ready\n"


def test_json_comes_out_as_it_went_in_and_tame(capsys):
    value = {"a": "naïve\x1b[2J\x9b\u202e\x7f", "b": [1, None]}
    screen.say_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "naïve" in out
    assert not {"\x1b", "\x9b", "\u202e", "\x7f"} & set(out)


@pytest.mark.parametrize(
    ("seconds", "words"), ((0, "0:00"), (41.4, "0:41"), (141, "2:21"), (3600, "1:00:00"), (-1, "0:00"), (None, ""))
)
def test_time_spans(seconds, words):
    assert screen.span(seconds) == words


@pytest.mark.parametrize(
    ("passed", "words"), ((5, "just now"), (61, "1 minute ago"), (7300, "2 hours ago"), (90_000, "1 day ago"))
)
def test_ages(passed, words):
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - passed))
    assert screen.age(moment) == words


@pytest.mark.parametrize("nothing", (None, "", "soon", 7, "9999-99-99T00:00:00Z"))
def test_no_moment_has_no_age(nothing):
    assert screen.age(nothing) == ""
    assert screen.between(nothing, None) is None


def test_what_has_not_ended_takes_until_now():
    assert (screen.between("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z") or 0) == 60
    assert (screen.between("2020-01-01T00:00:00Z", None) or 0) > 86_400


@pytest.mark.parametrize(
    ("count", "words"), ((0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (None, "0 bytes"))
)
def test_sizes(count, words):
    assert screen.size(count) == words


def test_what_is_waited_for_is_said_once_where_there_is_no_terminal(capsys):
    with screen.waiting() as waited:
        for text in ("Cloning", "Cloning", "Still cloning\x1b"):
            waited.update(text)
    assert capsys.readouterr() == ("", "Cloning\nStill cloning␛\n")
