"""All pages for people: signing in is here, the others are put beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from sayci.account import Access
from sayci.errors import Unauthenticated
from sayci.inbox import Inbox
from sayci.interfaces import Certificates, Isolation, LogStore, Store
from sayci.outlook import Outlooks
from sayci.registry import Registry
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.web.assets import Assets
from sayci.web.events import Feeds
from sayci.web.forms import read_form
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.look import Look
from sayci.web.pages_builds import BuildPages
from sayci.web.pages_deliveries import DeliveryPages
from sayci.web.pages_home import HomePage
from sayci.web.pages_logs import LogPages
from sayci.web.pages_settings import SettingsPages
from sayci.web.pages_status import StatusPage
from sayci.web.reading import query_of
from sayci.web.session import Sessions, local_path
from sayci.web.troubles import sentence
from sayci.web.validity import NO_CERTIFICATES
from sayci.web.wire import Links


class Pages:
    """Every page, put together.

    `clock` answers the seconds since the epoch; `isolation` is what keeps builds from this server; `certificates` are those
    that it serves, and `ports` answers where it listens, in words.
    """

    def __init__(
        self,
        *,
        store: Store,
        outlooks: Outlooks,
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
        HomePage(outlooks, scheduler, clock).put_on(self._frame)
        BuildPages(store, scheduler, logs, feeds, links, clock).put_on(self._frame)
        DeliveryPages(store, inbox, links).put_on(self._frame)
        LogPages(store, logs, feeds, reactor).put_on(self._frame)
        SettingsPages(store, registry, links).put_on(self._frame)
        status.put_on(self._frame)

    def resource(self) -> IResource:
        """All pages; to be rendered with the whole path in ``postpath``."""
        return self._frame.resource()

    def _put_on(self, frame: Frame) -> None:
        frame.open("GET", "/sign-in", self.ask_for_code)
        frame.open("POST", "/sign-in", self.sign_in)
        frame.post("/sign-out", self.sign_out, Access.READ)
        frame.open("POST", "/theme", self.set_theme)
        frame.open("GET", "/static/<name>", self.static)

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
