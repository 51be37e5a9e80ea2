"""Builds as bars: as high as they took, with a sign below that tells the result without colour; and the strip of the last."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from sayci.build import Build
from sayci.outlook import Past
from sayci.web import sayings, words

#: How many builds a strip shows, and its measures.
STRIP_LENGTH = 20
_WIDTH, _HEIGHT, _BAR = 200, 28, 7


@dataclass(frozen=True, slots=True)
class Bar:
    """A build in a strip."""

    number: int
    mark: str
    seconds: float


def bars_of(builds: Sequence[Build | Past], now: float, limit: int = STRIP_LENGTH) -> list[Bar]:
    """The newest builds (given the newest first) that have begun, the oldest first."""
    begun = [build for build in builds if build.started_at is not None][:limit]
    return [Bar(build.number, sayings.mark_of(build), seconds_of(build, now)) for build in reversed(begun)]


def seconds_of(build: Build | Past, now: float) -> float:
    """Seconds that a begun build has taken."""
    return max(0.0, sayings.took(build, now) or 0.0)


def foot(mark: str, x: float, y: float) -> str:
    """The sign below a bar, so that its shape tells the result without colour; success has none: it is the quiet case."""
    return {
        "failure": f"M{x - 2.5} {y - 2.5}l5 5m0-5l-5 5",
        "error": f"M{x} {y - 3.4:.1f}l3.6 6.4h-7.2z",
        "timedout": f"M{x - 3.4:.1f} {y - 1}h6.8v2h-6.8z",
        "cancelled": f"M{x - 2.3:.1f} {y + 2.3:.1f}l4.6-4.6",
        "unknown": f"M{x} {y - 3}l3 3-3 3-3-3z",
        "running": f"M{x - 2.2:.1f} {y}a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0z",
    }.get(mark, "")


def column(mark: str, x: float, base: float, width: float, height: float) -> str:
    """A bar as a path."""
    if mark == "timedout":  # cut: its true length is unknown
        return (
            f"M{x:g} {base:g}V{base - height + 7:.1f}h{width:g}V{base:g}z"
            f"M{x:g} {base - height + 4.5:.1f}v-2.5h{width:g}v2.5z"
        )
    inset = 0.6 if mark in ("cancelled", "running") else 0
    left, bottom, wide, high = x + inset, base - inset, width - 2 * inset, height - 2 * inset
    return f"M{left:g} {bottom:g}v-{high:.1f}h{wide:g}v{high:.1f}z"


def _drawn(bars: Sequence[Bar]) -> Iterator[tuple[str, str]]:
    """Class and path of what is to be drawn from left to right.

    Heights grow with the square root, so that short builds stay visible.
    """
    longest = max((bar.seconds for bar in bars if bar.mark != "timedout"), default=0) or 1
    step = _WIDTH / STRIP_LENGTH
    missing = STRIP_LENGTH - len(bars)
    for place in range(missing):
        yield "b-none", column("none", place * step + 1, _HEIGHT, _BAR, 2)
    for place, bar in enumerate(bars, missing):
        x = place * step + 1
        height = _HEIGHT if bar.mark == "timedout" else max(5, (_HEIGHT - 4) * math.sqrt(bar.seconds / longest))
        yield f"b-{bar.mark}", column(bar.mark, x, _HEIGHT, _BAR, height)
        yield f"m-{bar.mark}", foot(bar.mark, x + 3.5, _HEIGHT + 6)


def strip(bars: Sequence[Bar]) -> Markup:
    """The last builds as a picture, with the same said in a sentence."""
    return _strip(tuple(bars))


@functools.lru_cache(maxsize=1000)
def _strip(bars: tuple[Bar, ...]) -> Markup:
    counts = Counter(sayings.MARKS[bar.mark] for bar in bars)
    said = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    label = "No builds yet."
    if bars:
        label = f"Last {words.counted(len(bars), 'build')}: {said}."
        label += f" Latest: #{bars[-1].number} {sayings.MARKS[bars[-1].mark]}."
    paths: dict[str, str] = {}  # one path for all that looks alike: a page has many strips
    for kind, path in _drawn(bars):
        if path:
            paths[kind] = paths.get(kind, "") + path
    drawn = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in paths.items())
    return Markup(  # noqa: S704 - numbers and our own words alone
        f'<svg class="strip" viewBox="0 0 {_WIDTH} {_HEIGHT + 10}" role="img" aria-label="{escape(label)}">{drawn}</svg>'
    )
