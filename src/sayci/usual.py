"""How long builds usually take, and when those that wait will likely start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from sayci.build import Build, BuildState
from sayci.queue import startable

#: So many of the last successful builds say what is usual, and fewer than FEWEST say nothing.
LIKE, FEWEST = 20, 2
#: Of a build that is late, this part of the usual time is taken to be left, until it took so many times the usual.
LATE, VERY_LATE = 0.1, 2.0
#: How many waiting builds are looked at; whatever waits behind them waits long.
LOOKED_AT = 30


def usual(seconds: Sequence[float]) -> float | None:
    """The usual time: the median of the newest ones, which come first; None where too few say it."""
    return median(seconds[:LIKE]) if len(seconds) >= FEWEST else None


def left(elapsed: float, usually: float | None) -> float | None:
    """Seconds that a build likely has to go: of one that is late a little, of one that is very late nobody knows."""
    if usually is None or elapsed > VERY_LATE * usually:
        return None
    return max(usually - elapsed, LATE * usually)


def starts(
    open_builds: Iterable[Build], slots: int, usually: Callable[[Build], float | None], now: float
) -> Mapping[int, float]:
    """Seconds until each waiting build likely starts, by its id; those of which it cannot be said are left out.

    The queue is played with the usual times: whatever waits for a build of which nobody knows how long it takes has no
    answer either.
    """
    builds = sorted(open_builds, key=lambda build: build.id)
    waiting = [build for build in builds if build.state is BuildState.QUEUED][:LOOKED_AT]
    running = {build.id: build for build in builds if build.state is not BuildState.QUEUED}
    ends: dict[int, float] = {}
    for build in running.values():
        time = left(now - (build.started_at or now), usually(build))
        if time is not None:
            ends[build.id] = time
    found: dict[int, float] = {}
    moment = 0.0
    while waiting:
        for build in startable([*running.values(), *waiting], slots):
            found[build.id] = moment
            waiting.remove(build)
            running[build.id] = build.claimed(now)
            time = usually(build)
            if time is not None:
                ends[build.id] = moment + time
        if not ends:
            break
        first = min(ends, key=lambda build_id: ends[build_id])
        moment = ends.pop(first)
        del running[first]
    return found
