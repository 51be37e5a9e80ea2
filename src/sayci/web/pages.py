"""All pages for people: home and signing in are here, the others are put beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from sayci.account import Access
from sayci.build import Build
from sayci.errors import Invalid, Unauthenticated
from sayci.inbox import Inbox
from sayci.interfaces import Certificates, Isolation, LogStore, Store
from sayci.project import Project
from sayci.registry import Registry
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.web.assets import Assets
from sayci.web.events import Feeds
from sayci.web.forms import read_form
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.look import STRIP_LENGTH, Bar, Look, bars_of
from sayci.web.pages_builds import BuildPages
from sayci.web.pages_deliveries import DeliveryPages
from sayci.web.pages_logs import LogPages
from sayci.web.pages_settings import SettingsPages
from sayci.web.pages_status import StatusPage
from sayci.web.reading import query_of, whole_number
from sayci.web.sayings import mark_of_project, saying_of_home, standing_in_words, worst
from sayci.web.session import Sessions, local_path
from sayci.web.troubles import sentence
from sayci.web.validity import NO_CERTIFICATES
from sayci.web.wire import Links

#: How many projects the first page lists at once, and how many builds that run or wait.
PROJECTS_SHOWN = 100
TRAFFIC_SHOWN = 30


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project as the first page lists it."""

    project: Project
    mark: str
    words: str
    newest: Build | None
    bars: Sequence[Bar]


class Pages:
    """Every page, put together.

    `clock` answers the seconds since the epoch; `isolation` is what keeps builds from this server; `certificates` are those
    that it serves, and `ports` answers where it listens, in words.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        scheduler: Scheduler,
        inbox: Inbox,
        sign_in: SignIn,
        logs: LogStore,
        feeds: Feeds,
        links: Links,
        clock: Callable[[], float],
        reactor: IReactorTime,
        version: str,
        isolation: Isolation,
        certificates: Certificates = NO_CERTIFICATES,
        ports: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._clock = clock
        self._assets = Assets()
        self._sessions = Sessions(sign_in, links.base)
        status = StatusPage(scheduler, certificates, isolation, links, ports, clock, version)
        self._frame = Frame(
            self._sessions,
            Look(self._assets),
            clock=clock,
            traffic=scheduler.waiting_and_running,
            version=version,
            isolation=isolation,
            needs_you=status.needs_a_person,
        )
        self._put_on(self._frame)
        BuildPages(store, scheduler, logs, feeds, links, clock).put_on(self._frame)
        DeliveryPages(store, inbox, links).put_on(self._frame)
        LogPages(store, logs, feeds, reactor).put_on(self._frame)
        SettingsPages(store, registry, links).put_on(self._frame)
        status.put_on(self._frame)

    def resource(self) -> IResource:
        """All pages; to be rendered with the whole path in ``postpath``."""
        return self._frame.resource()

    def _put_on(self, frame: Frame) -> None:
        frame.get("/", self.home)
        frame.open("GET", "/sign-in", self.ask_for_code)
        frame.open("POST", "/sign-in", self.sign_in)
        frame.post("/sign-out", self.sign_out, Access.READ)
        frame.open("POST", "/theme", self.set_theme)
        frame.open("GET", "/static/<name>", self.static)

    # -- home

    async def home(self, visit: Visit) -> Answer:
        """How all projects stand, what runs and what waits."""
        after = _number(visit.query("after"))
        page = await self._store.projects(after=after, limit=PROJECTS_SHOWN)
        if not page.items and not after:
            return Page("first_run.html", {})
        builds = await self._store.latest_builds([project.id for project in page.items], STRIP_LENGTH)
        rows = [self._row(project, builds.get(project.id, ())) for project in page.items]
        waiting, running = self._scheduler.waiting_and_running()
        saying = saying_of_home({row.project.name: row.mark for row in rows})
        values = {
            "saying": saying,
            "page_mark": worst([*(row.mark for row in rows), *(["running"] if running else [])]),
            "rows": rows,
            "next": page.next,
            "builds_running": running[:TRAFFIC_SHOWN],
            "builds_waiting": waiting[:TRAFFIC_SHOWN],
            "slots": self._scheduler.slots,
            "why_waiting": self._scheduler.why_waiting,
        }
        return Page("home.html", values)

    def _row(self, project: Project, builds: Sequence[Build]) -> ProjectRow:
        return ProjectRow(
            project,
            mark_of_project(project, builds),
            standing_in_words(project, builds),
            builds[0] if builds else None,
            bars_of(builds, self._clock()),
        )

    # -- signing in and out

    async def ask_for_code(self, request: Request) -> Answer:
        """The form for a code.

        A link that holds one only fills it in: whatever looks at links before people do cannot use the code up.
        """
        query = query_of(request)
        code, where = query.get("code", ""), local_path(query.get("next", "/"))
        if not code and await self._sessions.actor_of(request) is not None:
            return SeeOther(where)
        return Page("sign_in.html", {"code": code, "next": where, "error": ""})

    async def sign_in(self, request: Request) -> Answer:
        """Exchange the code for a session."""
        self._sessions.check_origin(request)
        form = read_form(request)
        self._sessions.check_form(request, form)
        where = local_path(form.get("next", "/"))
        try:
            await self._sessions.begin(request, form.get("code", "").strip())
        except Unauthenticated as error:
            return Page("sign_in.html", {"code": "", "next": where, "error": sentence(error)}, 403)
        return SeeOther(where)

    async def sign_out(self, visit: Visit) -> Answer:
        """End the session."""
        await self._sessions.end(visit.request)
        return SeeOther("/sign-in")

    # -- what is the same for everybody

    async def set_theme(self, request: Request) -> Answer:
        """Light, dark, or as the browser has it."""
        self._sessions.check_origin(request)
        form = read_form(request)
        self._sessions.check_form(request, form)
        self._sessions.set_theme(request, form.get("theme", ""))
        return SeeOther(local_path(form.get("next", "/")))

    async def static(self, request: Request, name: str) -> Answer:
        """A file of the package."""
        return self._assets.serve(request, name)


def _number(text: str) -> int:
    number = whole_number(text or "0")
    if number is None:
        raise Invalid("that is not a place in this list", text[:80])
    return number
