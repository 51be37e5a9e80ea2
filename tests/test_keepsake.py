"""keepsake.py: what a backup has, and what becomes of open builds when it is taken back."""

from __future__ import annotations

import pytest

from sayci.build import BuildState, Cause
from sayci.keepsake import RAN, WAITED, is_kept, taken_back
from sayci.step import DEPLOY, TEST, Result, StepState
from tests.factories import NOW, a_build


@pytest.mark.parametrize(
    ("path", "with_logs", "without"),
    (
        ("key", True, True),
        ("ssh/id_ed25519", True, True),
        ("certs/ci.example.pem", True, True),
        ("builds/12/1-test/log", True, False),
        ("builds/12/1-test/log.gz", True, False),
        ("builds/12/removed", True, False),
        ("builds/12/1-test/log.gz.new", False, False),
        ("builds/12/1-test/exit", False, False),
        ("builds/12/1-test/pid", False, False),
        ("mirrors/1.git/HEAD", False, False),
        ("workspaces/12/tree/Makefile", False, False),
        ("sayci.sqlite", False, False),
        ("sayci.sqlite-wal", False, False),
        ("sayci.sqlite.before-0002", False, False),
        ("lock", False, False),
        ("address", False, False),
        ("backup.json", False, False),
    ),
)
def test_what_belongs_into_a_backup(path, with_logs, without):
    assert (is_kept(path, logs=True), is_kept(path, logs=False)) == (with_logs, without)


def running(step, **fields):
    """A build with a deploy in it, at `step`."""
    build = a_build(deploys=True, **fields).claimed(NOW)
    for each in build.steps:
        build = build.with_step(each.started(NOW, "handle"))
        if each.name == step:
            return build
        build = build.with_step(build.step(each.name).finished(NOW, Result.SUCCESS))
    raise AssertionError(step)


def test_a_deploy_that_ran_is_unknown():
    after = taken_back(running(DEPLOY), NOW + 5)
    assert (after.state, after.result, after.reason) == (BuildState.FINISHED, Result.UNKNOWN, RAN)
    assert (after.step(DEPLOY).result, after.step(TEST).result) == (Result.UNKNOWN, Result.SUCCESS)


def test_a_test_that_ran_is_an_error_and_nothing_is_deployed_after_it():
    after = taken_back(running(TEST), NOW + 5)
    assert (after.result, after.reason) == (Result.ERROR, RAN)
    assert (after.step(TEST).result, after.step(DEPLOY).result) == (Result.ERROR, Result.SKIPPED)
    assert all(step.state is StepState.FINISHED for step in after.steps)


def test_what_was_being_cancelled_has_ended():
    assert taken_back(running(TEST).cancelled(NOW, "cancelled by ada"), NOW).result is Result.ERROR


def test_a_deploy_that_waited_is_cancelled_and_a_test_that_waited_goes_on():
    after = taken_back(a_build(deploys=True), NOW)
    assert (after.result, after.reason) == (Result.CANCELLED, WAITED)
    assert taken_back(a_build(cause=Cause.MANUAL), NOW) == a_build(cause=Cause.MANUAL)
