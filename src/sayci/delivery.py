"""A delivery: a webhook as it came, and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from sayci.change import Change

#: The largest body that is taken, in bytes: GitHub's own limit.
BODY_LIMIT = 25 * 1024 * 1024


class Verdict(enum.Enum):
    """What became of a delivery."""

    RECEIVED = "received"  #: on disk, not looked at yet
    BUILT = "built"  #: made a build
    IGNORED = "ignored"  #: authentic, and nothing of ours: the explanation says why
    SUPERSEDED = "superseded"  #: a newer push to the same branch came before this one was looked at
    FAILED = "failed"  #: sayci could not decide; the explanation says why; it can be replayed


@dataclass(frozen=True, slots=True)
class Message:
    """What a forge's parser makes of an authentic body: a change of ours, or why there is none (never both).

    `explanation` is a sentence for people: "ignored" verdicts show it.
    """

    event: str
    change: Change | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """An authentic delivery that has to be kept before it is answered.

    `forge_id` is the forge's own identity of the delivery: the same one twice is one delivery.  `headers` are those that
    help to understand it, without cookies or credentials; `body` is as it came, byte for byte.
    """

    project_id: int
    forge_id: str
    event: str
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)
    verdict: Verdict
    explanation: str
    received_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A kept delivery.  `id` counts for the whole server; `build_number` is the build that it made, in its project."""

    id: int
    project_id: int
    forge_id: str
    event: str
    received_at: float
    verdict: Verdict
    explanation: str
    build_number: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the store answers once a delivery is on disk: `fresh` is false when it was there already."""

    delivery: Delivery
    fresh: bool
