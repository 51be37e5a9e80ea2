"""What the pages show, as JSON at their own addresses: the types and the handlers are those of the API.

The frame of the pages (web/frame.py) serves these routes to requests that want JSON; here they are declared, so that the
OpenAPI document has them too.  Who may ask is decided for the page.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from sayci.account import Access
from sayci.build import Build
from sayci.interfaces import Page, Store
from sayci.outlook import Outlook, Outlooks
from sayci.project import Project
from sayci.web import wire
from sayci.web.answer import JSON, answer
from sayci.web.api_status import StatusApi
from sayci.web.events import CONTENT_TYPE as EVENTS
from sayci.web.frame import JsonForm, Visit
from sayci.web.pages_all_deliveries import AllDeliveries
from sayci.web.pages_all_deploys import AllDeploys, Row, part_of
from sayci.web.pages_builds import before_of
from sayci.web.pages_deploys import DeployPages
from sayci.web.pages_home import SHOWS, SORTS, HomePage
from sayci.web.pages_project import CAUSES, RESULTS, ProjectPage
from sayci.web.reading import BRANCH, NUMBER, PROJECT, Parameter
from sayci.web.route import Call, Route, Table
from sayci.web.sayings import standing_in_words

table = Table()

#: How many deliveries a part has.
DELIVERIES_SHOWN = 50


def _choice(name: str, description: str, words: Any) -> Parameter[str]:
    return Parameter(name, "query", description, {"type": "string", "enum": [word for word in words if word]}, str)


SEARCH = Parameter("q", "query", "Only those with these words.", {"type": "string", "maxLength": 200}, str)
SHOW = _choice("show", "Only those that need somebody, or of which something runs.", SHOWS)
SORT = _choice("sort", "In which order.", SORTS)
PART = Parameter("page", "query", "Which part of the list: `next`.", {"type": "integer", "minimum": 1}, str)
RESULT = _choice("result", "Only builds that ended so.", RESULTS)
CAUSE = _choice("cause", "Only builds that were made for this.", CAUSES)
BEFORE = Parameter("before", "query", "Only what is older than this: `next`.", {"type": "string"}, str)


class PagesJson:
    """The JSON of the pages.  `shown` makes a build's, `clock` answers the seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        outlooks: Outlooks,
        home: HomePage,
        project: ProjectPage,
        deploys: DeployPages,
        all_deploys: AllDeploys,
        all_deliveries: AllDeliveries,
        status: StatusApi,
        shown: Callable[[Build], wire.Build],
        links: wire.Links,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._outlooks = outlooks
        self._home = home
        self._project = project
        self._deploys = deploys
        self._all_deploys = all_deploys
        self._all_deliveries = all_deliveries
        self._status = status
        self._shown = shown
        self._links = links
        self._clock = clock

    def forms(self) -> Mapping[str, JsonForm]:
        """Address, as the pages write it -> its JSON."""
        return {route.path.replace("{", "<").replace("}", ">"): self._form(route) for route in table.routes}

    def _form(self, route: Route) -> JsonForm:
        async def form(visit: Visit, path: Mapping[str, str]) -> bytes:
            call = Call(route, visit.request, visit.actor, path, is_strict=False)
            work: Callable[..., Coroutine[Deferred[Any], Any, object]] = route.handler  # type: ignore[assignment]
            return answer(visit.request, route.code, JSON, msgspec.json.encode(await work(self, visit, call)))

        return form

    # -- the pages

    @table.route(
        "GET",
        "/",
        Access.NONE,
        "How the projects stand",
        *(SEARCH, SHOW, SORT, PART),
        answer=wire.Listing[wire.ProjectState],
        media=(EVENTS,),
        problems=(406,),
    )
    async def home_page(self, visit: Visit, call: Call) -> wire.Listing[wire.ProjectState]:
        """Those that one may look at, first those that need somebody; strangers see what is public."""
        del call
        listed = await self._home.listed(visit)
        following = str(listed.wanted.part + 1) if listed.has_more else None
        return wire.listing([self._state(summary.outlook) for summary in listed.part], following)

    @table.route(
        "GET",
        "/{project}",
        Access.READ,
        "A project and its builds",
        *(PROJECT, RESULT, BRANCH, CAUSE, SEARCH, BEFORE),
        answer=wire.ProjectPage,
        media=(EVENTS,),
        problems=(406,),
    )
    async def project_page(self, visit: Visit, call: Call) -> wire.ProjectPage:
        """How it stands, and the builds that are asked for, the newest first."""
        project = await self._of(call)
        builds = self._listed(await self._project.listed(visit, project))
        state = self._state(await self._outlooks.of(project))
        return wire.ProjectPage(state.project, state.standing, state.newest, builds.items, builds.next)

    @table.route(
        "GET",
        "/{project}/{number}",
        Access.READ,
        "A build",
        *(PROJECT, NUMBER),
        answer=wire.Build,
        media=(EVENTS,),
        problems=(406,),
    )
    async def build_page(self, visit: Visit, call: Call) -> wire.Build:
        """With its steps."""
        del visit
        project = await self._of(call)
        return self._shown(await self._store.build(project.id, call[NUMBER]))

    @table.route(
        "GET",
        "/{project}/deploys",
        Access.READ,
        "The deploys of a project",
        *(PROJECT, BEFORE),
        answer=wire.Listing[wire.Build],
        media=(EVENTS,),
        problems=(406,),
    )
    async def deploys_page(self, visit: Visit, call: Call) -> wire.Listing[wire.Build]:
        """The builds with a deploy in them, the newest first."""
        return self._listed(await self._deploys.listed(visit, await self._of(call)))

    @table.route(
        "GET",
        "/deploys",
        Access.NONE,
        "What is live where",
        PART,
        answer=wire.Listing[wire.Deploying],
        media=(EVENTS,),
        problems=(406,),
    )
    async def all_deploys_page(self, visit: Visit, call: Call) -> wire.Listing[wire.Deploying]:
        """Of the projects that one may look at and that have deploys, first those that need somebody."""
        del call
        part, shown, more = part_of(visit, await self._all_deploys.rows(visit.actor))
        return wire.listing(map(self._deploying, shown), str(part + 1) if more else None)

    @table.route(
        "GET",
        "/{project}/deliveries",
        Access.BUILD,
        "The deliveries of a project",
        *(PROJECT, BEFORE),
        answer=wire.Listing[wire.Delivery],
        media=(EVENTS,),
        problems=(406,),
    )
    async def deliveries_page(self, visit: Visit, call: Call) -> wire.Listing[wire.Delivery]:
        """The newest first."""
        project = await self._of(call)
        page = await self._store.deliveries(project.id, before=before_of(visit), limit=DELIVERIES_SHOWN)
        return wire.listing(map(wire.of_delivery, page.items), _before(page))

    @table.route(
        "GET",
        "/deliveries",
        Access.ADMIN,
        "The deliveries of all projects",
        BEFORE,
        answer=wire.Listing[wire.ProjectDelivery],
        media=(EVENTS,),
        problems=(406,),
    )
    async def all_deliveries_page(self, visit: Visit, call: Call) -> wire.Listing[wire.ProjectDelivery]:
        """The newest first."""
        del call
        page = await self._all_deliveries.listed(before_of(visit))
        return wire.listing([wire.of_arrival(each.project.name, each.delivery) for each in page.items], _before(page))

    @table.route(
        "GET",
        "/status",
        Access.NONE,
        "The server",
        answer=wire.ServerStatus,
        media=(EVENTS,),
        problems=(406,),
    )
    async def status_page(self, visit: Visit, call: Call) -> wire.ServerStatus:
        """As `/api/v1/status` has it."""
        del visit
        return await self._status.status(call)

    # -- its own

    async def _of(self, call: Call) -> Project:
        return await self._store.project(call[PROJECT])

    def _state(self, outlook: Outlook) -> wire.ProjectState:
        project, past, newest = outlook.project, outlook.past, outlook.newest
        standing = outlook.standing
        return wire.ProjectState(
            wire.of_project(project, self._links),
            wire.Standing(
                None if standing is None else standing.result,
                standing_in_words(project, past, newest, self._clock()),
                any(each.result is None for each in past),
            ),
            None if newest is None else self._shown(newest),
        )

    def _deploying(self, row: Row) -> wire.Deploying:
        def shown(build: Build | None) -> wire.Build | None:
            return None if build is None else self._shown(build)

        now = row.deploying
        return wire.Deploying(
            project=row.project.name,
            page=f"{self._links.project(row.project.name)}/deploys",
            live=shown(now.live),
            newest=shown(now.newest),
            next=shown(now.next),
            asked=[self._shown(build) for build in now.asked],
        )

    def _listed(self, page: Page[Build]) -> wire.Listing[wire.Build]:
        return wire.listing(map(self._shown, page.items), _before(page))


def _before(page: Page[Any]) -> str | None:
    return None if page.next is None else str(page.next)
