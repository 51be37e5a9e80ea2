"""Whether the database can be written to: tried when somebody asks, though not as often as anybody may ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Seconds for which a good answer is believed.
BELIEVED = 5.0


class Check:
    """Those who ask while it is being tried share one answer, and a good one holds for BELIEVED seconds."""

    def __init__(self, work: Callable[[], Deferred[None]], clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._waiting: list[Deferred[None]] = []
        self._good_until = float("-inf")

    async def ask(self) -> None:
        """Raises what the work raises."""
        if self._clock() < self._good_until:
            return
        answer: Deferred[None] = Deferred()
        self._waiting.append(answer)
        if len(self._waiting) == 1:
            self._work().addBoth(self._tell)
        await answer

    def _tell(self, outcome: Any) -> None:
        waiting, self._waiting = self._waiting, []
        if not isinstance(outcome, Failure):
            self._good_until = self._clock() + BELIEVED
        for answer in waiting:
            if isinstance(outcome, Failure):
                answer.errback(outcome)
            else:
                answer.callback(None)
