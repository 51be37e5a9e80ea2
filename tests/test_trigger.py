"""trigger.py: what a push, a person and an old build make."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayci.build import BuildState, Cause
from sayci.errors import IllegalMove, NotGreen, NothingToDeploy
from sayci.step import CHECKOUT, DEPLOY, TEST, Result
from sayci.trigger import build_by_hand, build_of_push, deploy_of, rebuild_of, why_ignored
from tests.factories import COMMIT, a_build, a_change, a_project, a_step

MAIN, OTHER = "refs/heads/main", "refs/heads/other"
DEPLOYING = a_project(deploy_branch="main")
TESTING = a_project()


def names(build):
    return [step.name for step in build.steps]


# ------------------------------------------------------------------------------------------------ why_ignored


@pytest.mark.parametrize("ref", (MAIN, "refs/heads/release/1.2", "refs/heads/refs/tags/v1"))
def test_a_push_to_a_branch_is_built(ref):
    assert why_ignored(a_change(ref=ref)) == ""


@pytest.mark.parametrize("ref", ("refs/tags/v1", "refs/pull/7/head", "refs/notes/commits", "refs/remotes/origin/main"))
def test_anything_but_a_branch_is_not_built_and_named(ref):
    assert ref in why_ignored(a_change(ref=ref))


@pytest.mark.parametrize("message", ("[skip ci]", "Fix\n\n[CI Skip]", "[ci skip] x"))
def test_a_message_that_asks_for_it_is_not_built(message):
    assert "skip" in why_ignored(a_change(message=message))


@pytest.mark.parametrize("message", ("", "skip ci", "[skip-ci]", "[skip  ci]", "(skip ci)"))
def test_nothing_less_than_the_words_in_brackets_asks_for_it(message):
    assert why_ignored(a_change(message=message)) == ""


# ------------------------------------------------------------------------------------------------ pushes


def test_a_push_to_the_deploy_branch_is_tested_and_then_deployed():
    build = build_of_push(DEPLOYING, a_change(), 7)
    assert names(build) == [CHECKOUT, TEST, DEPLOY]
    assert (build.cause, build.delivery_id, build.project_id) == (Cause.PUSH, 7, DEPLOYING.id)
    assert (build.ref, build.commit, build.message, build.author) == (MAIN, COMMIT, "Sell more shoes", "Ada Lovelace")
    assert build.supersedes


@pytest.mark.parametrize(
    ("project", "ref"),
    (
        (TESTING, MAIN),
        (DEPLOYING, OTHER),
        (DEPLOYING, "refs/heads/mainx"),
        (DEPLOYING, "refs/heads/Main"),
        (DEPLOYING, "refs/heads/x/main"),
        (DEPLOYING, "refs/tags/main"),
        (a_project(deploy_branch="release/1"), "refs/heads/1"),
    ),
)
def test_a_push_elsewhere_is_tested_and_never_deployed(project, ref):
    assert names(build_of_push(project, a_change(ref=ref), None)) == [CHECKOUT, TEST]


def test_a_replayed_push_is_tested_and_neither_deployed_nor_put_in_place_of_newer_ones():
    build = build_of_push(DEPLOYING, a_change(), 7, is_new=False)
    assert names(build) == [CHECKOUT, TEST]
    assert not build.supersedes


@settings(deadline=None)
@given(
    branch=st.sampled_from(["main", "other", "release/1", "MAIN"]),
    deploy_branch=st.sampled_from([None, "main", "other", "release/1"]),
    is_new=st.booleans(),
)
def test_a_push_deploys_exactly_where_it_is_new_and_to_the_deploy_branch(branch, deploy_branch, is_new):
    project = a_project(deploy_branch=deploy_branch)
    build = build_of_push(project, a_change(ref=f"refs/heads/{branch}"), None, is_new=is_new)
    assert (DEPLOY in names(build)) == (branch == deploy_branch and is_new)
    assert names(build)[:2] == [CHECKOUT, TEST]


# ------------------------------------------------------------------------------------------------ people


def test_a_build_by_hand_never_deploys_and_supersedes_nothing():
    build = build_by_hand(DEPLOYING, a_change(), "ada")
    assert names(build) == [CHECKOUT, TEST]
    assert (build.cause, build.asked_by, build.supersedes, build.delivery_id) == (Cause.MANUAL, "ada", False, None)
    assert (build.ref, build.commit) == (MAIN, COMMIT)


def ended(deploy: Result | None, **fields):
    """A build of main that has ended; with a deploy that came to this."""
    if deploy is None:
        return a_build(BuildState.FINISHED, **fields)
    began = {} if deploy is not Result.SKIPPED else {"started_at": None, "duration": None}
    steps = (
        a_step(CHECKOUT, result=Result.SUCCESS),
        a_step(TEST, result=Result.SUCCESS if deploy is not Result.SKIPPED else Result.FAILURE),
        a_step(DEPLOY, result=deploy, **began),
    )
    return a_build(BuildState.FINISHED, steps=steps, **fields)


def test_a_rebuild_is_of_the_same_commit_and_says_of_which_build():
    old = ended(None, number=12, message="m", author="a")
    build = rebuild_of(TESTING, old, "ada", is_newest=True)
    assert (build.cause, build.source, build.asked_by) == (Cause.REBUILD, 12, "ada")
    assert (build.ref, build.commit, build.message, build.author) == (old.ref, old.commit, "m", "a")
    assert not build.supersedes
    assert build.delivery_id is None


def test_a_rebuild_deploys_what_the_old_one_never_began_to():
    assert names(rebuild_of(DEPLOYING, ended(Result.SKIPPED), "ada", is_newest=True)) == [CHECKOUT, TEST, DEPLOY]


@pytest.mark.parametrize(
    "deploy", (Result.SUCCESS, Result.FAILURE, Result.ERROR, Result.TIMED_OUT, Result.UNKNOWN, Result.CANCELLED, None)
)
def test_a_rebuild_never_repeats_a_deploy_however_it_ended(deploy):
    assert names(rebuild_of(DEPLOYING, ended(deploy), "ada", is_newest=True)) == [CHECKOUT, TEST]


def test_a_rebuild_never_puts_an_old_commit_in_place_of_a_newer_one():
    assert names(rebuild_of(DEPLOYING, ended(Result.SKIPPED), "ada", is_newest=False)) == [CHECKOUT, TEST]


@pytest.mark.parametrize("project", (TESTING, a_project(deploy_branch="other")))
def test_a_rebuild_does_not_deploy_a_branch_that_the_project_no_longer_deploys(project):
    assert names(rebuild_of(project, ended(Result.SKIPPED), "ada", is_newest=True)) == [CHECKOUT, TEST]


@pytest.mark.parametrize("state", (BuildState.QUEUED, BuildState.RUNNING, BuildState.CANCELLING))
def test_a_build_that_has_not_ended_is_not_run_again(state):
    with pytest.raises(IllegalMove):
        rebuild_of(TESTING, a_build(state), "ada", is_newest=True)


def test_a_deploy_is_not_run_again_by_a_rebuild():
    old = a_build(BuildState.FINISHED, tests=False, deploys=True, cause=Cause.DEPLOY)
    with pytest.raises(IllegalMove):
        rebuild_of(DEPLOYING, old, "ada", is_newest=True)


def test_the_deploy_of_a_green_build_is_of_its_commit_and_tests_nothing():
    green = a_build(BuildState.FINISHED, number=12)
    build = deploy_of(DEPLOYING, green, "ada")
    assert names(build) == [CHECKOUT, DEPLOY]
    assert (build.cause, build.source, build.asked_by) == (Cause.DEPLOY, 12, "ada")
    assert (build.ref, build.commit) == (green.ref, green.commit)
    assert not build.supersedes


def test_a_commit_whose_deploy_failed_can_be_deployed_again():
    assert names(deploy_of(DEPLOYING, ended(Result.FAILURE), "ada")) == [CHECKOUT, DEPLOY]


@pytest.mark.parametrize(
    "old",
    (
        a_build(),
        a_build(BuildState.RUNNING),
        *(a_build(result=result) for result in Result if result is not Result.SUCCESS),
        a_build(BuildState.FINISHED, tests=False, deploys=True),
    ),
)
def test_only_a_commit_whose_tests_succeeded_is_deployed(old):
    with pytest.raises(NotGreen):
        deploy_of(DEPLOYING, old, "ada")


def test_a_project_without_a_deploy_branch_deploys_nothing():
    with pytest.raises(NothingToDeploy):
        deploy_of(TESTING, a_build(BuildState.FINISHED), "ada")
