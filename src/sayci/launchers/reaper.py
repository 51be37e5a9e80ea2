"""As the first process of a container: takes note of the end of processes whose parents are gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from typing import Any


def adopt_orphans(reactor: Any, own: Collection[int], reap_own: Callable[[], object]) -> None:
    """From now on reap every process that is given to us because its parent has ended.

    `own` are those that somebody else reaps, by `reap_own`.  It is for the process with the number 1, once the reactor
    runs: its handler of this signal does nothing, and ours takes its place (what wakes it is signal.set_wakeup_fd).
    """

    def child_ended(*_: object) -> None:
        reactor.callFromThread(reap_orphans, own, reap_own)

    signal.signal(signal.SIGCHLD, child_ended)
    signal.siginterrupt(signal.SIGCHLD, False)
    reap_orphans(own, reap_own)  # those that have ended before


def reap_orphans(own: Collection[int], reap_own: Callable[[], object]) -> list[int]:
    """Reap all that have ended; returns the numbers of those that were nobody's."""
    reaped = []
    while (ended := _ended()) is not None:
        if ended in own:
            reap_own()
        else:
            os.waitpid(ended, 0)
            reaped.append(ended)
    return reaped


def _ended() -> int | None:
    """A child that has ended and was not reaped; it stays so."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found is not None else None
