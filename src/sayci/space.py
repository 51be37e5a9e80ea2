"""Whether there is room for another build: what must stay free on the disks, and what to say while it does not.

A full disk makes builds fail in a hundred ways, none of which says so; so none is begun before there is room again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sayci.errors import Invalid, Unavailable

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_AMOUNT = re.compile(r"([0-9]{1,15})([KMGT]?)", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)%")


class NoSpace(Unavailable):
    """There is no room for a build now; goes on by itself when there is."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system: its place, and what of it is free for everybody; `files` is 0 where files are not counted."""

    path: str
    bytes: int
    free_bytes: int
    files: int = 0
    free_files: int = 0


@dataclass(frozen=True, slots=True)
class Reserve:
    """What must stay free of a volume: of an amount and a share of it (0 to 1), the lesser; None where one is not given."""

    amount: int | None = None
    share: float | None = None

    def of(self, total: int) -> int:
        """The reserve of a volume that has `total`."""
        given = [] if self.amount is None else [self.amount]
        if self.share is not None:
            given.append(int(total * self.share))
        return min(given, default=0)


@dataclass(frozen=True, slots=True)
class Reserves:
    """What must stay free before a build begins: of bytes, and of files (inodes)."""

    bytes: Reserve = Reserve(1 << 30, 0.05)
    files: Reserve = Reserve(10_000, 0.02)


def reserve_of(text: str) -> Reserve:
    """What a person has written: "2G", "5%", or "1G,5%" for the lesser of both; "0" is none.  Raises Invalid."""
    found = Reserve()
    for part in text.split(","):
        amount, share = _AMOUNT.fullmatch(part.strip()), _SHARE.fullmatch(part.strip())
        if amount and found.amount is None:
            found = Reserve(int(amount[1]) * _UNITS[amount[2].upper()], found.share)
        elif share and found.share is None:
            found = Reserve(found.amount, float(share[1]) / 100)
        else:
            raise Invalid("what stays free is an amount such as 2G, a share such as 5%, or both: 1G,5%", text)
    return found


def in_units(number: int) -> str:
    """A number of bytes for people: "1.5 GiB"."""
    value, unit = float(number), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 10 else f"{value:.1f} {unit}"


def lack_of(volumes: Sequence[Volume], reserves: Reserves) -> str:
    """What is lacking for a build to begin, as a sentence; "" when there is room."""
    for volume in volumes:
        least = reserves.bytes.of(volume.bytes)
        if volume.free_bytes < least:
            free = in_units(volume.free_bytes)
            return f"No space: {free} are free of the disk with {volume.path}, and {in_units(least)} must be."
        least = reserves.files.of(volume.files)
        if volume.free_files < least:
            free = f"{volume.free_files:,}"
            return f"No space: {free} more files fit on the disk with {volume.path}, and {least:,} must."
    return ""


class Space:
    """The disks that builds need, measured whenever somebody asks: `measure` is quick and raises nothing."""

    def __init__(self, measure: Callable[[], Sequence[Volume]] = tuple, reserves: Reserves = Reserves()) -> None:
        self.measure = measure
        self._reserves = reserves

    def lack(self) -> str:
        """What is lacking now, as a sentence; "" when there is room."""
        return lack_of(self.measure(), self._reserves)

    async def check(self) -> None:
        """Raises NoSpace while there is no room."""
        lack = self.lack()
        if lack:
            raise NoSpace(lack)
