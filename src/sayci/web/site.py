"""The floor under everything that speaks HTTP: what a request may cost, and what every answer has.

Twisted bounds the number and the size of headers and refuses ambiguous lengths (two of Content-Length and
Transfer-Encoding); here bodies are bounded too, by their declared length before the first byte and by their true one
while they stream, and so is the time that a request may take to arrive.
"""

# The names of what is overridden are Twisted's, and much of twisted.web has no types.
# ruff: noqa: N802, N815
# mypy: allow-untyped-calls

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

from sayci.delivery import BODY_LIMIT
from sayci.tries import network_of
from sayci.web.crowd import Crowd
from sayci.web.problems import problem, problem_of

#: The longest body where the path says nothing else, in bytes.
SMALL_BODY = 1024 * 1024
#: What is kept of a body in memory while it arrives, in bytes; more goes to a temporary file.
IN_MEMORY = 128 * 1024
#: At most so many bodies are in temporary files at a time, so that strangers cannot fill the disk with them.
SPOOLED_LIMIT = 64
#: How many connections may be open at a time where nothing else is said.
CONNECTIONS = 1000
#: Seconds without a byte after which a client is given up, and seconds after which a request must have arrived whole.
IDLE_LIMIT = 60.0
ARRIVAL_LIMIT = 120.0
#: How long, in seconds and in bytes, a refused client is listened to, so that it can read the answer before the end.
LINGER = 2.0
LINGER_BYTES = 32 * 1024 * 1024
#: Seconds that a client which has just connected has for its request, when the server is about to end.
FIRST_REQUEST = 1.0

# A name or an address with an optional port, and nothing that a page, a router or IDNA would stumble over.
_HOST = re.compile(
    rb"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?\Z",
)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
_LENGTH_DIGITS = 4000  # Python refuses to read longer numbers, with an error that Twisted does not expect
# What every answer has; Twisted's Server header would tell its version.
_ALWAYS = b"Server: sayci\r\nX-Content-Type-Options: nosniff\r\n"
_ALWAYS_NAMES = frozenset({b"Server", b"X-Content-Type-Options"})
_REFERRER = b"Referrer-Policy: same-origin\r\n"
#: What answers over TLS say of the next visit (RFC 6797): for a year, this name alone, nothing of those below it.
STRICT_TRANSPORT = b"max-age=31536000"


def body_limit(path: bytes) -> int:
    """The longest body that is taken at `path`, in bytes."""
    return BODY_LIMIT if path.startswith(b"/hooks/") else SMALL_BODY


def _target_of(target: bytes) -> tuple[bytes, bytes | None]:
    """A request's target in origin form, and the host that it names if it is in absolute form (RFC 9112, 3.2.2)."""
    match = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if match is None:
        return target, None
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest, match[1]


class Request(server.Request):
    """A request whose body is bounded, and whose defects are told as problems.

    `limit` is the longest body in bytes; `gone` says that the client is: nobody is left to answer.
    """

    channel: Channel
    content: Any  # a BytesIO, or a temporary file
    limit = 0
    received = 0
    gone = False
    _in_file = False

    def objection(self, line: bytes, length: int | None) -> tuple[int, str] | None:
        """Why a request with this request line and declared length is refused: an HTTP code and a sentence.

        Called once all headers are there, before any of the body.
        """
        _, target, version = line.split(b" ")
        target, host = _target_of(target)
        if not target.startswith(b"/") and target != b"*":
            return 400, "The request's target is neither a path nor an address of http or https."
        if host is not None:
            self.requestHeaders.setRawHeaders(b"Host", [host])
        hosts = self.requestHeaders.getRawHeaders(b"Host", ())
        if len(hosts) != 1 and (hosts or version == b"HTTP/1.1"):
            return 400, "A request has exactly one Host header."
        if hosts and not _HOST.match(hosts[0]):
            return 400, "The Host header is not a name or an address with an optional port."
        if any(coding.lower() != b"identity" for coding in self.requestHeaders.getRawHeaders(b"Content-Encoding", ())):
            return 415, "Bodies are taken as they are, without a Content-Encoding."
        self.limit = self.channel.site.body_limit(target.partition(b"?")[0])
        if length is not None and length > self.limit:
            return 413, f"At most {self.limit} bytes are taken here."
        return None

    def gotLength(self, length: int | None) -> None:
        """The body begins; whatever length it claims, memory is used as bytes come."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        self.received += len(data)
        if self.channel.refused:
            return
        if self.received > self.limit:
            self.channel.refuse(413, f"At most {self.limit} bytes are taken here.")
        elif self.received > IN_MEMORY and not self._in_file and not self._move_to_file():
            self.setHeader(b"Retry-After", b"10")
            self.channel.refuse(503, "Too many large bodies are arriving at the same time.")
        else:
            self.content.write(data)

    def _move_to_file(self) -> bool:
        site = self.channel.site
        if site.in_files >= SPOOLED_LIMIT:
            return False
        site.in_files += 1
        self._in_file = True
        begun, self.content = self.content, tempfile.TemporaryFile()  # noqa: SIM115 - Twisted closes it with the request
        self.content.write(begun.getvalue())
        return True

    def forget_body(self) -> None:
        """Give back at once what the body takes."""
        if self.content is not None:
            self.content.close()
        self._leave_file()

    def _leave_file(self) -> None:
        if self._in_file:
            self._in_file = False
            self.channel.site.in_files -= 1

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request is here."""
        super().requestReceived(command, _target_of(path)[0], version)

    def end(self, body: bytes) -> None:
        """Send `body` as the whole answer, unless nobody is left to read it."""
        if not self.gone and not self.finished:
            self.setHeader(b"Content-Length", b"%d" % len(body))
            self.write(body)
            self.finish()

    def finish(self) -> None:
        """The answer is complete."""
        self._leave_file()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone before its answer was complete."""
        self.gone = True
        self._leave_file()
        super().connectionLost(reason)

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer what nobody caught: its traceback goes to the log, to the client an id by which it is found there."""
        body = problem_of(self, reason.value or RuntimeError("a failure without an exception"))
        if not self.startedWriting:
            self.end(body)
        elif not self.gone and not self.finished:
            self.channel.transport.abortConnection()  # half an answer must not look like a whole one
        return reason


class Channel(http.HTTPChannel):
    """A connection of HTTP/1.1 on which requests must arrive in time, and may be refused before they are complete.

    Whoever is refused gets the answer at once; what it still sends is read and forgotten for a moment, since
    closing a socket with unread bytes makes the kernel send a reset, which can destroy the answer on its way.
    """

    maxHeaders = 100
    transport: Any
    site: Site
    refused = False
    _line = b""  # of the request that is arriving
    _since: float | None = None  # when its first byte came
    _answering = False
    _unheard = 0
    _end: IDelayedCall | None = None
    _host: Any = None
    _strict: bytes | None = None
    _served = False
    network = ""  # of the client

    def connectionMade(self) -> None:
        """Somebody has connected."""
        self.site.channels.add(self)
        super().connectionMade()
        self.network = network_of(getattr(self.transport.getPeer(), "host", None) or "local")
        if not self.site.crowd.arrived(self):
            self.drop()

    def retire(self) -> None:
        """End after the answer that is being made, at once where there is none to make."""
        if self._answering or self._since is not None:
            return  # requestDone comes
        if self._served:
            self.loseConnection()
        else:  # whoever has just connected is about to say something
            self._end = self._end or self.callLater(FIRST_REQUEST, self._end_unasked)

    def _end_unasked(self) -> None:
        if not self._answering and self._since is None:
            self.loseConnection()

    def drop(self) -> None:
        """End the connection at once: there is no room for it."""
        self.refused = True
        self._abort()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self.refused:
            self._ignore(len(data))
        elif self._is_late():
            self.timeoutConnection()
        else:
            super().dataReceived(data)

    def _is_late(self) -> bool:
        # Looked at when bytes come; when none come the idle limit ends the connection.  No timer needs to be set
        # and cancelled for each request.
        if self._answering:
            return False
        now = self.site.reactor.seconds()
        if self._since is None:
            self._since = now
        return now - self._since > ARRIVAL_LIMIT

    def lineReceived(self, line: bytes) -> None:
        """A line of the request's head came."""
        if self.refused:
            return
        if not self.requests:
            self._line = line
        elif line[:1] in (b" ", b"\t"):
            self.refuse(400, "A header goes on in the next line; that is obsolete (RFC 9112, 5.2).")
            return
        elif len(line) > _LENGTH_DIGITS and line[:15].lower() == b"content-length:":
            self.refuse(400, "That is not a length.")
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the request's head does not end."""
        self.refuse(431, "A header, or the address, is too long.")

    def allHeadersReceived(self) -> None:
        """The request's head is complete: look at it before a body, or the leave to send one (100 Continue), is given."""
        objection = cast("Request", self.requests[-1]).objection(self._line, self.length)
        if objection is None:
            super().allHeadersReceived()
        else:
            self.refuse(*objection)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body came, or of a request after the one that is being answered."""
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """The request is complete."""
        if not self.refused:
            self._since = None
            self._answering = True
            self.site.crowd.asks(self)
            super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        """The answer is complete; another request may come, unless the server is about to end."""
        self._answering = False
        self._served = True
        self.persistent = self.persistent and not self.site.retiring
        self.site.crowd.waits(self)
        super().requestDone(request)

    def getHost(self) -> Any:
        """The address that the client has connected to; it is asked for with each request, and stays the same."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Write the head of an answer, in one piece: Twisted writes 50 to 100, each of which is looked at again."""
        head = [b"%s %s %s\r\n" % (version, code, reason), _ALWAYS]
        if not headers.hasHeader(b"Referrer-Policy"):
            head.append(_REFERRER)
        if self.site.retiring and not headers.hasHeader(b"Connection"):
            self.persistent = False
            head.append(b"Connection: close\r\n")
        head.append(self._strictness())
        head += [
            b"%s: %s\r\n" % (name, value)
            for name, values in headers.getAllRawHeaders()
            if name not in _ALWAYS_NAMES
            for value in values
        ]
        head.append(b"\r\n")
        self.transport.write(b"".join(head))

    def _strictness(self) -> bytes:
        """The header Strict-Transport-Security, or nothing: over a plain connection anybody could have written it."""
        if self._strict is None:
            value = self.site.strict_transport if self.isSecure() else b""
            self._strict = b"Strict-Transport-Security: %s\r\n" % value if value else b""
        return self._strict

    def timeoutConnection(self) -> None:
        """Nothing came for too long, or the request does not end."""
        if self.requests:
            self.refuse(408, "The request did not arrive in time.")
        else:
            self.refused = True
            self.loseConnection()
            self._end_soon()

    def refuse(self, status: int, detail: str) -> None:
        """Answer the request that is still arriving with a problem, and end the connection."""
        request: Request = self.requests[-1] if self.requests else self.site.requestFactory(self)
        request.clientproto = b"HTTP/1.1"
        request.setHeader(b"Date", http.datetimeToString())
        request.setHeader(b"Connection", b"close")
        request.write(problem(request, status, HTTPStatus(status).phrase, detail))
        request.forget_body()
        self.site.log(request)
        self.refused = True
        self.transport.unregisterProducer()
        if self.isSecure():
            self.transport.loseConnection()  # says so in TLS, and goes on reading until the client has said it too
        else:
            self.transport.loseWriteConnection()
        self._end_soon()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's own answer is a bare status line; were this method called otherwise one day, that would be used.
        if not self.refused:
            self.refuse(400, "The request is not well-formed HTTP.")

    def _end_soon(self) -> None:
        self._unheard = LINGER_BYTES
        self._end = self.callLater(LINGER, self._abort)

    def _ignore(self, size: int) -> None:
        self._unheard -= size
        if self._unheard < 0:
            self._abort()

    def _abort(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended."""
        self.site.crowd.left(self)
        if self._end is not None and self._end.active():
            self._end.cancel()
        super().connectionLost(reason)
        self.site.left(self)


class Site(server.Site):
    """A Site of `Channel` and `Request`.

    `channels` are the connections, and `crowd` says how many there may be; `in_files` counts the bodies that are in
    temporary files now; `strict_transport` is said with every answer over TLS.
    """

    protocol = Channel  # type: ignore[assignment]  # without the proxy that would choose between HTTP/1.1 and 2
    requestFactory = Request
    displayTracebacks = False
    noisy = False
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        body_limit: Callable[[bytes], int],
        reactor: IReactorTime,
        *,
        access_log: bool,
        answered: Callable[[int], None],
        strict_transport: bytes,
        connections: int,
    ) -> None:
        # Twisted would read any form of any size into `args`; who wants one reads it with limits of its own.
        super().__init__(resource, timeout=IDLE_LIMIT, reactor=reactor, parsePOSTFormSubmission=False)
        self.body_limit = body_limit
        self.in_files = 0
        self.channels: set[Channel] = set()
        self.retiring = False
        self._empty: Deferred[None] | None = None
        self.crowd = Crowd(connections)
        self.strict_transport = strict_transport
        self._access_log = access_log
        self._answered = answered

    async def retire(self, limit: float) -> None:
        """Let the requests that are under way end, for at most `limit` seconds, and no others begin.

        Every answer says that the connection ends with it.
        """
        self.retiring = True
        for channel in list(self.channels):
            channel.retire()
        if self.channels:
            self._empty = Deferred()
            timer = self.reactor.callLater(limit, self._empty.callback, None)
            await self._empty
            if timer.active():
                timer.cancel()
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def left(self, channel: Channel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if not self.channels and self._empty is not None and not self._empty.called:
            self._empty.callback(None)

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone: the limits are those of its channel."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """There is no log file to open, and no clock to keep for its lines."""

    def stopFactory(self) -> None:
        """There is none to close."""

    def log(self, request: http.Request) -> None:
        """Count an answer; where that is wanted, a line at debug level, without the query, which may be secret."""
        self._answered(request.code)
        if self._access_log:
            self._log.debug(
                "{client} {method} {path} {code} {size}",
                client=request.getClientAddress(),
                method=request.method,
                path=request.path,
                code=request.code,
                size=request.sentLength,
            )


def make_site(
    resource: IResource,
    *,
    clock: IReactorTime,
    body_limit: Callable[[bytes], int] = body_limit,
    access_log: bool = False,
    answered: Callable[[int], None] = lambda _: None,
    strict_transport: bytes = STRICT_TRANSPORT,
    connections: int = CONNECTIONS,
) -> Site:
    """The factory that serves `resource`.

    `body_limit` says how long a body may be, in bytes, at a path (raw, without its query).  `clock` measures the limits of
    time.  `access_log` adds a line at debug level for each answer.  `answered` is called with the code of each.
    `strict_transport` is the value of Strict-Transport-Security in every answer over TLS, b"" for none; plain ones have none.
    `connections` says how many may be open at a time.
    """
    return Site(
        resource,
        body_limit,
        clock,
        access_log=access_log,
        answered=answered,
        strict_transport=strict_transport,
        connections=connections,
    )
