"""The page of a project's deliveries: what arrived, what became of it, and another look at it."""

from __future__ import annotations

from sayci.account import Access
from sayci.inbox import Inbox
from sayci.interfaces import Store
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_builds import before_of
from sayci.web.reading import DELIVERY, PROJECT
from sayci.web.sayings import saying_of_deliveries
from sayci.web.wire import Links

DELIVERIES_SHOWN = 50


class DeliveryPages:
    """Looks at deliveries, and has the inbox look at one again."""

    def __init__(self, store: Store, inbox: Inbox, links: Links) -> None:
        self._store = store
        self._inbox = inbox
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/deliveries", self.deliveries, Access.BUILD)
        frame.post("/<project>/deliveries/<delivery>/replay", self.replay, Access.BUILD)

    async def deliveries(self, visit: Visit, project: str) -> Answer:
        """The newest first, with a verdict in words."""
        known = await self._store.project(PROJECT.read(project))
        before = before_of(visit)
        page = await self._store.deliveries(known.id, before=before, limit=DELIVERIES_SHOWN)
        newest = page.items if before is None else (await self._store.deliveries(known.id, limit=1)).items
        values = {
            "project": known,
            "saying": saying_of_deliveries(newest),
            "deliveries": page.items,
            "before": before,
            "next": page.next,
            "webhook_url": self._links.webhook(known.name),
        }
        return Page("deliveries.html", values)

    async def replay(self, visit: Visit, project: str, delivery: str) -> Answer:
        """Look at a delivery again with the settings of now; to the build that it makes, if it makes one."""
        del visit
        known = await self._store.project(PROJECT.read(project))
        replayed = await self._inbox.replay(known, DELIVERY.read(delivery))
        if replayed.build_number is not None:
            return SeeOther(f"/{known.name}/{replayed.build_number}")
        return SeeOther(f"/{known.name}/deliveries#d{replayed.id}")
