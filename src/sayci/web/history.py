"""What earlier builds say of one: which came before it, and how long such builds usually take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from markupsafe import Markup, escape

from sayci.build import Build
from sayci.step import Result, Step
from sayci.web.sayings import MARKS, mark_of
from sayci.web.words import duration

#: Among how many builds of a branch what is usual is sought.
LOOKED_AT = 20
#: How few of a kind say nothing of what is usual.
FEWEST = 3


@dataclass(frozen=True, slots=True)
class History:
    """What came before a build on its ref: the last one that ended, and the usual seconds of each step."""

    before: Build | None = None
    usual: Mapping[str, float] = field(default_factory=dict)

    def total(self, build: Build) -> float | None:
        """The usual seconds of all steps of a build; None where one is not known."""
        known = [self.usual.get(step.name) for step in build.steps]
        return sum(seconds for seconds in known if seconds is not None) if None not in known else None


def history_of(earlier: Sequence[Build]) -> History:
    """From the builds before one (the newest first) on the same ref."""
    ended = [build for build in earlier if build.result not in (None, Result.CANCELLED, Result.SKIPPED)]
    times: dict[str, list[float]] = {}
    for build in ended:
        for step in build.steps:
            if step.result is Result.SUCCESS and step.duration is not None:
                times.setdefault(step.name, []).append(step.duration)
    usual = {name: median(seconds) for name, seconds in times.items() if len(seconds) >= FEWEST}
    return History(ended[0] if ended else None, usual)


def seconds_of(step: Step, now: float) -> float:
    """How long a step has run."""
    if step.duration is not None:
        return step.duration
    return 0.0 if step.started_at is None else max(0.0, now - step.started_at)


def timeline(build: Build, usual: float | None, now: float) -> Markup:
    """The build as one line in proportion to its times: waiting, steps, and what is missing to the usual time."""
    waited = max(0.0, (build.started_at or build.finished_at or now) - build.created_at)
    parts = [("wait", waited, "Waited")] if waited >= 1 else []
    for step in build.steps:
        seconds = seconds_of(step, now)
        if step.started_at is not None and seconds > 0:
            parts.append((_paint(step), seconds, f"{step.name} {MARKS[mark_of(step)]}"))
    ran = sum(seconds for paint, seconds, _ in parts if paint != "wait")
    if usual is not None and usual > ran:
        parts.append(("b-none", usual - ran, ""))
    total = sum(seconds for _, seconds, _ in parts)
    if not total:
        return Markup()
    said = ", ".join(f"{words} {duration(seconds)}" for _, seconds, words in parts if words)
    said = f"{said}. Usual total {duration(usual)}." if usual is not None else f"{said}."
    return Markup(  # noqa: S704 - numbers and our own words alone
        f'<svg class="tl" role="img" aria-label="{escape(said)}">{"".join(_rects(parts, total))}</svg>'
    )


def _paint(step: Step) -> str:
    mark = mark_of(step)
    return "m-running" if mark == "running" else f"b-{mark}"


def _rects(parts: Sequence[tuple[str, float, str]], total: float) -> list[str]:
    """Each at least so wide that it can be seen."""
    least = 0.006 * total
    widths = [max(seconds, least) for _, seconds, _ in parts]
    drawn, x = [], 0.0
    for (paint, _, _), width in zip(parts, widths, strict=True):
        share = 100 * width / sum(widths)
        drawn.append(
            f'<rect class="{paint}" x="{x:.2f}%" y="1" width="{max(0.3, share - 0.25):.2f}%" height="8" rx="1.5"/>'
        )
        x += share
    return drawn
