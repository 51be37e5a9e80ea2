"""How pages are drawn: the templates, and the pictures that are made of values: icons, marks, strips of builds.

What a template prints is escaped, and what in it would act on the reader is made visible, wherever it comes from; only
what is drawn here is markup.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sayci.build import Build
from sayci.outlook import Past
from sayci.web import sayings, validity, words
from sayci.web.assets import Assets, packaged

#: How many builds a strip shows, and its measures.
STRIP_LENGTH = 20
_WIDTH, _HEIGHT, _BAR = 200, 28, 7


def _symbols() -> Mapping[str, str]:
    """Name -> the rest of its <symbol> element."""
    return dict(re.findall(r'<symbol id="(\w+)" (viewBox=.*?</symbol>)', packaged("icons.svg").decode()))


class Sheet:
    """One page while it is drawn: it remembers which icons it uses, so that it carries those alone."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._used: set[str] = set()

    def icon(self, name: str, more: str = "", *, still: bool = False) -> Markup:
        """An icon; KeyError for one that there is not.  `more` are further classes; a `still` one does not turn."""
        if name not in self._symbols:
            raise KeyError(name)
        self._used.add(name)
        classes = [
            "i",
            *([name] if name in sayings.MARKS else []),
            *(["spin"] if name == "running" and not still else []),
            more,
        ]
        shown = " ".join(word for word in classes if word)
        return Markup('<svg class="{}" aria-hidden="true"><use href="#i-{}"/></svg>').format(shown, name)

    def mark(self, name: str, word: str = "") -> Markup:
        """A mark's icon and word in its colour."""
        return Markup('<span class="res {}">{}{}</span>').format(
            name, self.icon(name), words.visible(word or sayings.MARKS[name])
        )

    def sprite(self) -> Markup:
        """The icons that the page has used; to be printed last."""
        drawn = [f'<symbol id="i-{name}" {self._symbols[name]}' for name in sorted(self._used)]
        return Markup(f'<svg hidden aria-hidden="true">{"".join(drawn)}</svg>')  # noqa: S704 - our own icons


# ------------------------------------------------------------------------------------------------ strips


@dataclass(frozen=True, slots=True)
class Bar:
    """A build in a strip."""

    number: int
    mark: str
    seconds: float


def bars_of(builds: Sequence[Build | Past], now: float) -> list[Bar]:
    """The newest builds (given the newest first) that have begun, the oldest first."""
    begun = [build for build in builds if build.started_at is not None][:STRIP_LENGTH]
    return [Bar(build.number, sayings.mark_of(build), seconds_of(build, now)) for build in reversed(begun)]


def seconds_of(build: Build | Past, now: float) -> float:
    """Seconds that a begun build has taken."""
    return max(0.0, sayings.took(build, now) or 0.0)


def _foot(mark: str, x: float, y: float) -> str:
    """The sign below a bar, so that its shape tells the result without colour; success has none: it is the quiet case."""
    return {
        "failure": f"M{x - 2.5} {y - 2.5}l5 5m0-5l-5 5",
        "error": f"M{x} {y - 3.4:.1f}l3.6 6.4h-7.2z",
        "timedout": f"M{x - 3.4:.1f} {y - 1}h6.8v2h-6.8z",
        "cancelled": f"M{x - 2.3:.1f} {y + 2.3:.1f}l4.6-4.6",
        "unknown": f"M{x} {y - 3}l3 3-3 3-3-3z",
        "running": f"M{x - 2.2:.1f} {y}a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0z",
    }.get(mark, "")


def _column(mark: str, x: float, base: float, width: float, height: float) -> str:
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
        yield "b-none", _column("none", place * step + 1, _HEIGHT, _BAR, 2)
    for place, bar in enumerate(bars, missing):
        x = place * step + 1
        height = _HEIGHT if bar.mark == "timedout" else max(5, (_HEIGHT - 4) * math.sqrt(bar.seconds / longest))
        yield f"b-{bar.mark}", _column(bar.mark, x, _HEIGHT, _BAR, height)
        yield f"m-{bar.mark}", _foot(bar.mark, x + 3.5, _HEIGHT + 6)


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


# ------------------------------------------------------------------------------------------------ templates


def _printed(value: object) -> object:
    """What a template prints: text of strangers is made visible before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else words.visible(value)


class Look:
    """Draws pages."""

    def __init__(self, assets: Assets) -> None:
        self._symbols = _symbols()
        self._templates = Environment(
            loader=PackageLoader("sayci.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printed,
            auto_reload=False,
        )
        self._templates.globals.update(asset=assets.path, strip=strip)
        for name in ("age", "counted", "date", "duration", "minutes", "size", "stamp"):
            self._templates.globals[name] = getattr(words, name)
        for name in ("favicon", "first_line", "given_to", "in_short", "mark_of", "took", "what_started", "why_skipped"):
            self._templates.globals[name] = getattr(sayings, name)
        for name in (
            "failure_of",
            "left_of",
            "mark_of_certificate",
            "meaning_of",
            "needs_a_person",
            "news_of",
            "renewal_of",
        ):
            self._templates.globals[name] = getattr(validity, name)
        self._templates.globals |= {
            "can_be_replayed": sayings.can_be_replayed,
            "doing": sayings.doing,
            "progress_words": sayings.progress,
            "verdict": sayings.verdict,
            "marks": sayings.MARKS,
        }

    def draw(self, template: str, values: Mapping[str, Any]) -> bytes:
        """The page as UTF-8."""
        sheet = Sheet(self._symbols)
        drawn = self._templates.get_template(template).render(
            values, icon=sheet.icon, mark=sheet.mark, sprite=sheet.sprite
        )
        return drawn.encode("utf-8", "replace")
