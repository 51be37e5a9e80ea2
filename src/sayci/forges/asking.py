"""Asking a forge over HTTP: one question, one bounded answer, in a bounded time, and nothing followed to another host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from sayci import __version__
from sayci.errors import ForgeAway

#: Seconds for a whole question, from looking up the name to the end of the answer.
TIME_LIMIT = 10.0
#: Bytes of an answer; GitHub's longest that is asked for here has some 10,000.
ANSWER_LIMIT = 512 * 1024
#: How often one may be sent on within the same host: a repository that was renamed, and then moved.
REDIRECTS = 3
#: GitHub's advice for an answer that speaks of a rate limit and does not say for how long, in seconds.
UNSAID_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole; the names of headers are in lower case."""

    code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The object that the body is.  Raises ForgeAway: what is none comes from a forge in trouble, or from in between."""
        try:
            value = msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ForgeAway("the forge's answer is not what it should be", self.code)
        return value

    def pause(self) -> float | None:
        """The seconds for which the forge wants to be left alone; None when that is not what it said.

        https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api, and RFC 9110, 10.2.3.
        """
        if self.code not in (403, 429, 503):
            return None
        asked = self._seconds(self.headers.get("retry-after", ""))
        if asked is None and self.headers.get("x-ratelimit-remaining") == "0":
            asked = self._until(self.headers.get("x-ratelimit-reset", ""))
        if asked is None and (self.code == 429 or (self.code == 403 and b"rate limit" in self.body.lower())):
            return UNSAID_PAUSE
        return asked

    def _seconds(self, value: str) -> float | None:
        if value.isascii() and value.isdecimal() and len(value) < 10:
            return float(value)
        try:
            return self._after(parsedate_to_datetime(value).timestamp())
        except (ValueError, TypeError, OverflowError):
            return None

    def _until(self, value: str) -> float | None:
        """Against the forge's own clock, since ours may be wrong."""
        if not (value.isascii() and value.isdecimal() and len(value) < 13):
            return None
        return self._after(float(value))

    def _after(self, then: float) -> float | None:
        try:
            return max(then - parsedate_to_datetime(self.headers.get("date", "")).timestamp(), 1.0)
        except (ValueError, TypeError, OverflowError):
            return None


class Asking:
    """Asks.  `agent` verifies certificates, as Twisted's Agent does unless it is told otherwise."""

    def __init__(self, agent: IAgent, clock: IReactorTime, *, time_limit: float = TIME_LIMIT) -> None:
        self._agent = agent
        self._clock = clock
        self._time_limit = time_limit

    async def get(self, url: str, token: str) -> Reply:
        """Ask with a token, which goes to no other host than that of `url`.  Raises ForgeAway."""
        began = self._clock.seconds()
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(REDIRECTS + 1):
            reply = await self._ask("GET", url, headers, None, began)
            place = reply.headers.get("location", "") if reply.code in (301, 302, 307, 308) else ""
            if not place:
                return reply
            there = urljoin(url, place)
            if urlsplit(there)[:2] != urlsplit(url)[:2]:
                raise ForgeAway("the forge sends its client to another host", urlsplit(there).hostname or "")
            url = there
        raise ForgeAway("the forge sends its client on and on")

    async def post(self, url: str, fields: Mapping[str, str]) -> Reply:
        """Send a form.  Raises ForgeAway."""
        return await self._ask("POST", url, {}, fields, self._clock.seconds())

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None, began: float
    ) -> Reply:
        work = Deferred.fromCoroutine(self._answer(method, url, headers, fields))
        left = max(began + self._time_limit - self._clock.seconds(), 0.0)
        try:
            return await work.addTimeout(left, self._clock, _too_slow)
        except (ForgeAway, CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - names, sockets, TLS and HTTP fail in many classes
            raise ForgeAway("the forge cannot be reached", _words_of(error)) from None

    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None
    ) -> Reply:
        # A client of its own for each question: cookies of one answer are no business of the next one's.
        response = await HTTPClient(self._agent).request(
            method,
            url,
            data=None if fields is None else dict(fields),
            headers=Headers(
                {name: [value] for name, value in headers.items()}
                | {
                    "Accept": ["application/json" if fields is not None else "application/vnd.github+json"],
                    "X-GitHub-Api-Version": ["2022-11-28"],
                    "User-Agent": [f"sayci/{__version__}"],
                }
            ),
            allow_redirects=False,
            unbuffered=True,
        )
        body = _Body()
        response.deliverBody(body)
        data = await body.whole
        found = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1").strip()
            for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(response.code, found, data)


class _Body(Protocol):
    """Gathers a body, and breaks off one that is too long."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._break_off())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._data += data
        if len(self._data) > ANSWER_LIMIT and not self.whole.called:
            self.whole.errback(ForgeAway("the forge's answer is too long"))
            self._break_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(bytes(self._data))
        else:  # half an answer, or one whose end nobody knows
            self.whole.errback(ForgeAway("the forge broke its answer off"))

    def _break_off(self) -> None:
        if self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]  # Twisted hands out an IPushProducer


def _too_slow(_result: object, _limit: float) -> Failure:
    return Failure(ForgeAway("the forge did not answer in time"))


def _words_of(error: BaseException) -> str:
    """What a failure of the network amounts to: Twisted wraps the reason, sometimes twice."""
    for reason in getattr(error, "reasons", None) or ():
        inner = reason.value if isinstance(reason, Failure) else reason
        if isinstance(inner, BaseException):
            return _words_of(inner)
    return (str(error) or type(error).__name__)[:200]
