"""The plot of a project's last builds: a bar for each, as long as the build took, and a line at what is usual.

Whoever cannot see it has the same numbers in the table of builds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup, escape

from sayci.web import sayings, words
from sayci.web.bars import Bar, column, foot

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _ABOVE, _BELOW = 800, 150, 40, 78, 6, 32
#: The distances of the lines, in seconds, of which the first is taken that makes few enough of them.
_UNITS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_LINES = 5
#: With fewer builds than these there is room left on the side of the past.
FEWEST = 20

#: Where a number of seconds is, in the picture's units from its top.
Scale = Callable[[float], float]


def plot(bars: Sequence[Bar], usual: float | None) -> Markup:
    """A picture of builds, the oldest first; `usual` is in seconds."""
    longest = max([bar.seconds for bar in bars if bar.mark != "timedout"] + [usual or 0, 1])
    unit = next((unit for unit in _UNITS if longest * 1.1 <= unit * _LINES), _UNITS[-1])
    highest = unit * max(1, math.ceil(longest * 1.1 / unit))
    base = _ABOVE + _HEIGHT

    def y(seconds: float) -> float:
        return base - _HEIGHT * min(1.0, seconds / highest)

    drawn = [*_lines(highest, unit, y), *_bars(bars, base, y)]
    if usual is not None:
        drawn.append(
            f'<line class="usual" x1="{_LEFT}" x2="{_WIDTH - 68}" y1="{y(usual):.1f}" y2="{y(usual):.1f}"/>'
            f'<text class="usual-t" x="{_WIDTH}" y="{y(usual) + 4:.1f}" text-anchor="end">'
            f"usual {words.duration(usual)}</text>"
        )
    return Markup(  # noqa: S704 - numbers and our own words alone
        f'<svg viewBox="0 0 {_WIDTH} {base + _BELOW}" role="img" aria-label="{escape(_label(bars, usual))}">'
        f"{''.join(drawn)}</svg>"
    )


def _label(bars: Sequence[Bar], usual: float | None) -> str:
    counts = Counter(sayings.MARKS[bar.mark] for bar in bars)
    said = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    usually = f"Usual {words.duration(usual)}. " if usual is not None else ""
    longest = words.duration(max((bar.seconds for bar in bars), default=0))
    return (
        f"How long the last {words.counted(len(bars), 'build')} took. {usually}Longest {longest}. {said}. "
        "The table of builds has every number."
    )


def _lines(highest: float, unit: float, y: Scale) -> Iterator[str]:
    for step in range(round(highest / unit) + 1):
        at = y(step * unit)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{words.duration(step * unit)}</text>'


def _bars(bars: Sequence[Bar], base: float, y: Scale) -> Iterator[str]:
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(bars), FEWEST)
    width = round(step * 0.68, 1)
    for place, bar in enumerate(bars, max(0, FEWEST - len(bars))):
        x = round(_LEFT + 4 + place * step, 1)
        height = _HEIGHT if bar.mark == "timedout" else max(3.0, base - y(bar.seconds))
        below = foot(bar.mark, x + width / 2, base + 8)
        title = f"#{bar.number} {sayings.MARKS[bar.mark]}, {words.duration(bar.seconds)}"
        shape = f'<path class="b-{bar.mark}" d="{column(bar.mark, x, base, width, height)}"/>'
        sign = f'<path class="m-{bar.mark}" d="{below}"/>' if below else ""
        yield f"<g><title>{title}</title>{shape}{sign}</g>"
        if (max(len(bars), FEWEST) - 1 - place) % 8 == 0:
            yield f'<text x="{x + width / 2:.1f}" y="{base + 27}" text-anchor="middle">#{bar.number}</text>'
