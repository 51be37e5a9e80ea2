"""What may go because it is old or too much, given what is there: pure rules, by age, by number and by size.

What explains the present stays, however old it is: what waits or runs, and of each branch its newest build, its newest
green one, its newest that was deployed, and a deploy of which nobody knows how it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sayci.step import Result

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What the operator wants kept; 0 keeps for ever, or without limit.

    `builds` counts for each project; `log_bytes` is what all logs take of the disk.
    """

    days: int = 365
    builds: int = 2000
    log_days: int = 90
    log_bytes: int = 20 << 30
    delivery_days: int = 90
    body_days: int = 14


@dataclass(frozen=True, slots=True)
class Remains:
    """What has to be known of a build to say whether it may go; `ended_at` is None while it is open.

    `is_green`: its tests succeeded; `deploy`: how its deploy ended, None where there was none.
    """

    id: int
    number: int
    ref: str
    ended_at: float | None
    is_green: bool = False
    deploy: Result | None = None


def needed(builds: Iterable[Remains]) -> frozenset[int]:
    """The ids of a project's builds that explain the present."""
    kept: dict[tuple[str, str], int] = {}
    found: set[int] = set()
    for build in sorted(builds, key=lambda build: -build.number):
        if build.ended_at is None:
            found.add(build.id)
        kept.setdefault((build.ref, "newest"), build.id)
        if build.is_green:
            kept.setdefault((build.ref, "green"), build.id)
        if build.deploy is Result.SUCCESS:
            kept.setdefault((build.ref, "deployed"), build.id)
        if build.deploy is Result.UNKNOWN and (build.ref, "deployed") not in kept:
            found.add(build.id)
    return frozenset(found | set(kept.values()))


def _before(now: float, days: int) -> float:
    """The moment before which something is too old; in no time where it is kept for ever."""
    return now - days * DAY if days else -1.0


def builds_to_go(builds: Sequence[Remains], keep: Keep, now: float) -> list[int]:
    """The ids of a project's builds that may go, the oldest first."""
    stay = needed(builds)
    newest_first = sorted(builds, key=lambda build: -build.number)
    beyond = {build.id for build in newest_first[keep.builds :]} if keep.builds else set()
    too_old = _before(now, keep.days)
    return [
        build.id
        for build in reversed(newest_first)
        if build.id not in stay and build.ended_at is not None and (build.id in beyond or build.ended_at < too_old)
    ]


def logs_to_go(
    ended: Mapping[int, float], stay: frozenset[int], sizes: Mapping[int, int], keep: Keep, now: float
) -> list[int]:
    """The ids of the builds whose logs may go, the oldest first.

    `ended` says when each build of all projects ended, `sizes` what the logs of those that have some take of the disk;
    `stay` are those that explain the present.
    """
    too_old = _before(now, keep.log_days)
    total = sum(sizes.values())
    gone: list[int] = []
    for build_id in sorted(ended.keys() & sizes.keys() - stay, key=lambda build_id: (ended[build_id], build_id)):
        is_too_much = bool(keep.log_bytes) and total > keep.log_bytes
        if is_too_much or ended[build_id] < too_old:
            gone.append(build_id)
            total -= sizes[build_id]
    return gone


def deliveries_before(keep: Keep, now: float) -> tuple[float, float]:
    """The moments before which bodies of deliveries, and deliveries altogether, may go.  Bodies go first."""
    deliveries = _before(now, keep.delivery_days)
    return max(deliveries, _before(now, keep.body_days)), deliveries
