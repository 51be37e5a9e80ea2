"""What the end of a step's command means, in words for people."""

from __future__ import annotations

from sayci import make
from sayci.interfaces import Ended
from sayci.limits import Limits, in_bytes
from sayci.step import DEPLOY, Result

#: What programs say when the kernel lets them have no further process, or no further file.
_CANNOT_FORK = (b"Cannot fork", b"fork: Resource temporarily unavailable", b"fork: retry", b"can't start new thread")
_CANNOT_OPEN = b"Too many open files"


def verdict_of(
    step: str, target: str, ended: Ended, tail: bytes, limits: Limits, *, is_a_file: bool = False
) -> tuple[Result, str]:
    """A result and a sentence; `tail` and `is_a_file` are as in make.explain, `limits` are those that the step had.

    A deploy of which nobody knows how it ended is `unknown`: it is never guessed and never repeated.
    """
    if ended.why.endswith("_limit"):
        is_time = ended.why in ("time_limit", "silence_limit")
        return Result.TIMED_OUT if is_time else Result.FAILURE, f"make {target} {_excess(ended.why, limits)}"
    match ended.why:
        case "":
            if ended.exit_code is None:
                return Result.ERROR, "the command has ended, and nothing recorded how"
            result, reason = make.explain(target, ended.exit_code, tail, is_a_file=is_a_file)
            return result, reason + _circumstances(ended, tail, limits)
        case "cancelled":
            return Result.CANCELLED, ""
        case "start_failed":
            return Result.ERROR, f"make could not be started: {ended.detail}"
        case "never_started":
            return Result.ERROR, "sayci was interrupted before the command was started"
    if step == DEPLOY:
        return Result.UNKNOWN, "sayci was interrupted during make deploy, and nothing recorded how it ended"
    return Result.ERROR, f"the step was interrupted: {ended.detail or 'nothing recorded how it ended'}"


def _excess(why: str, limits: Limits) -> str:
    """What a step has done that was ended for a limit, and what became of it."""
    return {
        "time_limit": f"was stopped after {limits.time_limit:g} s, its time limit",
        "silence_limit": f"was stopped: it printed nothing for {limits.silence_limit:g} s",
        "output_limit": f"was stopped: it printed more than {in_bytes(limits.output_limit)}",
        "process_limit": f"was killed: it had {limits.process_limit} processes and threads at a time, its limit",
        "memory_limit": f"was killed: out of memory, its processes took more than {in_bytes(limits.memory_limit)}",
        "workspace_limit": f"was stopped: its workspace took more than {in_bytes(limits.workspace_limit)} of the disk",
    }[why]


def _circumstances(ended: Ended, tail: bytes, limits: Limits) -> str:
    """What else was noticed of a command that failed by itself, and may be why."""
    if ended.exit_code == 0:
        return ""
    if ended.memory_kills:
        return "; meanwhile this machine ran out of memory, and processes were killed for it"
    if limits.process_limit and any(words in tail for words in _CANNOT_FORK):
        return f"; it may have reached its limit of {limits.process_limit} processes and threads"
    if limits.open_files_limit and _CANNOT_OPEN in tail:
        return f"; each of its processes may have {limits.open_files_limit} files open"
    return ""
