"""usual.py: what is usual, and when what waits will likely start."""

from __future__ import annotations

import pytest

from sayci.build import BuildState
from sayci.usual import LIKE, LOOKED_AT, left, starts, usual
from tests.factories import NOW, a_build


@pytest.mark.parametrize(
    ("seconds", "is_usual"),
    (
        ([], None),
        ([60.0], None),
        ([60.0, 80.0], 70.0),
        ([60.0, 600.0, 61.0], 61.0),
        ([10.0] * LIKE + [99.0] * 100, 10.0),
    ),
)
def test_usual_is_the_median_of_the_newest(seconds, is_usual):
    assert usual(seconds) == is_usual


def test_a_late_build_has_a_little_left():
    assert left(60, 100) == 40
    assert left(99, 100) == 10
    assert left(199, 100) == 10
    assert left(201, 100) is None
    assert left(0, None) is None


def running(number: int, **fields):
    return a_build(BuildState.RUNNING, **{"id": number, "number": number, "project_id": number} | fields)


def waiting(number: int, **fields):
    return a_build(**{"id": number, "number": number, "project_id": number} | fields)


def hundred(_build) -> float:
    return 100.0


def test_a_free_slot_is_waited_for():
    builds = [running(1, started_at=NOW - 60), running(2, started_at=NOW), waiting(3), waiting(4), waiting(5)]
    assert starts(builds, 2, hundred, NOW) == {3: 40.0, 4: 100.0, 5: 140.0}


def test_what_could_start_starts_now():
    assert starts([waiting(1)], 1, hundred, NOW) == {1: 0.0}


def test_a_build_of_the_same_branch_is_waited_for():
    builds = [running(1, started_at=NOW), waiting(2, project_id=1), waiting(3)]
    assert starts(builds, 3, hundred, NOW) == {2: 100.0, 3: 0.0}


def test_nothing_is_said_of_what_waits_for_a_build_of_which_nothing_is_known():
    builds = [running(1, project_id=7), waiting(2, project_id=7), waiting(3)]
    assert starts(builds, 2, lambda build: None if build.project_id == 7 else 100.0, NOW) == {3: 0.0}
    assert starts(builds, 1, lambda build: None, NOW) == {}


def test_nothing_is_said_of_those_far_behind():
    builds = [waiting(number) for number in range(1, LOOKED_AT + 10)]
    found = starts(builds, 1, hundred, NOW)
    assert len(found) == LOOKED_AT
    assert found[LOOKED_AT] == 100.0 * (LOOKED_AT - 1)
