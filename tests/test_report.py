"""report.py: what the forge is told of a build."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.build import BuildState, Cause
from sayci.report import DEPLOY_CONTEXT, DESCRIPTION_LIMIT, TEST_CONTEXT, StatusState, statuses_of
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, StepState, plan
from tests.factories import COMMIT, NOW, a_build, a_step


def told(build):
    """context -> (state, description)"""
    return {status.context: (status.state, status.description) for status in statuses_of(build)}


def ended(name, result=Result.SUCCESS, **fields):
    return a_step(name, result=result, **fields)


def running(name):
    return a_step(name, state=StepState.RUNNING)


def test_a_build_that_waits_is_pending():
    assert told(a_build(number=7)) == {TEST_CONTEXT: (StatusState.PENDING, "#7 waits")}


def test_a_build_that_waits_says_nothing_of_its_deploy_yet():
    assert list(told(a_build(deploys=True))) == [TEST_CONTEXT]


def test_checkout_belongs_to_the_test():
    build = a_build(BuildState.RUNNING, number=7)
    assert told(build) == {TEST_CONTEXT: (StatusState.PENDING, "#7 test is running")}


@pytest.mark.parametrize(
    ("result", "state", "words"),
    (
        (Result.SUCCESS, StatusState.SUCCESS, "#7 test succeeded"),
        (Result.FAILURE, StatusState.FAILURE, "#7 test failed: make test, exit 2"),
        (Result.TIMED_OUT, StatusState.FAILURE, "#7 test timed out: make test, exit 2"),
        (Result.ERROR, StatusState.ERROR, "#7 test could not run: make test, exit 2"),
    ),
)
def test_an_ended_test_is_told_with_its_reason(result, state, words):
    assert told(a_build(number=7, result=result)) == {TEST_CONTEXT: (state, words)}


def test_a_failed_checkout_is_told_of_the_test_at_once():
    steps = (ended(CHECKOUT, Result.ERROR, reason="no such repository"), a_step(TEST))
    build = a_build(BuildState.RUNNING, number=7, steps=steps)
    assert told(build)[TEST_CONTEXT] == (StatusState.ERROR, "#7 test could not run: no such repository")


def test_a_failed_test_says_nothing_of_the_deploy_that_was_skipped():
    assert list(told(a_build(result=Result.FAILURE, deploys=True))) == [TEST_CONTEXT]


def test_the_deploy_is_told_once_it_begins_and_the_test_keeps_its_result():
    steps = (ended(CHECKOUT), ended(TEST), running(DEPLOY))
    assert told(a_build(BuildState.RUNNING, number=7, steps=steps)) == {
        TEST_CONTEXT: (StatusState.SUCCESS, "#7 test succeeded"),
        DEPLOY_CONTEXT: (StatusState.PENDING, "#7 deploy is running"),
    }


def test_a_deploy_that_failed_does_not_spoil_the_test():
    steps = (ended(CHECKOUT), ended(TEST), ended(DEPLOY, Result.FAILURE, reason="make deploy, exit 2"))
    assert told(a_build(number=7, result=Result.FAILURE, steps=steps)) == {
        TEST_CONTEXT: (StatusState.SUCCESS, "#7 test succeeded"),
        DEPLOY_CONTEXT: (StatusState.FAILURE, "#7 deploy failed: make deploy, exit 2"),
    }


def test_an_unknown_deploy_asks_for_an_answer():
    steps = (ended(CHECKOUT), ended(TEST), ended(DEPLOY, Result.UNKNOWN, reason="sayci was interrupted"))
    state, words = told(a_build(number=7, result=Result.UNKNOWN, steps=steps))[DEPLOY_CONTEXT]
    assert state is StatusState.ERROR
    assert words == "#7 deploy unknown: needs an answer: sayci was interrupted"


def test_a_deploy_by_itself_is_told_from_the_start_with_its_checkout():
    build = a_build(number=9, cause=Cause.DEPLOY, tests=False, deploys=True)
    assert told(build) == {DEPLOY_CONTEXT: (StatusState.PENDING, "#9 waits")}
    failed = a_build(BuildState.RUNNING, number=9, steps=(ended(CHECKOUT, Result.ERROR, reason="gone"), a_step(DEPLOY)))
    assert told(failed) == {DEPLOY_CONTEXT: (StatusState.ERROR, "#9 deploy could not run: gone")}


def test_a_build_that_was_cancelled_while_it_waited():
    build = a_build(number=7, deploys=True).cancelled(NOW, "cancelled by ada")
    assert told(build) == {TEST_CONTEXT: (StatusState.ERROR, "#7 test cancelled: cancelled by ada")}


def test_a_build_that_was_cancelled_while_it_ran():
    steps = (ended(CHECKOUT), ended(TEST, Result.CANCELLED), ended(DEPLOY, Result.SKIPPED))
    build = a_build(number=7, result=Result.CANCELLED, reason="by #8, a newer push", steps=steps)
    assert told(build) == {TEST_CONTEXT: (StatusState.ERROR, "#7 test cancelled: by #8, a newer push")}


def test_descriptions_are_one_short_line():
    long = a_build(result=Result.FAILURE, steps=(ended(CHECKOUT), ended(TEST, Result.FAILURE, reason="a\n b " * 200)))
    _, words = told(long)[TEST_CONTEXT]
    assert len(words) == DESCRIPTION_LIMIT
    assert "\n" not in words
    assert words.endswith("…")


def test_a_status_says_whose_it_is():
    (status,) = statuses_of(a_build(number=7, project="janet", project_id=3))
    assert (status.project, status.project_id, status.build, status.commit) == ("janet", 3, 7, COMMIT)


steps_of_a_kind = st.sampled_from(
    [plan(tests=True, deploys=False), plan(tests=True, deploys=True), plan(tests=False, deploys=True)]
)


@given(steps_of_a_kind, st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, *Result])), max_size=8), st.data())
def test_whatever_a_build_goes_through_it_can_be_told(steps, moves, data):
    """Any steps in any states: each context once, a pending one only while something of it is open, never a long line."""
    made = []
    for step in steps:
        state = data.draw(st.sampled_from(StepState))
        result = data.draw(st.sampled_from(Result)) if state is StepState.FINISHED else None
        made.append(a_step(step.name, state=state, result=result, reason=data.draw(st.text(max_size=300))))
    build_state = data.draw(st.sampled_from(BuildState))
    if build_state is BuildState.FINISHED:
        made = [step if step.state is StepState.FINISHED else ended(step.name, Result.SKIPPED) for step in made]
    build = a_build(build_state, steps=tuple(made))
    statuses = statuses_of(build)
    assert len({status.context for status in statuses}) == len(statuses)
    assert all(len(status.description) <= DESCRIPTION_LIMIT for status in statuses)
    if build_state is BuildState.FINISHED:
        assert all(status.state is not StatusState.PENDING for status in statuses)
    assert statuses or not build.tests
