"""step.py: steps, results and plans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.errors import IllegalMove
from sayci.step import CHECKOUT, DEPLOY, STEP_MOVES, TEST, Result, Step, StepState, plan, worst_of

NOW = 1_795_219_200.0
STATES = {
    StepState.PENDING: Step(TEST),
    StepState.RUNNING: Step(TEST).started(NOW, "1/1-test"),
    StepState.FINISHED: Step(TEST).started(NOW).finished(NOW, Result.SUCCESS),
}
MOVES = {
    "start": lambda step: step.started(NOW, "1/1-test"),
    "finish": lambda step: step.finished(NOW, Result.FAILURE),
    "requeue": lambda step: step.requeued(),
}


@pytest.mark.parametrize("state", StepState, ids=lambda state: state.value)
@pytest.mark.parametrize("event", MOVES)
def test_a_step_moves_as_the_table_says_or_not_at_all(state, event):
    if (state, event) in STEP_MOVES:
        assert MOVES[event](STATES[state]).state is STEP_MOVES[state, event]
    else:
        with pytest.raises(IllegalMove):
            MOVES[event](STATES[state])


def test_a_step_that_learns_its_handle_keeps_the_time_at_which_it_began():
    step = Step(TEST).started(NOW).started(NOW + 5, "1/1-test")
    assert (step.started_at, step.handle) == (NOW, "1/1-test")


def test_steps_come_in_the_order_in_which_they_are_run():
    assert [step.name for step in plan(tests=True, deploys=True)] == [CHECKOUT, TEST, DEPLOY]
    assert [step.name for step in plan(tests=False, deploys=True)] == [CHECKOUT, DEPLOY]
    assert [step.name for step in plan(tests=True, deploys=False)] == [CHECKOUT, TEST]


@pytest.mark.parametrize(
    ("results", "worst"),
    (
        ([Result.SUCCESS, Result.SUCCESS], Result.SUCCESS),
        ([Result.SUCCESS, Result.FAILURE, Result.SKIPPED], Result.FAILURE),
        ([Result.SUCCESS, Result.TIMED_OUT], Result.TIMED_OUT),
        ([Result.ERROR, Result.FAILURE], Result.ERROR),
        ([Result.SUCCESS, Result.UNKNOWN, Result.ERROR], Result.UNKNOWN),
        ([Result.SUCCESS, Result.SKIPPED], Result.SUCCESS),
        ([], Result.SKIPPED),
    ),
)
def test_the_worst_result_is_the_one_to_look_at_first(results, worst):
    assert worst_of(results) is worst


@given(st.lists(st.sampled_from(Result), min_size=1))
def test_the_worst_is_one_of_them_and_their_order_does_not_matter(results):
    assert worst_of(results) in results
    assert worst_of(results) is worst_of(results[::-1])
