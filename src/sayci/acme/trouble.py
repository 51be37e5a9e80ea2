"""What goes wrong with an authority, in words for people: problem documents (RFC 7807, RFC 8555 6.7) become exceptions.

An :class:`AcmeError` has a `kind` for programs: the authority's own word for it ("rateLimited", "dns", "caa" ...), or one
of ours: "unreachable", "untrusted", "timeout", "answer", "profile", "challenge".  `retry_after` is how many seconds the
authority wants to be left alone, None where it did not say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from sayci.change import cut
from sayci.errors import SayciError

#: The port at which an authority looks for the answer to a challenge (RFC 8555 8.3, RFC 8737 3).
CHALLENGE_PORTS = {"http-01": 80, "tls-alpn-01": 443}

_NAMESPACE = "urn:ietf:params:acme:error:"
#: Letters of what an authority says that are shown.
_LONGEST = 400
_MOST_SUBPROBLEMS = 10

_WORDS = {
    "accountDoesNotExist": "the authority does not know the account",
    "alreadyReplaced": "the authority has replaced that certificate already",
    "badCSR": "the authority does not take the request for the certificate",
    "badNonce": "the authority refuses every nonce it has given",
    "badPublicKey": "the authority does not take the key",
    "badSignatureAlgorithm": "the authority does not take signatures by this kind of account key",
    "caa": "a CAA record in the DNS forbids the authority to issue for this name",
    "connection": "the authority could not reach this server",
    "dns": "the authority could not find this server's address in the DNS",
    "externalAccountRequired": "this authority wants an account: give --acme-eab-kid and the key that belongs to it",
    "incorrectResponse": "the authority reached something that did not give the right answer",
    "invalidContact": "the authority does not take the e-mail address",
    "invalidProfile": "the authority does not take the profile",
    "malformed": "the authority could not read the request",
    "rateLimited": "the authority has had too many requests",
    "rejectedIdentifier": "the authority does not issue certificates for this name",
    "serverInternal": "the authority has a trouble of its own",
    "tls": "the authority reached this server, but the TLS handshake failed",
    "unauthorized": "the authority refuses",
    "unsupportedContact": "the authority does not take the e-mail address",
    "unsupportedIdentifier": "the authority does not issue certificates for this kind of name",
    "userActionRequired": "the authority wants a person to do something first",
}
# What a word means when it is about a challenge.
_OF_CHALLENGES = {"unauthorized": _WORDS["incorrectResponse"]}
# Answers without a problem document: gateways and load balancers stand in front of authorities.
_OF_CODES = {429: "rateLimited", 500: "serverInternal", 502: "serverInternal", 503: "serverInternal"}


class AcmeError(SayciError):
    """No certificate; ``args[0]`` says why, the rest are the data."""

    def __init__(self, sentence: str, *data: object, kind: str = "", retry_after: float | None = None) -> None:
        super().__init__(sentence, *data)
        self.kind = kind
        self.retry_after = retry_after


class AuthorityUnreachable(AcmeError):
    """The authority did not answer, not in time, or is not who it should be: nothing was refused."""


class AuthorityRefused(AcmeError):
    """The authority answered, and the answer is no."""


class ValidationFailed(AuthorityRefused):
    """The authority has tried to see that the name is ours, and failed.  Authorities count these, and allow few."""


class BadAnswer(AcmeError):
    """The authority answered what RFC 8555 does not allow, or more of it than is taken here."""


class UnknownProfile(AcmeError):
    """The authority has no profile of that name; ``args[2]`` lists those that it has."""


def refusal(code: int, problem: Mapping[str, Any], retry_after: float | None, now: float) -> AuthorityRefused:
    """What an answer of 400 and above amounts to; `now` in seconds since the epoch."""
    kind = kind_of(problem) or _OF_CODES.get(code, "")
    sentence = _WORDS.get(kind, "the authority refuses")
    data = [*_said(problem)] or [f"HTTP {code}"]
    if kind == "userActionRequired" and isinstance(problem.get("instance"), str):
        data.append(clean(problem["instance"]))
    if retry_after is not None and retry_after > 0:
        data.append(f"not before {_moment(now + retry_after)}")
    return AuthorityRefused(sentence, *data, kind=kind, retry_after=retry_after)


def failed_validation(name: str, challenge: str, problem: Mapping[str, Any]) -> ValidationFailed:
    """What the error of a challenge (RFC 8555 8) amounts to; `challenge` is its kind, "" where it is not known."""
    kind = kind_of(problem)
    sentence = _OF_CHALLENGES.get(kind) or _WORDS.get(kind, "the authority could not see that this name is ours")
    port = CHALLENGE_PORTS.get(challenge)
    place = f"{name} at port {port}" if port and kind not in {"dns", "caa"} else name
    return ValidationFailed(sentence, place, *_said(problem), kind=kind)


def failed_order(name: str, problem: Mapping[str, Any]) -> AuthorityRefused:
    """What the error of an order amounts to."""
    kind = kind_of(problem)
    return AuthorityRefused(_WORDS.get(kind, "the authority has given the order up"), name, *_said(problem), kind=kind)


def kind_of(problem: Mapping[str, Any]) -> str:
    """The last word of its type; that of its first subproblem where it has none of its own, or only says "several"."""
    word = _word(problem)
    if word in {"", "compound"}:
        return next(filter(None, map(_word, _subproblems(problem))), "")
    return word


def clean(text: str, longest: int = _LONGEST) -> str:
    """`text` on one line of printable letters, no longer than that."""
    return cut("".join(letter if letter.isprintable() else " " for letter in " ".join(text.split())), longest)


def _word(problem: Mapping[str, Any]) -> str:
    kind = problem.get("type")
    return clean(kind.removeprefix(_NAMESPACE), 60) if isinstance(kind, str) and kind.startswith(_NAMESPACE) else ""


def _said(problem: Mapping[str, Any]) -> Iterator[str]:
    for part in (problem, *_subproblems(problem)):
        detail, identifier = part.get("detail"), part.get("identifier")
        if isinstance(detail, str) and detail.strip():
            name = identifier.get("value") if isinstance(identifier, dict) else None
            yield clean(f"{name}: {detail}" if isinstance(name, str) else detail)


def _subproblems(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = problem.get("subproblems")
    return [part for part in parts[:_MOST_SUBPROBLEMS] if isinstance(part, dict)] if isinstance(parts, list) else []


def _moment(when: float) -> str:
    return dt.datetime.fromtimestamp(when, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
