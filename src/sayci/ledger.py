"""Builds change here: first on disk, then on the bus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sayci.build import Build, NewBuild
from sayci.bus import Bus
from sayci.delivery import Delivery, Verdict
from sayci.event import BuildChanged, DeliveryChanged, StatusesDue
from sayci.interfaces import Settled, Store


class Ledger:
    """Writes changes of builds to the store and, once they are on disk, tells the bus."""

    def __init__(self, store: Store, bus: Bus, clock: Callable[[], float]) -> None:
        self._store = store
        self._bus = bus
        self.now = clock

    async def add(self, new: NewBuild) -> Build:
        """Make a build; those that it supersedes are told of first."""
        added = await self._store.add_build(new, self.now())
        self._tell(*added.superseded, added.build)
        return added.build

    async def advance(self, build_id: int, move: Callable[[Build], Build]) -> Build:
        """Move a build; raises what the store and `move` raise."""
        build = await self._store.advance(build_id, move)
        self._tell(build)
        return build

    async def settle(
        self, delivery_id: int, verdict: Verdict, explanation: str, new: NewBuild | None = None
    ) -> Settled:
        """Say what became of a delivery, and make its build."""
        settled = await self._store.settle(delivery_id, verdict, explanation, new)
        self._bus.publish(DeliveryChanged(settled.delivery))
        if settled.build is not None:
            self._tell(*settled.superseded, settled.build)
        return settled

    async def supersede(self, deliveries: Sequence[Delivery]) -> None:
        """Say of deliveries that newer pushes to their branches came before they were looked at."""
        words = "A newer push to the same branch came before this one was looked at."
        await self._store.supersede([delivery.id for delivery in deliveries], words)
        for delivery in deliveries:
            self._bus.publish(DeliveryChanged(replace(delivery, verdict=Verdict.SUPERSEDED, explanation=words)))

    def _tell(self, *builds: Build) -> None:
        for build in builds:
            self._bus.publish(BuildChanged(build))
        self._bus.publish(StatusesDue())
