"""Timers that keep time: they run on the clock that nobody sets, whatever becomes of the one on the wall.

Twisted's reactor measures its timers by the time of day. Where that is set forward by hours (a machine that wakes, a first
answer of NTP) every limit would be over at once; where it is set back, nothing would happen for as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def make_steady(
    reactor: Any, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
) -> None:
    """Let `reactor` measure time by the monotonic clock, in seconds since whenever; what waits already waits as long.

    From then on its `seconds` are good for differences alone: who wants the time of day asks for it.
    """
    if reactor.seconds is monotonic:
        return
    behind = wall() - monotonic()
    for call in reactor.getDelayedCalls():
        call.time -= behind
        call.seconds = monotonic
    reactor.seconds = monotonic
