"""The page of all deliveries, for admins: those that need a look, and what arrived last wherever it was for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sayci.account import Access
from sayci.delivery import Delivery, Verdict
from sayci.interfaces import Page as Part
from sayci.interfaces import Store
from sayci.outlook import Outlooks
from sayci.project import Project
from sayci.refusals import Refusal, Refusals
from sayci.web.arrivals import is_newer, saying_of_delivery
from sayci.web.changes import Audience, Changes
from sayci.web.frame import Answer, Frame, Page, Visit
from sayci.web.pages_builds import before_of
from sayci.web.reading import wants_events
from sayci.web.sayings import Saying, worst
from sayci.web.words import spelled

DELIVERIES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery, and the project that it was for."""

    project: Project
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Rebuff:
    """What was refused last of a project, and nothing has been taken since."""

    project: Project
    refusal: Refusal


def failing(arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """Those, given the newest first, that failed and were the last of their project."""
    newest: dict[int, Arrival] = {}
    for arrival in arrivals:
        newest.setdefault(arrival.project.id, arrival)
    return [arrival for arrival in newest.values() if arrival.delivery.verdict is Verdict.FAILED]


def saying_of_all(arrivals: Sequence[Arrival], failed: Sequence[Arrival], rebuffs: Sequence[Rebuff]) -> Saying:
    """What there is to say of all that has arrived, the newest first."""
    if not failed and not rebuffs:
        if not arrivals:
            return Saying("queued", "", "No delivery has arrived yet.")
        newest = arrivals[0]
        return saying_of_delivery(newest.delivery, f"The last delivery, for {newest.project.name},")
    projects = [*(arrival.project for arrival in failed), *(rebuff.project for rebuff in rebuffs)]
    names = list(dict.fromkeys(project.name for project in projects))
    mark = "failure" if rebuffs else "error"
    if len(names) == 1:
        return Saying(mark, names[0], "needs a look:", "its last delivery was not used.")
    many = f"{spelled(len(names)).capitalize()} projects"
    return Saying(mark, many, "need a look:", "their last deliveries were not used.")


class AllDeliveries:
    """``/deliveries``."""

    def __init__(self, store: Store, outlooks: Outlooks, refusals: Refusals, changes: Changes) -> None:
        self._store = store
        self._outlooks = outlooks
        self._refusals = refusals
        self._changes = changes

    def put_on(self, frame: Frame) -> None:
        """Take the address."""
        frame.get("/deliveries", self.deliveries, Access.ADMIN)

    async def deliveries(self, visit: Visit) -> Answer:
        """Those that need a look, and the others, the newest first."""
        projects = await self._projects()
        if wants_events(visit.request):
            audience = Audience(visit.actor, projects.values())
            await self._changes.stream_of_all(visit.request, audience, with_refused=True)
            return None
        before = before_of(visit)
        page = await self.listed(before)
        newest = page.items if before is None else (await self.listed(None)).items
        rebuffs = await self._rebuffs(projects)
        failed = failing(newest)
        saying = saying_of_all(newest, failed, rebuffs)
        values = {
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "changes": "/deliveries",
            "failed": failed,
            "rebuffs": rebuffs,
            "arrivals": page.items,
            "before": before,
            "next": page.next,
        }
        return Page("all_deliveries.html", values)

    async def listed(self, before: int | None) -> Part[Arrival]:
        """Those before an id, the newest first."""
        projects = await self._projects()
        page = await self._store.deliveries(None, before=before, limit=DELIVERIES_SHOWN)
        known = [each for each in page.items if each.project_id in projects]
        return Part([Arrival(projects[each.project_id], each) for each in known], page.next)

    async def _projects(self) -> Mapping[int, Project]:
        return {outlook.project.id: outlook.project for outlook in await self._outlooks.all()}

    async def _rebuffs(self, projects: Mapping[int, Project]) -> Sequence[Rebuff]:
        """Of each project whose last delivery was refused, that one; the newest first."""
        found = []
        for project_id in reversed(self._refusals.projects()):
            refusal = self._refusals.last(project_id)
            if refusal is None or project_id not in projects:
                continue
            newest = next(iter((await self._store.deliveries(project_id, limit=1)).items), None)
            if is_newer(refusal, newest):
                found.append(Rebuff(projects[project_id], refusal))
        return found[:DELIVERIES_SHOWN]
