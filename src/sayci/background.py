"""Work that nobody waits for: started, remembered, its failure logged, and awaited when the server stops."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure


class Background:
    """A set of running coroutines."""

    _log = Logger()

    def __init__(self) -> None:
        self._running: set[Deferred[None]] = set()

    def start(self, work: Coroutine[Deferred[Any], Any, None], what: str) -> Deferred[None]:
        """Run `work`; `what` names it in the log if it fails.  The Deferred fires when it is over, and never fails."""
        deferred = Deferred.fromCoroutine(work)
        self._running.add(deferred)

        def over(outcome: object) -> None:
            self._running.discard(deferred)
            if isinstance(outcome, Failure) and not isinstance(outcome.value, CancelledError):
                self._log.failure("{what} failed", failure=outcome, what=what)

        return deferred.addBoth(over)

    def cancel(self) -> None:
        """Cancel everything that runs."""
        for deferred in list(self._running):
            deferred.cancel()

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await DeferredList([_copy_of(deferred) for deferred in self._running])


def _copy_of(original: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when `original` does; cancelling it leaves the original alone."""
    copy: Deferred[None] = Deferred()

    def fire(outcome: None) -> None:
        copy.callback(None)
        return outcome

    original.addBoth(fire)
    return copy
