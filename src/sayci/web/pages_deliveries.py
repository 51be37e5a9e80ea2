"""The pages of a project's deliveries: what arrived and what did not get in, what became of it, and another look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from twisted.internet.defer import Deferred, gatherResults

from sayci.account import Access
from sayci.change import branch_of
from sayci.delivery import Delivery, Verdict
from sayci.errors import Invalid, UnknownDelivery
from sayci.inbox import Inbox
from sayci.interfaces import Page as Part
from sayci.interfaces import Store
from sayci.project import Project
from sayci.refusals import Refusals
from sayci.web.arrivals import (
    CHOICES,
    HELLO,
    REFUSED,
    is_newer,
    saying_of_deliveries,
    saying_of_delivery,
    shown_body,
)
from sayci.web.changes import Changes
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_builds import before_of
from sayci.web.reading import DELIVERY, PROJECT, wants_events
from sayci.web.sayings import worst
from sayci.web.wire import Links

DELIVERIES_SHOWN = 50
#: Bodies up to this size, in bytes, are looked into for what was pushed where no build says it.
LOOKED_INTO = 64 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery with what was pushed, both "" where that is not known."""

    delivery: Delivery
    ref: str = ""
    commit: str = ""

    @property
    def branch(self) -> str:
        """The branch by its name, another ref as it is."""
        return branch_of(self.ref) or self.ref


class DeliveryPages:
    """Looks at deliveries, and has the inbox look at one again."""

    def __init__(self, store: Store, inbox: Inbox, refusals: Refusals, changes: Changes, links: Links) -> None:
        self._store = store
        self._inbox = inbox
        self._refusals = refusals
        self._changes = changes
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/deliveries", self.deliveries, Access.BUILD)
        frame.get("/<project>/deliveries/<delivery>", self.delivery, Access.BUILD)
        frame.post("/<project>/deliveries/<delivery>/replay", self.replay, Access.BUILD)

    # -- all of them

    async def deliveries(self, visit: Visit, project: str) -> Answer:
        """The newest first, with a verdict in words."""
        known = await self._store.project(PROJECT.read(project))
        if wants_events(visit.request):
            await self._changes.stream(visit.request, known.id)
            return None
        choice, before = visit.query("v"), before_of(visit)
        if choice not in CHOICES:
            raise Invalid("that is no verdict", choice[:80])
        refusals = self._refusals.of(known.id)
        newest = await self._newest(known)
        news = [refusal for refusal in refusals if is_newer(refusal, newest)]
        page: Part[Delivery] = Part((), None)
        if choice != REFUSED:
            verdicts = CHOICES[choice][2]
            page = await self._store.deliveries(known.id, before=before, limit=DELIVERIES_SHOWN, verdicts=verdicts)
        saying = saying_of_deliveries(newest, refusals[0] if refusals else None)
        values = {
            "project": known,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "changes": f"/{known.name}/deliveries",
            "choices": CHOICES,
            "choice": choice,
            "rows": await self._rows(known, page.items),
            # What was refused stands among the rest only where it is news: anybody may have sent it.
            "refusals": refusals if choice == REFUSED else () if choice or before else news,
            "refused": sum(refusal.count for refusal in refusals),
            "before": before,
            "next": page.next,
            "query": lambda **asked: _query({"v": choice} | asked),
            "webhook_url": self._links.webhook(known.name),
        }
        return Page("deliveries.html", values)

    async def _newest(self, project: Project) -> Delivery | None:
        return next(iter((await self._store.deliveries(project.id, limit=1)).items), None)

    async def _rows(self, project: Project, deliveries: Sequence[Delivery]) -> Sequence[Row]:
        numbers = {each.build_number for each in deliveries if each.build_number is not None}
        builds = await self._store.builds_numbered(project.id, numbers)

        async def row(delivery: Delivery) -> Row:
            build = builds.get(delivery.build_number or 0)
            if build is not None:
                return Row(delivery, build.ref, build.commit)
            return await self._looked_into(project, delivery)

        return await gatherResults([Deferred.fromCoroutine(row(delivery)) for delivery in deliveries])

    async def _looked_into(self, project: Project, delivery: Delivery) -> Row:
        """What was pushed, out of the body; not of a hello, and not of what is large."""
        if delivery.event == HELLO or delivery.size > LOOKED_INTO:
            return Row(delivery)
        try:
            _, stored = await self._store.delivery(project.id, delivery.id)
        except UnknownDelivery:  # it has just been removed because it is old
            return Row(delivery)
        message = self._inbox.says(stored)
        change = message.change if message is not None else None
        return Row(delivery) if change is None else Row(delivery, change.ref, change.commit)

    # -- one of them

    async def delivery(self, visit: Visit, project: str, delivery: str) -> Answer:
        """What it was, what became of it, and why."""
        del visit
        known, secret = await self._store.webhook_secret(PROJECT.read(project))
        found, stored = await self._store.delivery(known.id, DELIVERY.read(delivery))
        message = self._inbox.says(stored)
        body, is_cut = shown_body(stored.body, secret)
        saying = saying_of_delivery(found, f"Delivery {found.id}")
        values = {
            "project": known,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "delivery": found,
            "change": message.change if message is not None else None,
            "headers": stored.headers,
            "body": body,
            "is_cut": is_cut,
            "is_gone": bool(found.size) and not stored.body,
        }
        return Page("delivery.html", values)

    async def replay(self, visit: Visit, project: str, delivery: str) -> Answer:
        """Look at a delivery again with the settings of now; to the build that it makes, if it makes one."""
        del visit
        known = await self._store.project(PROJECT.read(project))
        replayed = await self._inbox.replay(known, DELIVERY.read(delivery))
        if replayed.verdict is Verdict.BUILT:
            return SeeOther(f"/{known.name}/{replayed.build_number}")
        return SeeOther(f"/{known.name}/deliveries/{replayed.id}")


def _query(asked: dict[str, object]) -> str:
    given = {name: value for name, value in asked.items() if value}
    return "?" + urlencode(given) if given else ""
