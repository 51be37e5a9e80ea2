"""How certificates stand, and what the status page says of them and of the whole server: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from sayci.certificate import Certificate
from sayci.change import cut
from sayci.web.sayings import Saying
from sayci.web.words import age, counted, date, due, lasting, listed, spelled

#: The part of its lifetime that a certificate has left when failing to renew it becomes somebody's concern.
SHORT = 0.25
#: The longest error that is shown, in characters: authorities are free in what they say.
ERROR_LIMIT = 1000


class NoCertificates:
    """A server whose certificates are not sayci's business (interfaces.Certificates)."""

    def certificates(self) -> Sequence[Certificate]:
        """None."""
        return ()


NO_CERTIFICATES = NoCertificates()


class Validity(Enum):
    """How the certificate that is served for a name stands."""

    EXPIRED = "expired"
    MISSING = "missing"
    ENDING = "ending"
    AWAITED = "awaited"
    GOOD = "good"


def validity(certificate: Certificate, now: float) -> Validity:
    """How it stands now.

    MISSING: nobody has issued one, and the last try failed; AWAITED: no try has failed yet.  ENDING: it cannot be renewed,
    and has less than a quarter of its lifetime left.
    """
    if not certificate.issuer:
        return Validity.MISSING if certificate.tries or certificate.error else Validity.AWAITED
    left = certificate.left(now)
    if not left:
        return Validity.EXPIRED
    is_failing = certificate.tries > 0
    return Validity.ENDING if is_failing and left < SHORT * certificate.lifetime else Validity.GOOD


_MARKS = {
    Validity.EXPIRED: "failure",
    Validity.MISSING: "error",
    Validity.ENDING: "error",
    Validity.AWAITED: "running",
    Validity.GOOD: "success",
}


def mark_of_certificate(certificate: Certificate, now: float) -> str:
    """The mark of a certificate as it stands now."""
    return _MARKS[validity(certificate, now)]


def needs_a_person(certificate: Certificate, now: float) -> bool:
    """Whether it will not mend itself, as far as can be known."""
    return validity(certificate, now) in (Validity.EXPIRED, Validity.MISSING, Validity.ENDING)


# ------------------------------------------------------------------------------------------------ of one


def news_of(certificate: Certificate, now: float) -> str:
    """What goes with its name, to be read after it: "is good until 21 January 2027."."""
    then = certificate.not_after
    match validity(certificate, now):
        case Validity.EXPIRED:
            return f"expired {age(then, now)}."
        case Validity.MISSING:
            return "has no certificate yet."
        case Validity.ENDING:
            return f"expires {due(then, now)}, on {date(then)}."
        case Validity.AWAITED:
            return "is getting its first certificate."
        case Validity.GOOD:
            return f"is good until {date(then)}."


_MEANWHILE = "Until then a self-signed certificate is served: browsers warn of it, and forges refuse it."
_MEANING = {
    Validity.EXPIRED: "Browsers warn of it, and forges refuse it.",
    Validity.MISSING: _MEANWHILE,
    Validity.ENDING: "",
    Validity.AWAITED: _MEANWHILE,
    Validity.GOOD: "",
}


def meaning_of(certificate: Certificate, now: float) -> str:
    """What that means for who comes here; "" where it means nothing."""
    return _MEANING[validity(certificate, now)]


def renewal_of(certificate: Certificate, now: float) -> str:
    """When the next try is due, as a sentence; "" where none is."""
    if certificate.renew_at is None:
        return ""
    when = due(certificate.renew_at, now)
    if certificate.tries:
        return f"The next try is {when}."
    return f"The first try is {when}." if not certificate.issuer else f"It is renewed {when}."


def failure_of(certificate: Certificate) -> tuple[str, str]:
    """How often it failed in a row, to be read before the second: what went wrong the last time; both "" if nothing did."""
    if not (certificate.tries or certificate.error):
        return "", ""
    error = cut(certificate.error, ERROR_LIMIT) or "nothing says why"
    return ("The last try failed:" if certificate.tries < 2 else f"{certificate.tries} tries failed; the last:"), error


def left_of(certificate: Certificate, now: float) -> str:
    """How much of its lifetime is left: "61 days left of 90 days"; "" where nobody has issued it."""
    if not certificate.issuer:
        return ""
    left = certificate.left(now)
    of = f" of {lasting(certificate.lifetime)}" if certificate.lifetime > 0 else ""
    return f"{lasting(left)} left{of}" if left else "expired"


# ------------------------------------------------------------------------------------------------ of all


def _these(certificates: Sequence[Certificate], one: str, many: str) -> str:
    """A sentence of one certificate by its name, or of several by their number."""
    if len(certificates) == 1:
        return one.format(certificates[0].name)
    return many.format(spelled(len(certificates)).capitalize())


_SAID: Mapping[Validity, tuple[str, str]] = {
    Validity.EXPIRED: ("The certificate of {} has expired.", "{} certificates have expired."),
    Validity.MISSING: ("{} has no certificate yet.", "{} names have no certificate yet."),
    Validity.AWAITED: ("{} is getting its first certificate.", "{} names are getting their first certificates."),
}


def _ending(certificates: Sequence[Certificate], now: float) -> str:
    soonest = min(certificate.not_after for certificate in certificates)
    when = lasting(soonest - now)
    return _these(
        certificates,
        f"The certificate of {{}} needs you within {when}.",
        f"{{}} certificates need you; the first within {when}.",
    )


def _said_of(which: Validity, certificates: Sequence[Certificate], now: float) -> str:
    if which is Validity.ENDING:
        return _ending(certificates, now)
    return _these(certificates, *_SAID[which])


def saying_of_server(
    certificates: Sequence[Certificate],
    now: float,
    *,
    is_isolated: bool,
    has_space: bool = True,
    failing: Sequence[str] = (),
    untold: Sequence[str] = (),
) -> Saying:
    """What there is to say of the whole server: the worst thing first, the others after it.

    `failing` names parts without which no build can run; `untold` are projects of which a forge takes no statuses.
    """
    if failing:
        does = "does" if len(failing) == 1 else "do"
        return Saying("failure", "sayci", "cannot run builds:", f"the {listed(failing)} {does} not answer.")
    by_validity: dict[Validity, list[Certificate]] = {}
    for certificate in certificates:
        by_validity.setdefault(validity(certificate, now), []).append(certificate)
    news = [
        (_MARKS[which], _said_of(which, by_validity[which], now))
        for which in (Validity.EXPIRED, Validity.MISSING, Validity.ENDING)
        if which in by_validity
    ]
    if not has_space:
        news.insert(0, ("error", "Builds wait for space on the disk."))
    if not is_isolated:
        news.append(("error", "Builds are not isolated from this server."))
    if untold:
        whose = untold[0] if len(untold) == 1 else f"{spelled(len(untold))} projects"
        news.append(("error", f"The forge takes no commit statuses of {whose}."))
    if Validity.AWAITED in by_validity:
        news.append(("running", _said_of(Validity.AWAITED, by_validity[Validity.AWAITED], now)))
    if not news:
        return Saying("success", "sayci", "works.")
    (mark, first), *others = news
    rest = others[0][1] if len(others) == 1 else f"{spelled(len(others)).capitalize()} more things to look at."
    return Saying(mark, "sayci works.", first, rest if others else "")


def traffic_in_words(running: int, slots: int, waiting: int) -> str:
    """What builds do now: "2 of 4 slots are busy, 3 builds wait."."""
    busy = f"{running} of {counted(slots, 'slot')} {'is' if running == 1 else 'are'} busy"
    waits = f"{counted(waiting, 'build')} {'waits' if waiting == 1 else 'wait'}" if waiting else "no build waits"
    return f"{busy}, {waits}."
