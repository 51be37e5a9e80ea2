"""The webhook intake: ``POST /hooks/PROJECT``.

What is answered with 2xx is on disk.  What is not authentic learns nothing: an unknown project and a wrong signature get
the same answer for the same work, and who is wrong too often is told to wait, while right signatures always pass.

This is a plain twisted.web leaf, not a route of Klein, for two reasons.  Klein cancels a handler whose client goes away,
and a delivery that is on disk by then still has to be put into the inbox.  And it is the one busy address: matching a
route, four more Deferreds and adapting the request take 130 of the 430 microseconds that a delivery takes with Klein.
"""

# Much of twisted.web has no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sayci.account import new_secret
from sayci.change import Change
from sayci.delivery import Accepted, Delivery, Message, NewDelivery, Verdict
from sayci.errors import Invalid, Malformed, SayciError, TooOften, UnknownProject, WrongSignature
from sayci.interfaces import Forge
from sayci.project import Project, check_name
from sayci.refusals import Refusals
from sayci.tries import WrongTries, network_of
from sayci.trigger import why_ignored
from sayci.web.answer import JSON, answer, set_header
from sayci.web.problems import problem, problem_of
from sayci.web.site import Request

#: Bodies above this size, in bytes, are verified and read in a thread.
IN_THREAD_FROM = 256 * 1024
#: An address may be wrong so many times at once, and then once in so many seconds.
WRONG_TRIES = 20
SECONDS_PER_TRY = 2.0
#: Seconds that one line in the log speaks for, and those that one piece of news of a project's refusals does.
LOG_PERIOD = 10.0
NEWS_PERIOD = 5.0
#: Bounds of what is kept of the headers.
KEPT_HEADERS_LIMIT = 100
KEPT_VALUE_LIMIT = 500

_KEPT = frozenset({"content-type", "user-agent", "x-request-id"})

InThread = Callable[[Callable[[], Message]], Awaitable[Message]]


class Intake(Protocol):
    """The two methods of interfaces.Store that deliveries need."""

    async def webhook_secret(self, name: str) -> tuple[Project, str]:
        """See Store."""
        ...

    async def accept(self, delivery: NewDelivery) -> Accepted:
        """See Store."""
        ...


class Receipt(msgspec.Struct):
    """The answer to a delivery that is on disk."""

    delivery: int
    verdict: str
    explanation: str
    build: int | None


class RefusalLog:
    """Says in the log that deliveries were refused: the first at once, those after it in one line per LOG_PERIOD."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._unsaid = 0
        self._last = ""
        self._waiting = False

    def add(self, line: str) -> None:
        """A delivery was refused; `line` says which and why."""
        self._unsaid += 1
        self._last = line
        if not self._waiting:
            self._say()

    def _say(self) -> None:
        self._waiting = self._unsaid > 0
        if self._waiting:
            self._log.warn("refused {count} deliveries, the last: {line}", count=self._unsaid, line=self._last)
            self._unsaid = 0
            self._clock.callLater(LOG_PERIOD, self._say)


class RefusalNews:
    """Tells that deliveries for a project were refused: the first at once, those after it once per NEWS_PERIOD.

    So whoever sends thousands that are refused does not keep those busy who look at the project.
    """

    def __init__(self, clock: IReactorTime, tell: Callable[[int], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._untold: dict[int, bool] = {}

    def add(self, project_id: int) -> None:
        """A delivery for the project was refused."""
        if project_id in self._untold:
            self._untold[project_id] = True
            return
        self._untold[project_id] = False
        self._tell(project_id)
        self._clock.callLater(NEWS_PERIOD, self._over, project_id)

    def _over(self, project_id: int) -> None:
        if self._untold.pop(project_id):
            self.add(project_id)


def client_of(sender: object) -> str:
    """Who sent it, for counting: the address of a TCP client; all of those without one are one."""
    return network_of(getattr(sender, "host", "local"))


def headers_of(headers: Headers) -> dict[str, list[str]]:
    """Headers as a Forge takes them; bytes beyond ASCII become characters that no forge sends."""
    return {
        name.lower().decode("latin-1"): [value.decode("latin-1") for value in values]
        for name, values in headers.getAllRawHeaders()
    }


def kept_of(headers: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """The headers that are kept with a delivery: by an allow list, since others may hold credentials."""
    kept = [
        (name, value[:KEPT_VALUE_LIMIT])
        for name, values in headers.items()
        if name in _KEPT or name.startswith("x-github-")
        for value in values
    ]
    return tuple(kept[:KEPT_HEADERS_LIMIT])


class Hooks:
    """Takes deliveries of one kind of forge, for every project.

    `put` is called with each fresh delivery that is to be settled, when it is on disk, `ignored` with each that needs no
    settling, and `refused` for each that is not taken.  `wall` answers seconds since the epoch.  `in_thread` calls a
    function in a thread and answers its result; it is used for big bodies alone.  `refusals` remembers what was refused,
    and `news` is called with the id of its project.
    """

    _log = Logger()

    def __init__(
        self,
        store: Intake,
        forge: Forge,
        put: Callable[[Delivery, Change], None],
        clock: IReactorTime,
        *,
        wall: Callable[[], float] = time.time,
        in_thread: InThread,
        refused: Callable[[], None] = lambda: None,
        ignored: Callable[[Delivery], None] = lambda _: None,
        news: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._forge = forge
        self._put = put
        self._wall = wall
        self._in_thread = in_thread
        self._tries = WrongTries(clock.seconds, burst=WRONG_TRIES, refill=SECONDS_PER_TRY)
        self._refused = RefusalLog(clock)
        self._count_refused = refused
        self._ignored = ignored
        self.refusals = Refusals()
        self._news = RefusalNews(clock, news)
        # No project has this secret: what is signed for an unknown project is compared with it all the same.
        self._nobodys_secret = new_secret()
        self.resource = HookResource(self)

    async def take(self, name: str, headers: Mapping[str, Sequence[str]], body: bytes, sender: object) -> Accepted:
        """Take one delivery for the project called `name`, from the address `sender`; it is on disk afterwards.

        Raises WrongSignature or TooOften for what is not authentic, Malformed or Unsupported for what cannot be read,
        Unavailable when it cannot be kept now.
        """
        project, secret = await self._project_of(name)
        try:
            message = await self._read(secret, headers, body)
        except SayciError as error:
            client = client_of(sender)
            self._note(project, error, client, headers, body)
            raise self._told(error, client) from None
        known = cast("Project", project)  # nothing is authentic for an unknown one
        accepted = await self._store.accept(self._delivery(known, message, headers, body))
        if accepted.fresh and message.change is not None and accepted.delivery.verdict is Verdict.RECEIVED:
            with self._log.failuresHandled("delivery {id} waits for the next start", id=accepted.delivery.id):
                self._put(accepted.delivery, message.change)
        elif accepted.fresh:
            self._ignored(accepted.delivery)
        return accepted

    async def _project_of(self, name: str) -> tuple[Project | None, str]:
        try:
            return await self._store.webhook_secret(check_name(name))
        except (UnknownProject, Invalid):
            return None, self._nobodys_secret

    async def _read(self, secret: str, headers: Mapping[str, Sequence[str]], body: bytes) -> Message:
        def read() -> Message:
            self._forge.verify(secret, headers, body)
            _check_ascii(headers)
            return self._forge.parse(headers, body)

        return await self._in_thread(read) if len(body) > IN_THREAD_FROM else read()

    def _delivery(
        self, project: Project, message: Message, headers: Mapping[str, Sequence[str]], body: bytes
    ) -> NewDelivery:
        explanation = why_ignored(message.change) if message.change is not None else message.explanation
        received = message.change is not None and not explanation
        return NewDelivery(
            project.id,
            self._forge.delivery_id(headers, body),
            message.event,
            kept_of(headers),
            body,
            Verdict.RECEIVED if received else Verdict.IGNORED,
            explanation,
            self._wall(),
        )

    def _note(
        self,
        project: Project | None,
        error: SayciError,
        client: str,
        headers: Mapping[str, Sequence[str]],
        body: bytes,
    ) -> None:
        reason = str(error)
        self._count_refused()
        self._refused.add(f"from {client} for {project.name if project else 'no project'}: {reason}")
        if project is not None:
            event, forge_id = self._forge.labels(headers)
            self.refusals.add(project.id, self._wall(), error, client, event, forge_id, len(body))
            self._news.add(project.id)

    def _told(self, error: SayciError, client: str) -> SayciError:
        if not isinstance(error, WrongSignature):
            return error
        try:
            self._tries.check(client)
        except TooOften as often:
            return often
        self._tries.wrong(client)
        return WrongSignature("there is no such project, or the signature is missing or wrong")


def _check_ascii(headers: Mapping[str, Sequence[str]]) -> None:
    if not all(value.isascii() for values in headers.values() for value in values):
        raise Malformed("the headers of a delivery are ASCII")


class HookResource(Resource):
    """The leaf at /hooks: reads the request, hands it to `Hooks`, writes the answer."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, hooks: Hooks) -> None:
        super().__init__()
        self._hooks = hooks

    def render(self, request: IRequest) -> int:
        """Answer, now or later."""
        ours = cast("Request", request)
        Deferred.fromCoroutine(self._answer(ours)).addErrback(ours.processingFailed).addErrback(lambda _: None)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        request.end(await self._body(request))

    async def _body(self, request: Request) -> bytes:
        path = request.postpath or []
        if len(path) != 1 or not path[0]:
            return problem(request, 404, HTTPStatus(404).phrase, "Deliveries go to /hooks/PROJECT.")
        if request.method != b"POST":
            set_header(request, "Allow", "POST")
            return problem(request, 405, HTTPStatus(405).phrase, "Deliveries are posted.")
        headers = headers_of(request.requestHeaders)
        name, body, sender = path[0].decode("latin-1"), request.content.read(), request.getClientAddress()
        try:
            accepted = await self._hooks.take(name, headers, body, sender)
        except SayciError as error:
            return problem_of(request, error)
        return _receipt(request, accepted)


def _receipt(request: Request, accepted: Accepted) -> bytes:
    delivery = accepted.delivery
    code = 202 if accepted.fresh and delivery.verdict is Verdict.RECEIVED else 200
    receipt = Receipt(delivery.id, delivery.verdict.value, delivery.explanation, delivery.build_number)
    return answer(request, code, JSON, msgspec.json.encode(receipt))
