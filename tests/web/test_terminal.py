"""terminal.py: logs as a terminal would show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.web.terminal import LINE_LIMIT, RUNS_LIMIT, Run, lines_of, plain


def line(text):
    """The runs of a text of one line, as (text, classes)."""
    (runs,) = lines_of(text)
    return [(run.text, run.classes) for run in runs]


def test_lines_end_with_their_breaks():
    assert lines_of("") == []
    assert [len(runs) for runs in lines_of("a\n\nb\n")] == [1, 0, 1]
    assert lines_of("a\nb") == lines_of("a\r\nb\r\n") == [[Run("a")], [Run("b")]]


@pytest.mark.parametrize(
    ("codes", "classes"),
    (
        ("31", "a1"),
        ("1", "ab"),
        ("1;31", "a1 ab"),
        ("01;32", "a2 ab"),
        ("90", "a8"),
        ("97", ""),
        ("2", "a8"),
        ("35;39", ""),
        ("1;22", ""),
        ("2;22", ""),
        ("4;7;33", "a3"),
        ("44", ""),
        ("38;5;1", "a1"),
        ("38;5;8", "a8"),
        ("38;5;196", "a1"),
        ("38;5;46", "a2"),
        ("38;5;21", "a4"),
        ("38;5;250", ""),
        ("38;5;240", "a8"),
        ("38;2;255;0;0", "a1"),
        ("38;2;0;200;210", "a6"),
        ("38;2;9;9;9", "a8"),
        ("38;2;250;250;250", ""),
        ("38;2;255", "a1"),
        ("38", ""),
        ("38;5;9999", ""),
        ("48;5;196", ""),
        ("48;5;196;32", "a2"),
        ("38:2::255:0:0", ""),
        ("", ""),
        ("31;", ""),
        ("999999999999999999999999", ""),
    ),
)
def test_colours_become_classes(codes, classes):
    assert line(f"\x1b[{codes}mx") == [("x", classes)]


def test_a_colour_lasts_until_it_is_reset_also_over_lines():
    first, second = lines_of("a\x1b[31mb\nc\x1b[md")
    assert first == [Run("a"), Run("b", "a1")]
    assert second == [Run("c", "a1"), Run("d")]


@pytest.mark.parametrize(
    "sequence",
    (
        "\x1b[2J",
        "\x1b[1;1H",
        "\x1b[?25l",
        "\x1b[K",
        "\x1b]0;title\x07",
        "\x1b]8;;https://example.net\x1b\\",
        "\x1bP1$tx\x1b\\",
        "\x1b(B",
        "\x1bc",
        "\x1b=",
        "\x1b[>4;2m",
    ),
)
def test_what_would_act_on_a_screen_is_left_out(sequence):
    assert line(f"a{sequence}b") in ([("ab", "")], [("a", ""), ("b", "")])
    assert plain(f"a{sequence}b") == "ab"


def test_a_sequence_without_an_end_hides_no_other_line():
    assert [len(runs) for runs in lines_of("a\x1b]0;never\nb\x1b[\nc\x1b\nd")] == [1, 1, 1, 1]


def test_what_a_carriage_return_overwrote_is_left_out_but_its_colour_counts():
    assert line("10 %\r\x1b[32m50 %\rdone\r") == [("done", "a2")]


def test_long_lines_are_cut_and_say_so():
    runs = line("x" * (LINE_LIMIT + 5))
    assert runs == [("x" * LINE_LIMIT, ""), (" … 5 more characters", "a8")]
    assert line("x" * LINE_LIMIT) == [("x" * LINE_LIMIT, "")]


def test_lines_of_too_many_colours_are_cut_and_say_so():
    runs = line("\x1b[31mx\x1b[mx" * RUNS_LIMIT)
    assert len(runs) == RUNS_LIMIT + 1
    assert runs[-1] == (f" … {RUNS_LIMIT} more characters", "a8")


@given(st.text(alphabet=st.sampled_from("ab\n\r\x1b[]0123;mKH\\\x07P ")))
def test_any_output_is_shown_line_by_line_without_escapes(text):
    lines = lines_of(text)
    assert len(lines) == (text.removesuffix("\n").count("\n") + 1 if text else 0)
    assert all("\x1b" not in run.text for runs in lines for run in runs)
    assert all("\n" not in run.text for runs in lines for run in runs)
    assert all(run.text for runs in lines for run in runs)


@given(st.text(alphabet=st.characters(exclude_characters="\r\n\x1b"), max_size=200))
def test_text_without_escapes_is_shown_whole(text):
    assert "".join(run.text for runs in lines_of(text) for run in runs) == text
