"""What is live of a project, what could be, and what waits for a person's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sayci.build import Build


@dataclass(frozen=True, slots=True)
class Deploying:
    """The deploys of a project as far as they count now; all None where there never was one.

    `newest` is the newest build with a deploy in it, `live` the newest whose deploy arrived, `green` the newest build of
    the deploy branch whose tests have succeeded; `asked` are those of which nobody knows whether they arrived, the newest
    first.
    """

    project_id: int
    newest: Build | None = None
    live: Build | None = None
    green: Build | None = None
    asked: Sequence[Build] = ()

    @property
    def next(self) -> Build | None:
        """What could be deployed: a green build that is not what is live, and newer."""
        green, live = self.green, self.live
        if green is None or (live is not None and (live.commit == green.commit or live.number > green.number)):
            return None
        return green

    @property
    def running(self) -> Build | None:
        """The newest build with a deploy in it, while it waits or runs."""
        return self.newest if self.newest is not None and self.newest.is_open else None
