"""The server's API over HTTP: requests out, JSON in, and every way in which that can fail as words and an exit code."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sayci import __version__
from sayci.cli.config import SIGN_IN, Account
from sayci.cli.trouble import Busy, Shut, Trouble

Json = dict[str, Any]

#: Seconds until a connection must be there.
CONNECT_LIMIT = 10.0
#: Seconds between two parts of an answer: the server may ask a repository before it answers.
ANSWER_LIMIT = 120.0
#: Seconds of silence after which a feed is taken for dead; the server says something every 15.
SILENCE_LIMIT = 50.0
#: The largest JSON that is read, in bytes, and the most items that one request asks for.
BODY_LIMIT = 64 * 1024 * 1024
PAGE = 200

_ADVICE = {
    401: SIGN_IN,
    403: "this takes a token with more access: sayci tokens new, or the page /account of who may do more",
    429: "wait a little, then try again",
    503: "try again later",
}
_FAILURES = (OSError, http.client.HTTPException)


def path(*parts: object) -> str:
    """An address below /api/v1, each part quoted."""
    return "/api/v1/" + "/".join(urllib.parse.quote(str(part), safe="") for part in parts)


class Api:
    """One server, asked with one token; a fresh connection for each request.

    Every method raises Shut where the server cannot be reached or does not let us in, Busy (a Shut) where it would later,
    and Trouble where it refuses.
    """

    def __init__(self, account: Account) -> None:
        account.check()
        self.account = account
        self._base = urllib.parse.urlsplit(account.server)

    # -- JSON

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        """The JSON object at `path`; what is None in `query` is left out."""
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        return self._json("GET", path + (f"?{urllib.parse.urlencode(given)}" if given else ""))

    def items(
        self, path: str, limit: int | None = None, query: Mapping[str, object] | None = None
    ) -> tuple[Sequence[Json], Json]:
        """The first `limit` items of a list (None: all), as many requests as it takes; and the list as the API has it."""
        items: list[Json] = []
        cursor: str | None = None
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(items))
            part = self.get(path, {**(query or {}), "limit": wanted, "cursor": cursor})
            if not isinstance(part.get("items"), list):
                raise self._not_sayci()
            items += part["items"]
            cursor = part.get("next")
            if not cursor or not part["items"] or (limit is not None and len(items) >= limit):
                return items, {"items": items, "next": cursor}

    def listing(self, path: str) -> tuple[Sequence[Json], Json]:
        """A list that comes whole."""
        value = self.get(path)
        if not isinstance(value.get("items"), list):
            raise self._not_sayci()
        return value["items"], value

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Json:
        """Ask for something new to be made; answers what was made."""
        return self._json("POST", path, body)

    def patch(self, path: str, body: Mapping[str, object]) -> Json:
        """Change what is named in `body`."""
        return self._json("PATCH", path, body)

    def put(self, path: str, body: Mapping[str, object]) -> Json:
        """Make it be so."""
        return self._json("PUT", path, body)

    def delete(self, path: str) -> None:
        """Remove it."""
        with self._answer("DELETE", path):
            pass

    def _json(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        with self._answer(method, path, body, accept="application/json") as response:
            try:
                value = json.loads(self._whole(response))
            except (ValueError, RecursionError):
                raise self._not_sayci() from None
        if not isinstance(value, dict):
            raise self._not_sayci()
        return value

    # -- bytes and events

    def read(self, path: str, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """The bytes at `path`, or those from the offset `start` up to `end`, as they come."""
        headers = {} if start is None or end is None else {"Range": f"bytes={start}-{end - 1}"}
        with self._answer("GET", path, accept="text/plain", headers=headers) as response:
            while part := self._part(response):
                yield part

    @contextlib.contextmanager
    def stream(self, path: str, last_id: str = "") -> Iterator[Iterator[bytes]]:
        """The bytes of the live feed at `path`, as they come, for as long as the block lasts."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        limit = SILENCE_LIMIT
        with self._answer("GET", path, accept="text/event-stream", headers=headers, limit=limit) as response:
            if response.headers.get_content_type() != "text/event-stream":
                raise self._not_sayci()
            yield iter(lambda: self._part(response), b"")

    # -- HTTP

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        limit: float = ANSWER_LIMIT,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that says yes, its body still to be read."""
        sent = {"Accept": accept, "User-Agent": f"sayci/{__version__}", "Connection": "close", **(headers or {})}
        if self.account.token:
            sent["Authorization"] = f"Bearer {self.account.token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode("ascii")
            sent["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            yield self._ask(connection, method, self._base.path + path, data, sent, limit)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._base.hostname or "", self._base.port
        if self._base.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_LIMIT, context=context)
        return http.client.HTTPConnection(host, port, timeout=CONNECT_LIMIT)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
        limit: float,
    ) -> http.client.HTTPResponse:
        try:
            connection.connect()
            connection.sock.settimeout(limit)
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
        except _FAILURES as error:
            raise self._unreachable(error) from None
        except ValueError:
            raise Shut("the token or the address has characters that HTTP cannot carry", advice=SIGN_IN) from None
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        return response

    def _part(self, response: http.client.HTTPResponse) -> bytes:
        """What has come of the body; b"" at its end."""
        try:
            data = response.read1(65536)
        except _FAILURES as error:
            raise self._unreachable(error) from None
        if not data and response.length:  # http.client is silent about it
            raise Busy("the connection broke in the middle of the answer", self.account.server)
        return data

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        data = bytearray()
        while part := self._part(response):
            data += part
            if len(data) > BODY_LIMIT:
                raise self._not_sayci()
        return bytes(data)

    # -- what can go wrong

    def _unreachable(self, error: OSError | http.client.HTTPException) -> Shut:
        server = self.account.server
        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"the certificate of {server} cannot be trusted"
            advice = "for a certificate authority of your own set SSL_CERT_FILE to its certificate"
            return Shut(words, error.verify_message, advice=advice)
        if isinstance(error, TimeoutError):
            return Busy("the server does not answer", server)
        if isinstance(error, http.client.HTTPException):
            return Busy("the connection broke, or what answers does not speak HTTP", server)
        words = error.strerror or str(error)
        return Busy("cannot reach the server", server, words, advice="is it running, and is the address right?")

    def _not_sayci(self) -> Shut:
        return Shut("what answers is not sayci's API", self.account.server, advice="is a proxy in between?")

    def _refusal(self, response: http.client.HTTPResponse) -> Trouble:
        """The problem document of an answer (RFC 9457), or what there is in its place."""
        code = response.status
        if 300 <= code < 400:
            place = str(response.headers.get("Location", "nowhere"))[:200]
            return Shut("the server sends us elsewhere", place, advice="sign in at that address")
        problem = self._problem(response)
        title, detail = (str(problem.get(name) or "") for name in ("title", "detail"))
        if not title:
            words = f"{self.account.server} answered {code} {response.reason}".rstrip()
            kind = Busy if code >= 500 else Shut
            return kind(words, "and not as sayci does", advice="is a proxy in between?")
        kind_of = Busy if code >= 500 or code == 429 else Shut if code in (401, 403) else Trouble
        return kind_of(*([title, detail] if detail else [title]), advice=_ADVICE.get(code, ""))

    def _problem(self, response: http.client.HTTPResponse) -> Json:
        if response.headers.get_content_type() != "application/problem+json":
            return {}
        try:
            value = json.loads(response.read(1024 * 1024))
        except (*_FAILURES, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
