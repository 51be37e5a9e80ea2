"""What isolates builds from the server here: the strongest that the place allows, tried out when the server starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sayci.data_directory import DataDirectory
from sayci.errors import CannotStart
from sayci.launchers import bubblewrap
from sayci.launchers.local import Unwrapped, Wrapper
from sayci.launchers.users import Numbers, obstacle


@dataclass(frozen=True, slots=True)
class Chosen:
    """The users that builds are given, if they are, or else what their commands are wrapped in."""

    users: Numbers | None
    wrapper: Wrapper


def choose(wanted: str, numbers: Numbers, data: DataDirectory, private: Sequence[Path] = ()) -> Chosen:
    """What isolates builds, as it is `wanted` (one of options.WAYS).  Blocks.

    `private` is what no build may see, beside the data directory.
    Raises CannotStart when what is `wanted` cannot be had.
    """
    why_not = []
    if wanted in ("auto", "users"):
        trouble = _without_users(numbers, data)
        if not trouble:
            return Chosen(numbers, Unwrapped())
        why_not.append(trouble)
    data.close()
    if wanted in ("auto", "bubblewrap"):
        wrapper, trouble = bubblewrap.found([data.path, *private])
        if wrapper is not None:
            return Chosen(None, wrapper)
        why_not.append(trouble)
    if wanted in ("users", "bubblewrap"):
        raise CannotStart("builds cannot be isolated as --isolation says", wanted, *why_not)
    return Chosen(None, Unwrapped(", and ".join(why_not) or "--isolation is none"))


def _without_users(numbers: Numbers, data: DataDirectory) -> str:
    """Why builds cannot be given users of their own; "" when they can."""
    if numbers.first == 0:
        return "--slot-uid is 0"
    if os.geteuid() != 0:
        return "sayci does not run as root"
    data.let_through()
    return obstacle(numbers, data.workspaces, data.private())
