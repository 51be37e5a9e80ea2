"""make: its command line out, its words in; starts no process."""

from __future__ import annotations

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


def explain(target: str, exit_code: int, tail: bytes) -> tuple[Result, str]:
    """What make's end means: a result and a sentence.  `tail` is the end of its log.

    An exit of 0 after make has run nothing at all is no success: a directory named like the target, or a target with
    neither recipe nor prerequisite, would be green for ever.  Only what the outermost make says is looked at.
    """
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines()]
    if exit_code < 0:
        return Result.FAILURE, f"make {target} was killed by {_signal_words(-exit_code)}"
    if exit_code == 0:
        nothing = (f"make: Nothing to be done for '{target}'.", f"make: '{target}' is up to date.")
        if any(line in nothing for line in lines[-5:]):
            return Result.FAILURE, (
                f"make ran nothing for {target}: there is a file or directory of that name, or the target has no recipe. "
                f"Declare it with .PHONY: {target}"
            )
        return Result.SUCCESS, ""
    if any(line.startswith(f"make: *** No rule to make target '{target}'.") for line in lines[-5:]):
        return Result.FAILURE, f"the Makefile has no target {target}"
    return Result.FAILURE, f"make {target}, exit {exit_code}"


def no_makefile(target: str) -> tuple[Result, str]:
    """What a commit without a Makefile means."""
    return Result.FAILURE, f"there is no Makefile at the top of the commit, so there is no {target} to make"
