"""When a certificate is renewed, and when what has failed is tried again; pure, times in seconds since the epoch.

The limits are Let's Encrypt's, with room to spare: five failed validations for a name in an hour, and five certificates
for the same name in seven days.  Everything shrinks with certificates that live for minutes, as those of tests do, but
for the first of them: it is kept whatever happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sayci.acme.ari import Window

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

#: Certificates that live shorter than this are renewed at half-time, others with a third of their time left.
SHORT_LIFETIME = 10 * DAY
#: What a certificate is taken to live for while there is none.
USUAL_LIFETIME = 90 * DAY
#: The share of its lifetime that a certificate has left when people are warned; renewals have begun long before.
WARNING_SHARE = 1 / 4
#: The pauses after the first failed tries; the last one is that after all others.
PAUSES = (MINUTE, 10 * MINUTE, 100 * MINUTE, DAY)
#: A pause is made longer by up to this share of it, so that what failed together is not tried together.
JITTER = 0.25
#: The pause when an authority says "too often" and not for how long; and the longest that it is believed.
RATE_LIMIT_PAUSE, LONGEST_OBEDIENCE = HOUR, 14 * DAY
#: How many validations may fail, and how many certificates may be issued, for a name: one less than the authority allows.
FAILURES_LIMIT, FAILURES_SPAN = 4, HOUR
ISSUES_LIMIT, ISSUES_SPAN = 4, 7 * DAY
#: From one certificate to the next: what an authority that always wishes for a new one has to wait for.
ISSUES_PAUSE = HOUR
#: An authority is asked no more often than this when it wants a certificate to be renewed (RFC 9773).
WINDOW_PAUSE = 12 * HOUR
#: People are told no more often than this that a certificate is about to end.
ALARM_PAUSE = DAY


@dataclass(frozen=True, slots=True)
class Record:
    """What has been tried for a name, and what came of it: all that has to survive a restart.

    `tries` is how many have failed in a row, `error` why the last did; no try is made from `failed_at` to `retry_at`, and
    not even one by hand before `asked_until`, which is the authority's own wish.
    `rehearse` says that the next one begins at the staging authority.  `failures` is when the authority has failed to see
    that the name is ours, `issues` when it has issued; no more of them than the limits need.  `tried` is the authority that
    all this is about, `authority` the one that has issued what is served, "" where that is not known.

    The rest is about the certificate with the fingerprint `certificate`: `draw` (0 to 1) is where in the authority's
    `window` it is renewed; the authority is asked again at `ask_at`.
    """

    tries: int = 0
    error: str = ""
    failed_at: float = 0.0
    retry_at: float = 0.0
    asked_until: float = 0.0
    rehearse: bool = False
    failures: tuple[float, ...] = ()
    issues: tuple[float, ...] = ()
    tried: str = ""
    authority: str = ""
    certificate: str = ""
    draw: float = 0.0
    window: Window | None = None
    ask_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Mishap:
    """Why a try has failed, as far as the next one depends on it.

    `counts`: the authority may have counted it against the name.  `rehearsal`: it happened at the staging authority.
    """

    words: str
    counts: bool = True
    rehearsal: bool = False
    rate_limited: bool = False
    retry_after: float | None = None


# ------------------------------------------------------------------------------------------------ one certificate


def renew_at(not_before: float, not_after: float, window: Window | None, draw: float) -> float:
    """When to renew: with a third of the lifetime left, with half of it if it is short, or as the authority wishes.

    `draw` is a number from 0 to 1 that is drawn once for each certificate: it is where in the authority's window we are.
    A window that is over means at once.  One that is so late that nothing may go wrong any more is not followed that far:
    people are to be warned when renewals fail, not when the authority has been too easy-going.
    """
    lifetime = not_after - not_before
    if window is None or window.end < window.start:
        return not_after - lifetime * (1 / 2 if lifetime < SHORT_LIFETIME else 1 / 3)
    return min(window.start + (window.end - window.start) * draw, warn_at(not_before, not_after))


def warn_at(not_before: float, not_after: float) -> float:
    """From when on people are warned that a certificate ends."""
    return not_after - (not_after - not_before) * WARNING_SHARE


def alarm_pause(lifetime: float) -> float:
    """Seconds between two warnings that a certificate ends."""
    return min(ALARM_PAUSE, lifetime / 10)


def window_pause(lifetime: float, asked: float = 0.0) -> float:
    """Seconds until the authority is asked again when to renew; `asked` is the pause that it has asked for itself."""
    return max(min(WINDOW_PAUSE, lifetime / 10), min(asked, DAY, lifetime / 4))


# ------------------------------------------------------------------------------------------------ tries


def back_off(tries: int, lifetime: float, draw: float) -> float:
    """Seconds to wait after `tries` (1 and more) failed tries in a row: 1, 10 and 100 minutes, then a day.

    Less for certificates that live for less, so that there are some tries left before they end.  `draw` is from 0 to 1.
    """
    pause = PAUSES[min(tries, len(PAUSES)) - 1] * min(1.0, lifetime / (30 * PAUSES[0]))
    return min(pause, lifetime / 10) * (1 + JITTER * draw)


def obedience(mishap: Mishap) -> float:
    """The least number of seconds to wait because the authority wants it so."""
    if mishap.retry_after is None:
        return RATE_LIMIT_PAUSE if mishap.rate_limited else 0.0
    return min(max(mishap.retry_after, 0.0), LONGEST_OBEDIENCE)


def after_failure(record: Record, mishap: Mishap, now: float, lifetime: float, draw: float) -> Record:
    """The record once a try has failed."""
    tries = record.tries + 1
    counted = mishap.counts and not mishap.rehearsal
    return replace(
        record,
        tries=tries,
        error=mishap.words,
        failed_at=now,
        retry_at=now + max(back_off(tries, lifetime, draw), obedience(mishap)),
        asked_until=now + obedience(mishap),
        rehearse=record.rehearse or counted,
        failures=(*_recent(record.failures, now, FAILURES_SPAN), now)[-FAILURES_LIMIT:] if counted else record.failures,
    )


def after_issue(record: Record, now: float) -> Record:
    """The record once the authority has issued a certificate, whatever becomes of it."""
    return replace(record, issues=(*_recent(record.issues, now, ISSUES_SPAN), now)[-ISSUES_LIMIT:])


def after_success(record: Record, authority: str) -> Record:
    """The record once the certificate is stored and served."""
    return Record(failures=record.failures, issues=record.issues, tried=authority, authority=authority)


def at_authority(record: Record, authority: str) -> Record:
    """The record as far as it matters to an authority: what another one has refused, or counted, does not."""
    if record.tried == authority:
        return record
    return Record(tried=authority, authority=record.authority, certificate=record.certificate, draw=record.draw)


def order_at(record: Record, now: float, lifetime: float, *, by_hand: bool = False) -> float:
    """Until when there must be no order, whatever is due; 0 for now.  A try by hand need not wait for the back-off."""
    ends = (
        _room_at(_recent(record.failures, now, FAILURES_SPAN), FAILURES_LIMIT, FAILURES_SPAN),
        _room_at(_recent(record.issues, now, ISSUES_SPAN), ISSUES_LIMIT, min(ISSUES_SPAN, lifetime)),
        _end_of_pause(record.failed_at, record.asked_until, now),
        0.0 if by_hand else _end_of_pause(record.failed_at, record.retry_at, now),
        0.0 if by_hand else _room_at(_recent(record.issues, now, DAY), 1, min(ISSUES_PAUSE, lifetime / 20)),
    )
    return max(end if end > now else 0.0 for end in ends)


def next_try(wanted_at: float, record: Record, now: float, lifetime: float) -> float:
    """When the next try is due for a certificate that should be renewed at `wanted_at`."""
    return max(wanted_at, order_at(record, now, lifetime))


def next_check(times: Sequence[float], now: float, longest: float) -> float:
    """Seconds to sleep until the first of the times, and at most `longest`: the wall clock may jump meanwhile."""
    return min([longest, *(max(time - now, 0.0) for time in times)])


def _recent(times: Sequence[float], now: float, span: float) -> tuple[float, ...]:
    """Those times that a limit over `span` seconds has to know; none from a far future that a wrong clock has seen."""
    return tuple(time for time in times if now - span < time < now + span)


def _end_of_pause(begin: float, end: float, now: float) -> float:
    """`end`, unless the pause began in the far future: the clock was wrong then, and the pause means nothing."""
    return end if begin - (end - begin) <= now else 0.0


def _room_at(times: Sequence[float], limit: int, span: float) -> float:
    """When fewer than `limit` of the times are within the last `span` seconds."""
    last = sorted(times)[-limit:]
    return last[0] + span if len(last) == limit else 0.0
