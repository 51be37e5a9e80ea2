"""Commit statuses as GitHub takes them; Gitea and Forgejo speak the same words below their own address.

https://docs.github.com/en/rest/commits/statuses and, for what to do when it is too much for them,
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from sayci import __version__
from sayci.change import cut
from sayci.errors import Invalid
from sayci.identity import Repository, place_of
from sayci.outbox import NotTold
from sayci.report import DueStatus

DEFAULT_API = "https://api.github.com"
API_VERSION = "2022-11-28"
#: Seconds for a whole post, from looking up the name to the end of the answer.
TIME_LIMIT = 15.0
#: Bytes of an answer that are read; the rest is not waited for.
ANSWER_LIMIT = 64 * 1024
#: GitHub's advice for an answer that speaks of a rate limit and does not say for how long, in seconds.
UNSAID_PAUSE = 60.0

_WHY = {
    401: "the forge does not take the access token",
    403: "the access token may not write commit statuses",
    404: "the forge has no such repository or commit, or the access token may not see it",
    422: "the forge refuses the status",
    429: "the forge has had too many requests",
}
# Answers of the 4xx family that may be different the next time.
_PASSING = frozenset({408, 409, 423, 425, 429})
_GITHUB = "github.com"


def repository_of(url: str) -> tuple[str, Repository]:
    """The host and the name of a repository by its address (see identity.place_of).  Raises NotTold."""
    try:
        _, host, repository = place_of(url)
    except Invalid as error:
        raise NotTold(*error.args, permanent=True) from None
    return host, repository


class GitHubStatuses:
    """A Reporter that posts commit statuses to GitHub, or to what speaks like it at a project's `forge_api`.

    The token goes to the one address that the project states, else to `default_api`, and never to where an answer points.
    GitHub itself as the default is for repositories at GitHub: the token of another forge is none of its business.
    `agent` verifies certificates, as Twisted's Agent does unless it is told otherwise.
    """

    def __init__(
        self, agent: IAgent, clock: IReactorTime, default_api: str = DEFAULT_API, *, time_limit: float = TIME_LIMIT
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._default_api = default_api
        self._time_limit = time_limit

    async def post(self, status: DueStatus, access_token: str) -> None:
        """Post it once.

        Raises NotTold: a permanent one for redirects, and for a 4xx that is neither about the rate of requests nor passing.
        """
        address = self._address_of(status)
        if not access_token or not access_token.isascii() or not access_token.isprintable():
            raise NotTold("the access token cannot be one: it has other than printable characters", permanent=True)
        began = self._clock.seconds()
        try:
            response = await self._ask(address, _body_of(status), access_token)
        except (NotTold, CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - names, sockets, TLS and HTTP fail in many classes
            raise NotTold("the forge cannot be reached", _clean(_words_of(error), access_token)) from None
        text = await self._text_of(response, began + self._time_limit - self._clock.seconds())
        if not 200 <= response.code < 300:
            _refused(response, text, access_token)

    def _address_of(self, status: DueStatus) -> str:
        host, repository = repository_of(status.repository)
        base = (status.forge_api or self._default_api).rstrip("/")
        if not status.forge_api and base == DEFAULT_API and host != _GITHUB:
            raise NotTold("the repository is not at GitHub: set forge_api to the address of its forge", permanent=True)
        return f"{base}/repos/{repository.owner}/{repository.name}/statuses/{status.status.commit}"

    def _ask(self, address: str, body: dict[str, str], access_token: str) -> Deferred[Any]:
        # A client of its own for each post: cookies of one answer are no business of the next one's.
        response: Deferred[Any] = HTTPClient(self._agent).request(
            "POST",
            address,
            json=body,
            headers=Headers(
                {
                    "Authorization": [f"Bearer {access_token}"],
                    "Accept": ["application/vnd.github+json"],
                    "X-GitHub-Api-Version": [API_VERSION],
                    "User-Agent": [f"sayci/{__version__}"],
                }
            ),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,  # type: ignore[arg-type]  # only its time is used, and that only with a timeout
        )
        return response.addTimeout(self._time_limit, self._clock, _too_slow)

    async def _text_of(self, response: IResponse, seconds: float) -> bytes:
        """As much of the answer's body as comes within the limits: what it was is known by its code already."""
        body = _Body()
        response.deliverBody(body)
        await body.ended.addTimeout(max(seconds, 0.0), self._clock, lambda _, __: None)
        return bytes(body.data)


class _Body(Protocol):
    """Gathers the beginning of a body and breaks off the rest."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended: Deferred[None] = Deferred(lambda _: self._break_off())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.data += data[: ANSWER_LIMIT - len(self.data)]
        if len(self.data) >= ANSWER_LIMIT and not self.ended.called:
            self.ended.callback(None)
            self._break_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        if not self.ended.called:
            self.ended.callback(None)

    def _break_off(self) -> None:
        if self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]  # Twisted hands out an IPushProducer


def _too_slow(_: object, limit: float) -> Failure:
    return Failure(NotTold("the forge did not answer within this many seconds", f"{limit:g}"))


def _body_of(status: DueStatus) -> dict[str, str]:
    said = status.status
    body = {"state": said.state.value, "description": said.description, "context": said.context}
    return body | ({"target_url": status.url} if status.url else {})


def _refused(response: IResponse, text: bytes, access_token: str) -> NoReturn:
    """Raises the NotTold that the answer amounts to."""
    code = response.code
    message = _clean(_message_of(text), access_token)
    said = (code, message) if message else (code,)
    if 300 <= code < 400:
        place = _clean(_header(response, "Location") or "nowhere", access_token)
        raise NotTold("the forge answers at another address; set forge_api or the project's url", place, permanent=True)
    pause = _pause_of(response, message)
    if pause is not None:
        raise NotTold(_WHY[429], *said, retry_after=pause)
    permanent = 400 <= code < 500 and code not in _PASSING
    raise NotTold(_WHY.get(code, "the forge answered"), *said, permanent=permanent)


def _pause_of(response: IResponse, message: str) -> float | None:
    """The seconds for which the forge wants to be left alone; None when that is not what it said."""
    asked = _seconds_until(response, _header(response, "Retry-After"), relative=True)
    if response.code not in (403, 429):
        return asked if response.code == 503 else None
    if asked is None and _header(response, "X-RateLimit-Remaining") == "0":
        asked = _seconds_until(response, _header(response, "X-RateLimit-Reset"), relative=False)
    if asked is None and (response.code == 429 or "rate limit" in message.lower()):
        return UNSAID_PAUSE
    return asked


def _seconds_until(response: IResponse, value: str, *, relative: bool) -> float | None:
    """What a header says of the time to wait: in seconds, as seconds since the epoch, or as an HTTP date (RFC 9110 10.2.3).

    Against the forge's own clock, since ours may be wrong.  None for what cannot be read.
    """
    if relative and re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        now = parsedate_to_datetime(_header(response, "Date")).timestamp()
        then = parsedate_to_datetime(value).timestamp() if relative else int(value[:12])
    except (ValueError, TypeError, OverflowError):
        return None
    return max(then - now, 1.0)


def _header(response: IResponse, name: str) -> str:
    values = response.headers.getRawHeaders(name, [])
    return str(values[-1]).strip() if values else ""


def _message_of(text: bytes) -> str:
    """What the forge says in words; "" where it is no JSON of its kind."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    message = value.get("message") if isinstance(value, dict) else None
    return message if isinstance(message, str) else ""


def _words_of(error: BaseException) -> str:
    """What a failure of the network amounts to: Twisted wraps the reason, sometimes twice."""
    for reason in getattr(error, "reasons", None) or ():
        inner = reason.value if isinstance(reason, Failure) else reason
        if isinstance(inner, BaseException):
            return _words_of(inner)
    return str(error) or type(error).__name__


def _clean(text: str, access_token: str) -> str:
    """`text` on one short line, without the token, should the other side have said it."""
    text = text.replace(access_token, "***") if access_token else text
    return cut("".join(letter if letter.isprintable() else " " for letter in " ".join(text.split())), 200)
