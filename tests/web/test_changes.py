"""changes.py and excerpts.py: everybody's pages change with what that one may see, and with nothing else."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from sayci.account import Access, Actor, Origin
from sayci.build import BuildState
from sayci.event import AccessChanged, BuildChanged, DeliveryChanged, ProjectChanged, ProjectRemoved, StatusesDue
from sayci.project import Visibility
from sayci.step import Result
from sayci.web.changes import Audience
from sayci.web.excerpts import LONGEST
from tests.factories import a_build, a_delivery, a_project

pytest_plugins = ["tests.web.page_fixtures"]

STRANGER, ADMIN = Actor("", Access.NONE), Actor("ada", Access.ADMIN)
LOG = b"cc -c shop.c\nshop.c:12:5: error: \x1b[31m'price'\x1b[0m undeclared\nmake: *** [Makefile:2: test] Error 1\n"


# -- whom events concern


def project_of(number, visibility=Visibility.PRIVATE):
    return a_project(id=number, name=f"p{number}", visibility=visibility)


def test_an_audience_hears_of_its_projects_alone():
    member = Audience(Actor("grace", Access.NONE, 7, {1: Access.READ}), map(project_of, (1, 2)))
    for number, hears in ((1, True), (2, False), (3, False)):
        build = a_build(BuildState.QUEUED, project_id=number)
        assert member.hears(BuildChanged(build)) is hears
        assert member.hears(DeliveryChanged(a_delivery(project_id=number))) is hears
    assert not member.hears(StatusesDue())
    assert not member.hears(AccessChanged())


def test_a_project_that_appears_or_goes_away_is_told_once_more():
    stranger = Audience(STRANGER, [project_of(1)])
    build = BuildChanged(a_build(BuildState.QUEUED, project_id=1))
    assert not stranger.hears(build)
    assert not stranger.hears(ProjectChanged(project_of(1)))
    assert stranger.hears(ProjectChanged(project_of(1, Visibility.PUBLIC)))
    assert stranger.hears(build)
    assert stranger.hears(ProjectChanged(project_of(1)))  # that it is gone
    assert not stranger.hears(ProjectChanged(project_of(1)))
    assert not stranger.hears(build)
    assert not stranger.hears(ProjectRemoved(project_of(1)))
    assert Audience(ADMIN, [project_of(1)]).hears(ProjectRemoved(project_of(1)))


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(Visibility))))
def test_an_admin_hears_of_everything(moves):
    audience = Audience(ADMIN, [])
    for number, visibility in moves:
        assert audience.hears(ProjectChanged(project_of(number, visibility)))
        assert audience.hears(BuildChanged(a_build(BuildState.QUEUED, project_id=number)))


# -- the feed of home


@pytest.fixture
def follow(house, dial):
    """``await follow(secret)`` opens the feed of home; "" is a stranger's."""

    async def open_one(secret=""):
        wire = await dial(house.served)
        cookie = f"Cookie: sayci_session={secret}\r\n" if secret else ""
        wire.send(f"GET / HTTP/1.0\r\nHost: x\r\n{cookie}Accept: text/event-stream\r\n\r\n".encode())
        while b"retry: " not in wire.received:
            assert not wire.is_closed, wire.received
            await wire._more()
        return wire

    return open_one


async def changed(wire):
    """Wait until it says that something has changed."""
    while b"event: change" not in wire.received:
        assert not wire.is_closed, wire.received
        await wire._more()


@pytest_twisted.ensureDeferred
async def test_home_is_live_for_members_and_strangers_with_what_is_theirs(house, follow):
    hidden = await house.project("hidden")
    own = await house.project("own")
    shown = await house.project("shown", visibility=Visibility.PUBLIC)
    _, code = await house.people.invite("grace", Access.NONE)
    await house.people.set_member(own.id, "grace", Access.READ)
    secret, _ = await house.people.accept(code, "correct horse battery", Origin())
    stranger, member = await follow(), await follow(secret)
    await house.build(hidden, Result.SUCCESS)
    await house.build(own)
    await changed(member)
    assert b"event: " not in stranger.received
    await house.build(shown)
    await changed(stranger)


@pytest_twisted.ensureDeferred
async def test_everybody_s_home_says_where_its_feed_is(house):
    await house.project("shown", visibility=Visibility.PUBLIC)
    for browser in (house.stranger(), await house.signed_in(Access.NONE), await house.signed_in(Access.READ, "robin")):
        assert (await browser.get("/")).document.attributes("data-changes") == ["/"]


@pytest_twisted.ensureDeferred
async def test_where_nothing_is_public_a_stranger_has_no_feed(house):
    await house.project("hidden")
    assert (await house.stranger().get("/", Accept="text/event-stream")).code == 401


# -- the first error on home


@pytest_twisted.ensureDeferred
async def test_home_shows_the_first_error_below_a_project_that_fails(house):
    project = await house.project()
    browser = await house.signed_in()
    await house.project("other")  # the only project would be on its way to its first green build
    await house.build(project, Result.FAILURE, logs={"test": LOG})
    seen = await browser.get("/")
    assert "shop.c:12:5: error: 'price' undeclared" in seen.document.text("code")
    assert "/web-shop/1?around=test:2#test-2" in seen.document.attributes("href")
    assert "First error in #1" in seen.document.text("main")
    assert "make test, exit 2" not in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_no_log_is_read_while_home_is_drawn_and_each_is_read_once(house):
    project = await house.project()
    reads = []
    work = house.logs.work

    async def counted(key, job):
        reads.append(key)
        return await work(key, job)

    house.logs.work = counted
    await house.build(project, Result.FAILURE, logs={"test": LOG})
    browser = await house.signed_in()
    assert "First error in #1" in (await browser.get("/")).text
    before = len(reads)
    assert before > 0
    for _ in range(3):
        await browser.get("/")
    assert len(reads) == before


@pytest_twisted.ensureDeferred
async def test_what_is_found_later_is_told(house, follow):
    project = await house.project()
    found: Deferred[None] = Deferred()
    work = house.logs.work

    async def slow(key, job):
        await found
        return await work(key, job)

    house.logs.work = slow
    await house.build(project, Result.FAILURE, logs={"test": LOG})
    browser = await house.signed_in()
    assert "make test, exit 2" in (await browser.get("/")).document.text("code")
    wire = await follow(browser.cookies["sayci_session"])
    found.callback(None)
    await changed(wire)
    assert "First error in #1" in (await browser.get("/")).text


@pytest_twisted.ensureDeferred
async def test_a_build_without_an_error_in_its_log_says_why_it_failed(house):
    project = await house.project()
    await house.build(project, Result.FAILURE, logs={"test": b"nothing to see\n"})
    browser = await house.signed_in()
    assert "make test, exit 2" in (await browser.get("/")).document.text("code")
    other = await house.project("long")
    evil = b"Error: " + b"<b>\xe2\x80\xae" + b"x" * 5000 + b"\n"
    await house.build(other, Result.FAILURE, logs={"test": evil})
    text = (await browser.get("/")).text
    assert "Error: &lt;b&gt;&lt;U+202E&gt;xxx" in text
    assert "x" * LONGEST not in text
