"""A real HTTP server around any resource, a client, and bare connections for what no client would send."""

# Names of Protocol's methods are Twisted's, and pytest_twisted has no types.
# ruff: noqa: N802
# mypy: allow-untyped-decorators

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import IResource
from zope.interface import implementer

from sayci.web.site import Site, make_site

reactor: Any = global_reactor


@dataclass(frozen=True)
class Served:
    """A server on a port of the kernel's choice on 127.0.0.1."""

    site: Site
    port: int

    def url(self, path: str = "/") -> str:
        """The address of `path` on this server."""
        return f"http://127.0.0.1:{self.port}{path}"


@dataclass(frozen=True)
class Answer:
    """An answer as it came over a bare connection; the names of headers are in lower case."""

    code: int
    headers: dict[str, str]
    body: bytes
    pairs: list[tuple[str, str]] = field(default_factory=list)


class Wire(Protocol):
    """A bare connection: send any bytes, await whole answers, or the end."""

    def __init__(self) -> None:
        self.received = b""
        self.is_closed = False
        self.why: type[BaseException] | None = None
        self._waiting: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_closed = True
        self.why = reason.type
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def _more(self) -> None:
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        await deferred.addTimeout(20, reactor)

    def send(self, data: bytes) -> None:
        """Send `data`; returns before it is sent."""
        assert self.transport is not None
        self.transport.write(data)

    async def answer(self) -> Answer:
        """The next answer, as soon as all of it is here."""
        while b"\r\n\r\n" not in self.received:
            assert not self.is_closed, ("closed before an answer was complete", self.received)
            await self._more()
        head, _, rest = self.received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        length = int(dict(pairs).get("content-length", "0"))
        while len(rest) < length and not self.is_closed:
            await self._more()
            rest = self.received.partition(b"\r\n\r\n")[2]
        self.received = rest[length:]
        return Answer(int(status.split()[1]), dict(pairs), rest[:length], pairs)

    async def closed(self) -> bytes:
        """All that is received until the server closes the connection."""
        while not self.is_closed:
            await self._more()
        return self.received


Serve = Callable[..., Awaitable[Served]]
Dial = Callable[..., Awaitable[Wire]]


@pytest_twisted.async_yield_fixture
async def serve() -> AsyncIterator[Serve]:
    """``await serve(resource, **arguments of make_site)`` serves it until the test has ended.

    `tls` are the options of a certificate, where it is to be served over TLS.
    """
    ports: list[Any] = []

    async def start(resource: IResource, *, tls: Any = None, **arguments: Any) -> Served:
        site = make_site(resource, **{"clock": reactor} | arguments)
        factory = site if tls is None else TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=site)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        ports.append(port)
        return Served(site, port.getHost().port)

    yield start
    for port in ports:
        await port.stopListening()


@pytest_twisted.async_yield_fixture
async def http() -> AsyncIterator[HTTPClient]:
    """A treq client whose connections end with their answers."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    yield HTTPClient(Agent(reactor, pool=pool))
    await pool.closeCachedConnections()


@pytest_twisted.async_yield_fixture
async def dial() -> AsyncIterator[Dial]:
    """``await dial(served)`` opens a bare connection; it is closed when the test has ended.  `tls` as a client has it."""
    wires: list[Wire] = []

    async def open_one(served: Served, tls: Any = None) -> Wire:
        wire = Wire()
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", served.port, timeout=10)
        await connectProtocol(endpoint if tls is None else wrapClientTLS(tls, endpoint), wire)
        wires.append(wire)
        return wire

    yield open_one
    for wire in wires:
        if not wire.is_closed:
            transport: Any = wire.transport
            transport.abortConnection()
            await wire.closed()


@implementer(ILogObserver)
class Logged(list[Any]):
    """The events that are logged, as they are emitted."""

    def __call__(self, event: Any) -> None:
        self.append(event)

    def at_least(self, level: Any) -> list[Any]:
        """Those of `level` and above."""
        return [event for event in self if event["log_level"] >= level]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """What is logged during the test."""
    events = Logged()
    globalLogPublisher.addObserver(events)
    yield events
    globalLogPublisher.removeObserver(events)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """``await until(condition)``: for what nothing tells; fails after 20 seconds."""

    async def wait(condition: Callable[[], object]) -> None:
        for _ in range(2000):
            if condition():
                return
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError("it did not happen")

    return wait


@pytest.fixture
def clock() -> Clock:
    """Time that a test moves by hand."""
    return Clock()
