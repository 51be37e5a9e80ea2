"""Which lines of a log say that something is wrong, and which say nothing at all: pure functions over what tools print.

The first of the lines in a failed step's log that looks like an error is where its reader wants to be.  It is sought by
words that such lines have (over bytes, quickly) and confirmed by patterns (over the few lines that have them).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sayci.loglines import ESCAPES, Read

#: How much of a log is looked through for its first error, from its end, in bytes.
REACH = 8 * 1024 * 1024
#: How much is read at a time, in bytes; how many lines are looked at closely; how long a line may be to be an error.
PART = 1024 * 1024
CLOSELY = 20_000
LONGEST = 2000
#: How many errors are told.
ERRORS_LIMIT = 4

#: A line that is an error has one of these.  To look for each by itself is a hundred times faster than by one pattern.
_SIGNS = (
    *(b"rror", b"ERR", b"FAIL", b"***", b"Traceback", b"not ok", b"panic", b"atal", b"FATAL", b"undefined reference"),
    *(
        b"cannot find",
        b"No such file",
        b"not found",
        b"Segmentation",
        b"core dumped",
        b"terminate called",
        b"Exception",
    ),
    *(b"Aborted", b"Killed", b"E  ", " ● ".encode(), " ✗ ".encode(), " ✘ ".encode(), " ✖ ".encode(), b"Assertion"),
)
_ERRORS = re.compile(
    r"^(?:"
    r"[^\s:][^:]*(?::\d+)+:? (?:fatal )?error\b"  # cc, clang, go vet, mypy: file:line:column: error
    r"|\S+\(\d+(?:,\d+)?\): (?:fatal )?error\b"  # tsc, MSVC: file(1,2): error
    r"|(?:fatal )?(?:error|Error|ERROR)(?:\[[A-Z]\d+\])?: "  # rustc, git, pip, unittest
    r"|(?:FAIL|FAILED|ERROR|ERRORS?)[: ]+\S"  # unittest, pytest's summary, jest
    r"|\[(?:ERROR|error)\] "  # Maven, sbt
    r"|E   +\S"  # pytest's explanation
    r"|Traceback \(most recent call last\):"
    r"|\S*make(?:\[\d+\])?: \*\*\* "
    r"|not ok\b(?!.*# *(?:TODO|SKIP))"  # TAP
    r"|--- FAIL: |FAIL\t|panic: "  # go
    r"|thread '.*' \S*\s?panicked at "
    r"|fatal: |Fatal error|FATAL[: ]"  # git, node, PHP
    r"|npm (?:ERR!|error) "
    r"|(?:Uncaught )?(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception)(?: \[\w+\])?: "  # JavaScript, Python, Java
    r"|Exception in thread |terminate called |Segmentation fault|Aborted|Killed$"
    r")"
    r"|: (?:fatal )?error: "  # ld: error:, PROGRAM: error:
    r"|: undefined reference to |: cannot find -l|: (?:command )?not found$|: No such file or directory$"
    r"|\bAssertion .* failed\b|: Assertion failed"
    r"| FAILED(?:\s|$)|\*\*\*(?:Failed|Exception|Timeout|Not Run)\b"  # pytest -v, gradle, ctest
    r"|\(core dumped\)"
    r"|^\s+(?:● |✗ |✘ |✖ )\S"  # jest, mocha
)
#: What has the words of an error and is none: tests that passed, counts of nothing, commands and their options.
_NOT = re.compile(
    r"^(?:ok |PASS|\s*(?:✓|✔|√) )|\b(?:0|no) (?:errors?|fail(?:ed|ures?)?)\b|\bPASSED\b"
    r"|^\S*(?:cc|gcc|g\+\+|clang|clang\+\+) -"
    r"|\(ignored\)$|^(?:E|ERROR|FAIL)S?:? *0\b"
)


def is_error(text: str) -> bool:
    """Whether a line, without escape sequences, says that something is wrong."""
    line = text[:LONGEST].rstrip()
    return bool(_ERRORS.search(line)) and not _NOT.search(line)


@dataclass(frozen=True, slots=True)
class Errors:
    """The numbers of the first lines that are errors."""

    lines: tuple[int, ...] = ()

    @property
    def first(self) -> int | None:
        """The first of all."""
        return self.lines[0] if self.lines else None


def errors_in(read: Read, start: int, ended: int, size: int) -> Errors:
    """The first errors from the offset `start` on, which `ended` lines end before."""
    found: list[int] = []
    looked_at = 0
    while start < size and len(found) < ERRORS_LIMIT and looked_at < CLOSELY:
        data = read(start, min(PART, size - start))
        if not data:
            break
        used = len(data) if start + len(data) >= size else data.rfind(b"\n") + 1 or len(data)
        data = data[:used]
        line, counted_to = ended + 1, 0
        for begin in _signs_in(data, CLOSELY - looked_at):
            looked_at += 1
            line += data.count(b"\n", counted_to, begin)
            counted_to = begin
            if is_error(text_of(_line_at(data, begin))):
                found.append(line)
                if len(found) == ERRORS_LIMIT:
                    break
        ended += data.count(b"\n")
        start += used
    return Errors(tuple(found))


def _signs_in(data: bytes, limit: int) -> list[int]:
    """Where the lines begin that have a sign of an error, at most so many for each sign."""
    begins: set[int] = set()
    for sign in _SIGNS:
        at = data.find(sign)
        for _ in range(limit):
            if at < 0:
                break
            begins.add(data.rfind(b"\n", 0, at) + 1)
            end = data.find(b"\n", at)
            at = data.find(sign, end) if end >= 0 else -1
    return sorted(begins)[:limit]


def _line_at(data: bytes, begin: int) -> bytes:
    end = data.find(b"\n", begin, begin + LONGEST)
    return data[begin : begin + LONGEST if end < 0 else end]


def text_of(line: bytes) -> str:
    """A line as text without escape sequences and what a carriage return overwrote."""
    return ESCAPES.sub(b"", line).rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------ noise

#: Kinds of lines that say nothing, each with the words for many of them and the fewest that are folded.
_NOISE = (
    (
        "lines in which make enters and leaves directories",
        2,
        re.compile(
            r"^\S*make(?:\[\d+\])?: (?:(?:Entering|Leaving) directory |Nothing to be done for |'.*' is up to date)"
        ),
    ),
    (
        "compile commands, no warnings",
        5,
        re.compile(
            r"^(?:\S*/)?(?:libtool: +(?:compile|link): "
            r"|(?:[\w.]+-)*(?:cc|c\+\+|gcc|g\+\+|clang|clang\+\+|ar|ranlib|ld)(?:-\d+)? )"
            r"|^ +(?:CC|CXX|LD|AR|AS|GEN|LINK|CCLD|CXXLD|HOSTCC|RANLIB|OBJCOPY)\b(?:\s|\()"
            r"|^\[ *\d+(?:%|/\d+)\] (?:Building|Linking|Built|Generating|Compiling|Completed)\b|^ +Compiling \S+ v"
        ),
    ),
    (
        "lines of what is fetched and installed",
        5,
        re.compile(
            r"^(?:Get:\d+ |Hit:\d+ |Selecting previously |Preparing to unpack |Unpacking |Setting up |Collecting "
            r"|  *Downloading |Requirement already satisfied|  *Using cached |remote: (?:Counting|Compressing|Enumerating) )"
        ),
    ),
    (
        "tests that passed",
        5,
        re.compile(
            r"^ok \d+\b(?!.*# *(?:TODO|SKIP))|^\S+::\S+ PASSED|^--- PASS: |^=== (?:RUN|PAUSE|CONT) |^test \S+ \.\.\. ok$"
            r"|^ +(?:✓|✔|√) |^(?: *Start +\d+:|\s*\d+/\d+ Test +#\d+: .* Passed )"
        ),
    ),
)


def noise_of(text: str) -> int | None:
    """The kind of noise that a line is; None when it may say something."""
    for kind, (_, _, pattern) in enumerate(_NOISE):
        if pattern.search(text[:LONGEST]):
            return None if re.search(r"\bwarning\b", text, re.IGNORECASE) or is_error(text) else kind
    return None


@dataclass(frozen=True, slots=True)
class Fold:
    """Lines, by their places from `begin` to before `end`, that are folded; `words` say what they are."""

    begin: int
    end: int
    words: str


def folds_of(texts: Sequence[str]) -> list[Fold]:
    """The runs of noise in some lines."""
    folds: list[Fold] = []
    begin, kind = 0, None
    for place, now in enumerate([*(noise_of(text) for text in texts), None]):
        if now != kind or place == len(texts):
            if kind is not None and place - begin >= _NOISE[kind][1]:
                folds.append(Fold(begin, place, f"{place - begin} {_NOISE[kind][0]}"))
            begin, kind = place, now
    return folds
