"""What was not taken at the door: a bounded memory of the deliveries that were refused, for who wonders where a push went.

Whatever is refused is not authentic: anybody can send it.  So nothing of it is written down, a sender has one place for each
reason however often it comes, and all of it together has a bound.  What it says is a hint for people, never a fact.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sayci.change import cut
from sayci.errors import NoSignature, SayciError, WrongSignature

#: How many refusals are remembered of a project, and of how many projects.
REFUSALS_KEPT, PROJECTS_KEPT = 24, 1_000
#: The longest text of a sender that is kept, and of an error, in characters.
TEXT_LIMIT, REASON_LIMIT = 100, 300


class Why(enum.Enum):
    """What was wrong with a delivery."""

    UNSIGNED = "unsigned"  #: it had no signature, or several
    SIGNATURE = "signature"  #: its signature was made with another secret, or of another body
    UNREADABLE = "unreadable"  #: it was authentic, and not what a forge sends


def why_of(error: SayciError) -> Why:
    """What was wrong, by what was raised for it."""
    if isinstance(error, NoSignature):
        return Why.UNSIGNED
    return Why.SIGNATURE if isinstance(error, WrongSignature) else Why.UNREADABLE


@dataclass(frozen=True, slots=True)
class Refusal:
    """Deliveries of one sender that were refused for one reason; `reason` has the error's own words.

    `first_at` and `at` are when the first and the last came, in seconds since the epoch; `sender` is the network that they
    came from; `event`, `forge_id` and `size` are those of the last as it said them.
    """

    at: float
    first_at: float
    why: Why
    reason: str
    sender: str
    event: str = ""
    forge_id: str = ""
    size: int = 0
    count: int = 1


class Refusals:
    """The last refusals of each project; what was refused the longest time ago is forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, OrderedDict[tuple[str, str], Refusal]] = OrderedDict()

    def add(
        self,
        project_id: int,
        at: float,
        error: SayciError,
        sender: str,
        event: str = "",
        forge_id: str = "",
        size: int = 0,
    ) -> None:
        """A delivery for the project was refused with `error`."""
        why, reason = why_of(error), cut(str(error), REASON_LIMIT)
        kept = self._kept.setdefault(project_id, OrderedDict())
        self._kept.move_to_end(project_id)
        key = sender, reason
        new = Refusal(at, at, why, reason, sender, event[:TEXT_LIMIT], forge_id[:TEXT_LIMIT], size)
        before = kept.get(key)
        kept[key] = new if before is None else replace(new, first_at=before.first_at, count=before.count + 1)
        kept.move_to_end(key)
        if len(kept) > REFUSALS_KEPT:
            kept.popitem(last=False)
        if len(self._kept) > PROJECTS_KEPT:
            self._kept.popitem(last=False)

    def of(self, project_id: int) -> Sequence[Refusal]:
        """Those of a project, the last first."""
        return tuple(reversed(self._kept.get(project_id, OrderedDict()).values()))

    def last(self, project_id: int) -> Refusal | None:
        """The last of a project; None where none is remembered."""
        found = self.of(project_id)
        return found[0] if found else None

    def projects(self) -> Sequence[int]:
        """The projects of which any is remembered, the one of the last refusal at the end."""
        return tuple(self._kept)

    def forget(self, project_id: int) -> None:
        """The project is gone, or has another secret: what was refused before says nothing any more."""
        self._kept.pop(project_id, None)
