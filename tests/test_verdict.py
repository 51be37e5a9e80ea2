"""verdict.py: each way to end has its result and its words."""

from __future__ import annotations

import pytest

from sayci.interfaces import Ended
from sayci.limits import Limits
from sayci.step import Result
from sayci.verdict import verdict_of

LIMITS = Limits(60.0, 5.0, 1 << 20, True, 100, 50 << 30, 20 << 30, 64)


def told(ended, tail=b"", step="test"):
    result, reason = verdict_of(step, step, ended, tail, LIMITS)
    return result.value, reason


@pytest.mark.parametrize(
    ("why", "result", "words"),
    (
        ("time_limit", "timed_out", "make test was stopped after 60 s, its time limit"),
        ("silence_limit", "timed_out", "make test was stopped: it printed nothing for 5 s"),
        ("output_limit", "failure", "make test was stopped: it printed more than 1 MiB"),
        ("process_limit", "failure", "make test was killed: it had 100 processes and threads at a time, its limit"),
        ("memory_limit", "failure", "make test was killed: out of memory, its processes took more than 50 GiB"),
        ("workspace_limit", "failure", "make test was stopped: its workspace took more than 20 GiB of the disk"),
        ("cancelled", "cancelled", ""),
    ),
)
def test_a_step_that_was_ended_says_for_what(why, result, words):
    assert told(Ended(-9, why)) == (result, words)


@pytest.mark.parametrize("code", (-11, -9, 1, 2, 77, 255))
def test_a_step_that_ended_by_itself_says_how(code):
    words = {-11: "make test was killed by SIGSEGV", -9: "make test was killed by SIGKILL"}
    assert told(Ended(code)) == ("failure", words.get(code, f"make test, exit {code}"))


@pytest.mark.parametrize(
    ("ended", "tail", "words"),
    (
        (
            Ended(2, memory_kills=1),
            b"Killed\n",
            "; meanwhile this machine ran out of memory, and processes were killed for it",
        ),
        (Ended(2), b"sh: 1: Cannot fork\n", "; it may have reached its limit of 100 processes and threads"),
        (Ended(1), b"OSError: Too many open files\n", "; each of its processes may have 64 files open"),
        (Ended(2), b"no test passed\n", ""),
    ),
)
def test_what_may_be_why_a_command_failed_is_told_with_it(ended, tail, words):
    assert told(ended, tail) == ("failure", f"make test, exit {ended.exit_code}{words}")


def test_a_success_stays_one_though_somebody_else_ran_out_of_memory():
    assert told(Ended(0, memory_kills=3), b"all well\n") == ("success", "")


def test_what_became_of_a_deploy_is_never_guessed():
    assert told(Ended(None, "lost"), step="deploy")[0] == Result.UNKNOWN.value
    assert told(Ended(None, "lost"))[0] == Result.ERROR.value
