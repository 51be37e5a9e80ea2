"""readers.py: a feed ends when its reader may not read it any more; over real HTTP, with pages and API alike."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from sayci.account import Access, Actor, Credential, Ground, Origin, digest_of
from sayci.errors import Unavailable
from sayci.event import AccessChanged, BuildChanged, ProjectChanged
from sayci.project import Visibility
from sayci.sign_in import SESSION_IDLE
from sayci.web.gate import Admission
from sayci.web.readers import CHANGED, LOOK, NO_ACCESS, SIGNED_OUT, Readers
from tests.factories import new_build, settings
from tests.web.api_fixtures import House as ApiHouse

pytest_plugins = ["tests.web.page_fixtures"]

GOOD = "correct horse battery"
#: The feeds of pages, each of the project web-shop or of all.
FEEDS = ("/web-shop", "/web-shop/deploys", "/web-shop/1", "/web-shop/1/test.log")


async def person_with(house, name, role, project=None, project_role=Access.READ):
    """Somebody who has signed in; answers the session's secret."""
    _, code = await house.people.invite(name, role)
    if project is not None:
        await house.people.set_member(project.id, name, project_role)
    secret, _ = await house.people.accept(code, GOOD, Origin())
    return secret


@pytest.fixture
def follow(house, dial):
    """``await follow(path, secret)`` opens the feed of a page; "" is a stranger's."""

    async def open_one(path, secret=""):
        wire = await dial(house.served)
        cookie = f"Cookie: sayci_session={secret}\r\n" if secret else ""
        wire.send(f"GET {path} HTTP/1.0\r\nHost: x\r\n{cookie}Accept: text/event-stream\r\n\r\n".encode())
        while b"retry: " not in wire.received:
            assert not wire.is_closed, wire.received
            await wire._more()
        return wire

    return open_one


def reason_of(data):
    """Why the feed says that it ended; "" where it does not say so."""
    _, _, rest = data.decode().partition("event: closed\ndata: ")
    return json.loads(rest.partition("\n")[0])["reason"] if rest else ""


# -- pages


@pytest.mark.parametrize("path", ("/", *FEEDS))
@pytest_twisted.ensureDeferred
async def test_a_feed_ends_with_the_session(house, follow, path):
    await house.running(await house.project())
    secret = await person_with(house, "grace", Access.READ)
    wire = await follow(path, secret)
    other = await follow(path, await person_with(house, "ada", Access.READ))
    await house.sign_in.sign_out(secret)
    assert reason_of(await wire.closed()) == SIGNED_OUT
    assert not other.is_closed


@pytest.mark.parametrize("path", FEEDS)
@pytest_twisted.ensureDeferred
async def test_a_feed_ends_when_the_grant_is_withdrawn(house, follow, path):
    project = await house.project()
    await house.running(project)
    secret = await person_with(house, "grace", Access.NONE, project)
    wire = await follow(path, secret)
    await house.people.set_member(project.id, "grace", None)
    data = await wire.closed()
    assert reason_of(data) == NO_ACCESS
    browser = house.stranger()
    browser.cookies["sayci_session"] = secret
    assert (await browser.get(path, Accept="text/event-stream")).code == 404


@pytest_twisted.ensureDeferred
async def test_feeds_end_with_the_role_and_with_the_person(house, follow):
    await house.running(await house.project())
    secret = await person_with(house, "grace", Access.READ)
    wires = [await follow(path, secret) for path in FEEDS]
    await house.people.set_role("grace", Access.NONE)
    assert [reason_of(await wire.closed()) for wire in wires] == [NO_ACCESS] * len(FEEDS)
    await house.people.set_role("grace", Access.READ)
    wire = await follow("/web-shop", secret)
    await house.people.remove("grace")
    assert reason_of(await wire.closed()) == SIGNED_OUT


@pytest_twisted.ensureDeferred
async def test_who_has_another_reach_comes_back_and_who_has_the_same_stays(house, follow):
    project = await house.project()
    other = await house.project("other")
    await house.running(project)
    secret = await person_with(house, "grace", Access.NONE, project)
    wire = await follow("/web-shop", secret)
    await house.people.set_member(other.id, "grace", Access.READ)
    await house.people.set_member(project.id, "grace", Access.BUILD)
    data = await wire.closed()  # without a word: it comes back, and the page shows what one may do now
    assert reason_of(data) == ""
    again = await follow("/web-shop", secret)
    await house.people.set_member(other.id, "grace", None)
    await house.sign_in.sign_out(secret)
    assert reason_of(await again.closed()) == SIGNED_OUT


@pytest_twisted.ensureDeferred
async def test_feeds_of_a_public_project_end_when_it_is_private_for_whom_it_is_nothing(house, follow):
    project = await house.project(visibility=Visibility.PUBLIC)
    await house.running(project)
    member = await person_with(house, "grace", Access.NONE, project)
    elsewhere = await person_with(house, "joan", Access.NONE)
    wires = [await follow("/web-shop/1", secret) for secret in ("", elsewhere, member)]
    admin = await house.signed_in()
    assert (await admin.submit("/web-shop/settings/people", "/web-shop/settings/people/visibility")).code == 303
    assert [reason_of(await wire.closed()) for wire in wires[:2]] == [NO_ACCESS] * 2
    assert not wires[2].is_closed


@pytest_twisted.ensureDeferred
async def test_feeds_end_with_the_project(house, follow):
    project = await house.project()
    secret = await person_with(house, "grace", Access.READ)
    wires = [await follow(path, secret) for path in FEEDS[:2]]
    await house.registry.remove(project.name)
    assert [reason_of(await wire.closed()) for wire in wires] == [NO_ACCESS] * 2


@pytest_twisted.ensureDeferred
async def test_feeds_end_with_a_new_password_and_with_an_invitation_for_one(house, follow):
    await house.running(await house.project())
    secret = await person_with(house, "grace", Access.READ)
    wire = await follow("/web-shop", secret)
    actor = await house.sign_in.actor_of_session(secret)
    secret, _ = await house.people.change_password(actor, GOOD, GOOD + "!", Origin())
    assert reason_of(await wire.closed()) == SIGNED_OUT
    wire = await follow("/web-shop", secret)
    _, code = await house.people.invite_again("grace")
    await house.people.accept(code, GOOD, Origin())
    assert reason_of(await wire.closed()) == SIGNED_OUT


@pytest_twisted.ensureDeferred
async def test_a_reader_who_does_not_read_is_cut_off(house, follow):
    await house.running(await house.project(), logs={"test": b"x" * 40_000_000})
    secret = await person_with(house, "grace", Access.READ)
    wire = await follow("/web-shop/1/test.log", secret)
    wire.transport.pauseProducing()
    await house.sign_in.sign_out(secret)
    wire.transport.resumeProducing()
    data = await wire.closed()
    assert b"event: end" not in data
    assert len(data) < 20_000_000


# -- the API


@pytest_twisted.async_yield_fixture
async def api(store, ledger, bus, sources, http, serve, logs):
    opened = ApiHouse(store, ledger, bus, sources, logs, http)
    await opened.open(serve)
    yield opened
    await opened.close()


@pytest_twisted.ensureDeferred
async def test_feeds_of_the_api_end_with_the_token(api):
    build = await api.start(await api.build(await api.project()))
    await api.move(build, "test", lambda step: step.started(1.0, "handle"))
    paths = ("/api/v1/projects/web-shop/builds/1", "/api/v1/projects/web-shop/builds/1/steps/test/log")
    readers = [await api.watch(path) for path in paths]
    for reader in readers:
        await reader.until(lambda data: b"retry" in data)
    tokens = {token.name: token.id for token in await api.store.tokens()}
    assert (await api.ask("DELETE", f"/api/v1/tokens/{tokens['build']}")).code == 204
    assert (await api.ask("DELETE", f"/api/v1/tokens/{tokens['read']}")).code == 204
    for reader in readers:
        assert reason_of(await reader.closed()) == SIGNED_OUT
    assert api.api.feeds.open == 0


# -- who is looked at, and when


class Doors:
    """A gate that counts how often it is asked."""

    def __init__(self, actors):
        self.actors = actors
        self.asked = []
        self.is_away = False

    async def still(self, credential):
        self.asked.append(credential.digest)
        if self.is_away:
            raise Unavailable("the database is away")
        return self.actors.get(credential.digest)

    async def ground_of(self, project_id):
        return Ground(project_id, is_public=False)


def actor_of(number, access=Access.READ):
    return Actor(f"person-{number}", access, number)


@pytest.fixture
def doors():
    return Doors({b"%d" % number: actor_of(number) for number in range(1000)})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def readers(doors, bus, clock):
    made = Readers(doors, bus, clock)
    yield made
    made.close()


class Crowd:
    """Readers of project 1 who are there until told to go: one for each person, or several."""

    def __init__(self, readers, people, each=1):
        self.ended: list[tuple[int, str]] = []
        self.blocks = []
        for number in range(people):
            for _ in range(each):
                known = Credential(b"%d" % number)
                admission = Admission(actor_of(number), known, Access.READ, Ground(1, is_public=False))
                block = readers.reading(admission, lambda reason, who=number: self.ended.append((who, reason)))
                block.__enter__()
                self.blocks.append(block)

    def leave(self):
        for block in self.blocks:
            block.__exit__(None, None, None)


def test_of_a_thousand_only_those_concerned_are_looked_at_and_each_credential_once(readers, doors, bus, clock):
    crowd = Crowd(readers, 1000, each=2)
    doors.asked.clear()
    doors.actors[b"7"] = None
    bus.publish(AccessChanged(7))
    assert (doors.asked, crowd.ended) == ([b"7"], [(7, SIGNED_OUT)] * 2)
    doors.asked.clear()
    doors.actors[b"9"] = None
    bus.publish(AccessChanged(digest=b"9"))
    assert (doors.asked, crowd.ended[2:]) == ([b"9"], [(9, SIGNED_OUT)] * 2)
    crowd.leave()
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_what_has_nothing_to_do_with_access_asks_for_nothing(readers, doors, bus, ledger, store):
    project = await store.add_project(settings("web-shop"), "secret", "", 0.0)
    crowd = Crowd(readers, 10)
    doors.asked.clear()
    build = await ledger.add(new_build(project.id))
    bus.publish(BuildChanged(build))
    bus.publish(ProjectChanged(project))
    assert (doors.asked, crowd.ended) == ([], [])
    crowd.leave()


def test_what_ends_by_time_ends_at_the_next_look(readers, doors, clock):
    crowd = Crowd(readers, 3)
    doors.actors[b"1"] = None
    clock.advance(LOOK - 0.01)
    assert crowd.ended == []
    clock.advance(0.01)
    assert crowd.ended == [(1, SIGNED_OUT)]
    crowd.leave()


def test_a_reader_who_may_not_any_more_when_it_begins_is_shown_out(readers, doors):
    doors.actors[b"0"] = actor_of(0, Access.NONE)
    crowd = Crowd(readers, 1)
    assert crowd.ended == [(0, NO_ACCESS)]
    crowd.leave()


def test_while_nobody_can_say_who_it_is_only_those_concerned_have_to_come_back(readers, doors, bus, clock):
    crowd = Crowd(readers, 3)
    doors.is_away = True
    clock.advance(LOOK)
    assert crowd.ended == []
    bus.publish(AccessChanged(1))
    assert crowd.ended == [(1, CHANGED)]
    crowd.leave()


@pytest_twisted.ensureDeferred
async def test_looking_at_who_reads_is_no_use_of_a_session(house):
    secret = await person_with(house, "grace", Access.READ)
    credential = Credential(digest_of(secret))
    house.now[0] += SESSION_IDLE - 1
    assert (await house.sign_in.still(credential)).name == "grace"
    house.now[0] += 2
    assert await house.sign_in.still(credential) is None
