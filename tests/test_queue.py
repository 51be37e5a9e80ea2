"""queue.py: which queued build may start now."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayci.build import BuildState
from sayci.queue import startable, why_waiting
from tests.factories import a_build

MAIN, OTHER = "refs/heads/main", "refs/heads/other"


def queued(number, project=1, ref=MAIN, *, deploys=False):
    return a_build(id=number, number=number, project_id=project, project=f"p{project}", ref=ref, deploys=deploys)


def running(number, project=1, ref=MAIN, *, deploys=False, state=BuildState.RUNNING):
    return a_build(state, id=number, number=number, project_id=project, project=f"p{project}", ref=ref, deploys=deploys)


def ids(builds):
    return [build.id for build in builds]


# ------------------------------------------------------------------------------------------------ one rule at a time


def test_a_lone_build_starts():
    assert why_waiting(queued(1), [], 1) == ""
    assert ids(startable([queued(1)], 1)) == [1]


def test_nothing_starts_without_a_slot():
    assert why_waiting(queued(1), [], 0) == "For a free slot."
    assert startable([queued(1)], 0) == []


def test_builds_of_different_branches_run_side_by_side():
    assert ids(startable([queued(1), queued(2, ref=OTHER), queued(3, project=2)], 3)) == [1, 2, 3]


@pytest.mark.parametrize("state", (BuildState.RUNNING, BuildState.CANCELLING))
def test_builds_of_one_branch_run_one_after_the_other(state):
    first = running(1, state=state)
    assert why_waiting(queued(2), [first], 9) == "For p1 #1: one build of a branch at a time."
    assert startable([first, queued(2)], 9) == []


def test_the_same_branch_of_another_project_is_another_branch():
    assert why_waiting(queued(2, project=2), [running(1)], 9) == ""


@pytest.mark.parametrize("state", (BuildState.RUNNING, BuildState.CANCELLING))
def test_deploys_of_one_project_run_one_after_the_other_whatever_their_branch(state):
    first = running(1, deploys=True, state=state)
    assert (
        why_waiting(queued(2, ref=OTHER, deploys=True), [first], 9) == "For p1 #1: one deploy of a project at a time."
    )
    assert why_waiting(queued(2, ref=OTHER), [first], 9) == ""
    assert why_waiting(queued(2, project=2, deploys=True), [first], 9) == ""


def test_a_build_in_the_way_is_named_rather_than_the_missing_slot():
    assert "p1 #1" in why_waiting(queued(2), [running(1)], 1)


def test_running_builds_take_slots():
    open_builds = [running(1), running(2, project=2), queued(3, project=3), queued(4, project=4)]
    assert ids(startable(open_builds, 3)) == [3]
    assert startable(open_builds, 2) == []
    assert startable(open_builds, 1) == []


def test_the_oldest_start_first_in_whatever_order_they_are_given():
    builds = [queued(3, project=3), queued(1, project=1), queued(2, project=2)]
    assert ids(startable(builds, 2)) == [1, 2]


def test_a_waiting_build_takes_no_slot_from_those_after_it():
    assert ids(startable([running(1), queued(2), queued(3, project=2)], 2)) == [3]


def test_a_build_that_waits_for_a_deploy_keeps_its_place_before_later_builds_of_its_branch():
    deploying = running(1, ref="refs/heads/release", deploys=True)
    assert ids(startable([deploying, queued(2, deploys=True), queued(3)], 9)) == []


def test_a_deploy_that_waits_keeps_its_place_before_later_deploys():
    builds = [running(1), queued(2, deploys=True), queued(3, ref=OTHER, deploys=True), queued(4, ref="refs/heads/x")]
    assert ids(startable(builds, 9)) == [4]


def test_no_builds_nothing_to_start():
    assert startable([], 5) == []


# ------------------------------------------------------------------------------------------------ all rules together


@st.composite
def crowds(draw):
    builds = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        make = draw(st.sampled_from([queued, queued, running]))
        ref = draw(st.sampled_from([MAIN, OTHER, "refs/heads/x"]))
        builds.append(make(number, draw(st.integers(1, 2)), ref, deploys=draw(st.booleans())))
    return draw(st.permutations(builds)), draw(st.integers(0, 6))


def clash(one, other):
    """Whether two builds may not run side by side, said in other words than queue.py's."""
    return one.project_id == other.project_id and (one.ref == other.ref or (one.deploys and other.deploys))


@settings(max_examples=400, deadline=None)
@given(crowds())
def test_whatever_starts_keeps_all_rules(crowd):
    builds, slots = crowd
    chosen = startable(builds, slots)
    busy = [build for build in builds if build.state is not BuildState.QUEUED]
    assert all(build.state is BuildState.QUEUED for build in chosen)
    assert ids(chosen) == sorted(ids(chosen))
    assert len(chosen) <= max(0, slots - len(busy))
    for position, build in enumerate(chosen):
        assert not any(clash(build, other) for other in [*busy, *chosen[:position]])


@settings(max_examples=400, deadline=None)
@given(crowds())
def test_nobody_overtakes_an_older_build_that_it_would_hold_up(crowd):
    builds, slots = crowd
    chosen = startable(builds, slots)
    left = [build for build in builds if build.state is BuildState.QUEUED and build not in chosen]
    for build in chosen:
        assert not any(older.id < build.id and clash(older, build) for older in left)


@settings(max_examples=400, deadline=None)
@given(crowds())
def test_nobody_waits_without_a_reason(crowd):
    builds, slots = crowd
    chosen = startable(builds, slots)
    busy = [build for build in builds if build.state is not BuildState.QUEUED]
    if len(busy) + len(chosen) >= slots:
        return
    for build in builds:
        if build.state is BuildState.QUEUED and build not in chosen:
            others = [other for other in builds if other is not build and (other in busy or other.id < build.id)]
            assert any(clash(build, other) for other in others)


@settings(max_examples=200, deadline=None)
@given(crowds())
def test_every_build_gets_its_turn(crowd):
    builds, slots = crowd
    waiting = {build.id: build for build in builds}
    for _ in range(len(builds) + 1):
        busy = [build for build in waiting.values() if build.state is not BuildState.QUEUED]
        started = startable(waiting.values(), max(slots, 1))
        assert busy or started or not waiting
        for build in [*busy, *started]:
            del waiting[build.id]  # they run, and end
    assert not waiting


@settings(max_examples=200, deadline=None)
@given(crowds())
def test_the_reason_that_is_told_agrees_with_what_is_done(crowd):
    builds, slots = crowd
    chosen = startable(builds, slots)
    busy = [build for build in builds if build.state is not BuildState.QUEUED]
    for position, build in enumerate(chosen):
        assert why_waiting(build, [*busy, *chosen[:position]], slots) == ""
