"""A log on its way to a terminal: colours pass, and nothing else that would act on it."""

from __future__ import annotations

import re

#: An escape sequence that has not ended after so many characters is none.
SEQUENCE_LIMIT = 4096

# ECMA-48: control sequences; the strings OSC, DCS, SOS, PM and APC up to their end on the same line; the short ones.  Then
# single controls but tab, line feed and carriage return, C1 controls, and what reorders its neighbours.
_ACTS = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]?"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]*\x1b?|[ -/]*)?\Z")
_COLOUR = re.compile(r"[0-9;:]*\Z")
_RESET = "\x1b[0m"


class Tamed:
    """Takes a log in parts and gives back what a terminal may be shown of it.

    A sequence that is cut between two parts is recognised nevertheless.  `colour`: whether colours pass.
    """

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._rest = ""
        self._is_coloured = False

    def take(self, text: str) -> str:
        """What can be shown of the log up to the end of `text`."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - SEQUENCE_LIMIT))
        cut = unfinished.start() if unfinished else len(text)
        self._rest = text[cut:]
        return _ACTS.sub(self._kept, text[:cut])

    def end(self) -> str:
        """What is left at the end of the log, and the way back to the terminal's own colours."""
        rest, self._rest = _ACTS.sub(self._kept, self._rest), ""
        return rest + (_RESET if self._is_coloured else "")

    def _kept(self, match: re.Match[str]) -> str:
        is_colour = match["final"] == "m" and not match["between"] and _COLOUR.match(match["parameters"])
        if not is_colour or not self._colour:
            return ""
        self._is_coloured = True
        return match[0]
