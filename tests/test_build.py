"""build.py: every move that a build can make, and none that it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.build import BUILD_MOVES, Build, BuildState, Cause
from sayci.errors import IllegalMove, UnknownStep
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, StepState, plan

NOW = 1_795_219_200.0


def queued(*, deploys: bool = False) -> Build:
    return Build(1, 1, "demo", 7, Cause.PUSH, "refs/heads/main", "4f" * 20, plan(tests=True, deploys=deploys), NOW)


def in_state(state: BuildState) -> Build:
    build = queued()
    if state is BuildState.QUEUED:
        return build
    build = build.claimed(NOW)
    if state is BuildState.CANCELLING:
        return build.cancelled(NOW, "by ada")
    return build if state is BuildState.RUNNING else build.finished(NOW, Result.SUCCESS)


MOVES = {
    "claim": lambda build: build.claimed(NOW),
    "cancel": lambda build: build.cancelled(NOW, "by ada"),
    "finish": lambda build: build.finished(NOW),
    "requeue": lambda build: build.requeued("interrupted"),
}


@pytest.mark.parametrize("state", BuildState, ids=lambda state: state.value)
@pytest.mark.parametrize("event", MOVES)
def test_a_build_moves_as_the_table_says_or_not_at_all(state, event):
    build = in_state(state)
    if (state, event) in BUILD_MOVES:
        assert MOVES[event](build).state is BUILD_MOVES[state, event]
    else:
        with pytest.raises(IllegalMove):
            MOVES[event](build)


def test_a_queued_build_that_is_cancelled_has_ended_with_every_step_skipped():
    build = queued(deploys=True).cancelled(NOW, "superseded by #8")
    assert (build.state, build.result, build.reason) == (BuildState.FINISHED, Result.CANCELLED, "superseded by #8")
    assert {step.result for step in build.steps} == {Result.SKIPPED}
    assert build.finished_at == NOW


def test_the_result_is_the_worst_of_the_steps_and_the_reason_that_steps():
    build = queued(deploys=True).claimed(NOW)
    build = build.with_step(build.step(CHECKOUT).started(NOW).finished(NOW, Result.SUCCESS))
    build = build.with_step(build.step(TEST).started(NOW).finished(NOW, Result.FAILURE, "make test, exit 2", 2))
    build = build.finished(NOW + 1)
    assert (build.result, build.reason) == (Result.FAILURE, "make test, exit 2")
    assert build.step(DEPLOY).result is Result.SKIPPED


def test_only_a_running_build_has_steps_that_move():
    build = queued()
    with pytest.raises(IllegalMove):
        build.with_step(build.step(TEST).started(NOW))


def test_a_requeued_build_is_as_new_but_for_its_attempt():
    build = queued().claimed(NOW)
    build = build.with_step(build.step(CHECKOUT).started(NOW, "somewhere").finished(NOW, Result.SUCCESS))
    again = build.requeued("interrupted")
    assert again.attempt == 2
    assert again.started_at is None
    assert all(step.state is StepState.PENDING and step.handle is None for step in again.steps)


def test_green_means_that_the_tests_succeeded_whatever_came_of_the_deploy():
    build = queued(deploys=True).claimed(NOW)
    assert not build.is_green
    for name, result in ((CHECKOUT, Result.SUCCESS), (TEST, Result.SUCCESS), (DEPLOY, Result.UNKNOWN)):
        build = build.with_step(build.step(name).started(NOW).finished(NOW, result))
    build = build.finished(NOW)
    assert build.is_green
    assert build.result is Result.UNKNOWN


def test_an_unknown_step_is_said_to_be_unknown():
    with pytest.raises(UnknownStep):
        queued().step("lint")


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=30))
def test_whatever_is_asked_of_it_a_finished_build_has_a_result_and_an_open_one_has_none(events):
    build = queued(deploys=True)
    for event in events:
        try:
            build = MOVES[event](build)
        except IllegalMove:
            continue
        assert build.is_open == (build.result is None)
        assert (build.finished_at is None) == build.is_open


def unknown() -> Build:
    """A build whose deploy ended in a way that nobody knows."""
    build = queued(deploys=True).claimed(NOW)
    for step, result in ((CHECKOUT, Result.SUCCESS), (TEST, Result.SUCCESS), (DEPLOY, Result.UNKNOWN)):
        build = build.with_step(build.step(step).started(NOW).finished(NOW, result, "interrupted"))
    return build.finished(NOW + 1)


@pytest.mark.parametrize(
    ("arrived", "result", "words"), ((True, Result.SUCCESS, "arrived"), (False, Result.FAILURE, "did not arrive"))
)
def test_a_person_says_what_became_of_a_deploy(arrived, result, words):
    build = unknown().answered(NOW + 60, "ada", arrived=arrived)
    assert (build.state, build.result, build.step(DEPLOY).result) == (BuildState.FINISHED, result, result)
    assert build.reason == build.step(DEPLOY).reason == f"ada said on 2026-11-21 00:01 UTC that it {words}"
    assert build.finished_at == NOW + 1
    with pytest.raises(IllegalMove):
        build.answered(NOW, "bob", arrived=not arrived)


@pytest.mark.parametrize("state", BuildState, ids=lambda state: state.value)
def test_only_an_unknown_deploy_is_a_question(state):
    with pytest.raises(IllegalMove):
        in_state(state).answered(NOW, "ada", arrived=True)
