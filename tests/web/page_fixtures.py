"""The pages as a person meets them: a real server with a real store and the real actors, and a small browser.

Only the edges of the domain are stand-ins: repositories, the launcher and the logs of tests/fakes.py.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import time
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.web.client import Agent, HTTPConnectionPool

from sayci.account import Access, Actor, Origin, digest_of
from sayci.build import BuildState
from sayci.buildlog import key_of
from sayci.certificate import Certificate
from sayci.change import ref_of
from sayci.delivery import Message, Verdict
from sayci.forge_people import ForgePeople
from sayci.forges.asking import Asking
from sayci.forges.github_accounts import Client, GitHubAccounts
from sayci.git import Policy
from sayci.identity import ForgePlace
from sayci.inbox import Inbox
from sayci.interfaces import Isolation
from sayci.limits import Limits
from sayci.outlook import Outlooks
from sayci.project import MirrorState
from sayci.refusals import Refusals
from sayci.registry import Registry
from sayci.runner import Runner
from sayci.scheduler import Scheduler
from sayci.sign_in import SignIn
from sayci.step import Result, StepState
from sayci.web.events import Feeds
from sayci.web.gate import Gate
from sayci.web.health import Metrics
from sayci.web.pages import Pages
from sayci.web.pages_status import Insides
from sayci.web.wire import Links, of_build
from tests.factories import NOW, new_build, new_delivery, settings, some_people
from tests.github_server import CLIENT_ID, CLIENT_SECRET, GitHubServer

reactor: Any = global_reactor

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Document(HTMLParser):
    """A page taken apart; raises AssertionError where its tags are not balanced."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.forms: list[SimpleNamespace] = []
        self.feed(markup)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        assert len(given) == len(attributes), ("an attribute twice", tag, attributes)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "form":
            self.forms.append(SimpleNamespace(action=given.get("action", ""), method=given.get("method"), fields={}))
        elif tag in ("input", "textarea", "select", "button") and self.forms and "form" in self.stack:
            if given.get("name") and given.get("type") != "checkbox":
                self.forms[-1].fields.setdefault(given["name"], given.get("value", ""))
        elif tag == "option" and "selected" in given and self.forms:
            name = next(attrs["name"] for kind, attrs in reversed(self.elements) if kind == "select")
            self.forms[-1].fields[name] = given["value"]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, ("an end without its beginning", tag)
        assert self.stack[-1] == tag, ("an end in the wrong place", tag, self.stack)
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for tag in set(self.stack):
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag: str = "body") -> str:
        """All text within the elements of a kind, with single spaces."""
        return " ".join(" ".join(self.texts.get(tag, [])).split())

    def form(self, action: str) -> SimpleNamespace:
        """The form that is sent to an address."""
        return next(form for form in self.forms if form.action == action)

    def attributes(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [given[name] for _, given in self.elements if name in given]


class Seen:
    """An answer."""

    def __init__(self, response: Any, body: bytes) -> None:
        self.code: int = response.code
        self.body = body
        self.headers = {
            name.decode().lower(): [value.decode() for value in values]
            for name, values in response.headers.getAllRawHeaders()
        }

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        return ", ".join(self.headers.get(name.lower(), []))

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def document(self) -> Document:
        """The page, taken apart."""
        assert self.header("content-type") == "text/html; charset=utf-8"
        return Document(self.text)

    @property
    def heading(self) -> str:
        """What the page answers."""
        return self.document.text("h1")

    @property
    def path(self) -> str:
        """Where it sends."""
        return self.header("location")


class Browser:
    """Keeps cookies, and sends forms as browsers do; it follows nothing by itself."""

    def __init__(self, served: Any) -> None:
        self._agent: Any = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        self.origin = served.url("")
        self.cookies: dict[str, str] = {}

    async def request(self, method: str, path: str, *, body: Any = None, **headers: Any) -> Seen:
        """Ask for a path; underscores in the names of headers are dashes."""
        sent: dict[bytes | str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        client = HTTPClient(self._agent)  # a new one each time: it would keep cookies of its own
        response = await client.request(method, self.origin + path, headers=sent, data=body, allow_redirects=False)
        seen = Seen(response, await response.content())
        for line in seen.headers.get("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.pop(name, None) if "max-age=0" in line.lower() else self.cookies.update({name: value})
        return seen

    async def get(self, path: str, **headers: str) -> Seen:
        """Look at a page."""
        return await self.request("GET", path, **headers)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Seen:
        """Send fields as a form of the same site."""
        headers = {"Content_Type": "application/x-www-form-urlencoded", "Origin": self.origin} | headers
        return await self.request("POST", path, body=urlencode(fields).encode(), **headers)

    async def submit(self, page: str, action: str, **fields: str) -> Seen:
        """Look at a page, fill in one of its forms, and send it."""
        forms = [form for form in (await self.get(page)).document.forms if form.action == action]
        form = next((form for form in forms if set(fields) <= set(form.fields)), None)
        assert form is not None, ("no form has such fields", action, set(fields))
        return await self.post(action, {**form.fields, **fields})


class House:
    """The parts behind the pages, and short ways to fill them."""

    store: Any
    bus: Any
    ledger: Any
    logs: Any
    sources: Any
    forge: Any
    scheduler: Any
    registry: Any
    sign_in: Any
    people: Any
    forge_people: Any
    served: Any
    now: list[float]
    certificates: Listed
    refusals: Refusals
    outlooks: Any
    metrics: Metrics
    states: dict[str, str]
    pages: Pages

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    async def project(self, name: str = "web-shop", **fields: Any) -> Any:
        """A registered project whose mirror is ready."""
        project = await self.store.add_project(settings(name, **fields), "webhook secret", "", NOW)
        return await self.store.set_mirror(project.id, MirrorState.READY)

    async def build(self, project: Any, result: Result | None = None, **fields: Any) -> Any:
        """A build; with a `result` one that has ended so."""
        logs = fields.pop("logs", {})
        branch = fields.pop("branch", None)
        if branch is not None:
            fields["ref"] = ref_of(branch)
        reason = fields.pop("reason", "make test, exit 2")
        build = await self.ledger.add(new_build(project.id, **fields))
        for step, log in logs.items():
            self.logs.files[key_of(build, step)] = log
        if result is None:
            return build
        return await self.ledger.advance(build.id, lambda build: finished(build, result, reason))

    async def running(self, project: Any, step: str = "test", **fields: Any) -> Any:
        """A build whose steps before `step` have succeeded, and which is in that one."""
        build = await self.build(project, **fields)
        return await self.ledger.advance(build.id, lambda build: under_way(build, step))

    async def delivery(self, project: Any, verdict: Verdict = Verdict.RECEIVED, **fields: Any) -> Any:
        """A delivery that has its verdict."""
        explanation = fields.pop("explanation", "")
        build = fields.pop("build", None)
        accepted = await self.store.accept(new_delivery(project.id, **fields))
        if verdict is Verdict.RECEIVED:
            return accepted.delivery
        return (await self.store.settle(accepted.delivery.id, verdict, explanation, build)).delivery

    async def signed_in(self, access: Access = Access.ADMIN, name: str = "ada") -> Browser:
        """The browser of somebody who has signed in."""
        browser = Browser(self.served)
        secret = f"session-of-{name}-{access.name}-long-enough"
        await self.store.add_session(digest_of(secret), Actor(name, access), NOW, NOW + 10**9, Origin())
        browser.cookies["sayci_session"] = secret
        return browser

    def stranger(self) -> Browser:
        """The browser of somebody who has not."""
        return Browser(self.served)


def under_way(build: Any, until: str) -> Any:
    """`build` once its step `until` runs."""
    if build.state is BuildState.QUEUED:
        build = build.claimed(NOW + 1)
    for step in build.steps:
        if step.name == until:
            return build.with_step(step.started(NOW + 2, "handle"))
        build = build.with_step(step.started(NOW + 1, "handle").finished(NOW + 2, Result.SUCCESS, duration=1.0))
    return build


def finished(build: Any, result: Result, reason: str) -> Any:
    """`build` once it has ended; for another result than success its second step is the one that ended so."""
    last = build.steps[-1].name if result is Result.SUCCESS else build.steps[1].name
    build = under_way(build, last)
    told = "" if result is Result.SUCCESS else reason
    build = build.with_step(build.step(last).finished(NOW + 60, result, told, 2, 58.0))
    assert all(step.state is StepState.FINISHED for step in build.steps[:2])
    return build.finished(NOW + 61)


class FakeForge:
    """Every delivery says `message`."""

    def __init__(self) -> None:
        self.message = Message("push", None, "Nothing of ours.")

    def parse(self, headers: Any, body: bytes) -> Message:
        return self.message


@pytest.fixture
def isolation() -> Isolation:
    """What keeps builds from the server; a test may say otherwise by parametrizing it."""
    return Isolation(True, "Each build runs as a user of its own")


@pytest.fixture
def public_url() -> str:
    """The server's public address; "" is where it listens."""
    return ""


class Listed:
    """The certificates that a test says there are."""

    def __init__(self) -> None:
        self.all: list[Certificate] = []

    def certificates(self) -> list[Certificate]:
        return self.all


async def states_of(states: dict[str, str]) -> dict[str, str]:
    """What the health of a house says."""
    return states


@pytest.fixture
def github() -> GitHubServer | None:
    """The forge at which people have accounts, if any."""
    return None


def forge_people_at(github: GitHubServer, store: Any, sign_in: Any, bus: Any) -> ForgePeople:
    """Who lets people in by their accounts there."""
    place = ForgePlace(github.url, github.api)
    agent: Any = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    client = Client(CLIENT_ID, CLIENT_SECRET, "" if github.is_app else "repo")
    accounts = GitHubAccounts(place, client, Asking(agent, reactor, time_limit=2.0), time.time)
    return ForgePeople(
        *(store, store.identities(place.url), accounts, place, sign_in, bus, reactor),
        wall=time.time,
        interval=3600.0,
        random=lambda: 0.0,
    )


@pytest_twisted.async_yield_fixture
async def house(store, bus, ledger, logs, launcher, sources, serve, isolation, public_url, github):
    def runner_of(build):
        return Runner(
            build,
            store=store,
            ledger=ledger,
            sources=sources,
            launcher=launcher,
            logs=logs,
            page_of=lambda build: "",
            limits=Limits(),
            clock=reactor,
        )

    scheduler = Scheduler(store, ledger, sources, bus, reactor, slots=2, runner_of=runner_of)
    registry = Registry(store, sources, logs, bus, Policy(), lambda: NOW, scheduler.require_idle)
    forge: Any = FakeForge()
    inbox = Inbox(store, ledger, forge, reactor)
    links = Links(lambda: public_url or served.url(""))
    now = [NOW + 120]
    certificates = Listed()
    sign_in = SignIn(store, bus, lambda: now[0])
    gate = Gate(store, sign_in)
    feeds = Feeds(
        *(store, logs, bus, reactor),
        lambda build: of_build(build, links, logs.size, scheduler.why_waiting(build)),
        gate,
    )
    outlooks = Outlooks(store.outlooks, bus)
    people = some_people(store, sign_in, bus, lambda: now[0])
    refusals = Refusals()
    metrics = Metrics(bus, lambda: now[0])
    states: dict[str, str] = {"database": "ok", "space": "ok"}
    forge_people = forge_people_at(github, store, sign_in, bus) if github is not None else None
    pages = Pages(
        store=store,
        outlooks=outlooks,
        registry=registry,
        scheduler=scheduler,
        inbox=inbox,
        sign_in=sign_in,
        people=people,
        logs=logs,
        feeds=feeds,
        gate=gate,
        bus=bus,
        links=links,
        clock=lambda: now[0],
        reactor=reactor,
        version="9.8.7",
        isolation=isolation,
        refusals=refusals,
        insides=Insides(metrics.tally, states=lambda: states_of(states), unseen=lambda: inbox.waiting),
        limits=Limits(memory_limit=3 << 30, process_limit=4096, silence_limit=120.0),
        certificates=certificates,
        ports=lambda: ["tcp:8080", "le:/srv/certificates:tcp:443"],
        forge_people=forge_people,
    )
    served = await serve(pages.resource())
    unsubscribe = bus.subscribe(
        scheduler._heard
    )  # as started, but nothing is claimed: builds stay where tests put them
    yield House(
        store=store,
        bus=bus,
        ledger=ledger,
        logs=logs,
        sources=sources,
        forge=forge,
        scheduler=scheduler,
        registry=registry,
        sign_in=sign_in,
        people=people,
        served=served,
        now=now,
        certificates=certificates,
        refusals=refusals,
        outlooks=outlooks,
        metrics=metrics,
        states=states,
        pages=pages,
        forge_people=forge_people,
    )
    unsubscribe()
    metrics.unsubscribe()
    for part in (registry, inbox, scheduler):
        await part.stop()
