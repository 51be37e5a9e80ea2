"""terminal.py: logs as a terminal would show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.web.terminal import (
    LINE_LIMIT,
    RUNS_LIMIT,
    Run,
    Screen,
    Style,
    line_of,
    lines_of,
    plain,
    style_after,
    text_of,
)

RED = Style("a1")


def line(text):
    """The runs of a text of one line, as (text, classes)."""
    (runs,) = lines_of(text)
    return [(run.text, run.classes) for run in runs]


def test_lines_end_with_their_breaks():
    assert lines_of("") == []
    assert [len(runs) for runs in lines_of("a\n\nb\n")] == [1, 0, 1]
    assert lines_of("a\nb") == lines_of("a\r\nb\r\n") == [[Run("a")], [Run("b")]]


@pytest.mark.parametrize(
    ("codes", "classes", "exact"),
    (
        ("31", "a1", ""),
        ("1", "ab", ""),
        ("1;31", "a1 ab", ""),
        ("01;32", "a2 ab", ""),
        ("90", "a8", ""),
        ("91", "a9", ""),
        ("96", "a14", ""),
        ("97", "", ""),
        ("2", "ad", ""),
        ("3;4;9", "ai as au", ""),
        ("35;39", "", ""),
        ("1;22", "", ""),
        ("2;22", "", ""),
        ("3;23;4;24;7;27;9;29", "", ""),
        ("4;7;33", "a3 au av", ""),
        ("4:3", "au", ""),
        ("4:3;4:0", "", ""),
        ("44", "b4", ""),
        ("41;33", "a3 b1", ""),
        ("104", "b4", ""),
        ("100", "b8", ""),
        ("44;49", "", ""),
        ("38;5;1", "a1", ""),
        ("38;5;8", "a8", ""),
        ("38;5;12", "a12", ""),
        ("38;5;196", "a1", "#ff0000"),
        ("38;5;46", "a2", "#00ff00"),
        ("38;5;21", "a4", "#0000ff"),
        ("38;5;110", "a4", "#87afd7"),
        ("38;5;250", "a8", "#bcbcbc"),
        ("38;5;253", "", "#dadada"),
        ("38;5;240", "a8", "#585858"),
        ("38;2;255;0;0", "a1", "#ff0000"),
        ("38;2;0;200;210", "a6", "#00c8d2"),
        ("38;2;9;9;9", "a8", "#090909"),
        ("38;2;250;250;250", "", "#fafafa"),
        ("38;2;255", "a1", "#ff0000"),
        ("38;2;999;0;0", "a1", "#ff0000"),
        ("38:2::255:0:0", "a1", "#ff0000"),
        ("38:2:255:0:0", "a1", "#ff0000"),
        ("38:5:196", "a1", "#ff0000"),
        ("38;2;255;0;0;31", "a1", ""),
        ("38", "", ""),
        ("38;5;9999", "", "#eeeeee"),
        ("48;5;196", "b1", ""),
        ("48;5;12", "b4", ""),
        ("48;5;196;32", "a2 b1", ""),
        ("", "", ""),
        ("31;", "", ""),
        ("999999999999999999999999", "", ""),
    ),
)
def test_colours_become_classes(codes, classes, exact):
    ((run,),) = lines_of(f"\x1b[{codes}mx")
    assert (run.text, run.classes, run.style.exact_colour) == ("x", classes, exact)


def test_a_ground_has_its_exact_colour_too():
    ((run,),) = lines_of("\x1b[48;2;1;2;3mx")
    assert run.style.exact_ground == "#010203"


def test_a_colour_lasts_until_it_is_reset_also_over_lines():
    first, second = lines_of("a\x1b[31mb\nc\x1b[md")
    assert first == [Run("a"), Run("b", RED)]
    assert second == [Run("c", RED), Run("d")]


@pytest.mark.parametrize(
    "sequence",
    (
        "\x1b[2J",
        "\x1b[1;1H",
        "\x1b[?25l",
        "\x1b[K",
        "\x1b[?1049h",
        "\x1b_Gi=1;AAAA\x1b\\",
        "\x1b^secret\x1b\\",
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


@pytest.mark.parametrize(
    ("printed", "seen"),
    (
        ("10 %\r50 %\rdone", "done"),
        ("Downloading 100 %\rok", "okwnloading 100 %"),
        ("Downloading 100 %\r\x1b[Kok", "ok"),
        ("Downloading 100 %\x1b[2K\rok", "ok"),
        ("a\r", "a"),
        ("a\r\r", "a"),
        ("\rb", "b"),
        ("abc\b\bX", "aXc"),
        ("|\b/\b-\b\\\b", "\\"),
        ("\b\b\bx", "x"),
        ("abc\x1b[2DX", "aXc"),
        ("abc\x1b[1GX", "Xbc"),
        ("abc\x1b[6GX", "abc  X"),
        ("a\x1b[3Cb", "a   b"),
        ("abc\x1b[1K", "   "),
        ("abc\x1b[99999999999999Cx", "abc" + " " * (LINE_LIMIT - 3) + " … 1 more character"),
        ("abc\x1b[99Dx", "xbc"),
        ("\x1b[3;4Hx\x1b[2J", "x"),
    ),
)
def test_what_is_seen_is_the_last_state_of_the_line(printed, seen):
    assert text_of(line_of(printed)[0]) == seen


def test_a_line_that_is_printed_piece_by_piece_is_the_same():
    printed = "\x1b[32m[##  ]\x1b[0m 50 %\r\x1b[32m[####]\x1b[38;5;196m 99 %\b\b\b\b100 %\x1b]0;title\x07 \x1b[1mdone"
    whole = line_of(printed)
    for size in (1, 2, 3, 7):
        screen = Screen()
        for at in range(0, len(printed), size):
            screen.feed(printed[at : at + size])
        assert (screen.line(), screen.style) == whole


def test_a_sequence_of_which_the_end_never_comes_holds_nothing_back_for_ever():
    screen = Screen()
    screen.feed("a\x1b]0;" + "x" * 5000)
    screen.feed("\rb")
    assert text_of(screen.line()).startswith("b")


def test_an_endless_line_takes_no_more_memory_than_is_shown():
    screen = Screen()
    for _ in range(100):
        screen.feed("x" * 10_000)
    assert len(screen._cells) <= LINE_LIMIT
    assert text_of(screen.line()).endswith(f" … {1_000_000 - LINE_LIMIT} more characters")
    screen.feed("\r\x1b[Kend")
    assert text_of(screen.line()) == "end"


def test_what_is_left_out_of_a_line_is_told():
    assert text_of(line_of("abc", left=7)[0]) == "abc … 7 more bytes"


def test_the_style_after_a_text():
    assert style_after("a\x1b[31mb\nc") == RED
    assert style_after("a\x1b[31mb\x1b[mc") == Style()
    assert style_after("\x1b[?31m\x1b]31m") == Style()


@given(st.text(alphabet=st.sampled_from("ab\n\r\x1b[]0123;mKH\\\x07P ")))
def test_any_output_is_shown_line_by_line_without_escapes(text):
    lines = lines_of(text)
    assert len(lines) == (text.removesuffix("\n").count("\n") + 1 if text else 0)
    assert all("\x1b" not in run.text for runs in lines for run in runs)
    assert all(not {"\n", "\r", "\b"} & set(run.text) for runs in lines for run in runs)
    assert all(run.text for runs in lines for run in runs)


@given(st.text(alphabet=st.characters(exclude_characters="\r\n\x1b\b"), max_size=200))
def test_text_without_escapes_is_shown_whole(text):
    assert "".join(run.text for runs in lines_of(text) for run in runs) == text
