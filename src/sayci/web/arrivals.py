"""What the pages say of what arrives: verdicts, refusals, and whether the forge is connected at all.

Pure functions, as in sayings.py.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sayci.delivery import Delivery, Verdict
from sayci.refusals import Refusal, Why
from sayci.web.sayings import Saying
from sayci.web.words import counted

#: What GitHub and those like it call the delivery that only says hello.
HELLO = "ping"
#: How the explanation of a hello begins after which no pushes will come.
_HELLO_BUT = "Hello received, but"

#: What can be chosen of deliveries: the word in the address -> what it is called, its mark, and which verdicts those are.
CHOICES: Mapping[str, tuple[str, str, frozenset[Verdict]]] = {
    "": ("All", "", frozenset()),
    "built": ("Built", "success", frozenset({Verdict.BUILT})),
    "ignored": ("Not built", "skipped", frozenset({Verdict.IGNORED, Verdict.SUPERSEDED})),
    "failed": ("Failed", "error", frozenset({Verdict.FAILED})),
    "refused": ("Refused", "refused", frozenset()),
}
REFUSED = "refused"


def _is_good_hello(delivery: Delivery) -> bool:
    is_hello = delivery.event == HELLO and delivery.verdict is Verdict.IGNORED
    return is_hello and not delivery.explanation.startswith(_HELLO_BUT)


def verdict(delivery: Delivery) -> tuple[str, str, str]:
    """What became of a delivery: a mark, a word, and a sentence."""
    told = delivery.explanation
    match delivery.verdict:
        case Verdict.BUILT:
            return "success", "Built", f"as #{delivery.build_number}."
        case Verdict.IGNORED if _is_good_hello(delivery):
            return "success", "Answered", told
        case Verdict.IGNORED if delivery.event == HELLO:
            return "error", "Answered", told
        case Verdict.IGNORED:
            return "skipped", "Ignored", told
        case Verdict.SUPERSEDED:
            return "skipped", "Not built", told or "A newer push to the same branch came before it was looked at."
        case Verdict.FAILED:
            return "error", "Failed", told
        case Verdict.RECEIVED:
            return "queued", "Received", "It is on disk, and will be looked at."


def can_be_replayed(delivery: Delivery) -> bool:
    """Whether it makes sense to have sayci look at a delivery again."""
    is_done = delivery.verdict in (Verdict.IGNORED, Verdict.SUPERSEDED, Verdict.FAILED)
    return is_done and delivery.event != HELLO


# ------------------------------------------------------------------------------------------------ refused


_WHY = {
    Why.UNSIGNED: ("it is not signed.", "Give the webhook at the forge the secret that sayci has shown."),
    Why.SIGNATURE: ("the signature does not match.", "The secret at the forge differs from the one here."),
}


def reason_of(refusal: Refusal) -> str:
    """Why it was not taken, to be read after a colon."""
    known = _WHY.get(refusal.why)
    return known[0] if known else f"it cannot be read, though the secret is right: {refusal.reason.rstrip('.')}."


def why_refused(refusal: Refusal) -> str:
    """Why it was not taken, and what to do, as sentences."""
    reason = reason_of(refusal)
    return f"{reason[0].upper()}{reason[1:]} {_WHY.get(refusal.why, ('', ''))[1]}".rstrip()


def is_about_the_secret(refusal: Refusal) -> bool:
    """Whether another secret may be what is missing."""
    return refusal.why in _WHY


def is_newer(refusal: Refusal | None, newest: Delivery | None) -> bool:
    """Whether something was refused after the last delivery that was taken."""
    return refusal is not None and (newest is None or refusal.at > newest.received_at)


# ------------------------------------------------------------------------------------------------ what it said

#: How much of a body a page shows, in characters, and how deeply nested one may be that is set out in lines.
BODY_SHOWN, DEEPEST = 64 * 1024, 20
HIDDEN = "(hidden)"
_CREDENTIAL = re.compile(r'("(?:secret|token|password)"\s*:\s*")(?:[^"\\]|\\.)*')


def shown_body(body: bytes, secret: str) -> tuple[str, bool]:
    """A body as a page shows it, and whether it was cut: out of its form, set out in lines, without credentials.

    `secret` is the webhook's: there were forges that sent it along (old versions of Gitea did).
    """
    if body.startswith(b"payload="):
        body = urllib.parse.unquote_to_bytes(body[8 : 8 + 4 * BODY_SHOWN].partition(b"&")[0].replace(b"+", b" "))
    text = body[: 4 * BODY_SHOWN].decode("utf-8", "replace")
    if len(text) <= BODY_SHOWN:
        text = _set_out(text)
    if secret:
        text = text.replace(secret, HIDDEN)
    text = _CREDENTIAL.sub(rf"\g<1>{HIDDEN}", text)
    return text[:BODY_SHOWN], len(text) > BODY_SHOWN or len(body) > 4 * BODY_SHOWN


def _set_out(text: str) -> str:
    """JSON in lines; what is none, or is nested so deeply that its lines would be long, as it is."""
    depth = accumulate(1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[{\]}]", text))
    if max(depth, default=0) > DEEPEST:
        return text
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except ValueError:
        return text


# ------------------------------------------------------------------------------------------------ sentences


def saying_of_deliveries(newest: Delivery | None, refusal: Refusal | None = None) -> Saying:
    """What became of what came last: `newest` is the last that was taken, `refusal` the last that was not."""
    if refusal is not None and is_newer(refusal, newest):
        return Saying("failure", "The last delivery", "was refused:", reason_of(refusal))
    if newest is None:
        return Saying("queued", "", "No delivery has arrived yet.", "The forge says hello when a webhook is made.")
    return saying_of_delivery(newest, "The last delivery")


def saying_of_delivery(delivery: Delivery, subject: str) -> Saying:
    """What became of one delivery; `subject` is what it is called."""
    mark, _, told = verdict(delivery)
    match delivery.verdict:
        case Verdict.BUILT:
            return Saying(mark, subject, f"was built as #{delivery.build_number}.")
        case Verdict.IGNORED if delivery.event == HELLO:
            return Saying(mark, subject, "was the forge's hello.", told.removeprefix("Hello received: "))
        case Verdict.IGNORED:
            return Saying(mark, subject, "was ignored.", told)
        case Verdict.SUPERSEDED:
            return Saying(mark, subject, "was overtaken by a newer push.")
        case Verdict.FAILED:
            return Saying(mark, subject, "could not be used:", told)
        case Verdict.RECEIVED:
            return Saying(mark, subject, "is being looked at.")


@dataclass(frozen=True, slots=True)
class Light:
    """Whether the forge reaches this server: a mark, the news, what else there is to say; `at` is when it last did."""

    mark: str
    news: str
    rest: str
    at: float | None = None

    @property
    def is_green(self) -> bool:
        """Whether pushes will be built."""
        return self.mark == "success"


def light_of(newest: Delivery | None, refusals: Sequence[Refusal]) -> Light:
    """The light of a project's webhook: `newest` is the last delivery that was taken, `refusals` have the last first."""
    last = refusals[0] if refusals else None
    if last is not None and is_newer(last, newest):
        often = f" {counted(last.count, 'delivery')} of that sender so far." if last.count > 1 else ""
        return Light("failure", "The last delivery was refused", f"{why_refused(last)}{often}", last.at)
    if newest is None:
        return Light("ping", "Waiting for the first ping", "The forge says hello as soon as it has the webhook.")
    if newest.event == HELLO and not _is_good_hello(newest):
        return Light("error", "Connected, but not for pushes", newest.explanation, newest.received_at)
    if newest.event == HELLO:
        return Light(
            "success", "Connected", "The forge has said hello, and its signature is right.", newest.received_at
        )
    return Light("success", "Connected", "Signature and address are right.", newest.received_at)
