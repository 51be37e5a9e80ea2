"""make: its command line out, its words in; starts no process."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sayci.step import Result

#: The names that make looks for, in its own order.
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
#: How much of the end of a log `explain` wants to see, in bytes.
TAIL = 4096


def command(target: str, *, debug: bool = False) -> tuple[str, ...]:
    """The command line that makes `target`; with `debug` make says which rules it runs, and why."""
    return ("make", *(("--trace",) if debug else ()), target)


def has_makefile(names: Iterable[str]) -> bool:
    """Whether one of these file names is a Makefile to make."""
    return not set(MAKEFILES).isdisjoint(names)


def _signal_words(number: int) -> str:
    names = {
        6: "SIGABRT",
        9: "SIGKILL",
        11: "SIGSEGV",
        15: "SIGTERM",
        4: "SIGILL",
        7: "SIGBUS",
        8: "SIGFPE",
        25: "SIGXFSZ",
    }
    return names.get(number, f"signal {number}")


def explain(target: str, exit_code: int, tail: bytes, *, is_a_file: bool = False) -> tuple[Result, str]:
    """What make's end means: a result and a sentence.  `tail` is the end of its log.

    An exit of 0 after make has run nothing of the project's is no success: a directory named like the target, a target with
    neither recipe nor prerequisite, or a file that make's own rules have copied or compiled would be green for ever.
    `is_a_file` says that there is a file or directory named like the target: then silence is no success either, since a
    Makefile may silence what make says of it.  Only what the outermost make says is looked at.
    """
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines()]
    if exit_code < 0:
        return Result.FAILURE, f"make {target} was killed by {_signal_words(-exit_code)}"
    if exit_code == 0:
        reason = _why_nothing(target, lines, is_a_file=is_a_file)
        return (Result.FAILURE, reason) if reason else (Result.SUCCESS, "")
    if any(line.startswith(f"make: *** No rule to make target '{target}'.") for line in lines[-5:]):
        return Result.FAILURE, f"the Makefile has no target {target}"
    return Result.FAILURE, f"make {target}, exit {exit_code}"


def _why_nothing(target: str, lines: list[str], *, is_a_file: bool) -> str:
    """Why a make that succeeded has run nothing of the project's; empty when it has."""
    nothing = (f"make: Nothing to be done for '{target}'.", f"make: '{target}' is up to date.")
    if any(line in nothing for line in lines[-5:]):
        return (
            f"make ran nothing for {target}: there is a file or directory of that name, or the target has no recipe. "
            f"Declare it with .PHONY: {target}"
        )
    if is_a_file and not lines:
        return (
            f"make said nothing, and there is a file or directory called {target}: it may have run nothing. "
            f"Let the recipe print something, and declare it with .PHONY: {target}"
        )
    if _is_built_in(target, lines):
        return f"the Makefile has no target {target}; make's own rules have made a file of that name"
    return ""


def _is_built_in(target: str, lines: list[str]) -> bool:
    """Whether all that was run is a built-in rule for one file: a script copied, or one source compiled and linked."""
    name = re.escape(target)
    copied = [rf"cat {name}\.sh >{name}", rf"chmod a\+x {name}"]
    compiled = [rf"\S+(?: .*)? {name}\.(?:c|cc|cpp|C|o|p|f|F|r|S|s|mod)(?: .*)? -o {name}"]
    return any(len(rule) == len(lines) and all(map(re.fullmatch, rule, lines)) for rule in (copied, compiled))


def no_makefile(target: str) -> tuple[Result, str]:
    """What a commit without a Makefile means."""
    return Result.FAILURE, f"there is no Makefile at the top of the commit, so there is no {target} to make"
