"""cli/terminal.py: colours pass, and nothing else that would act on a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.cli.terminal import Tamed

RED, RESET = "\x1b[31m", "\x1b[0m"


def tamed(*parts, colour=True):
    filter_ = Tamed(colour=colour)
    return "".join([*map(filter_.take, parts), filter_.end()])


def test_plain_text_passes_as_it_is():
    text = "naïve — 漢字\tand\r\nlines\n"
    assert tamed(text) == text


def test_colours_pass_and_are_ended():
    assert tamed(f"{RED}failed{RESET} \x1b[1;38;5;9mbold\x1b[38:2::1:2:3m") == (
        f"{RED}failed{RESET} \x1b[1;38;5;9mbold\x1b[38:2::1:2:3m{RESET}"
    )


def test_without_colour_they_go_too():
    assert tamed(f"{RED}failed{RESET}", colour=False) == "failed"


@pytest.mark.parametrize(
    "sequence",
    (
        "\x1b[2J",
        "\x1b[10;10H",
        "\x1b[?25l",
        "\x1b[?1049h",
        "\x1b[6n",
        "\x1b[>4;1m",
        "\x1b[31$m",
        "\x1b]0;a title\x07",
        "\x1b]8;;https://evil.example\x1b\\",
        "\x1b]52;c;Y29weQ==\x07",
        "\x1bP1$r\x1b\\",
        "\x1b_apc\x1b\\",
        "\x1bc",
        "\x1b(0",
        "\x1b#8",
        "\x9b",
        "\x9d\x9c",
        "\x07",
        "\x08",
        "\x0e",
        "\x00",
        "\x7f",
        "\u202e",
        "\u2066",
    ),
)
def test_what_would_act_on_the_terminal_goes(sequence):
    assert tamed(f"before{sequence}after") == "beforeafter"
    assert tamed(f"before{sequence}") == "before"


@pytest.mark.parametrize("sequence", ("\x1b[2J", "\x1b]0;a title\x07", "\x1b]8;;x\x1b\\", "\x1b(0"))
def test_a_sequence_that_is_cut_anywhere_goes_as_well(sequence):
    for cut in range(1, len(sequence)):
        assert tamed("a" + sequence[:cut], sequence[cut:] + "b") == "ab"


def test_a_colour_that_is_cut_anywhere_passes():
    for cut in range(1, len(RED)):
        assert tamed("a" + RED[:cut], RED[cut:] + "b") == f"a{RED}b{RESET}"


def test_a_string_without_an_end_does_not_swallow_the_log():
    assert tamed("a\x1b]0;title\nsecond line\n") == "a0;title\nsecond line\n"
    assert tamed("a\x1b]0;" + "x" * 10_000, "\nsecond line").endswith("\nsecond line")


@given(
    st.lists(
        st.text(alphabet=st.one_of(st.sampled_from("\x1b[]mJH;0?\x07\\\x9b\u202e\n"), st.characters())), max_size=6
    )
)
def test_whatever_comes_in_whatever_parts_no_control_is_left(parts):
    shown = re.sub(r"\x1b\[[0-9;:]*m", "", tamed(*parts))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@given(st.text(alphabet="ab\x1b[]m31;\x07\n", max_size=60), st.integers(0, 60))
def test_where_a_log_is_cut_makes_no_difference(text, cut):
    assert tamed(text[:cut], text[cut:]) == tamed(text)
