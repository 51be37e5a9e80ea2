"""Limits: what one step may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from sayci.errors import Invalid

#: Seconds that one step may run when the project does not say otherwise, and the most that it may say.
DEFAULT_TIME_LIMIT = 3600.0
LONGEST_TIME_LIMIT = 7 * 24 * 3600.0
#: Each file counts as at least so many bytes of a workspace: ten million empty ones are no small workspace.
SMALLEST_FILE = 4096
#: The least that can be asked for: less, and no step could begin.  And the most, far beyond any machine.
LEAST = {
    "output_limit": 1024,
    "process_limit": 8,
    "memory_limit": 1 << 24,
    "workspace_limit": 1 << 20,
    "open_files_limit": 64,
}
MOST = 10**15


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may take, in seconds, bytes and numbers; 0 means that nothing is said: no limit, or the server's own.

    `silence_limit` is the time without output.  `output_limit` counts bytes of the log; with `ends_at_output_limit` the
    step is ended there, otherwise it goes on and the rest is dropped.  `process_limit` counts processes and their threads,
    `memory_limit` the memory of all of them together, `workspace_limit` what the checkout, the home and the temporary
    files take on disk.  `open_files_limit` is for each process.
    """

    time_limit: float = 0.0
    silence_limit: float = 0.0
    output_limit: int = 0
    ends_at_output_limit: bool = False
    process_limit: int = 0
    memory_limit: int = 0
    workspace_limit: int = 0
    open_files_limit: int = 0

    def within(self, most: Limits) -> Limits:
        """These limits where they are the tighter ones, and those of `most` elsewhere."""
        tighter: dict[str, Any] = {
            name: min(filter(None, (getattr(self, name), getattr(most, name))), default=0)
            for name in NAMES
            if name != "ends_at_output_limit"
        }
        return replace(self, **tighter)


#: The names of the limits, as the API, the tables and the orders of a shim have them too.
NAMES = tuple(field.name for field in fields(Limits))
#: Nothing is limited.
NONE = Limits()
#: What a project has that says nothing: an hour, and of all else as much as the server allows.
USUAL = Limits(time_limit=DEFAULT_TIME_LIMIT)


def check_limits(limits: Limits) -> Limits:
    """Return `limits` if a project may have them; raises Invalid, naming the one that is wrong, otherwise."""
    if not 1 <= limits.time_limit <= LONGEST_TIME_LIMIT:
        raise Invalid("time_limit is a number of seconds from 1 to", int(LONGEST_TIME_LIMIT))
    if limits.silence_limit and not 1 <= limits.silence_limit <= LONGEST_TIME_LIMIT:
        raise Invalid("silence_limit is 0 or a number of seconds from 1 to", int(LONGEST_TIME_LIMIT))
    for name, least in LEAST.items():
        value = getattr(limits, name)
        if value and not least <= value <= MOST:
            raise Invalid("a limit is 0, for what the server allows, or a whole number from the least on", name, least)
    return limits


def in_bytes(size: int) -> str:
    """A number of bytes for people: "512 MiB"."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"
