"""limits.py: the tighter of two limits holds, and a project's are checked."""

from __future__ import annotations

import pytest

from sayci.errors import Invalid
from sayci.limits import LONGEST_TIME_LIMIT, NONE, USUAL, Limits, check_limits, in_bytes


@pytest.mark.parametrize(
    ("own", "most", "holds"), ((0, 0, 0), (0, 500, 500), (500, 0, 500), (100, 500, 100), (900, 500, 500))
)
def test_the_tighter_limit_holds(own, most, holds):
    assert Limits(process_limit=own).within(Limits(process_limit=most)) == Limits(process_limit=holds)


def test_a_server_without_a_say_leaves_a_project_its_limits():
    limits = Limits(60.0, 5.0, 1024, True, 10, 1 << 24, 1 << 20, 64)
    assert limits.within(NONE) == limits


def test_what_a_project_has_that_says_nothing_is_allowed():
    assert check_limits(USUAL) is USUAL


@pytest.mark.parametrize(
    "wrong",
    (
        {"time_limit": 0.5},
        {"time_limit": LONGEST_TIME_LIMIT + 1},
        {"time_limit": float("nan")},
        {"silence_limit": 0.5},
        {"silence_limit": -1.0},
        {"silence_limit": float("nan")},
        {"output_limit": 1},
        {"output_limit": -1},
        {"process_limit": 7},
        {"memory_limit": 1000},
        {"workspace_limit": 1000},
        {"open_files_limit": 3},
        {"memory_limit": 10**16},
    ),
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(Invalid, match=next(iter(wrong))):
        check_limits(Limits(**{"time_limit": 60.0, **wrong}))


@pytest.mark.parametrize(
    ("size", "words"),
    ((0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (20 << 30, "20 GiB"), (1 << 50, "1024 TiB")),
)
def test_bytes_are_told_in_units(size, words):
    assert in_bytes(size) == words
