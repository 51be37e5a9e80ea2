"""sayings.py: the sentence that answers each page's question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.build import BuildState, Cause
from sayci.project import MirrorState, Scope
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, StepState
from sayci.web import sayings
from sayci.web.look import _symbols
from tests.factories import NOW, a_build, a_project, a_step

MAIN, OTHER = "refs/heads/main", "refs/heads/other"


def said(build, waiting=""):
    return str(sayings.saying_of_build(build, waiting, NOW + 62))


def ended(name, result=Result.SUCCESS, **fields):
    return a_step(name, result=result, **fields)


def builds(*results, ref=MAIN):
    """Builds with these results, the newest first; None waits."""
    return [
        a_build(number=len(results) - place, id=len(results) - place, result=result, ref=ref)
        if result is not None
        else a_build(number=len(results) - place, ref=ref)
        for place, result in enumerate(results)
    ]


# -- builds


def test_a_build_that_waits_says_for_what():
    assert said(a_build(number=7), "For a free slot.") == "#7 is waiting. For a free slot."


@pytest.mark.parametrize(
    ("step", "words"),
    ((CHECKOUT, "#7 is being checked out."), (TEST, "#7 is testing."), (DEPLOY, "#7 is deploying.")),
)
def test_a_running_build_says_what_it_does(step, words):
    steps = [ended(CHECKOUT), ended(TEST), ended(DEPLOY)]
    place = [CHECKOUT, TEST, DEPLOY].index(step)
    steps[place:] = [a_step(step, state=StepState.RUNNING), *(a_step(s.name) for s in steps[place + 1 :])]
    assert said(a_build(BuildState.RUNNING, number=7, steps=tuple(steps))) == words


def test_a_running_build_between_two_steps():
    build = a_build(BuildState.RUNNING, number=7, steps=(ended(CHECKOUT), a_step(TEST)))
    assert said(build) == "#7 is running."


def test_a_build_that_is_being_cancelled():
    assert said(a_build(BuildState.CANCELLING, number=7)) == "#7 is being cancelled."


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({"result": Result.SUCCESS}, "#7 succeeded in 0:59."),
        ({"result": Result.SUCCESS, "deploys": True}, "#7 was deployed in 0:59."),
        ({"result": Result.FAILURE}, "#7 failed in test: make test, exit 2"),
        ({"result": Result.FAILURE, "reason": ""}, "#7 failed in test: nothing says why"),
        (
            {"result": Result.TIMED_OUT, "reason": "make test was stopped after 600 s, its time limit"},
            "#7 was stopped in test: make test was stopped after 600 s, its time limit",
        ),
        ({"result": Result.ERROR, "reason": "the forge did not answer"}, "#7 could not run: the forge did not answer"),
        ({"result": Result.CANCELLED, "reason": "cancelled by ada"}, "#7 was cancelled by ada after 0:59."),
        (
            {"result": Result.CANCELLED, "reason": "superseded by #8, a newer push to main"},
            "#7 was superseded by #8, a newer push to main after 0:59.",
        ),
        ({"result": Result.CANCELLED, "reason": "the disk is full"}, "#7 was cancelled: the disk is full"),
        ({"result": Result.CANCELLED, "reason": ""}, "#7 was cancelled after 0:59."),
        ({"result": Result.UNKNOWN, "deploys": True}, "Was #7 deployed? Nobody knows."),
        ({"result": Result.SKIPPED}, "#7 was skipped."),
    ),
)
def test_an_ended_build_says_how(fields, words):
    assert said(a_build(number=7, **fields)) == words


def test_a_build_that_was_cancelled_while_it_waited_took_no_time():
    assert said(a_build(number=7).cancelled(NOW, "cancelled by ada")) == "#7 was cancelled by ada"


@pytest.mark.parametrize(
    ("result", "title"),
    (
        (Result.SUCCESS, "✓ #7 succeeded in 0:59"),
        (Result.FAILURE, "✗ #7 failed in test: make test, exit 2"),
        (Result.ERROR, "! #7 could not run: make test, exit 2"),
        (Result.UNKNOWN, "? Was #7 deployed? Nobody knows"),
        (Result.CANCELLED, "#7 was cancelled: make test, exit 2"),
    ),
)
def test_a_title_begins_with_a_sign(result, title):
    assert sayings.saying_of_build(a_build(number=7, result=result), "", NOW).title == title


@pytest.mark.parametrize(
    ("build", "words"),
    (
        (a_build(), "waiting"),
        (a_build(BuildState.RUNNING), "running checkout"),
        (a_build(BuildState.CANCELLING), "being cancelled"),
        (a_build(result=Result.SUCCESS), "success"),
        (a_build(result=Result.FAILURE), "failure in test"),
        (a_build(result=Result.TIMED_OUT), "timed out in test"),
        (a_build(result=Result.CANCELLED), "cancelled"),
    ),
)
def test_a_build_in_short(build, words):
    assert sayings.in_short(build) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({"cause": Cause.PUSH}, "a push"),
        ({"cause": Cause.CATCH_UP}, "a look at the repository: no webhook had told of it"),
        ({"cause": Cause.MANUAL, "asked_by": "ada"}, "ada, by hand"),
        ({"cause": Cause.MANUAL}, "somebody, by hand"),
        ({"cause": Cause.REBUILD, "asked_by": "ada", "source": 3}, "ada, who ran #3 again"),
        ({"cause": Cause.DEPLOY, "asked_by": "ada", "source": 3}, "ada, who deployed #3"),
    ),
)
def test_why_there_is_a_build(fields, words):
    assert sayings.what_started(a_build(**fields)) == words


@pytest.mark.parametrize(
    ("build", "words"),
    (
        (a_build(result=Result.FAILURE, deploys=True), "deploy was skipped, because test failed."),
        (a_build(result=Result.TIMED_OUT, deploys=True), "deploy was skipped, because test was stopped."),
        (a_build(result=Result.CANCELLED, deploys=True), "deploy was skipped, because the build was cancelled."),
        (a_build(result=Result.SUCCESS, deploys=True), "deploy was skipped."),
    ),
)
def test_why_a_step_was_skipped(build, words):
    assert sayings.why_skipped(build, build.step(DEPLOY)) == words


@given(
    st.sampled_from(BuildState),
    st.sampled_from(Result),
    st.lists(st.tuples(st.sampled_from(StepState), st.sampled_from(Result)), min_size=3, max_size=3),
    st.text(max_size=20),
)
def test_whatever_state_a_build_is_in_it_has_a_sentence_a_mark_and_an_icon(state, result, steps, reason):
    made = tuple(
        a_step(name, state=step, result=outcome if step is StepState.FINISHED else None)
        for name, (step, outcome) in zip((CHECKOUT, TEST, DEPLOY), steps, strict=True)
    )
    build = a_build(state, steps=made, reason=reason, **({"result": result} if state is BuildState.FINISHED else {}))
    saying = sayings.saying_of_build(build, "", NOW)
    assert str(saying)
    assert saying.mark in sayings.MARKS
    assert sayings.in_short(build)
    assert all(sayings.mark_of(step) in sayings.MARKS and sayings.why_skipped(build, step) for step in made)


def test_every_mark_is_drawn():
    assert set(sayings.MARKS) <= set(_symbols())


def test_the_first_line_of_a_message():
    assert sayings.first_line("\n  Fix it  \n\nbecause") == "Fix it"
    assert sayings.first_line("") == ""


# -- projects


def stands(*results, project=None):
    return str(sayings.saying_of_project(project or a_project(), builds(*results), NOW + 120))


def test_a_project_says_how_its_default_branch_stands():
    assert stands(Result.SUCCESS, Result.FAILURE) == "main passes. #2 succeeded 2 minutes ago."
    assert stands(Result.FAILURE, Result.SUCCESS) == "main fails since #2, 2 minutes ago"
    assert stands(Result.FAILURE, Result.TIMED_OUT, Result.SUCCESS) == "main has failed twice since #2, 2 minutes ago"
    assert stands(*[Result.FAILURE] * 3, Result.ERROR) == "main has failed three times since #2, 2 minutes ago"
    assert stands(Result.ERROR) == "main could not be built: #1, 2 minutes ago"
    assert stands(Result.UNKNOWN) == "Was #1 deployed? Nobody knows."
    assert stands() == "main has not been built yet."


def test_what_runs_and_what_was_cancelled_changes_nothing_of_how_it_stands():
    assert stands(None, Result.CANCELLED, Result.SUCCESS) == "main passes. #1 succeeded 2 minutes ago."
    assert stands(Result.FAILURE, Result.CANCELLED, Result.FAILURE) == "main has failed twice since #1, 2 minutes ago"


def test_a_branch_without_a_result_says_what_becomes_of_it():
    assert stands(None) == "main waits for its first build."
    assert stands(Result.CANCELLED) == "main has no result yet."
    running = (a_build(BuildState.RUNNING),)
    assert str(sayings.saying_of_project(a_project(), running, NOW)) == "main is being built for the first time."


def test_the_message_of_a_build():
    assert sayings.message_of(a_build(message="Fix it\n\nbecause")) == "Fix it"
    assert sayings.message_of(a_build(BuildState.QUEUED, message="")) == "Not fetched yet"
    assert sayings.message_of(a_build(BuildState.FINISHED, message="")) == "No message"


def test_other_branches_do_not_count():
    project = a_project()
    assert (
        str(sayings.saying_of_project(project, builds(Result.FAILURE, ref=OTHER), NOW))
        == "main has not been built yet."
    )
    assert sayings.standing(project, builds(Result.FAILURE, ref=OTHER)) is None


def test_a_project_whose_repository_is_not_there_yet():
    assert stands(project=a_project(mirror=MirrorState.CLONING)) == "web-shop is being cloned."
    failed = a_project(mirror=MirrorState.FAILED)
    assert stands(Result.SUCCESS, project=failed) == "web-shop cannot be built: its repository cannot be read"
    assert sayings.mark_of_project(failed, builds(Result.SUCCESS)) == "error"


@pytest.mark.parametrize(
    ("results", "words"),
    (
        ((), "has not been built yet"),
        ((Result.CANCELLED,), "no result yet"),
        ((None,), "waiting; no result yet"),
        ((Result.SUCCESS,), "passes"),
        ((None, Result.SUCCESS), "waiting; passes"),
        ((Result.FAILURE, Result.SUCCESS), "failing for 2 hours"),
        ((Result.FAILURE, Result.TIMED_OUT, Result.SUCCESS), "failing for 2 hours, 2 builds in a row"),
        ((Result.ERROR,), "could not run"),
        ((Result.UNKNOWN,), "a deploy waits for your answer"),
    ),
)
def test_a_project_in_a_list(results, words):
    past = builds(*results)
    assert sayings.standing_in_words(a_project(), past, past[0] if past else None, NOW + 2 * 3600) == words


def test_a_project_in_a_list_whose_repository_is_not_there():
    assert (
        sayings.standing_in_words(a_project(mirror=MirrorState.FAILED), [], None, NOW)
        == "its repository cannot be read"
    )
    assert (
        sayings.standing_in_words(a_project(mirror=MirrorState.CLONING), [], None, NOW)
        == "its repository is being cloned"
    )


@pytest.mark.parametrize(
    ("stand", "words", "mark"),
    (
        ({"a": "success"}, "a passes.", "success"),
        ({"a": "success", "b": "success"}, "All 2 projects pass.", "success"),
        ({"a": "queued"}, "Nothing has been built yet.", "queued"),
        ({}, "Nothing has been built yet.", "queued"),
        ({"a": "success", "b": "queued"}, "1 of 2 projects passes. 1 project has no builds yet.", "success"),
        ({"a": "failure"}, "a is failing.", "failure"),
        ({"a": "failure", "b": "success"}, "a is failing. The other one passes.", "failure"),
        ({"a": "failure", "b": "timedout"}, "a and b are failing.", "failure"),
        (dict.fromkeys("abcd", "failure"), "4 projects are failing.", "failure"),
        ({"a": "unknown", "b": "success", "c": "success"}, "a needs a person. The other two pass.", "unknown"),
        (
            {"a": "failure", "b": "unknown", "c": "error", "d": "success"},
            "a is failing. b needs a person. c could not run. The other one passes.",
            "failure",
        ),
    ),
)
def test_home_says_how_everything_stands(stand, words, mark):
    saying = sayings.saying_of_home(stand)
    assert str(saying) == words
    assert saying.mark == mark


def test_the_worst_mark_and_its_favicon():
    assert sayings.worst(["success", "running", "failure", "unknown"]) == "unknown"
    assert sayings.worst(["queued"]) == "idle"
    assert sayings.favicon("timedout") == "failure"
    assert sayings.favicon("queued") == "idle"


def test_who_is_given_a_variable():
    assert [sayings.given_to(scope) for scope in Scope] == ["test", "deploy", "test and deploy"]
