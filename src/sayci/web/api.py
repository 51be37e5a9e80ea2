"""The JSON API as a Klein application: every request is authenticated, allowed, read, done and answered here.

What can be asked is declared in the parts (api_access, api_projects, ...), each route once.  There is no CORS: browsers of
other sites get nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast

import msgspec
from klein import Klein, KleinRenderable
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import HTTPException

from sayci.account import Access, Actor, Credential, digest_of
from sayci.build import Build
from sayci.bus import Bus
from sayci.inbox import Inbox
from sayci.interfaces import Certificates, Isolation, LogStore, Store
from sayci.people import People
from sayci.registry import Registry
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.web import (
    api_access,
    api_builds,
    api_deliveries,
    api_logs,
    api_members,
    api_people,
    api_projects,
    api_status,
    pages_json,
    wire,
)
from sayci.web.answer import JSON, answer, set_header
from sayci.web.events import Feeds
from sayci.web.gate import Gate
from sayci.web.openapi import document
from sayci.web.outlet import cut_off
from sayci.web.problems import log_mistake, problem, problem_of, problem_of_route
from sayci.web.reading import bearer_of, client_of, read_json
from sayci.web.route import STREAMED, Call, Route
from sayci.web.shield import shielded
from sayci.web.validity import NO_CERTIFICATES

TABLES = (
    api_access.table,
    api_people.table,
    api_members.table,
    api_projects.table,
    api_builds.table,
    api_logs.table,
    api_deliveries.table,
    api_status.table,
)
DOCUMENT = "/api/openapi.json"

_NOBODY = Actor("", Access.NONE)
_UNSAID = Isolation(False, "Nobody has said what keeps builds from this server")


class Api:
    """The application.  `app` has its routes; `resource()` serves them, wherever in the tree of addresses it is put.

    `public_url` answers the address by which the world reaches this server.  `feeds` serves the live feeds and `gate` lets
    requests pass, here and for the pages; `shown` makes a build's JSON.  `isolation` is what keeps builds from this
    server; `certificates` are those that it serves.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        scheduler: Scheduler,
        inbox: Inbox,
        sign_in: SignIn,
        logs: LogStore,
        bus: Bus,
        clock: IReactorTime,
        public_url: Callable[[], str],
        version: str,
        *,
        people: People,
        isolation: Isolation = _UNSAID,
        certificates: Certificates = NO_CERTIFICATES,
    ) -> None:
        self.app = Klein()
        self.links = wire.Links(public_url)
        self.gate = Gate(store, sign_in)
        self.feeds = Feeds(store, logs, bus, clock, self.shown, self.gate)
        self._scheduler = scheduler
        self._sign_in = sign_in
        self._logs = logs
        parts = (
            api_access.AccessApi(store, sign_in, version),
            api_people.PeopleApi(people, self.links),
            api_members.MembersApi(store, people),
            api_projects.ProjectsApi(store, registry, self.links),
            api_builds.BuildsApi(store, scheduler, logs, self.feeds, self.shown),
            api_logs.LogsApi(store, logs, self.feeds, clock),
            api_deliveries.DeliveriesApi(store, inbox),
            api_status.StatusApi(version, isolation, certificates, scheduler.space),
        )
        self._register(parts, msgspec.json.encode(document([*routes(), *pages_json.table.routes], version)))

    def resource(self) -> ApiResource:
        """What a Site serves."""
        return ApiResource(self.app)

    def shown(self, build: Build) -> wire.Build:
        """A build as it goes over the wire."""
        return wire.of_build(build, self.links, self._logs.size, self._scheduler.why_waiting(build))

    # -- from declarations to Klein

    def _register(self, parts: Iterable[object], openapi: bytes) -> None:
        # Neither redirects to a nicer address nor addresses that mean the same: what is not an address is none.
        self.app.url_map.merge_slashes = False
        for table, part in zip(TABLES, parts, strict=True):
            for route in table.routes:
                self._add(route, part)

        async def openapi_json(request: Request) -> bytes:
            return answer(request, 200, JSON, openapi)

        self.app.route(DOCUMENT, methods=["GET"])(openapi_json)
        self.app.handle_errors(Exception)(_answer_error)

    def _add(self, route: Route, part: object) -> None:
        async def serve(request: Request, **path: str) -> bytes | None:
            return await self._serve(route, part, request, path)

        address = route.path.replace("{", "<").replace("}", ">")
        self.app.route(address, methods=[route.method], endpoint=route.name)(serve)

    async def _serve(self, route: Route, part: object, request: Request, path: dict[str, str]) -> bytes | None:
        actor, credential = await self._known(route, request)
        if route.access is not None:
            await self.gate.admit(request, actor, credential, route.access, path.get("project"))
        call = Call(route, request, actor or _NOBODY, path)
        given = () if route.body is None else (read_json(request, route.body),)
        work = route.handler(part, call, *given)
        return _answered(route, request, await _done(route, work))

    async def _known(self, route: Route, request: Request) -> tuple[Actor | None, Credential | None]:
        """Who holds the credential, and that; None for a stranger, who may look at what is public."""
        if route.access is None or not request.requestHeaders.hasHeader(b"authorization"):
            return None, None
        secret = bearer_of(request)
        actor = await self._sign_in.actor_of_token(secret, address=client_of(request))
        return actor, Credential(digest_of(secret), is_token=True)


def routes() -> list[Route]:
    """Every route of the API but the document of them all."""
    return [route for table in TABLES for route in table.routes]


async def _done(route: Route, work: Any) -> object:
    """Do it; what changes something goes on to its end although the client has gone."""
    return await (work if route.method == "GET" else shielded(work))


def _answered(route: Route, request: Request, value: object) -> bytes | None:
    if value is STREAMED:
        return None
    if isinstance(value, bytes):
        return value
    if route.answer is None:
        request.setResponseCode(route.code)
        set_header(request, "Cache-Control", "no-store")
        request.defaultContentType = None
        return None
    return answer(request, route.code, JSON, msgspec.json.encode(value))


def _answer_error(request: IRequest, failure: Failure) -> KleinRenderable:
    """What went wrong as a problem document; when half an answer has been sent, its end must not look like one."""
    ours = cast("Request", request)
    error = failure.value or RuntimeError("a failure without an exception")
    if ours.startedWriting:
        log_mistake(failure)
        return cut_off(ours)
    if isinstance(error, HTTPException):
        return problem_of_route(ours, error)
    return problem_of(ours, error)


class ApiResource(Resource):
    """The application as a resource that is given the whole path, also below a parent that has taken a part of it."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, app: Klein) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted states no types here
        self._klein = app.resource()

    def render(self, request: Request) -> bytes | int:
        """Answer; an address or a host that cannot even be decoded is a problem document as well."""
        request.postpath = [*(request.prepath or []), *(request.postpath or [])]
        request.prepath = []
        try:
            b"/".join(request.postpath).decode("utf-8")
            request.method.decode("ascii")
            self._klein.render(request)
        except UnicodeDecodeError:
            return problem(request, 404, HTTPStatus(404).phrase, "there is nothing at this address")
        except HTTPException:
            return problem(request, 400, HTTPStatus(400).phrase, "the Host header is not one")
        return NOT_DONE_YET
