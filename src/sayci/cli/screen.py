"""What the client prints: tables, ages, colours where they are wanted; and nothing that strangers made act on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO, Any

import click

#: A cell of a table: its text, or its text and its colour.
Cell = str | tuple[str, str]

COLOURS = {
    "success": "green",
    "failure": "red",
    "error": "red",
    "timed_out": "red",
    "unknown": "magenta",
    "running": "blue",
    "cancelling": "blue",
    "built": "green",
    "failed": "red",
    "revoked": "red",
    "ready": "green",
}

_CONTROLS = str.maketrans({code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"})
# What reorders or hides its neighbours (Unicode's bidirectional and invisible characters), C1 controls, half characters.
_TRICKS = re.compile("[\x80-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")


def visible(text: object) -> str:
    """`text` on one line, with the characters that would act on a terminal shown as visible ones."""
    return _marked(" ".join(str(text).split()).translate(_CONTROLS))


def _marked(text: str) -> str:
    return _TRICKS.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def paragraphs(text: str) -> str:
    """The same with its lines kept."""
    return "\n".join(_marked(line.expandtabs().translate(_CONTROLS)) for line in text.splitlines())


# -- colours


def has_colour(stream: IO[Any]) -> bool:
    """Whether colours are wanted there: on a terminal that is not dumb, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    """`text` in the colour, where standard output has colours."""
    return click.style(text, fg=colour) if colour and has_colour(sys.stdout) else text


def coloured(word: str) -> Cell:
    """A word for a result, a state or a verdict, in its colour."""
    return word, COLOURS.get(word, "")


# -- printing


def say(text: str = "") -> None:
    """A line that was asked for, to the standard output."""
    click.echo(text)


def note(text: str) -> None:
    """A line beside what was asked for, to the standard error."""
    click.echo(text, err=True)


def say_json(value: object) -> None:
    """The API's JSON, indented; what would act on a terminal stays escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    say(re.sub(r"[\x7f]|" + _TRICKS.pattern, lambda match: f"\\u{ord(match[0]):04x}", text))


def say_table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], empty: str) -> None:
    """Aligned columns under their headings; the last one is cut at a terminal's edge.  `empty` is said of no rows."""
    if not rows:
        note(empty)
        return
    plain = [list(headings), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in plain) for column in range(len(headings))]
    room = _terminal_width() if sys.stdout.isatty() else 0
    for number, row in enumerate(plain):
        colours = ["" if isinstance(cell, str) else cell[1] for cell in rows[number - 1]] if number else []
        say(_aligned(row, widths, colours, room))


def _terminal_width() -> int:
    """As shutil has it, which takes 10 ms to import."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit():
        return int(columns[:6])
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0


def _text(cell: Cell) -> str:
    return visible(cell if isinstance(cell, str) else cell[0])


def _aligned(row: Sequence[str], widths: Sequence[int], colours: Sequence[str], room: int) -> str:
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    last = row[-1]
    if room and before + len(last) > room > before:
        last = last[: room - before - 1] + "…"
    cells = [*(text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)), last]
    if colours:
        cells = [painted(text, colour) for text, colour in zip(cells, colours, strict=True)]
    return "  ".join(cells).rstrip()


def say_facts(facts: Sequence[tuple[str, Cell | None]]) -> None:
    """Names and values, aligned; those that are empty are left out."""
    shown = [(name, cell) for name, cell in facts if cell and _text(cell)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, cell in shown:
        colour = "" if isinstance(cell, str) or cell is None else cell[1]
        say(f"{name.ljust(width)}  {painted(_text(cell or ''), colour)}")


# -- waiting


class Waiting:
    """What is being waited for, said again when it has changed."""

    def __init__(self, spinner: Any = None) -> None:
        self._spinner = spinner
        self._said = ""

    def update(self, text: str) -> None:
        """Say it, on a terminal beside something that turns, else as a line."""
        text = visible(text)
        if text == self._said:
            return
        self._said = text
        if self._spinner is None:
            note(text)
        else:
            self._spinner.update(_escaped(text))


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


@contextlib.contextmanager
def waiting() -> Iterator[Waiting]:
    """Something takes its time: a place on the standard error to say for what, on a terminal beside something that turns."""
    if not sys.stderr.isatty():
        yield Waiting()
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and seldom needed

    with Console(stderr=True, highlight=False).status("") as spinner:
        yield Waiting(spinner)


# -- words


def moment(text: object) -> float | None:
    """An RFC 3339 time as seconds since the epoch; None where there is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def age(text: object) -> str:
    """How long ago a moment was, in words; "" where there is none."""
    then = moment(text)
    if then is None:
        return ""
    passed = time.time() - then
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if passed >= size:
            number = int(passed // size)
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"


def span(seconds: float | None) -> str:
    """A time span as m:ss, from an hour on h:mm:ss; "" where there is none."""
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def between(start: object, end: object) -> float | None:
    """The seconds between two moments; up to now where the end has not come; None where it has not begun."""
    began, ended = moment(start), moment(end)
    if began is None:
        return None
    return (time.time() if ended is None else ended) - began


def size(count: object) -> str:
    """A number of bytes in words."""
    number = float(count) if isinstance(count, int | float) else 0.0
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
