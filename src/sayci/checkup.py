"""What an examination of a server's place has found, said to people: pure, one function for each thing that is looked at."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sayci.space import Reserves, Volume, in_units, lack_of

#: Before it a server has no need to worry about a certificate, in seconds.
SOON = 14 * 86_400.0
#: The oldest git that is known to do all that sayci asks of it, and the oldest year that a clock can mean.
GIT = (2, 30)
YEAR_2026 = 1_767_225_600.0


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do about it ("" where nothing is to be done)."""

    name: str
    level: Level
    words: str
    advice: str = ""


def of_git(version: str | None) -> Finding:
    """`version` as ``git --version`` has it; None where there is none."""
    if version is None:
        return Finding("git", Level.ERROR, "there is no git", "install it with your system's packages")
    match = re.search(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < GIT:
        return Finding("git", Level.WARNING, f"{version} is old", f"{GIT[0]}.{GIT[1]} or newer is tried out")
    return Finding("git", Level.OK, version)


def of_make(version: str | None) -> Finding:
    """The same of make."""
    if version is None:
        return Finding(
            "make", Level.ERROR, "there is no make: no build can run", "install it with your system's packages"
        )
    return Finding("make", Level.OK, version)


def of_disks(volumes: Sequence[Volume], reserves: Reserves) -> Finding:
    """Whether there is room for builds."""
    lack = lack_of(volumes, reserves)
    if lack:
        return Finding(
            "disk", Level.ERROR, f"{lack} Builds wait.", "make room, or keep less: sayci --keep-free, --keep-days"
        )
    return Finding("disk", Level.OK, ", ".join(f"{in_units(each.free_bytes)} free at {each.path}" for each in volumes))


def of_clock(now: float, newest_file: float, *, is_synchronised: bool | None) -> Finding:
    """`newest_file` is the latest moment that a file of the server claims; None: nobody knows of a time server."""
    if now < YEAR_2026:
        return Finding(
            "clock", Level.ERROR, "the clock is years behind", "set it: certificates and sign-in depend on it"
        )
    if newest_file > now + 60:
        return Finding(
            "clock", Level.WARNING, f"the clock was set back by {newest_file - now:.0f} s or more", "use a time server"
        )
    if is_synchronised is False:
        return Finding("clock", Level.WARNING, "no time server sets the clock", "install chrony, or turn timesyncd on")
    return Finding("clock", Level.OK, "set by a time server" if is_synchronised else "plausible")


def of_isolation(*, is_root: bool, has_bubblewrap: bool) -> Finding:
    """What a server that is started as who asks could keep builds apart with."""
    if is_root:
        return Finding("isolation", Level.OK, "as root, each build can run as a user of its own")
    if has_bubblewrap:
        return Finding("isolation", Level.OK, "not root, but bubblewrap is there; the server's log says what it uses")
    return Finding(
        "isolation", Level.WARNING, "not root: builds are not isolated", "start as root, or build only what you trust"
    )


def of_data(modes: Sequence[tuple[str, int, int]], owner: int) -> Finding:
    """`modes` has name, mode and owner of the data directory ("") and of what is in it; `owner` is who should own it."""
    open_to_all = [name or "it" for name, mode, _ in modes if mode & (0o066 if name in ("", "workspaces") else 0o077)]
    foreign = [name or "it" for name, _, uid in modes if uid != owner]
    if open_to_all:
        told = ", ".join(open_to_all[:5])
        return Finding("data", Level.ERROR, f"others can get into the data directory: {told}", "say: chmod go-rwx")
    if foreign:
        told = ", ".join(foreign[:5])
        return Finding("data", Level.WARNING, f"not the directory's owner's: {told}", "say: chown -R")
    return Finding("data", Level.OK, "only the server can read the data directory")


def of_database(problems: Sequence[str] | None) -> Finding:
    """What the database's own check found; None: it is not a file."""
    if problems is None:
        return Finding("database", Level.OK, "PostgreSQL; pg_amcheck can examine it")
    if problems:
        words = f"the database is damaged: {problems[0]}"
        return Finding("database", Level.ERROR, words, "stop the server and take a backup back: sayci restore")
    return Finding("database", Level.OK, "whole")


def of_key(trouble: str) -> Finding:
    """Whether the key is one."""
    if trouble:
        return Finding("key", Level.ERROR, trouble, "take it back from a backup: without it all secrets are lost")
    return Finding("key", Level.OK, "there, and only its owner can read it")


def of_certificates(ends: Sequence[tuple[str, float | None]], now: float) -> list[Finding]:
    """Names with the moments at which their certificates end; None for one that nobody has issued yet."""
    found = []
    for name, end in ends:
        what = f"certificate of {name}"
        if end is None:
            found.append(Finding(what, Level.WARNING, "none yet", "see sayci status for why"))
        elif end <= now:
            found.append(Finding(what, Level.ERROR, "it has expired", "see sayci status for why it is not renewed"))
        elif end < now + SOON:
            days = f"it ends in {(end - now) / 86_400:.0f} days"
            found.append(Finding(what, Level.WARNING, days, "see sayci status for why it is not renewed"))
        else:
            found.append(Finding(what, Level.OK, f"good for {(end - now) / 86_400:.0f} days"))
    return found


def of_leftovers(what: str, found: Collection[str], *, is_running: bool) -> Finding:
    """Files that belong to nothing any more; `what` says which."""
    if not found:
        return Finding(what, Level.OK, "nothing is left over")
    some = ", ".join(sorted(found)[:3]) + (" ..." if len(found) > 3 else "")
    advice = "the server removes them with time" if is_running else "start the server: it removes them"
    return Finding(what, Level.WARNING, f"{len(found)} left over: {some}", advice)


def of_foreign(found: Collection[str]) -> Finding:
    """What users of builds have left where everybody may write."""
    if not found:
        return Finding("users' files", Level.OK, "nothing is left over")
    some = ", ".join(sorted(found)[:3]) + (" ..." if len(found) > 3 else "")
    return Finding(
        "users' files", Level.WARNING, f"{len(found)} left by builds: {some}", "remove them while no build runs"
    )


def of_server(address: str, trouble: str, advice: str = "") -> Finding:
    """Whether the server that uses the directory answers; `address` is "" where none runs."""
    if trouble:
        return Finding("server", Level.ERROR, trouble, advice)
    if not address:
        return Finding("server", Level.WARNING, "no server is running with this data directory", "start it")
    return Finding("server", Level.OK, f"well at {address}")


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether there is no error among them."""
    return all(finding.level is not Level.ERROR for finding in findings)
