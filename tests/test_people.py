"""people.py over a real store: invitations, passwords, roles, and what guessing costs."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from sayci.account import Access, Actor, Credential, Origin, digest_of
from sayci.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LastAdmin,
    NameTaken,
    TooOften,
    Unauthenticated,
    UnknownPerson,
    UnknownSession,
    UnknownToken,
)
from sayci.event import AccessChanged, Event
from sayci.people import INVITATION_LIFETIME, NAME_BURST
from sayci.sign_in import DAY, LONGEST_DAYS, OWN_TOKENS, SESSION_IDLE, SignIn
from tests.factories import NOW, a_store, settings, some_people

GOOD = "correct horse battery"
HERE = Origin("192.0.2.1", "Firefox on Linux")


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(NOW)
    return clock


@pytest_twisted.async_yield_fixture
async def store(tmp_path, clock):
    opened = a_store(tmp_path, clock)
    yield opened
    await opened.close()


@pytest.fixture
def sign_in(store, bus, clock):
    return SignIn(store, bus, clock.seconds)


@pytest.fixture
def people(store, sign_in, bus, clock):
    return some_people(store, sign_in, bus, clock.seconds)


async def a_person(people, name="ada", role=Access.READ, password=GOOD):
    _, code = await people.invite(name, role)
    secret, actor = await people.accept(code, password, HERE)
    return secret, actor


@pytest_twisted.ensureDeferred
async def test_who_was_invited_sets_a_password_once_and_signs_in_with_it(people, sign_in):
    person, code = await people.invite(" Ada ", Access.BUILD)
    assert (person.name, person.has_password) == ("Ada", False)
    secret, actor = await people.accept(code, GOOD, HERE)
    assert actor == await sign_in.actor_of_session(secret) == Actor("Ada", Access.BUILD, person.id)
    with pytest.raises(Unauthenticated):
        await people.accept(code, GOOD, HERE)
    again, actor = await people.session_by_password("ADA", GOOD, HERE)
    assert again != secret
    assert await sign_in.actor_of_session(again) == actor
    assert [each.has_password for each in await people.all()] == [True]


@pytest_twisted.ensureDeferred
async def test_an_invitation_is_no_code_of_the_administrator_s_and_the_other_way_round(people, sign_in):
    _, invitation = await people.invite("ada", Access.READ)
    with pytest.raises(Unauthenticated):
        await sign_in.session_by_code(invitation)
    with pytest.raises(Unauthenticated):
        await sign_in.token_by_code(invitation, "laptop")
    with pytest.raises(Unauthenticated):
        await people.accept(await sign_in.new_code(), GOOD, HERE)


@pytest_twisted.ensureDeferred
async def test_an_invitation_ends_and_a_newer_one_takes_its_place(people, clock):
    _, first = await people.invite("ada", Access.READ)
    _, second = await people.invite_again("ada")
    with pytest.raises(Unauthenticated):
        await people.invited(first, "192.0.2.1")
    assert (await people.invited(second, "192.0.2.1")).name == "ada"
    clock.advance(INVITATION_LIFETIME)
    with pytest.raises(Unauthenticated):
        await people.accept(second, GOOD, HERE)


@pytest_twisted.ensureDeferred
async def test_a_password_that_is_none_leaves_the_invitation_good(people):
    _, code = await people.invite("ada", Access.READ)
    with pytest.raises(Invalid):
        await people.accept(code, "short", HERE)
    await people.accept(code, GOOD, HERE)


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_and_an_unknown_name_are_told_the_same(people):
    await a_person(people)
    await people.invite("grace", Access.READ)  # has no password yet
    told = set()
    for name, password in (
        ("ada", "wrong"),
        ("ada", ""),
        ("nobody", GOOD),
        ("grace", GOOD),
        ("", GOOD),
        ("x\0" * 5000, "y" * 5000),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await people.session_by_password(name, password, HERE)
        told.add(str(caught.value))
    assert len(told) == 1


@pytest.mark.parametrize("name", ("ada", "nobody"))
@pytest_twisted.ensureDeferred
async def test_guessing_is_slowed_down_by_name_wherever_it_comes_from(people, clock, name):
    await a_person(people)
    for number in range(NAME_BURST):
        with pytest.raises(Unauthenticated):
            await people.session_by_password(name, "wrong", Origin(f"198.51.100.{number}"))
    with pytest.raises(TooOften) as caught:
        await people.session_by_password(name.upper(), GOOD, Origin("203.0.113.1"))
    clock.advance(caught.value.args[1])
    if name == "ada":
        await people.session_by_password("ada", GOOD, Origin("203.0.113.1"))


@pytest_twisted.ensureDeferred
async def test_guessing_is_slowed_down_by_address_whatever_the_name(people):
    await a_person(people)
    outcomes = []
    for number in range(25):
        try:
            await people.session_by_password(f"name{number}", "wrong", HERE)
        except (Unauthenticated, TooOften) as error:
            outcomes.append(type(error))
    assert outcomes == [Unauthenticated] * 20 + [TooOften] * 5
    await people.session_by_password("ada", GOOD, Origin("192.0.2.2"))


@pytest_twisted.ensureDeferred
async def test_right_passwords_cost_no_tries(people):
    await a_person(people)
    for _ in range(30):
        await people.session_by_password("ada", GOOD, HERE)


@pytest_twisted.ensureDeferred
async def test_a_new_password_ends_all_other_sessions(people, sign_in):
    first, actor = await a_person(people)
    second, _ = await people.session_by_password("ada", GOOD, HERE)
    with pytest.raises(Unauthenticated):
        await people.change_password(actor, "wrong", "another password", HERE)
    with pytest.raises(Invalid):
        await people.change_password(actor, GOOD, "short", HERE)
    assert await sign_in.actor_of_session(first) == actor
    third, _ = await people.change_password(actor, GOOD, "another password", HERE)
    assert [await sign_in.actor_of_session(secret) for secret in (first, second, third)] == [None, None, actor]
    with pytest.raises(Unauthenticated):
        await people.session_by_password("ada", GOOD, HERE)
    await people.session_by_password("ada", "another password", HERE)
    with pytest.raises(Forbidden):
        await people.change_password(Actor("admin", Access.ADMIN), GOOD, "another password", HERE)


@pytest_twisted.ensureDeferred
async def test_a_role_and_a_removal_count_at_once_in_open_sessions(people, sign_in):
    secret, _ = await a_person(people, role=Access.READ)
    assert (await sign_in.actor_of_session(secret)).access is Access.READ
    await people.set_role("ADA", Access.BUILD)
    assert (await sign_in.actor_of_session(secret)).access is Access.BUILD
    await people.remove("ada")
    assert await sign_in.actor_of_session(secret) is None
    with pytest.raises(UnknownPerson):
        await people.remove("ada")


@pytest_twisted.ensureDeferred
async def test_the_last_admin_stays(people):
    await a_person(people, "ada", Access.ADMIN)
    await people.invite("grace", Access.ADMIN)  # has not come yet, so it does not count
    for change in (people.remove("ada"), people.set_role("ada", Access.BUILD)):
        with pytest.raises(LastAdmin):
            await change
    await people.remove("grace")
    await a_person(people, "grace", Access.ADMIN)
    await people.set_role("ada", Access.BUILD)
    with pytest.raises(LastAdmin):
        await people.remove("grace")


@pytest_twisted.ensureDeferred
async def test_names_are_taken_in_any_case(people):
    await people.invite("ada", Access.READ)
    with pytest.raises(NameTaken):
        await people.invite("Ada", Access.READ)
    with pytest.raises(Invalid):
        await people.invite("admin", Access.READ)


@pytest_twisted.ensureDeferred
async def test_a_session_that_nobody_uses_ends(people, sign_in, clock):
    secret, actor = await a_person(people)
    for _ in range(3):
        clock.advance(SESSION_IDLE - DAY)
        assert await sign_in.actor_of_session(secret) == actor
    clock.advance(SESSION_IDLE)
    assert await sign_in.actor_of_session(secret) is None


@pytest_twisted.ensureDeferred
async def test_a_session_in_use_ends_after_its_time(people, sign_in, clock):
    secret, actor = await a_person(people)
    for day in range(1, 31):
        assert await sign_in.actor_of_session(secret) == actor, day
        clock.advance(DAY)
    assert await sign_in.actor_of_session(secret) is None


# -- what is one's own


@pytest_twisted.ensureDeferred
async def test_one_sees_and_ends_ones_own_sessions_and_no_others(people, sign_in, bus):
    told: list[Event] = []
    bus.subscribe(told.append)
    first, ada = await a_person(people)
    second, _ = await people.session_by_password("ada", GOOD, Origin("2001:db8::2", "Chrome on Android"))
    others, grace = await a_person(people, "grace")
    listed = await sign_in.sessions_of(ada)
    assert {each.digest for each in listed} == {digest_of(first), digest_of(second)}
    (foreign,) = await sign_in.sessions_of(grace)
    for session_id in (foreign.id, "", first, digest_of(first).hex(), "x" * 1000):
        with pytest.raises(UnknownSession):
            await sign_in.end_session(ada, session_id)
    told.clear()
    gone = next(each for each in listed if each.digest == digest_of(second))
    assert second not in gone.id
    await sign_in.end_session(ada, gone.id)
    assert told == [AccessChanged(digest=digest_of(second))]
    third, _ = await people.session_by_password("ada", GOOD, HERE)
    await sign_in.end_other_sessions(ada, Credential(digest_of(third)))
    assert [await sign_in.actor_of_session(secret) for secret in (first, second, third, others)] == [
        None,
        None,
        ada,
        grace,
    ]


@pytest_twisted.ensureDeferred
async def test_one_has_tokens_of_ones_own_up_to_ones_reach(people, sign_in, store):
    project = await store.add_project(settings("web-shop"), "secret", "", NOW)
    secret, ada = await a_person(people, role=Access.NONE)
    session = Credential(digest_of(secret))
    with pytest.raises(Forbidden):
        await sign_in.new_own_token(ada, session, "laptop", Access.BUILD, None)
    await people.set_member(project.id, "ada", Access.BUILD)
    ada = await sign_in.actor_of_session(secret)
    token, held = await sign_in.new_own_token(ada, session, "laptop", Access.BUILD, 30)
    assert (token.person, token.expires_at) == ("ada", NOW + 30 * DAY)
    assert await sign_in.actor_of_token(held) == ada
    with pytest.raises(Forbidden):
        await sign_in.new_own_token(ada, session, "laptop", Access.ADMIN, None)
    for name, days in (("", 1), ("x", 0), ("x", LONGEST_DAYS + 1)):
        with pytest.raises(Invalid):
            await sign_in.new_own_token(ada, session, name, Access.READ, days)
    with pytest.raises(Forbidden):
        await sign_in.new_own_token(Actor("bot", Access.ADMIN), session, "x", Access.READ, None)
    assert [each.id for each in await sign_in.own_tokens(ada)] == [token.id]
    assert await sign_in.own_tokens(Actor("bot", Access.ADMIN)) == []


@pytest_twisted.ensureDeferred
async def test_a_token_made_with_a_token_lasts_no_longer_and_reaches_no_further(people, sign_in):
    secret, ada = await a_person(people, role=Access.ADMIN)
    _, held = await sign_in.new_own_token(ada, Credential(digest_of(secret)), "first", Access.READ, 10)
    holder, by = await sign_in.actor_of_token(held), Credential(digest_of(held), is_token=True)
    for days, end in ((None, 10), (20, 10), (5, 5)):
        token, _ = await sign_in.new_own_token(holder, by, "second", Access.READ, days)
        assert token.expires_at == NOW + end * DAY
    with pytest.raises(Forbidden):
        await sign_in.new_own_token(holder, by, "second", Access.BUILD, None)


@pytest_twisted.ensureDeferred
async def test_one_removes_ones_own_tokens_alone_and_has_not_too_many(people, sign_in):
    secret, ada = await a_person(people)
    other_secret, grace = await a_person(people, "grace")
    by = Credential(digest_of(secret))
    token, held = await sign_in.new_own_token(ada, by, "laptop", Access.READ, None)
    with pytest.raises(UnknownToken):
        await sign_in.remove_own_token(grace, token.id)
    with pytest.raises(UnknownToken):
        await sign_in.remove_own_token(Actor("bot", Access.ADMIN), token.id)
    await sign_in.remove_own_token(ada, token.id)
    with pytest.raises(Unauthenticated):
        await sign_in.actor_of_token(held)
    for _ in range(OWN_TOKENS):
        await sign_in.new_own_token(ada, by, "one more", Access.READ, None)
    with pytest.raises(Conflict):
        await sign_in.new_own_token(ada, by, "too many", Access.READ, None)
    await sign_in.new_own_token(grace, Credential(digest_of(other_secret)), "hers", Access.READ, None)
