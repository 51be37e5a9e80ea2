"""What a terminal would show of a log: lines of text with basic colours, and nothing that acts on the reader's screen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

#: A line is shown up to so many characters, and in at most so many colours.
LINE_LIMIT = 4096
RUNS_LIMIT = 200

# Escape sequences (ECMA-48): CSI; the strings OSC, DCS, SOS, PM, APC up to their end; and the short ones.
_ESCAPE = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOURS = {30: "a8", 31: "a1", 32: "a2", 33: "a3", 34: "a4", 35: "a5", 36: "a6", 37: ""}


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: one of the sheet's colour classes, or none; bold or not."""

    colour: str = ""
    bold: bool = False

    @property
    def classes(self) -> str:
        """The classes of the style sheet for it."""
        return f"{self.colour} ab".lstrip() if self.bold else self.colour


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a line in one style; `classes` is "" for plain text."""

    text: str
    classes: str = ""


Line = Sequence[Run]


def lines_of(text: str) -> list[Line]:
    """The lines of a log, the last one also without its line break; what a carriage return overwrote is left out."""
    style = PLAIN
    lines: list[Line] = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        overwritten, _, kept = line.rstrip("\r").rpartition("\r")
        _, style = _runs(overwritten, style)
        runs, style = _runs(kept, style)
        lines.append(_short(runs))
    return lines


def plain(text: str) -> str:
    """`text` without escape sequences."""
    return _ESCAPE.sub("", text)


def _runs(text: str, style: Style) -> tuple[list[Run], Style]:
    """The text in pieces of one style each, and the style after it."""
    runs: list[Run] = []
    start = 0
    for match in _ESCAPE.finditer(text):
        if match.start() > start:
            runs.append(Run(text[start : match.start()], style.classes))
        start = match.end()
        if match["final"] == "m" and not match["parameters"].startswith(("<", "=", ">", "?")):
            style = _styled(style, match["parameters"])
    if start < len(text):
        runs.append(Run(text[start:], style.classes))
    return runs, style


def _short(runs: Sequence[Run]) -> Line:
    """The runs up to the limits, and a note of what was cut."""
    shown: list[Run] = []
    room = LINE_LIMIT
    for run in runs[:RUNS_LIMIT]:
        shown.append(replace(run, text=run.text[:room]))
        room -= len(run.text)
        if room <= 0:
            break
    left = sum(len(run.text) for run in runs) - sum(len(run.text) for run in shown)
    return [*shown, Run(f" … {left} more characters", "a8")] if left else shown


@lru_cache(maxsize=1024)
def _styled(style: Style, parameters: str) -> Style:
    """The style after "select graphic rendition"; what this sheet cannot show changes nothing."""
    codes = iter([int(code) if code.isascii() and code.isdigit() else 0 for code in parameters[:100].split(";")])
    for code in codes:
        if code == 0:
            style = PLAIN
        elif code in (1, 22):
            style = replace(style, bold=code == 1, colour="" if code == 22 and style.colour == "a8" else style.colour)
        elif code == 2:
            style = replace(style, colour="a8")
        elif code in (38, 48):
            colour = _extended(codes)
            style = replace(style, colour=colour) if code == 38 else style
        elif code == 39:
            style = replace(style, colour="")
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = replace(style, colour="a8" if code == 90 else _COLOURS[code - 60 if code >= 90 else code])
    return style


def _extended(codes: Iterator[int]) -> str:
    """The class nearest to a colour out of 256, or of 24 bits; takes its parameters."""
    kind = next(codes, 0)
    if kind == 2:
        return _nearest(next(codes, 0), next(codes, 0), next(codes, 0))
    if kind != 5:
        return ""
    number = next(codes, 0)
    if number < 16:
        return "a8" if number == 8 else _COLOURS[30 + number % 8]
    if number < 232:
        cube = number - 16
        return _nearest(*(51 * level for level in (cube // 36, cube // 6 % 6, cube % 6)))
    return "a8" if number < 250 else ""


def _nearest(red: int, green: int, blue: int) -> str:
    most, least = max(red, green, blue), min(red, green, blue)
    if most - least < 48:  # grey
        return "a8" if most < 192 else ""
    middle = (most + least) / 2
    return _COLOURS[30 + (red > middle) + 2 * (green > middle) + 4 * (blue > middle)]
