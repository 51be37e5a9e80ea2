"""The page of a project's deploys: what is live, what can be deployed, and what waits for a person's answer."""

from __future__ import annotations

from collections.abc import Callable

from sayci.account import Access
from sayci.build import Build
from sayci.errors import Invalid
from sayci.interfaces import Page as Part
from sayci.interfaces import Store
from sayci.project import Project
from sayci.scheduler import Scheduler
from sayci.step import DEPLOY, Result
from sayci.web.changes import Changes
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_builds import before_of
from sayci.web.reading import NUMBER, PROJECT, wants_events
from sayci.web.sayings import saying_of_deploys, worst

#: How many deploys a part of the list has, and among how many builds of the deploy branch a green one is looked for.
DEPLOYS_SHOWN = 30
LOOKED_AT = 20


def is_live(build: Build) -> bool:
    """Whether its deploy arrived."""
    return build.step(DEPLOY).result is Result.SUCCESS


class DeployPages:
    """Looks at deploys, and keeps what people say of them."""

    def __init__(self, store: Store, scheduler: Scheduler, changes: Changes, clock: Callable[[], float]) -> None:
        self._store = store
        self._scheduler = scheduler
        self._changes = changes
        self._clock = clock

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/deploys", self.deploys)
        frame.post("/<project>/<number>/answer", self.answer, Access.BUILD)

    async def deploys(self, visit: Visit, project: str) -> Answer:
        """What is live, what could be, and every deploy, the newest first."""
        known = await self._store.project(PROJECT.read(project))
        if wants_events(visit.request):
            await self._changes.stream(visit.request, known.id)
            return None
        before = before_of(visit)
        page = await self.listed(visit, known)
        newest = page.items
        if before is not None:
            newest = (await self._store.builds(known.id, deploys_only=True, limit=DEPLOYS_SHOWN)).items
        live = next((build for build in newest if is_live(build)), None)
        saying = saying_of_deploys(newest, live, self._clock())
        values = {
            "project": known,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "changes": f"/{known.name}/deploys",
            "questions": [build for build in newest if build.result is Result.UNKNOWN],
            "live": live,
            "green": await self._green(known, live),
            "deploys": page.items,
            "next": page.next,
            "before": before,
            "is_open": any(build.is_open for build in newest),
        }
        return Page("deploys.html", values)

    async def listed(self, visit: Visit, project: Project) -> Part[Build]:
        """The deploys of the project that are asked for.  Raises Invalid."""
        return await self._store.builds(project.id, deploys_only=True, before=before_of(visit), limit=DEPLOYS_SHOWN)

    async def _green(self, project: Project, live: Build | None) -> Build | None:
        """The newest build of the deploy branch whose tests succeeded, where its commit is not the live one."""
        if project.deploy_ref is None:
            return None
        builds = (await self._store.builds(project.id, ref=project.deploy_ref, limit=LOOKED_AT)).items
        green = next((build for build in builds if build.is_green and not build.is_open), None)
        return None if green is None or (live is not None and live.commit == green.commit) else green

    async def answer(self, visit: Visit, project: str, number: str) -> Answer:
        """Keep whether a deploy arrived."""
        arrived = {"yes": True, "no": False}.get(visit.form.get("arrived", ""))
        known = await self._store.project(PROJECT.read(project))
        build = await self._store.build(known.id, NUMBER.read(number))
        if arrived is None:
            raise Invalid("say whether it arrived: yes or no")
        await self._scheduler.answer(build, visit.actor.name, arrived=arrived)
        return SeeOther("/deploys" if visit.form.get("back") == "all" else f"/{known.name}/deploys")
