"""The API over real HTTP: a real store, registry, scheduler and sign-in; the repositories are fakes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest_twisted
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone

from sayci.account import Access
from sayci.build import BuildState, NewBuild
from sayci.buildlog import key_of
from sayci.certificate import Certificate
from sayci.errors import UnknownDelivery
from sayci.git import Policy
from sayci.interfaces import Isolation
from sayci.registry import Registry
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.step import Result, StepState
from sayci.store.logs import FileLogs
from sayci.web.api import Api
from tests import factories
from tests.factories import NOW

reactor: Any = global_reactor
PUBLIC = "https://ci.example"


class FakeInbox:
    """Looks at deliveries again when it is told to, and remembers for whom."""

    def __init__(self, store):
        self.transcript = []
        self.error: Exception | None = None
        self._store = store

    async def replay(self, project, delivery_id):
        self.transcript.append(("replay", project.name, delivery_id))
        if self.error is not None:
            raise self.error
        delivery, _ = await self._store.delivery(project.id, delivery_id)
        return delivery


@dataclass(frozen=True)
class Reply:
    """An answer of the API."""

    code: int
    headers: Any
    body: bytes

    @property
    def said(self):
        """The body as JSON."""
        return json.loads(self.body)

    def header(self, name):
        """The one header of that name, None when there is none."""
        values = self.headers.getRawHeaders(name, [])
        assert len(values) <= 1, values
        return values[0] if values else None


class Reader(Protocol):
    """A connection on which one answer comes, as slowly as the test wants; HTTP/1.0, so it is as it was written."""

    transport: Any

    def __init__(self):
        self.data = bytearray()
        self.is_closed = False
        self._changed: Deferred[None] | None = None

    def dataReceived(self, data):  # noqa: N802 - Twisted's name
        self.data += data
        self._tell()

    def connectionLost(self, reason=connectionDone):  # noqa: N802 - Twisted's name
        self.is_closed = True
        self._tell()

    def _tell(self):
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.callback(None)

    async def until(self, found):
        """Wait until `found` is true of all that has come so far."""
        while not found(self.data):
            assert not self.is_closed, bytes(self.data[-500:])
            self._changed = Deferred()
            await self._changed

    async def closed(self):
        """All that came, once the connection has ended."""
        while not self.is_closed:
            self._changed = Deferred()
            await self._changed
        return bytes(self.data)

    @property
    def head(self):
        """The answer's head."""
        return bytes(self.data).partition(b"\r\n\r\n")[0].decode()

    @property
    def events(self):
        """The whole events that have come, each as its fields; comments as {"": text}."""
        body = bytes(self.data).partition(b"\r\n\r\n")[2]
        return [_event(text) for text in body.decode().split("\n\n")[:-1]]

    async def event(self, name):
        """Wait for an event of that name and answer its data."""
        while True:
            for event in self.events:
                if event.get("event") == name:
                    return json.loads(event["data"])
            length = len(self.data)
            await self.until(lambda data, length=length: len(data) > length)

    def pause(self):
        """Do not read any more."""
        self.transport.pauseProducing()

    def resume(self):
        """Read again."""
        self.transport.resumeProducing()

    def leave(self):
        """Go away without a word."""
        self.transport.abortConnection()


def _event(text):
    return {line.partition(":")[0]: line.partition(":")[2].removeprefix(" ") for line in text.split("\n")}


class House:
    """A server with its parts, and a client that has a token for each access."""

    def __init__(self, store, ledger, bus, sources, logs, http):
        self.store, self.ledger, self.bus, self.sources, self.logs = store, ledger, bus, sources, logs
        self.sign_in = SignIn(store, bus, lambda: NOW)
        self.people = factories.some_people(store, self.sign_in, bus, lambda: NOW)
        # No slot: builds wait until the test moves them.
        self.scheduler = Scheduler(store, ledger, sources, bus, reactor, slots=0, runner_of=_nobody)
        self.registry = Registry(
            store, sources, logs, bus, Policy(), lambda: NOW, require_idle=self.scheduler.require_idle
        )
        self.inbox: Any = FakeInbox(store)
        self.listed: list[Certificate] = []
        self.tokens: dict[Access, str] = {}
        self._http = http
        self._readers: list[Reader] = []
        self.served: Any = None

    def make_api(self, clock=reactor):
        """The API of these parts."""
        return Api(
            self.store,
            self.registry,
            self.scheduler,
            self.inbox,
            self.sign_in,
            self.logs,
            self.bus,
            clock,
            lambda: PUBLIC,
            "1.2.3",
            people=self.people,
            isolation=Isolation(True, "Each build runs as a user of its own"),
            certificates=self,
        )

    def certificates(self):
        """The certificates that the server serves: the house is its own keeper of them."""
        return self.listed

    async def open(self, serve):
        """Serve it."""
        self.api = self.make_api()
        self.served = await serve(self.api.resource())
        await self.scheduler.start()
        for access in (Access.READ, Access.BUILD, Access.ADMIN):
            _, self.tokens[access] = await self.sign_in.new_token(access.name.lower(), access, None)

    async def close(self):
        """End what goes on in the background."""
        for reader in self._readers:
            reader.leave()
            await reader.closed()
        await self.registry.stop()
        await self.scheduler.stop()

    async def ask(self, method, path, *, json=None, data=None, headers=None, token: str | None = None, **rest):
        """Send a request as the administrator, or with `token` ("" for none)."""
        token = self.tokens[Access.ADMIN] if token is None else token
        given = dict(headers or {})
        if token:
            given["Authorization"] = f"Bearer {token}"
        if data is not None:
            given.setdefault("Content-Type", "application/json")
            rest["data"] = data
        if json is not None:
            rest["json"] = json
        response = await self._http.request(method, self.served.url(path), headers=given, timeout=20, **rest)
        return Reply(response.code, response.headers, await response.content())

    async def get(self, path, **rest):
        """GET as the administrator."""
        return await self.ask("GET", path, **rest)

    async def read(self, path, served=None, accept="*/*", **headers):
        """Ask for `path` over a connection of its own; answers the Reader at once."""
        reader = Reader()
        port = (served or self.served).port
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=10), reader)
        self._readers.append(reader)
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Authorization: Bearer {self.tokens[Access.READ]}", f"Accept: {accept}", "Host: x"]
        reader.transport.write("\r\n".join([f"GET {path} HTTP/1.0", *lines, "", ""]).encode())
        return reader

    async def watch(self, path, served=None, **headers):
        """Follow the feed of `path`."""
        return await self.read(path, served, "text/event-stream", **headers)

    # -- what tests are about

    async def project(self, name="web-shop", **fields):
        """A registered project that deploys its main branch."""
        return await self.store.add_project(factories.deploying_settings(name, **fields), "hook-secret", "", NOW)

    async def build(self, project, **fields) -> Any:
        """A queued build."""
        new: NewBuild = factories.new_build(project.id, supersedes=False, **fields)
        return await self.ledger.add(new)

    async def start(self, build) -> Any:
        """The build runs, with its first step."""
        await self.ledger.advance(build.id, lambda build: build.claimed(NOW + 1))
        return await self.move(build, "checkout", lambda step: step.started(NOW + 1, "handle"))

    async def move(self, build, name, change) -> Any:
        """Change a step."""
        return await self.ledger.advance(build.id, lambda build: build.with_step(change(build.step(name))))

    async def finish(self, build, result=Result.SUCCESS) -> Any:
        """The build ends; its test ends with `result`."""
        if build.state is BuildState.QUEUED:
            build = await self.start(build)
        for name in ("checkout", "test", "deploy"):
            outcome = Result.SUCCESS if name == "checkout" else result
            if any(step.name == name and step.state is not StepState.FINISHED for step in build.steps):
                await self.move(build, name, lambda step, to=outcome: step.finished(NOW + 9, to, duration=8.0))
        return await self.ledger.advance(build.id, lambda build: build.finished(NOW + 9))

    def write(self, build, step, data):
        """Append to the step's log, as its shim does."""
        writer = self.logs.writer(key_of(build, step))
        writer.write(data)
        writer.close()


def _nobody(build):
    raise UnknownDelivery("no runner in these tests", build)


@pytest_twisted.async_yield_fixture
async def house(store, ledger, bus, sources, http, serve, tmp_path):
    """The API of a server without slots, served over HTTP."""
    logs = FileLogs(tmp_path / "builds", reactor, reactor.getThreadPool())
    opened = House(store, ledger, bus, sources, logs, http)
    await opened.open(serve)
    yield opened
    await opened.close()
