"""shield.py: work that is not broken off with the one who asked for it."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from sayci.web.shield import shielded


@pytest_twisted.ensureDeferred
async def test_what_it_answers_or_raises_is_passed_on():
    async def answer():
        return 5

    async def fail():
        raise KeyError("x")

    assert await shielded(answer()) == 5
    with pytest.raises(KeyError):
        await shielded(fail())


def test_cancelling_ends_the_waiting_and_not_the_work():
    gate: Deferred[None] = Deferred()
    done = []

    async def work():
        await gate
        done.append("all of it")

    waiting = shielded(work())
    told = []
    waiting.addErrback(lambda failure: told.append(failure.type))
    waiting.cancel()
    assert (told, done) == ([CancelledError], [])
    gate.callback(None)
    assert done == ["all of it"]


def test_a_failure_that_nobody_waits_for_is_logged():
    gate: Deferred[None] = Deferred()

    async def work():
        await gate

    waiting = shielded(work())
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    with capturedLogs() as logged:
        gate.errback(KeyError("x"))
    assert [event["log_failure"].type for event in logged] == [KeyError]
