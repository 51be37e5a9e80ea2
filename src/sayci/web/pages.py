"""All pages for people, put together; what is the same for everybody is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from sayci.bus import Bus
from sayci.forge_people import ForgePeople
from sayci.inbox import Inbox
from sayci.interfaces import Certificates, Isolation, LogStore, Store
from sayci.limits import NONE, Limits
from sayci.outlook import Outlooks
from sayci.people import People
from sayci.refusals import Refusals
from sayci.registry import Registry
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.web.api_status import StatusApi
from sayci.web.assets import Assets
from sayci.web.changes import Changes
from sayci.web.connection import Connections
from sayci.web.events import Feeds
from sayci.web.excerpts import Excerpts
from sayci.web.forms import read_form
from sayci.web.frame import Answer, Frame, SeeOther
from sayci.web.gate import Gate
from sayci.web.logreader import LogReader
from sayci.web.look import Look
from sayci.web.pages_access import AccessPages
from sayci.web.pages_account import AccountPages
from sayci.web.pages_all_deliveries import AllDeliveries
from sayci.web.pages_all_deploys import AllDeploys
from sayci.web.pages_builds import BuildPages
from sayci.web.pages_deliveries import DeliveryPages
from sayci.web.pages_deploys import DeployPages
from sayci.web.pages_feeds import FeedPages
from sayci.web.pages_github import GitHubPages
from sayci.web.pages_home import HomePage
from sayci.web.pages_json import PagesJson
from sayci.web.pages_logs import LogPages
from sayci.web.pages_members import MemberPages
from sayci.web.pages_people import PeoplePages
from sayci.web.pages_project import ProjectPage
from sayci.web.pages_settings import SettingsPages
from sayci.web.pages_status import Insides, StatusPage
from sayci.web.pages_tokens import TokenPages
from sayci.web.session import Sessions, local_path
from sayci.web.validity import NO_CERTIFICATES
from sayci.web.wire import Links


class Pages:
    """Every page, put together.

    `clock` answers the seconds since the epoch; `isolation` is what keeps builds from this server; `certificates` are those
    that it serves, and `ports` answers where it listens, in words; `refusals` remembers what hooks have not taken;
    `limits` are the most that a step may have, and `insides` is what the page of the server's own state asks.
    `forge_people` lets people in by their accounts at the forge, None where nobody comes in that way.
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
        people: People,
        logs: LogStore,
        feeds: Feeds,
        gate: Gate,
        bus: Bus,
        links: Links,
        clock: Callable[[], float],
        reactor: IReactorTime,
        version: str,
        isolation: Isolation,
        refusals: Refusals,
        insides: Insides,
        limits: Limits = NONE,
        certificates: Certificates = NO_CERTIFICATES,
        ports: Callable[[], Sequence[str]] = tuple,
        forge_people: ForgePeople | None = None,
    ) -> None:
        self._assets = Assets()
        self._sessions = Sessions(sign_in, links.base)
        changes = Changes(feeds, bus, reactor)
        status = StatusPage(
            scheduler, certificates, isolation, links, ports, clock, version, insides, outlooks, changes
        )
        reader = LogReader(logs)
        connections = Connections(store, outlooks, refusals)
        home = HomePage(outlooks, scheduler, changes, Excerpts(reader, bus, changes.tell), connections, clock)
        project = ProjectPage(store, outlooks, scheduler, changes, links, clock)
        deploys = DeployPages(store, scheduler, changes, clock)
        server = StatusApi(version, isolation, certificates, scheduler.space)
        all_deploys = AllDeploys(store, outlooks, changes, clock)
        all_deliveries = AllDeliveries(store, outlooks, refusals, changes)
        forms = PagesJson(
            store, outlooks, home, project, deploys, all_deploys, all_deliveries, server, feeds.shown, links, clock
        ).forms()
        self._frame = Frame(
            self._sessions,
            gate,
            Look(self._assets),
            clock=clock,
            traffic=scheduler.waiting_and_running,
            version=version,
            isolation=isolation,
            needs_you=status.needs_a_person,
            json=forms,
        )
        self._put_on(self._frame)
        home.put_on(self._frame)
        AccessPages(self._sessions, sign_in, people, has_github=forge_people is not None).put_on(self._frame)
        GitHubPages(self._sessions, forge_people, links).put_on(self._frame)
        AccountPages(self._sessions, sign_in, people, store, links, forge_people).put_on(self._frame)
        PeoplePages(people, links, forge_people).put_on(self._frame)
        TokenPages(sign_in, store, links).put_on(self._frame)
        project.put_on(self._frame)
        deploys.put_on(self._frame)
        all_deploys.put_on(self._frame)
        all_deliveries.put_on(self._frame)
        FeedPages(store, outlooks, project, links).put_on(self._frame)
        BuildPages(store, scheduler, logs, reader, feeds, links, clock).put_on(self._frame)
        DeliveryPages(store, inbox, refusals, changes, links).put_on(self._frame)
        LogPages(store, logs, reader, feeds, reactor).put_on(self._frame)
        SettingsPages(store, registry, connections, changes, links, limits, clock).put_on(self._frame)
        MemberPages(store, registry, people, forge_people).put_on(self._frame)
        status.put_on(self._frame)

    def resource(self) -> IResource:
        """All pages; to be rendered with the whole path in ``postpath``."""
        return self._frame.resource()

    def _put_on(self, frame: Frame) -> None:
        frame.open("POST", "/theme", self.set_theme)
        frame.open("GET", "/static/<name>", self.static)

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
