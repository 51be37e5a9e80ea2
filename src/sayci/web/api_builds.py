"""The API of builds: list, watch, start, cancel; deploys; what is said of a commit."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from sayci.account import Access
from sayci.build import Build
from sayci.change import ref_of
from sayci.errors import UnknownBuild
from sayci.interfaces import LogStore, Page, Store
from sayci.scheduler import Scheduler
from sayci.web import wire
from sayci.web.events import CONTENT_TYPE as EVENTS
from sayci.web.events import Feeds
from sayci.web.reading import BRANCH, COMMIT, CURSOR, LIMIT, NUMBER, PROJECT, STEP, cursor_for, wants_events
from sayci.web.route import STREAMED, Call, Streamed, Table

table = Table()

_BUILDS = "/api/v1/projects/{project}/builds"
_BUILD = _BUILDS + "/{number}"
_DEPLOYS = "/api/v1/projects/{project}/deploys"


class BuildsApi:
    """Builds, and those among them that deploy.  `shown` makes a build's JSON."""

    def __init__(
        self,
        store: Store,
        scheduler: Scheduler,
        logs: LogStore,
        feeds: Feeds,
        shown: Callable[[Build], wire.Build],
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._logs = logs
        self._feeds = feeds
        self._shown = shown

    # -- builds

    @table.route(
        "GET", _BUILDS, Access.READ, "List builds", PROJECT, BRANCH, LIMIT, CURSOR, answer=wire.Listing[wire.Build]
    )
    async def list_builds(self, call: Call) -> wire.Listing[wire.Build]:
        """The newest first."""
        project = await self._store.project(call[PROJECT])
        branch = call.get(BRANCH)
        ref = None if branch is None else ref_of(branch)
        return self._listed(await self._store.builds(project.id, before=call.get(CURSOR), limit=call[LIMIT], ref=ref))

    @table.route(
        "POST",
        _BUILDS,
        Access.BUILD,
        "Build the head of a branch",
        PROJECT,
        body=wire.NewBuild,
        answer=wire.Build,
        code=201,
        problems=(502,),
    )
    async def start_build(self, call: Call, body: wire.NewBuild) -> wire.Build:
        """The repository is asked where the branch is now; the build never deploys."""
        project = await self._store.project(call[PROJECT])
        return self._shown(await self._scheduler.build_by_hand(project, body.branch, call.actor.name))

    @table.route(
        "GET", _BUILD, Access.READ, "Show or follow a build", PROJECT, NUMBER, answer=wire.Build, media=(EVENTS,)
    )
    async def show_build(self, call: Call) -> wire.Build | Streamed:
        """With Accept: text/event-stream its feed: it as it is now and at each change, until it has finished."""
        build = await self._build(call)
        call.vary("Accept")
        if not wants_events(call.request):
            return self._shown(build)
        await self._feeds.stream_build(call.request, build)
        return STREAMED

    @table.route("GET", _BUILD + "/steps/{step}", Access.READ, "Show a step", PROJECT, NUMBER, STEP, answer=wire.Step)
    async def show_step(self, call: Call) -> wire.Step:
        """One command of a build, and the size of its log."""
        build = await self._build(call)
        return wire.of_step(build, build.step(call[STEP]), self._logs.size)

    @table.route(
        "POST",
        _BUILD + "/cancel",
        Access.BUILD,
        "Cancel a build",
        PROJECT,
        NUMBER,
        answer=wire.Build,
        code=202,
        problems=(409,),
    )
    async def cancel_build(self, call: Call) -> wire.Build:
        """One that runs has ended as soon as its processes are gone."""
        return self._shown(await self._scheduler.cancel(await self._build(call), call.actor.name))

    @table.route(
        "POST",
        _BUILD + "/rebuild",
        Access.BUILD,
        "Run a build's commit again",
        PROJECT,
        NUMBER,
        answer=wire.Build,
        code=201,
        problems=(409,),
    )
    async def rebuild(self, call: Call) -> wire.Build:
        """A new build of the same commit; the old one must have ended."""
        return self._shown(await self._scheduler.rebuild(await self._build(call), call.actor.name))

    # -- deploys

    @table.route("GET", _DEPLOYS, Access.READ, "List deploys", PROJECT, LIMIT, CURSOR, answer=wire.Listing[wire.Build])
    async def list_deploys(self, call: Call) -> wire.Listing[wire.Build]:
        """The builds with a deploy in them, the newest first."""
        project = await self._store.project(call[PROJECT])
        page = await self._store.builds(project.id, before=call.get(CURSOR), limit=call[LIMIT], deploys_only=True)
        return self._listed(page)

    @table.route(
        "POST",
        _DEPLOYS,
        Access.BUILD,
        "Deploy a green commit",
        PROJECT,
        body=wire.OneDeploy,
        answer=wire.Build,
        code=201,
        problems=(409,),
    )
    async def start_deploy(self, call: Call, body: wire.NewDeploy) -> wire.Build:
        """One whose tests have succeeded, named by itself or by a build of it."""
        project = await self._store.project(call[PROJECT])
        commit = None if body.commit is UNSET else body.commit
        number = None if body.build is UNSET else body.build
        return self._shown(await self._scheduler.deploy(project, call.actor.name, commit=commit, number=number))

    @table.route("GET", _DEPLOYS + "/{number}", Access.READ, "Show a deploy", PROJECT, NUMBER, answer=wire.Build)
    async def show_deploy(self, call: Call) -> wire.Build:
        """The build that deploys, or has deployed."""
        build = await self._build(call)
        if not build.deploys:
            raise UnknownBuild("that build does not deploy", build.number)
        return self._shown(build)

    # -- statuses

    @table.route(
        "GET",
        "/api/v1/projects/{project}/commits/{commit}/statuses",
        Access.READ,
        "List what is said of a commit",
        PROJECT,
        COMMIT,
        answer=wire.Listing[wire.Status],
    )
    async def list_statuses(self, call: Call) -> wire.Listing[wire.Status]:
        """The commit statuses, and whether the forge has them; none for a commit that was never built."""
        project = await self._store.project(call[PROJECT])
        return wire.listing(map(wire.of_status, await self._store.told_statuses(project.id, call[COMMIT])))

    # -- its own

    async def _build(self, call: Call) -> Build:
        project = await self._store.project(call[PROJECT])
        return await self._store.build(project.id, call[NUMBER])

    def _listed(self, page: Page[Build]) -> wire.Listing[wire.Build]:
        return wire.listing(map(self._shown, page.items), cursor_for(page.next))
