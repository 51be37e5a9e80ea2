"""How pages are drawn: the templates, and the pictures that are made of values: icons, marks, strips of builds.

What a template prints is escaped, and what in it would act on the reader is made visible, wherever it comes from; only
what is drawn here is markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sayci.web import arrivals, bars, plot, sayings, validity, words
from sayci.web.assets import Assets, packaged


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
        self._templates.globals.update(asset=assets.path, strip=bars.strip, plot=plot.plot)
        for name in ("age", "counted", "date", "duration", "minutes", "size", "so_long", "stamp"):
            self._templates.globals[name] = getattr(words, name)
        for name in (
            "favicon",
            "first_line",
            "given_to",
            "in_short",
            "mark_of",
            "message_of",
            "took",
            "what_started",
            "why_skipped",
        ):
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
            "can_be_replayed": arrivals.can_be_replayed,
            "doing": sayings.doing,
            "progress_words": sayings.progress,
            "is_about_the_secret": arrivals.is_about_the_secret,
            "verdict": arrivals.verdict,
            "why_refused": arrivals.why_refused,
            "marks": sayings.MARKS,
        }

    def draw(self, template: str, values: Mapping[str, Any]) -> bytes:
        """The page as UTF-8."""
        sheet = Sheet(self._symbols)
        drawn = self._templates.get_template(template).render(
            values, icon=sheet.icon, mark=sheet.mark, sprite=sheet.sprite
        )
        return drawn.encode("utf-8", "replace")
