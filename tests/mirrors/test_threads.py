"""threads.py: functions that block, away from the reactor's thread."""

from __future__ import annotations

import threading

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from sayci.errors import RepositoryUnreachable


@pytest_twisted.ensureDeferred
async def test_an_answer_comes_from_another_thread(threads):
    assert await threads.call(threading.get_ident) != threading.get_ident()
    assert await threads.call(max, 1, 2) == 2


@pytest_twisted.ensureDeferred
async def test_a_mistake_is_raised(threads):
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 / 0)


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_worth_another_try(threads):
    def write():
        raise OSError(28, "No space left on device")

    with pytest.raises(RepositoryUnreachable, match="No space left on device"):
        await threads.call(write)


@pytest_twisted.ensureDeferred
async def test_a_cancelled_call_waits_until_the_thread_has_come_back(threads):
    go_on, done = threading.Event(), []

    def work():
        go_on.wait(30)
        done.append(True)

    call = Deferred.fromCoroutine(threads.call(work))
    call.addErrback(lambda failure: (failure.check(CancelledError), list(done)))
    call.cancel()
    go_on.set()
    assert await call == (CancelledError, [True])
