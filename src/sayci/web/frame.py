"""What every page has around it: who asks and what they may, the form's token, the security headers, the error pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from sayci.account import Access, Actor, access_of
from sayci.build import Build
from sayci.errors import Forbidden, NotAcceptable, SayciError, Unauthenticated, UnknownProject
from sayci.interfaces import Isolation
from sayci.project import Project, check_name
from sayci.web.answer import answer, set_header
from sayci.web.forms import read_form
from sayci.web.gate import Gate
from sayci.web.look import Look
from sayci.web.negotiation import HTML as PAGE
from sayci.web.negotiation import JSON, accept_of, form_wanted, preferred
from sayci.web.outlet import cut_off
from sayci.web.problems import log_mistake, problem_of, problem_of_route
from sayci.web.reading import query_of
from sayci.web.session import Sessions, local_path
from sayci.web.shield import shielded
from sayci.web.troubles import NEEDS, Trouble, forbidden_here, trouble_of

#: Nothing is loaded from elsewhere, nothing inline runs, nobody frames us, forms go nowhere else.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HTML = "text/html; charset=utf-8"
#: Whose visit it is when a stranger looks at what is public.
NOBODY = Actor("", Access.NONE)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request by somebody who may make it.  `form` has the fields of a POST."""

    request: Request
    actor: Actor
    form: Mapping[str, str] = field(default_factory=dict)

    def query(self, name: str) -> str:
        """A parameter of the address; "" where there is none.  Raises Invalid."""
        return query_of(self.request).get(name, "")


@dataclass(frozen=True, slots=True)
class Page:
    """A page to be drawn: a template and what it shows."""

    template: str
    values: Mapping[str, Any]
    code: int = 200


@dataclass(frozen=True, slots=True)
class SeeOther:
    """The answer is at another address of ours."""

    path: str


#: What a handler answers; None when it has written the answer itself.
Answer = Page | SeeOther | bytes | None
Handler = Callable[..., Coroutine[Deferred[Any], Any, Answer]]
#: Answers what is at an address as JSON: ``await form(visit, parts of the path)``.
JsonForm = Callable[[Visit, Mapping[str, str]], Coroutine[Deferred[Any], Any, bytes]]
#: How programs that know no other way may say who they are (RFC 7617), and how all others do.
_CHALLENGES = ['Basic realm="sayci", charset="UTF-8"', 'Bearer realm="sayci"']


class Frame:
    """Puts handlers at addresses, and a frame around what they answer.

    `traffic` answers the builds that wait and those that run; `isolation` is what keeps builds from the server;
    `needs_you` answers whether something on the status page needs a person.  `json` has for addresses what is there as
    JSON, for requests that want it so (RFC 9110, 12.5.1).
    """

    def __init__(
        self,
        sessions: Sessions,
        gate: Gate,
        look: Look,
        *,
        clock: Callable[[], float],
        traffic: Callable[[], tuple[list[Build], list[Build]]],
        version: str,
        isolation: Isolation,
        needs_you: Callable[[], bool],
        json: Mapping[str, JsonForm],
    ) -> None:
        self._sessions = sessions
        self._gate = gate
        self._look = look
        self._clock = clock
        self._json = json
        self._traffic = traffic
        self._needs_you = needs_you
        self._server = {"version": version, "isolation": isolation}
        self._app = Klein()
        self._app.url_map.strict_slashes = False
        self._app.handle_errors(Exception)(cast("Any", self._failed))

    def resource(self) -> IResource:
        """All pages as a resource that is given whole paths."""
        return _Guarded(self._app.resource())

    # -- addresses

    def get(self, path: str, handler: Handler, access: Access = Access.READ, *, for_strangers: bool = False) -> None:
        """Answer a GET with ``handler(visit, **parts of the path)``; a part `project` is the name of one.

        Strangers are asked to sign in where the gate or the handler raises Unauthenticated; with `for_strangers` the gate
        lets them pass, and the handler shows each what that one may see.  Who does not want a page gets what is there in
        the form that is wanted, the feed of the page by the handler; and what is wrong as a problem document.
        """

        async def run(request: Request, **parts: str) -> bytes | None:
            set_header(request, "Vary", "Accept")
            form = form_wanted(request)
            actor = None
            try:
                actor, credential = await self._sessions.reader_of(request)
                name = parts.get("project")
                await self._gate.admit(request, actor, credential, access, name, for_strangers=for_strangers)
                visit = Visit(request, actor or NOBODY)
                if form == JSON and path in self._json:
                    return await self._json[path](visit, parts)
                given = await handler(visit, **parts)
            except Unauthenticated:
                if actor is not None or form != PAGE or request.requestHeaders.hasHeader("authorization"):
                    raise
                given = sign_in_first(request)
            if isinstance(given, Page) and preferred(accept_of(request), (PAGE,)) is None:
                raise NotAcceptable("what is here is not there in a form that you take")
            return self._respond(request, given, actor)

        self._route("GET", path, run)

    def get_for_programs(
        self, path: str, handler: Handler, access: Access = Access.READ, *, for_strangers: bool = False
    ) -> None:
        """Answer a GET that programs make, which may bring a token as the password of HTTP Basic, too.

        Who may not has a challenge: that is how such programs learn to ask for a password.
        """

        async def run(request: Request, **parts: str) -> bytes | None:
            actor = None
            try:
                actor, credential = await self._sessions.reader_of(request, takes_basic=True)
                name = parts.get("project")
                await self._gate.admit(request, actor, credential, access, name, for_strangers=for_strangers)
                return self._respond(request, await handler(Visit(request, actor or NOBODY), **parts), actor)
            except SayciError as error:
                body = problem_of(request, error)
                if request.code == 401:
                    request.responseHeaders.setRawHeaders("WWW-Authenticate", _CHALLENGES)
                return body

        self._route("GET", path, run)

    def post(self, path: str, handler: Handler, access: Access) -> None:
        """Answer a POST of one of our forms the same way; it is done to the end even if the client goes away."""

        async def run(request: Request, **parts: str) -> bytes | None:
            self._sessions.check_origin(request)
            actor = await self._sessions.actor_of(request)
            if actor is None:
                return self._respond(request, SeeOther("/sign-in"), None)
            form = read_form(request)
            self._sessions.check_form(request, form)
            credential = self._sessions.credential_of(request)
            await self._gate.admit(request, actor, credential, access, parts.get("project"))
            return self._respond(request, await shielded(handler(Visit(request, actor, form), **parts)), actor)

        self._route("POST", path, run)

    def open(self, method: str, path: str, handler: Handler) -> None:
        """Answer with ``handler(request, **parts of the path)``, whoever asks."""

        async def run(request: Request, **parts: str) -> bytes | None:
            given = await shielded(handler(request, **parts))
            actor = await self._sessions.actor_of(request) if isinstance(given, Page) else None
            return self._respond(request, given, actor)

        self._route(method, path, run)

    def _route(self, method: str, path: str, run: Callable[..., Any]) -> None:
        self._app.route(path, methods=[method], endpoint=f"{method} {path}")(run)

    # -- answers

    def _respond(self, request: Request, given: Answer, actor: Actor | None) -> bytes | None:
        if isinstance(given, Page):
            return self._page(request, given, actor)
        if isinstance(given, SeeOther):
            set_header(request, "Location", given.path)
            return answer(request, 303, HTML, b"")
        return given

    def _page(self, request: Request, page: Page, actor: Actor | None) -> bytes:
        waiting, running = self._traffic_for(actor)
        project = page.values.get("project")
        reach = Access.NONE if actor is None else actor.access
        if actor is not None and isinstance(project, Project):
            reach = actor.on(project.id)
        around = {
            **self._server,
            "actor": actor,
            "may": lambda word: actor is not None and reach >= Access[word.upper()],
            "now": self._clock(),
            "theme": self._sessions.theme_of(request),
            "form_token": self._sessions.form_token(request),
            "here": local_path(request.uri.decode("ascii", "replace")) if request.method == b"GET" else "",
            "running": len(running),
            "waiting": len(waiting),
            "needs_you": self._needs_you(),
            "page_mark": "",
        }
        body = self._look.draw(page.template, {**around, **page.values})
        return answer(request, page.code, HTML, body)

    def _traffic_for(self, actor: Actor | None) -> tuple[list[Build], list[Build]]:
        """The builds that wait and those that run, of the projects that are the actor's."""
        if actor is None:
            return [], []
        waiting, running = self._traffic()
        if actor.access >= Access.READ:
            return waiting, running
        own = actor.grants
        return [each for each in waiting if each.project_id in own], [
            each for each in running if each.project_id in own
        ]

    # -- what goes wrong

    async def _failed(self, request: Request, failure: Failure) -> bytes | None:
        if request.startedWriting:
            log_mistake(failure)
            await cut_off(request)
        if form_wanted(request) != PAGE:
            error = failure.value or RuntimeError("a failure without an exception")
            return problem_of_route(request, error) if isinstance(error, HTTPException) else problem_of(request, error)
        trouble = trouble_of(failure)
        back = _way_back(request, trouble, failure)
        try:
            actor = await self._sessions.actor_of(request)
            trouble = await self._more_of(trouble, failure.value, actor, back)
        except SayciError:  # the database is not there; the page is
            actor = None
        if trouble.retry_after is not None:
            set_header(request, "Retry-After", str(trouble.retry_after))
        if isinstance(failure.value, MethodNotAllowed):
            set_header(request, "Allow", ", ".join(sorted(failure.value.valid_methods or ())))
        # A form that could not be taken is not sent again by itself.
        reloads = trouble.code == 503 and request.method == b"GET"
        values = {"trouble": trouble, "back": back, "reloads": trouble.retry_after if reloads else None}
        return self._page(request, Page("error.html", values, trouble.code), actor)

    async def _more_of(
        self, trouble: Trouble, error: BaseException | None, actor: Actor | None, project: str
    ) -> Trouble:
        """The trouble, with more words where somebody may not do something on a project: who may."""
        if type(error) is not Forbidden or actor is None or not project or error.args[-1] not in NEEDS:
            return trouble
        need = str(error.args[-1])
        try:
            people = await self._gate.who_may(actor, access_of(need), project)
        except UnknownProject:
            return trouble
        return forbidden_here(project, need, actor.name, people)


def sign_in_first(request: Request) -> SeeOther:
    """Where a stranger is sent who wants to see a page."""
    return SeeOther(f"/sign-in?next={quote(request.uri.decode('ascii', 'replace'), safe='')}")


def _way_back(request: Request, trouble: Trouble, failure: Failure) -> str:
    """The project whose page the address begins with, if it may be there."""
    name = request.path.decode("ascii", "replace").lstrip("/").partition("/")[0]
    try:
        check_name(name)
    except SayciError:
        return ""
    is_unknown = failure.check(UnknownProject) is not None or (trouble.code == 404 and request.path.count(b"/") == 1)
    return "" if is_unknown else name


class _Guarded(Resource):
    """Gives every answer the security headers, also those that Klein makes by itself."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, inner: IResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types for it
        self._inner = inner

    def render(self, request: IRequest) -> Any:
        for name, value in _HEADERS.items():
            set_header(cast("Request", request), name, value)
        return self._inner.render(request)
