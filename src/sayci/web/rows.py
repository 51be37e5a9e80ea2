"""Lines of logs as markup: the one place where what a build has printed becomes HTML, for pages, fragments and feeds.

Every character that a build has printed goes through `visible` and `escape`; numbers, classes and colours are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from sayci.firsterror import Fold, folds_of, is_error
from sayci.loglines import RawLine, Window
from sayci.web.terminal import PLAIN, Line, Run, Screen, Style, line_of, style_after, text_of
from sayci.web.words import visible

#: What the gutter says of the line that begins at an offset: the time since the step's start; "" where nobody knows it.
Elapsed = Callable[[int], str]


def _no_time(_: int) -> str:
    return ""


def row(step: str, number: int, line: Line, elapsed: str = "", *, is_named: bool = True, marked: bool = False) -> str:
    """One line.  Only a named one can be jumped to: an excerpt has the same lines again."""
    name = f"{step}-{number}"
    classes = ' class="x"' if marked else ""
    begin = f'<li id="{name}"{classes}>' if is_named else f"<li{classes}>"
    time = f"<i>{elapsed:>7}  </i>" if elapsed else ""
    return f'{begin}<a href="#{name}">{number:4} </a>{time}{"".join(map(_run, line))}</li>'


def _run(run: Run) -> str:
    text, style = escape(visible(run.text)), run.style
    if style == PLAIN:
        return str(text)
    exact = f' data-c="{style.exact_colour}"' if style.exact_colour else ""
    exact += f' data-b="{style.exact_ground}"' if style.exact_ground else ""
    return f'<span class="{style.classes}"{exact}>{text}</span>'


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def drawn(window: Window) -> tuple[list[tuple[RawLine, Line]], Style]:
    """The lines of a window as they are to be seen, and the style after them."""
    style = style_after(_decoded(window.before))
    lines = []
    for raw in window.lines:
        left = 0 if raw.data.startswith(b"\r") else raw.left
        line, style = line_of(_decoded(raw.data), style, left=left)
        lines.append((raw, line))
    return lines, style


def rows_of(
    step: str, window: Window, elapsed: Elapsed = _no_time, *, is_named: bool = True, folds: bool = True
) -> Markup:
    """The lines of a window as lists; what is noise is folded."""
    lines, _ = drawn(window)
    texts = [text_of(line) for _, line in lines]
    shown = [
        row(step, raw.number, line, elapsed(raw.start), is_named=is_named, marked=is_error(text))
        for (raw, line), text in zip(lines, texts, strict=True)
    ]
    parts, at = [], 0
    for fold in folds_of(texts) if folds else ():
        parts += [_list(shown[at : fold.begin]), _folded(shown, fold, window.first)]
        at = fold.end
    return Markup("".join([*parts, _list(shown[at:])]))  # noqa: S704 - made by `row` alone


def _list(rows: Sequence[str]) -> str:
    return f"<ol>{''.join(rows)}</ol>" if rows else ""


def _folded(rows: Sequence[str], fold: Fold, first: int) -> str:
    span = f"Lines {first + fold.begin:,} to {first + fold.end - 1:,}: {fold.words}"
    chevron = '<svg class="i chev" aria-hidden="true"><use href="#i-chev"/></svg>'
    return (
        f'<details class="noise"><summary>{chevron}{escape(span)}</summary>'
        f"{_list(rows[fold.begin : fold.end])}</details>"
    )


class LiveRows:
    """The rows of a log as it grows, from the end of a window on."""

    def __init__(self, step: str, window: Window, elapsed: Elapsed = _no_time) -> None:
        self._step = step
        self._elapsed = elapsed
        self._offset = window.end
        _, style = drawn(window)
        self.number = window.last + 1
        self._screen = Screen(style)
        if window.is_open:  # its last line goes on: it is shown again whenever it does
            raw = window.lines[-1]
            self.number = raw.number
            self._offset = raw.start
            before = drawn(Window(window.lines[:-1], window.before, raw.start, window.total, window.size))[1]
            self._screen = Screen(before)
            self._screen.feed(_decoded(raw.data))

    def timed(self, elapsed: Elapsed) -> None:
        """From now on the gutter says this."""
        self._elapsed = elapsed

    def feed(self, text: str, end: int) -> tuple[int, str]:
        """The rows that `text` adds and changes, which ends at the offset `end`, and the number of the first of them."""
        first = self.number
        rows = []
        pieces = text.split("\n")
        for piece in pieces[:-1]:
            self._screen.feed(piece)
            rows.append(self._row())
            self._screen = Screen(self._screen.style)
            self.number += 1
            self._offset = end
        if pieces[-1]:
            self._screen.feed(pieces[-1])
            rows.append(self._row())
        return first, "".join(rows)

    def _row(self) -> str:
        line = self._screen.line()
        return row(self._step, self.number, line, self._elapsed(self._offset), marked=is_error(text_of(line)))
