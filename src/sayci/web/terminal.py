"""What a terminal would show of a line of a log: text in styles, and nothing that acts on the reader's screen.

A carriage return, a backspace and what moves within the line or erases it do what they do on a terminal, so that of a
progress bar its last state is left.  Colours, bold and the like become classes of the style sheet.  Every other escape
sequence (ECMA-48: titles, links, device control) is left out; none goes on over the end of its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

#: A line is shown up to so many characters, and in at most so many pieces.
LINE_LIMIT = 4096
RUNS_LIMIT = 200
#: How far a sequence of which the end has not come yet is waited for, in characters.
_UNFINISHED_LIMIT = 2048

# CSI; the strings OSC, DCS, SOS, PM, APC up to their end; the short ones; and the controls that move within a line.
_CONTROL = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|(?P<move>[\r\b])"
)
_SPECIAL = re.compile(r"[\x1b\r\b]")
#: What may be the beginning of a sequence at the end of what has come so far.
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\r\n]*\x1b?|[ -/]*)\Z")
_FOREGROUND = ("a8", "a1", "a2", "a3", "a4", "a5", "a6", "", "a8", "a9", "a10", "a11", "a12", "a13", "a14", "")
_BACKGROUND = ("b8", "b1", "b2", "b3", "b4", "b5", "b6", "b7")
_FLAGS = {1: "ab", 2: "ad", 3: "ai", 4: "au", 7: "av", 9: "as", 21: "au"}
_OFF = {22: ("ab", "ad"), 23: ("ai",), 24: ("au",), 27: ("av",), 29: ("as",)}
#: The levels of the colour cube of 256 colours.
_LEVELS = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: classes of the sheet, and exact colours ("#rrggbb") where the sheet's are only the nearest."""

    colour: str = ""
    ground: str = ""
    flags: frozenset[str] = frozenset()
    exact_colour: str = ""
    exact_ground: str = ""

    @property
    def classes(self) -> str:
        """The classes of the style sheet for it."""
        return " ".join(filter(None, (self.colour, self.ground, *sorted(self.flags))))


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a line in one style."""

    text: str
    style: Style = PLAIN

    @property
    def classes(self) -> str:
        """The classes of its style; "" for plain text."""
        return self.style.classes


Line = Sequence[Run]


class Screen:
    """The line that a terminal's cursor is in.  Text comes in pieces, as it is printed; none of it has a line feed."""

    def __init__(self, style: Style = PLAIN) -> None:
        self.style = style
        self._text = ""  # the whole line while it is plain, so that the usual line costs nothing
        self._cells: list[str] = []
        self._styles: list[Style] = []
        self._column = 0
        self._beyond = 0
        self._unfinished = ""

    def feed(self, text: str) -> None:
        """Print something."""
        text = self._unfinished + text
        self._unfinished = ""
        if not self._cells and not _SPECIAL.search(text) and self.style is PLAIN and not self._beyond:
            self._text += text
            if len(self._text) > 4 * LINE_LIMIT:
                self._to_cells()
            return
        self._to_cells()
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _UNFINISHED_LIMIT))
        if unfinished:
            self._unfinished = unfinished[0]
            text = text[: unfinished.start()]
        start = 0
        for match in _CONTROL.finditer(text):
            self._put(text[start : match.start()])
            start = match.end()
            self._obey(match)
        self._put(text[start:])

    def _to_cells(self) -> None:
        text, self._text = self._text, ""
        self._put(text)

    def _put(self, text: str) -> None:
        """Write over what is there, from the cursor on."""
        if not text:
            return
        column = self._column
        shown = text[: max(0, LINE_LIMIT - column)]
        missing = min(column, LINE_LIMIT) - len(self._cells)
        if missing > 0:
            self._cells += " " * missing
            self._styles += [PLAIN] * missing
        self._cells[column : column + len(shown)] = shown
        self._styles[column : column + len(shown)] = [self.style] * len(shown)
        self._column = column + len(text)
        self._beyond = max(self._beyond, self._column - LINE_LIMIT)

    def _obey(self, match: re.Match[str]) -> None:
        move, final, parameters = match["move"], match["final"], match["parameters"]
        if move is not None:
            self._column = 0 if move == "\r" else max(0, self._column - 1)
        elif final is None or parameters.startswith(("<", "=", ">", "?")):
            return
        elif final == "m":
            self.style = _styled(self.style, parameters)
        elif final in "CDGK@P":
            number = _number(parameters)
            if final == "K":
                self._erase(number)
            else:
                steps = max(1, number)
                target = {"C": self._column + steps, "D": self._column - steps, "G": steps - 1}.get(final, self._column)
                self._column = max(0, min(target, LINE_LIMIT))

    def _erase(self, what: int) -> None:
        """To the end of the line (0), to its beginning (1), or all of it (2)."""
        if what in (0, 2):
            begin = 0 if what == 2 else self._column
            del self._cells[begin:], self._styles[begin:]
            self._beyond = max(0, self._column - LINE_LIMIT) if what == 0 else 0
        elif what == 1:
            blank = min(self._column + 1, len(self._cells))
            self._cells[:blank] = " " * blank
            self._styles[:blank] = [PLAIN] * blank

    def line(self) -> Line:
        """What is to be seen now."""
        if not self._cells and not self._beyond:
            left = len(self._text) - LINE_LIMIT
            runs = [Run(self._text[:LINE_LIMIT])] if self._text else []
        else:
            left = self._beyond
            runs = list(self._pieces())
            if len(runs) > RUNS_LIMIT:
                left += sum(len(run.text) for run in runs[RUNS_LIMIT:])
                del runs[RUNS_LIMIT:]
        return [*runs, _rest(left, "character")] if left > 0 else runs

    def _pieces(self) -> Iterator[Run]:
        start = 0
        for at in range(1, len(self._cells) + 1):
            if at == len(self._cells) or self._styles[at] != self._styles[start]:
                yield Run("".join(self._cells[start:at]), self._styles[start])
                start = at


def _rest(left: int, noun: str) -> Run:
    return Run(f" … {left} more {noun}{'' if left == 1 else 's'}", Style("a8"))


def line_of(text: str, style: Style = PLAIN, *, left: int = 0) -> tuple[Line, Style]:
    """What is to be seen of one whole line, and the style after it; `left` bytes of it are not in `text`."""
    screen = Screen(style)
    screen.feed(text.rstrip("\r") if text.endswith("\r") else text)
    line = screen.line()
    return ([*line, _rest(left, "byte")] if left else line), screen.style


def lines_of(text: str, style: Style = PLAIN) -> list[Line]:
    """The lines of a log, the last one also without its line break."""
    lines: list[Line] = []
    for piece in text.removesuffix("\n").split("\n") if text else []:
        line, style = line_of(piece, style)
        lines.append(line)
    return lines


def style_after(text: str) -> Style:
    """The style that is on after some text."""
    style = PLAIN
    for match in _CONTROL.finditer(text) if "\x1b" in text else ():
        if match["final"] == "m" and not match["parameters"].startswith(("<", "=", ">", "?")):
            style = _styled(style, match["parameters"])
    return style


def plain(text: str) -> str:
    """`text` without escape sequences."""
    return re.sub(_CONTROL, lambda match: match["move"] or "", text) if "\x1b" in text else text


def text_of(line: Line) -> str:
    """The text of a line without its styles."""
    return "".join(run.text for run in line)


# ------------------------------------------------------------------------------------------------ styles


def _number(parameters: str) -> int:
    return int(parameters[:6]) if parameters[:6].isascii() and parameters[:6].isdigit() else 0


@lru_cache(maxsize=1024)
def _styled(style: Style, parameters: str) -> Style:
    """The style after "select graphic rendition"; what this sheet cannot show changes nothing."""
    codes = iter(_codes(parameters[:200]))
    for code in codes:
        if code == 0:
            style = PLAIN
        elif code in _FLAGS:
            style = replace(style, flags=style.flags | {_FLAGS[code]})
        elif code in _OFF:
            style = replace(style, flags=style.flags - set(_OFF[code]))
        elif code == 38:
            colour, exact = _extended(codes)
            style = replace(style, colour=colour, exact_colour=exact)
        elif code == 48:
            colour, exact = _extended(codes)
            style = replace(style, ground=_ground(colour), exact_ground=exact)
        elif 30 <= code <= 37 or 90 <= code <= 97 or code == 39:
            name = "" if code == 39 else _FOREGROUND[code - 30 if code < 90 else code - 82]
            style = replace(style, colour=name, exact_colour="")
        elif 40 <= code <= 47 or 100 <= code <= 107 or code == 49:
            name = "" if code == 49 else _BACKGROUND[(code - 40) % 10 % 8 if code < 100 else code - 100]
            style = replace(style, ground=name, exact_ground="")
    return style


def _codes(parameters: str) -> list[int]:
    """The numbers; "38:2::r:g:b" and "38:5:n" (ISO 8613-6) are the same as with semicolons; 4:0 is no underline."""
    codes: list[int] = []
    for part in parameters.split(";"):
        given = [_number(number) for number in part.split(":")]
        if len(given) > 1 and given[0] in (38, 48) and given[1] == 2:
            given = [*given[:2], *(given[-3:] if len(given) > 4 else given[2:])]
        elif len(given) > 1 and given[0] not in (38, 48):
            given = [24 if given[0] == 4 and given[1] == 0 else given[0]]
        codes += given
    return codes


def _extended(codes: Iterator[int]) -> tuple[str, str]:
    """The class nearest to a colour out of 256, or of 24 bits, and the colour itself; takes its parameters."""
    kind = next(codes, 0)
    if kind == 2:
        return _exact(next(codes, 0), next(codes, 0), next(codes, 0))
    if kind != 5:
        return "", ""
    number = next(codes, 0)
    if number < 16:
        return _FOREGROUND[number], ""
    if number < 232:
        cube = number - 16
        return _exact(*(_LEVELS[level] for level in (cube // 36, cube // 6 % 6, cube % 6)))
    return _exact(*[8 + 10 * (min(number, 255) - 232)] * 3)


def _exact(*colour: int) -> tuple[str, str]:
    red, green, blue = (min(level, 255) for level in colour)
    return _nearest(red, green, blue), f"#{red:02x}{green:02x}{blue:02x}"


def _nearest(red: int, green: int, blue: int) -> str:
    most, least = max(red, green, blue), min(red, green, blue)
    if most - least < 48:  # grey
        return "a8" if most < 192 else ""
    middle = (most + least) / 2
    return _FOREGROUND[(red > middle) + 2 * (green > middle) + 4 * (blue > middle)]


def _ground(colour: str) -> str:
    """The ground that goes with a foreground's class: the bright ones have the same."""
    number = int(colour[1:] or 7) if colour else 7
    return f"b{number - 8 if number > 8 else number}"
