"""What is said over plain HTTP where people are to come by https: answers to HTTP-01 challenges, and redirects.

An authority asks for ``/.well-known/acme-challenge/TOKEN`` (RFC 8555, 8.3) at port 80 of the name that it is to certify.
Behind a proxy that ends TLS the one plain port of the server serves everything, and the challenges' resource is one of its
parts.
"""

# mypy: allow-untyped-calls
# ruff: noqa: N802, N815 - the names of what is overridden are Twisted's

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from sayci.errors import Invalid
from sayci.web.answer import answer, set_header

#: The first word of the path under which the challenges are.
WELL_KNOWN = b".well-known"
TEXT = "text/plain; charset=utf-8"
#: As many challenges may wait for their authority at a time; tokens that were never taken back are forgotten beyond it.
CHALLENGES_LIMIT = 1000

_PLACE = b"acme-challenge"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,500}\Z")
_KEY_AUTHORIZATION = re.compile(r"[A-Za-z0-9_.-]{1,1000}\Z")
# Names alone: certificates are not made out to addresses, and nobody types the other forms.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_NOT_VISIBLE = re.compile(rb"[^!-~]")


class HttpResponder:
    """Answers challenges of the kind http-01; a responder in txacme's sense (its IResponder)."""

    challenge_type = "http-01"

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """From now on `challenge.token` is answered with `response.key_authorization`.

        Raises Invalid for what cannot be either of the two.
        """
        token, text = challenge.token, response.key_authorization
        if not _TOKEN.match(token) or not _KEY_AUTHORIZATION.match(text):
            raise Invalid("the authority's challenge is not one of http-01", server_name, token[:80])
        self._answers.pop(token, None)
        while len(self._answers) >= CHALLENGES_LIMIT:
            del self._answers[next(iter(self._answers))]
        self._answers[token] = text.encode("ascii")
        return succeed(None)

    def stop_responding(self, server_name: str, challenge: Any, response: Any) -> None:
        """The token is not answered any more."""
        self._answers.pop(challenge.token, None)

    def answer(self, token: str) -> bytes | None:
        """The key authorization for a token; None for one that was not asked for."""
        return self._answers.get(token)


class Challenges(Resource):
    """``/.well-known/acme-challenge/TOKEN``; to be rendered with the whole path in ``postpath``, under `WELL_KNOWN`."""

    isLeaf = True

    def __init__(self, responder: HttpResponder) -> None:
        super().__init__()
        self._responder = responder

    def render(self, request: Request) -> bytes:
        """The key authorization, or that there is none."""
        if request.method not in (b"GET", b"HEAD"):
            set_header(request, "Allow", "GET, HEAD")
            return _text(request, 405, b"Challenges are read.\n")
        found = self._found(request)
        if found is None:
            return _text(request, 404, b"No such challenge is being answered.\n")
        return _text(request, 200, found)

    def _found(self, request: Request) -> bytes | None:
        match request.postpath:
            case [_, place, token] if place == _PLACE:
                return self._responder.answer(token.decode("ascii", "replace"))
        return None


class Plain(Resource):
    """The whole of a plain port: the challenges, and for everything else a redirect to the same place by https.

    `known` answers whether a name (in small letters, without a port) is one of ours; whoever asks for another one is sent
    to `public_url`, which answers the server's public address.  Where that is not https there is nothing for them here: it
    may well be this very port.
    """

    isLeaf = True

    def __init__(self, responder: HttpResponder, known: Callable[[str], bool], public_url: Callable[[], str]) -> None:
        super().__init__()
        self._challenges = Challenges(responder)
        self._known = known
        self._public_url = public_url

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Itself: Twisted asks where a leaf is not the root of a site."""
        return self

    def render(self, request: Request) -> bytes:
        """Answer a challenge, or send elsewhere."""
        path = [*(request.prepath or []), *(request.postpath or [])]
        if path[:2] == [WELL_KNOWN, _PLACE]:
            request.postpath = path
            return self._challenges.render(request)
        authority = self._authority(request)
        if authority is None:
            return _text(request, 404, b"There is nothing here over plain HTTP.\n")
        return _redirect(request, b"https://" + authority.encode("ascii") + _target(request))

    def _authority(self, request: Request) -> str | None:
        """The host, with its port where that is not the usual one, that has what is asked for; None where none has."""
        public = urlsplit(self._public_url())
        is_secure = public.scheme == "https" and bool(public.hostname)
        name = _name_asked_for(request)
        if not name or not self._known(name):
            return public.netloc if is_secure else None
        port = public.port if is_secure else None
        return f"{name}:{port}" if port not in (None, 443) else name


def _name_asked_for(request: Request) -> str:
    """The name in the Host header, in small letters and without its port; "" where it has none that could be ours."""
    hosts = request.requestHeaders.getRawHeaders("host", [])
    name = hosts[0].lower().partition(":")[0].removesuffix(".") if len(hosts) == 1 else ""
    return name if _NAME.match(name) else ""


def _target(request: Request) -> bytes:
    """The path and the query as they were asked for; what does not belong into a header is percent-encoded."""
    target = request.uri if request.uri.startswith(b"/") else b"/"
    return _NOT_VISIBLE.sub(lambda match: b"%%%02X" % match[0][0], target)


def _redirect(request: Request, location: bytes) -> bytes:
    """301 for reading; 308 for the rest, so that a POST stays one (RFC 9110, 15.4.9)."""
    request.responseHeaders.setRawHeaders(b"Location", [location])
    code = HTTPStatus.MOVED_PERMANENTLY if request.method in (b"GET", b"HEAD") else HTTPStatus.PERMANENT_REDIRECT
    return _text(request, code, b"This is served over https alone.\n")


def _text(request: Request, code: int, body: bytes) -> bytes:
    return answer(request, code, TEXT, body)
