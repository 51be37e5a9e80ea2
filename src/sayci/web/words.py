"""Time spans, ages, numbers and names in words; and what strangers have written, made visible."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

MINUTE, HOUR, DAY = 60, 3600, 86_400

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# Characters that reorder or hide what is around them (Unicode's bidirectional controls, and invisible ones), C1 controls.
_TRICKS = re.compile("[\x80-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")
_CONTROLS = str.maketrans(
    {code: chr(0x2400 + code) for code in range(0x20) if code not in (9, 10, 13)} | {0x7F: "\u2421"}
)


def visible(text: str) -> str:
    """`text` with its control characters, and those that would reorder or hide it, shown as visible ones."""
    return _TRICKS.sub(lambda match: f"<U+{ord(match[0]):04X}>", text.translate(_CONTROLS))


# ------------------------------------------------------------------------------------------------ time and numbers


def duration(seconds: float | None) -> str:
    """A time span as m:ss, from an hour on h:mm:ss, below a second in tenths of it; "" where there is none."""
    if seconds is None:
        return ""
    if 0 < seconds < 0.95:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(then: float, now: float) -> str:
    """How long ago `then` was, in words; a date once that says more."""
    passed = now - then
    days = int(now // DAY) - int(then // DAY)
    if passed < MINUTE:
        return "just now"
    if passed < HOUR:
        return _ago(int(passed // MINUTE), "minute")
    if passed < DAY and (days == 0 or passed < 6 * HOUR):
        return _ago(int(passed // HOUR), "hour")
    if days <= 1:
        return "yesterday"
    if days < 14:
        return _ago(days, "day")
    if days < 60:
        return _ago(days // 7, "week")
    return "on " + date(then)


def so_long(then: float, now: float) -> str:
    """For how long something has been so, in words: "for 2 minutes", "since yesterday"."""
    passed = now - then
    since = age(then, now)
    if passed < MINUTE:
        return "for less than a minute"
    if since.startswith("on "):
        return "since " + date(then)
    return f"for {since.removesuffix(' ago')}" if since.endswith(" ago") else f"since {since}"


def lasting(seconds: float) -> str:
    """A long time span in its largest whole unit: "61 days", "5 hours"; below two of a unit in the one under it."""
    for length, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            return counted(int(seconds // length), unit)
    return "less than a minute"


def due(then: float, now: float) -> str:
    """When something is to happen, in words: "in 61 days", "in less than a minute"; "now" once its time has come."""
    return f"in {lasting(then - now)}" if then > now else "now"


def _ago(number: int, unit: str) -> str:
    return f"{counted(number, unit)} ago"


def date(moment: float) -> str:
    """The day of a moment, in UTC: "3 December 2026"."""
    day = time.gmtime(moment)
    return f"{day.tm_mday} {time.strftime('%B %Y', day)}"


def stamp(moment: float) -> str:
    """A moment as RFC 3339 has it, in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def counted(number: int, noun: str) -> str:
    """The number with its noun: "1 build", "2 builds", "2 deliveries"."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("ry") else f"{number} {noun}s"


def spelled(number: int) -> str:
    """Small numbers as words."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def listed(names: Sequence[str]) -> str:
    """Names as people list them: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def size(octets: int) -> str:
    """A number of bytes for people: "12 KB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if octets >= factor:
            return f"{octets / factor:.3g} {unit}"
    return counted(octets, "byte")


def minutes(seconds: float) -> str:
    """Seconds as a number of minutes for a form field."""
    return f"{seconds / MINUTE:.6g}"
