"""forge_people.py: who may come in through the forge, and until when."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from sayci.account import Access, Actor, Origin, digest_of
from sayci.errors import (
    Forbidden,
    ForgeAway,
    ForgeDenied,
    ForgeMisconfigured,
    IdentityTaken,
    NoAccess,
    Unauthenticated,
)
from sayci.event import ProjectChanged
from sayci.forge_people import GOOD_FOR, SOON, ForgePeople
from sayci.identity import ForgePlace, ForgeToken, Identity, Repository
from sayci.sign_in import SignIn
from tests.factories import NOW, settings

BACK = "https://ci.example/back"
OCTOCAT = Identity(583231, "octocat")
PLACE = ForgePlace("https://github.com", "https://api.github.com")


class FakeForge:
    """A forge where everybody's token is the code; `may` says what each may do, `problems` what goes wrong next."""

    def __init__(self):
        self.who = {"octocat": OCTOCAT, "hubot": Identity(480938, "hubot")}
        self.may = {}
        self.problems = []
        self.denies = set()
        self.breaks = set()
        self.asked = []
        self.lifetime = None
        self.clock = lambda: NOW
        self.most_at_once = self.at_once = 0
        self.waits = None

    def authorize_url(self, state, challenge, back):
        return f"https://github.com/login?state={state}&challenge={challenge}&back={back}"

    async def token_for(self, code, verifier, back):
        self._trouble()
        if code not in self.who:
            raise ForgeDenied("no such code")
        assert back == BACK
        return self._token(code)

    def _token(self, code):
        if self.lifetime is None:
            return ForgeToken(code)
        return ForgeToken(code, self.clock() + self.lifetime, f"refresh {code}")

    async def renewed(self, token):
        self.asked.append(("renewed", token.refresh_token))
        self._trouble()
        return self._token(token.refresh_token.split()[-1])

    async def identity(self, token):
        return self.who[token.access_token]

    async def access(self, token, repository):
        self.asked.append((token.access_token, repository.name))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.waits is not None:
                await self.waits
            self._trouble()
            if token.access_token in self.breaks:
                raise RuntimeError("a mistake of ours")
            if token.access_token in self.denies:
                raise ForgeDenied("revoked")
            return self.may.get((token.access_token, repository.name), Access.NONE)
        finally:
            self.at_once -= 1

    def _trouble(self):
        if self.problems:
            problem = self.problems.pop(0)
            if problem is not None:
                raise problem


class Door:
    """The actor, and what a browser does with it."""

    def __init__(self, people):
        self.people = people

    def leave(self, person_id=None):
        leaving = self.people.leave("/web-shop", BACK, person_id)
        return leaving.secret, dict(parse_qsl(urlsplit(leaving.url).query))["state"]

    async def arrive(self, code="octocat", person_id=None, actor=None):
        secret, state = self.leave(person_id)
        return await self.people.arrive(secret, state, code, BACK, actor, Origin("2001:db8::1", "Firefox"))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def forge():
    return FakeForge()


@pytest.fixture
def identities(store):
    return store.identities(PLACE.url)


@pytest.fixture
def now():
    return [NOW]


@pytest_twisted.async_yield_fixture
async def people(store, identities, forge, bus, clock, now):
    sign_in = SignIn(store, bus, lambda: now[0], clock.seconds)
    forge.clock = lambda: now[0]
    made = ForgePeople(
        store,
        identities,
        forge,
        PLACE,
        sign_in,
        bus,
        clock,
        wall=lambda: now[0],
        interval=3600.0,
        random=lambda: 0.0,
    )
    yield made
    await made.stop()


@pytest.fixture
def door(people):
    return Door(people)


@pytest_twisted.async_fixture
async def shop(store):
    return await store.add_project(settings("shop", url="https://github.com/acme/shop.git"), "s", "", NOW)


async def actor_of(store, arrived):
    return await store.actor_of_session(digest_of(arrived.session), NOW)


# -- who may come in


@pytest_twisted.ensureDeferred
async def test_who_may_read_a_repository_comes_in_and_is_somebody_new(store, door, forge, shop):
    elsewhere = await store.add_project(settings("elsewhere", url="https://gitlab.com/acme/shop.git"), "s", "", NOW)
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    assert arrived.where == "/web-shop"
    actor = await actor_of(store, arrived)
    assert (actor.name, actor.access, actor.grants) == ("octocat", Access.NONE, {shop.id: Access.READ})
    assert actor.on(elsewhere.id) is Access.NONE
    assert not (await store.person("octocat")).has_password
    assert forge.asked == [("octocat", "shop")]
    again = await door.arrive()
    assert (await actor_of(store, again)).person_id == actor.person_id
    assert len(await store.people()) == 1


@pytest.mark.parametrize("projects", (0, 1))
@pytest_twisted.ensureDeferred
async def test_who_may_read_nothing_stays_outside_and_leaves_nothing(store, door, identities, projects):
    for number in range(projects):
        await store.add_project(settings(f"p{number}", url=f"https://github.com/acme/p{number}"), "s", "", NOW)
    with pytest.raises(NoAccess):
        await door.arrive()
    assert await store.people() == []
    assert await identities.all_linked() == []


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_somebodys_is_not_taken_over(store, door, forge, shop):
    await store.add_person("Octocat", Access.ADMIN, NOW)
    forge.may["octocat", "shop"] = Access.BUILD
    actor = await actor_of(store, await door.arrive())
    assert (actor.name, actor.access) == ("octocat-2", Access.NONE)


@pytest_twisted.ensureDeferred
async def test_a_login_that_is_somebody_elses_now_is_somebody_else(store, door, forge, shop):
    forge.may["octocat", "shop"] = forge.may["hubot", "shop"] = Access.READ
    first = await actor_of(store, await door.arrive())
    forge.who["octocat"], forge.who["hubot"] = Identity(OCTOCAT.id, "monalisa"), Identity(480938, "octocat")
    assert (await actor_of(store, await door.arrive("octocat"))).person_id == first.person_id
    other = await actor_of(store, await door.arrive("hubot"))
    assert (other.name, other.person_id != first.person_id) == ("octocat-2", True)


@pytest_twisted.ensureDeferred
async def test_a_visit_ends_once_in_the_browser_where_it_began(door, forge, shop):
    forge.may["octocat", "shop"] = Access.READ
    secret, state = door.leave()
    other, _ = door.leave()
    for wrong in ((other, state), ("", state), (secret, "")):
        with pytest.raises(Unauthenticated):
            await door.people.arrive(*wrong, "octocat", BACK, None, Origin())
    with pytest.raises(Unauthenticated):
        await door.people.arrive(secret, state, "octocat", BACK, None, Origin())
    assert forge.asked == []


@pytest.mark.parametrize("code", ("", "made up"))
@pytest_twisted.ensureDeferred
async def test_without_a_right_code_nobody_comes_in(door, shop, code):
    with pytest.raises(ForgeDenied):
        await door.arrive(code)


@pytest_twisted.ensureDeferred
async def test_a_forge_that_says_nothing_is_not_one_that_says_no(store, door, forge, shop):
    for problems in ([ForgeAway("down")], [None, ForgeAway("down")]):
        forge.problems = problems
        with pytest.raises(ForgeAway):
            await door.arrive()
    assert await store.people() == []


@pytest_twisted.ensureDeferred
async def test_one_answer_is_enough_where_another_is_missing(store, door, forge, shop):
    other = await store.add_project(settings("other", url="https://github.com/acme/other"), "s", "", NOW)
    forge.may["octocat", "shop"] = forge.may["octocat", "other"] = Access.READ
    forge.problems = [None, ForgeAway("down")]
    actor = await actor_of(store, await door.arrive())
    assert len(actor.grants) == 1
    assert set(actor.grants) < {shop.id, other.id}


# -- linking


async def ada_of(store, role=Access.READ):
    person = await store.add_person("ada", role, NOW)
    return Actor(person.name, person.role, person.id)


@pytest_twisted.ensureDeferred
async def test_somebody_links_an_account_and_signs_in_by_it(store, door, forge, shop, people):
    ada = await ada_of(store, Access.ADMIN)
    assert await people.linked(ada) is None
    linked = await door.arrive(person_id=ada.person_id, actor=ada)
    assert (linked.session, linked.where) == ("", "/web-shop")
    assert (await people.linked(ada)).identity == OCTOCAT
    actor = await actor_of(store, await door.arrive())
    assert (actor.name, actor.access) == ("ada", Access.ADMIN)
    assert [person.name for person in await store.people()] == ["ada"]


@pytest_twisted.ensureDeferred
async def test_an_account_is_linked_only_to_who_asked_for_it(store, door, people):
    ada = await ada_of(store)
    grace = await store.add_person("grace", Access.READ, NOW)
    for other in (None, Actor("admin", Access.ADMIN), Actor("grace", Access.READ, grace.id)):
        with pytest.raises(Unauthenticated):
            await door.arrive(person_id=ada.person_id, actor=other)
    await door.arrive(person_id=ada.person_id, actor=ada)
    with pytest.raises(IdentityTaken):
        await door.arrive(person_id=grace.id, actor=Actor("grace", Access.READ, grace.id))


@pytest_twisted.ensureDeferred
async def test_who_has_no_other_way_in_keeps_the_account(store, door, forge, people, shop):
    forge.may["octocat", "shop"] = Access.READ
    octocat = await actor_of(store, await door.arrive())
    with pytest.raises(Forbidden, match="set a password first"):
        await people.unlink(octocat)
    with pytest.raises(Forbidden):
        await people.unlink(Actor("admin", Access.ADMIN))
    await store.set_password(octocat.person_id, "a hash", ends_sessions=False)
    await people.unlink(octocat)
    assert await people.linked(octocat) is None


# -- looking again


@pytest_twisted.ensureDeferred
async def test_what_the_forge_gives_more_or_less_counts_at_the_next_look(store, door, forge, people, shop, clock):
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    for access in (Access.BUILD, Access.READ):
        forge.may["octocat", "shop"] = access
        await people.look()
        assert (await actor_of(store, arrived)).grants == {shop.id: access}
    del forge.may["octocat", "shop"]
    await people.look()
    assert await actor_of(store, arrived) is None
    with pytest.raises(NoAccess, match="any more"):
        await door.arrive()
    forge.may["octocat", "shop"] = Access.READ
    back = await actor_of(store, await door.arrive())
    assert back.grants == {shop.id: Access.READ}


@pytest_twisted.ensureDeferred
async def test_what_was_granted_here_stays_and_so_does_the_session(store, door, forge, people, shop):
    forge.may["octocat", "shop"] = Access.BUILD
    arrived = await door.arrive()
    await store.set_member(shop.id, "octocat", Access.READ)
    forge.may.clear()
    await people.look()
    assert (await actor_of(store, arrived)).grants == {shop.id: Access.READ}
    assert (await actor_of(store, await door.arrive())).grants == {shop.id: Access.READ}


@pytest_twisted.ensureDeferred
async def test_a_revoked_authorization_ends_the_sessions_of_an_admin_too(store, door, forge, people, shop):
    ada = await ada_of(store, Access.ADMIN)
    await door.arrive(person_id=ada.person_id, actor=ada)
    arrived = await door.arrive()
    forge.denies.add("octocat")
    await people.look()
    assert await actor_of(store, arrived) is None
    assert not (await people.linked(ada)).has_token
    forge.asked.clear()
    await people.look()
    assert forge.asked == []
    forge.denies.clear()
    assert (await actor_of(store, await door.arrive())).access is Access.ADMIN


@pytest_twisted.ensureDeferred
async def test_a_token_that_was_replaced_meanwhile_revokes_nothing(store, door, forge, people, shop, identities):
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    actor = await actor_of(store, arrived)
    forge.denies.add("octocat")
    forge.waits = Deferred()
    looking = Deferred.fromCoroutine(people.look())
    while not forge.at_once:
        await deferLater(reactor, 0.001)
    await identities.keep_token(actor.person_id, ForgeToken("of a new sign-in"))
    forge.waits.callback(None)
    await looking
    assert await actor_of(store, arrived) is not None


@pytest_twisted.ensureDeferred
async def test_trouble_changes_nothing_for_a_day_and_then_it_lapses(store, door, forge, people, shop, now):
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    for after, is_there in ((1.0, True), (GOOD_FOR, True), (GOOD_FOR + 1, False)):
        now[0] = NOW + after
        forge.problems = [ForgeAway("down")]
        await people.look()
        assert (await actor_of(store, arrived) is not None) == is_there
    forge.problems = []
    await people.look()
    assert (await actor_of(store, await door.arrive())).grants == {shop.id: Access.READ}


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_away_for_long_believes_nothing_at_its_start(store, door, forge, people, shop, now):
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    now[0] += GOOD_FOR + 1
    forge.waits = Deferred()  # no answer comes
    await people.start()
    assert await actor_of(store, arrived) is None


@pytest_twisted.ensureDeferred
async def test_a_forge_that_has_had_too_much_is_left_alone_for_that_person(store, door, forge, people, shop, clock):
    forge.may["octocat", "shop"] = forge.may["hubot", "shop"] = Access.READ
    for code in ("octocat", "hubot"):
        await door.arrive(code)
    forge.asked.clear()
    forge.problems = [ForgeAway("slower", retry_after=50.0)]
    await people.look()
    assert len(forge.asked) == 2
    await people.look()
    assert len(forge.asked) == 3
    clock.advance(51)
    await people.look()
    assert len(forge.asked) == 5


@pytest_twisted.ensureDeferred
async def test_nothing_more_is_asked_once_the_forge_has_had_too_much(store, door, forge, people, shop):
    for number in range(30):
        await store.add_project(settings(f"p{number}", url=f"https://github.com/acme/p{number}"), "s", "", NOW)
    forge.may["octocat", "shop"] = Access.READ
    await door.arrive()
    assert (len(forge.asked), forge.most_at_once) == (31, 1)
    forge.asked.clear()
    forge.problems = [None, ForgeAway("slower", retry_after=50.0)]
    await people.look()
    assert len(forge.asked) == 2


@pytest_twisted.ensureDeferred
async def test_questions_are_asked_side_by_side_but_not_all_at_once(store, door, forge, people, shop):
    for number in range(30):
        await store.add_project(settings(f"p{number}", url=f"https://github.com/acme/p{number}"), "s", "", NOW)
    forge.may["octocat", "shop"] = Access.READ
    forge.waits = Deferred()
    arriving = Deferred.fromCoroutine(door.arrive())
    while forge.at_once < 8:
        await deferLater(reactor, 0.001)
    forge.waits.callback(None)
    await arriving
    assert (len(forge.asked), forge.most_at_once) == (31, 8)


@pytest_twisted.ensureDeferred
async def test_two_projects_of_one_repository_take_one_question(store, door, forge, shop):
    twin = await store.add_project(settings("twin", url="git@github.com:acme/shop.git"), "s", "", NOW)
    forge.may["octocat", "shop"] = Access.READ
    actor = await actor_of(store, await door.arrive())
    assert set(actor.grants) == {shop.id, twin.id}
    assert len(forge.asked) == 1


@pytest_twisted.ensureDeferred
async def test_a_project_that_has_moved_to_another_forge_is_no_matter_of_this_one(store, door, forge, people, shop):
    other = await store.add_project(settings("other", url="https://github.com/acme/other"), "s", "", NOW)
    forge.may["octocat", "shop"] = forge.may["octocat", "other"] = Access.READ
    arrived = await door.arrive()

    await store.change_project("shop", lambda old: replace(old, url="https://gitlab.com/acme/shop"))
    await people.look()
    assert (await actor_of(store, arrived)).grants == {other.id: Access.READ}


@pytest_twisted.ensureDeferred
async def test_tokens_that_expire_are_renewed_in_time(store, door, forge, people, shop, now, identities):
    forge.lifetime = 28800.0
    forge.may["octocat", "shop"] = Access.READ
    actor = await actor_of(store, await door.arrive())
    await people.look()
    assert ("renewed", "refresh octocat") not in forge.asked
    now[0] += 28700
    await people.look()
    assert ("renewed", "refresh octocat") in forge.asked
    assert (await identities.token(actor.person_id)).expires_at == now[0] + 28800


@pytest.mark.parametrize(
    ("problem", "stays"),
    ((ForgeDenied("bad_refresh_token"), False), (ForgeAway("down"), True), (ForgeMisconfigured("x"), True)),
)
@pytest_twisted.ensureDeferred
async def test_a_token_that_cannot_be_renewed(store, door, forge, people, shop, now, problem, stays):
    forge.lifetime = 28800.0
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    now[0] += 28700
    forge.problems = [problem]
    await people.look()
    assert (await actor_of(store, arrived) is not None) == stays


@pytest_twisted.ensureDeferred
async def test_it_looks_again_and_again_and_soon_for_a_new_project(store, door, forge, people, shop, clock, bus):
    forge.may["octocat", "shop"] = Access.READ
    arrived = await door.arrive()
    asked = []

    async def until(count):
        while len(forge.asked) < count:
            clock.advance(1)
            await deferLater(reactor, 0.001)
        asked.append(clock.seconds())

    await people.start()
    await until(2)
    await until(3)
    assert asked[1] - asked[0] >= 2700
    forge.asked.clear()
    bus.publish(ProjectChanged(shop))  # as it was
    other = await store.add_project(settings("other", url="https://github.com/acme/other"), "s", "", NOW)
    forge.may["octocat", "other"] = Access.BUILD
    for _ in range(3):
        bus.publish(ProjectChanged(other))
    clock.advance(SOON)
    while not (await actor_of(store, arrived)).grants.get(other.id):
        clock.advance(1)
        await deferLater(reactor, 0.001)
    assert sorted(forge.asked) == [("octocat", "other"), ("octocat", "shop")]


@pytest_twisted.ensureDeferred
async def test_a_mistake_with_one_person_is_no_reason_to_leave_out_the_others(store, door, forge, people, shop):
    forge.may["octocat", "shop"] = forge.may["hubot", "shop"] = Access.READ
    arrived = [await door.arrive(code) for code in ("octocat", "hubot")]
    forge.breaks = {"octocat"}
    forge.may = {("hubot", "shop"): Access.BUILD}
    await people.look()
    grants = [(await actor_of(store, each)).grants[shop.id] for each in arrived]
    assert grants == [Access.READ, Access.BUILD]


def test_a_repository_is_the_same_whatever_its_address():
    assert PLACE.repository_of(settings(url="git@github.com:acme/shop.git")) == Repository("acme", "shop")
