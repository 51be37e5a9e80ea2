"""What happened in the last day, counted as it happens: builds, waits, deliveries, and statuses that no forge took.

It is kept in memory and begins with the server; its size is bounded, whatever happens.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sayci.build import Build
from sayci.delivery import Verdict

HOUR = 3600.0
HOURS = 24
#: Of how many builds the waits are remembered, and of how many projects that a status could not be told.
WAITS_KEPT, UNTOLD_KEPT = 500, 200


@dataclass(frozen=True, slots=True)
class Untold:
    """That a forge did not take what was to be told of a project's build: why, and when it was tried last."""

    project_id: int
    project: str
    build: int
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class Day:
    """What happened since `since`, in seconds since the epoch; `wait` is the one that half of the builds had less than."""

    since: float
    builds: Mapping[str, int]
    deliveries: Mapping[Verdict, int]
    refused: int
    wait: float | None


class Tally:
    """Counts by the hour; `clock` answers seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hours: OrderedDict[int, Counter[object]] = OrderedDict()
        self._waits: deque[tuple[float, float]] = deque(maxlen=WAITS_KEPT)
        self._untold: OrderedDict[int, Untold] = OrderedDict()
        self.since = clock()

    # -- what happens

    def ended(self, build: Build) -> None:
        """A build has ended."""
        if build.result is not None:
            self._count(f"build {build.result.value}")
        if build.started_at is not None:
            self._waits.append((self._clock(), max(0.0, build.started_at - build.created_at)))

    def decided(self, verdict: Verdict) -> None:
        """It is known what became of a delivery."""
        self._count(verdict)

    def refused(self) -> None:
        """A delivery was not taken."""
        self._count("refused")

    def told(self, project_id: int) -> None:
        """A forge took a commit status of the project."""
        self._untold.pop(project_id, None)

    def not_told(self, project_id: int, project: str, build: int, error: str) -> None:
        """It did not."""
        self._untold[project_id] = Untold(project_id, project, build, error, self._clock())
        self._untold.move_to_end(project_id)
        if len(self._untold) > UNTOLD_KEPT:
            self._untold.popitem(last=False)

    def _count(self, what: object) -> None:
        hour = int(self._clock() // HOUR)
        self._hours.setdefault(hour, Counter())[what] += 1
        while len(self._hours) > HOURS + 1:
            self._hours.popitem(last=False)

    # -- what is known

    def untold(self) -> list[Untold]:
        """The projects of which the last status was not taken, the last one first."""
        return list(reversed(self._untold.values()))

    def day(self) -> Day:
        """The last day, or what there is of it."""
        now = self._clock()
        first = int(now // HOUR) - HOURS
        total: Counter[object] = Counter()
        for hour, counts in self._hours.items():
            if hour > first:
                total.update(counts)
        waits = sorted(wait for at, wait in self._waits if at > now - HOURS * HOUR)
        return Day(
            max(self.since, now - HOURS * HOUR),
            {
                what.removeprefix("build "): n
                for what, n in total.items()
                if isinstance(what, str) and what != "refused"
            },
            {what: n for what, n in total.items() if isinstance(what, Verdict)},
            total["refused"],
            waits[len(waits) // 2] if waits else None,
        )
