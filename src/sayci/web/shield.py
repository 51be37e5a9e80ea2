"""Work that goes on to its end although the one who asked for it has gone."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")

_log = Logger()


def shielded(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """Run `work`, and fire as it ends; cancelling what is returned does not reach it.

    Klein cancels a handler whose client goes away.  A verb that is cut between the store and the bus would leave a build
    on disk that nobody starts, so verbs are shielded; if one fails when nobody listens any more, that is logged.
    """
    told: Deferred[T] = Deferred()

    def over(outcome: T | Failure) -> None:
        if not told.called:
            told.callback(outcome)
        elif isinstance(outcome, Failure):
            _log.failure("a request whose client had gone failed", outcome)

    Deferred.fromCoroutine(work).addBoth(over)
    return told
