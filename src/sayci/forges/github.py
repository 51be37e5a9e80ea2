"""What GitHub sends: signatures, identities and payloads, as pure functions over bytes.

Sources: docs.github.com, "Validating webhook deliveries" and "Webhook events and payloads".  Of a payload nothing is
believed but what was pushed: where the code lives is the registered project's to say, never the payload's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from sayci.change import Change, check_ref
from sayci.delivery import Message
from sayci.errors import Invalid, Malformed, NoSignature, Unsupported, WrongSignature

Headers = Mapping[str, Sequence[str]]

SIGNATURE, EVENT, DELIVERY = "x-hub-signature-256", "x-github-event", "x-github-delivery"
#: A form that GitHub sends has one field; this many are looked through for it.
FIELDS_LIMIT = 10

_SIGNATURE = re.compile(r"sha256=([0-9A-Fa-f]{64})\Z")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_DELIVERY = re.compile(r"[!-~]{1,100}\Z")
_NO_COMMIT = re.compile(r"(?:0{40}|0{64})\Z")
_UTF8 = ("charset=utf-8", 'charset="utf-8"', "charset=utf8")


class Person(msgspec.Struct):
    """The author of a commit, or who pushed it."""

    name: str | None = None
    username: str | None = None


class HeadCommit(msgspec.Struct):
    """The commit that the ref points to now."""

    message: str | None = None
    author: Person | None = None


class Push(msgspec.Struct):
    """The parts of a `push` payload that matter."""

    ref: str
    after: str
    deleted: bool = False
    head_commit: HeadCommit | None = None
    pusher: Person | None = None


class Hook(msgspec.Struct):
    """How the hook is set up at GitHub."""

    events: list[str] = []


class Ping(msgspec.Struct):
    """The parts of a `ping` payload that matter."""

    hook: Hook | None = None


class Anything(msgspec.Struct):
    """Any JSON object."""


Payload = TypeVar("Payload")

_PUSH = msgspec.json.Decoder(Push)
_PING = msgspec.json.Decoder(Ping)
_ANYTHING = msgspec.json.Decoder(Anything)

_WHY_NOT = {
    "create": "GitHub tells of a new branch or tag by a push as well; the push is what is built.",
    "delete": "Something was deleted, so there is nothing to build.",
    "pull_request": "Pull requests are not built; their branches are when they are pushed to this repository.",
    "status": "Commit statuses are what sayci tells GitHub, not what it builds.",
}


class GitHub:
    """The Forge that GitHub is (interfaces.Forge)."""

    def verify(self, secret: str, headers: Headers, body: bytes) -> None:
        """Raises WrongSignature unless exactly one X-Hub-Signature-256 is there and is the HMAC of `body`.

        SHA-1 signatures are not looked at: they are there for old receivers.
        """
        values = headers.get(SIGNATURE, ())
        match = _SIGNATURE.match(values[0]) if len(values) == 1 else None
        if match is None or not secret:
            raise NoSignature("the delivery does not have the one signature that it must have")
        right = hmac.digest(secret.encode("utf-8", "surrogatepass"), body, "sha256")
        if not hmac.compare_digest(right, bytes.fromhex(match[1])):
            raise WrongSignature("the delivery's signature does not match")

    def delivery_id(self, headers: Headers, body: bytes) -> str:
        """The value of X-GitHub-Delivery if there is one, of 1 to 100 visible ASCII characters; else a hash of the body."""
        values = headers.get(DELIVERY, ())
        if len(values) == 1 and _DELIVERY.match(values[0]):
            return values[0]
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def labels(self, headers: Headers) -> tuple[str, str]:
        """X-GitHub-Event and X-GitHub-Delivery, each where it is one that GitHub could have sent; else ""."""
        event, delivery = headers.get(EVENT, ()), headers.get(DELIVERY, ())
        return (
            event[0] if len(event) == 1 and _EVENT.match(event[0]) else "",
            delivery[0] if len(delivery) == 1 and _DELIVERY.match(delivery[0]) else "",
        )

    def parse(self, headers: Headers, body: bytes) -> Message:
        """What the delivery says: a push is a Change, all else a sentence.

        Raises Unsupported for a content type other than JSON or a form in UTF-8; Malformed for what GitHub never sends.
        """
        event = _event_of(headers)
        payload = _json_of(headers, body)
        if event == "push":
            return _pushed(_decoded(_PUSH, payload))
        if event == "ping":
            return _pinged(_decoded(_PING, payload))
        _decoded(_ANYTHING, payload)
        return Message(event, explanation=_WHY_NOT.get(event, f"Only pushes are built; this is the event {event}."))


def _event_of(headers: Headers) -> str:
    values = headers.get(EVENT, ())
    if len(values) != 1 or not _EVENT.match(values[0]):
        raise Malformed("a delivery of GitHub names its event in one X-GitHub-Event header")
    if len(headers.get(DELIVERY, ())) > 1:
        raise Malformed("a delivery of GitHub has one X-GitHub-Delivery header")
    return values[0]


def _json_of(headers: Headers, body: bytes) -> bytes:
    """The JSON of a body, out of its form if that is how it came."""
    values = headers.get("content-type", ())
    if len(values) > 1:
        raise Malformed("a delivery has one Content-Type header")
    kind, *parameters = (part.strip().lower() for part in (values[0] if values else "").split(";"))
    if any(parameter.startswith("charset=") and parameter not in _UTF8 for parameter in parameters):
        raise Unsupported("deliveries are taken in UTF-8", values[0][:80])
    if kind == "application/json":
        return body
    if kind == "application/x-www-form-urlencoded":
        return _payload_field(body)
    raise Unsupported("deliveries are taken as application/json or application/x-www-form-urlencoded", kind[:80])


def _payload_field(body: bytes) -> bytes:
    fields = [field.partition(b"=") for field in body.split(b"&", FIELDS_LIMIT)]
    found = [value for name, _, value in fields if name == b"payload"]
    if len(found) != 1 or len(fields) > FIELDS_LIMIT:
        raise Malformed("a form of GitHub has one field named payload")
    return urllib.parse.unquote_to_bytes(found[0].replace(b"+", b" "))


def _decoded(decoder: msgspec.json.Decoder[Payload], payload: bytes) -> Payload:
    try:
        payload.decode()  # what the decoder skips it does not look at
        return decoder.decode(payload)
    except RecursionError:
        raise Malformed("the payload is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("the payload is not what GitHub sends", str(error)) from None


def _pushed(push: Push) -> Message:
    try:
        if push.deleted or _NO_COMMIT.match(push.after):
            return Message("push", explanation=f"{check_ref(push.ref)} was deleted, so there is nothing to build.")
        head = push.head_commit or HeadCommit()
        return Message("push", Change(push.ref, push.after, head.message or "", _author_of(head, push)))
    except Invalid as error:
        raise Malformed(*error.args) from None


def _author_of(head: HeadCommit, push: Push) -> str:
    for person in (head.author, push.pusher):
        if person is not None and (person.name or person.username):
            return person.name or person.username or ""
    return ""


def _pinged(ping: Ping) -> Message:
    events = ping.hook.events if ping.hook is not None else []
    if not events or "push" in events or "*" in events:
        return Message("ping", explanation="Hello received: signature and address are right, and pushes will be built.")
    told = ", ".join(events)[:200]
    return Message(
        "ping",
        explanation=f"Hello received, but GitHub is not set up to send pushes here, which are what is built, only: {told}.",
    )
