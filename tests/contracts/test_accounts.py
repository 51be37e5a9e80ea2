"""The contract of interfaces.Store for people, their invitations and sessions, on every database."""

from __future__ import annotations

import pytest
import pytest_twisted

from sayci.account import Access, Actor, Origin, Session, digest_of
from sayci.errors import LastAdmin, NameTaken, UnknownPerson
from sayci.sign_in import SESSION_IDLE
from tests.contracts.test_store import postgresql, store, url
from tests.factories import NOW, settings

__all__ = ["postgresql", "store", "url"]  # fixtures

HERE = Origin("2001:db8::1", "Firefox on Linux")


async def invited(store, name="ada", role=Access.ADMIN):
    person = await store.add_person(name, role, NOW)
    await store.add_invitation(person.id, digest_of(name), NOW + 10)
    return person


async def accepted(store, name="ada", role=Access.ADMIN):
    await invited(store, name, role)
    return await store.accept_invitation(digest_of(name), "a hash", NOW)


@pytest_twisted.ensureDeferred
async def test_people_are_found_in_any_case_and_listed_by_name(store):
    for name in ("zoe", "Ada", "grace"):
        await store.add_person(name, Access.READ, NOW)
    with pytest.raises(NameTaken):
        await store.add_person("ADA", Access.READ, NOW)
    assert [person.name for person in await store.people()] == ["Ada", "grace", "zoe"]
    assert (await store.person("aDA")).name == "Ada"
    for name in ("nobody", "", "\0", "\ud800", "x" * 10_000):
        with pytest.raises(UnknownPerson):
            await store.person(name)
        assert await store.password_of(name) == (None, None)


@pytest_twisted.ensureDeferred
async def test_an_invitation_is_used_once_in_its_time_and_the_newest_counts(store):
    person = await invited(store)
    assert await store.invited(digest_of("ada"), NOW + 10) is None
    assert await store.accept_invitation(digest_of("other"), "a hash", NOW) is None
    await store.add_invitation(person.id, digest_of("newer"), NOW + 10)
    assert await store.invited(digest_of("ada"), NOW) is None
    done = await store.accept_invitation(digest_of("newer"), "a hash", NOW + 9)
    assert (done.name, done.has_password) == ("ada", True)
    assert await store.accept_invitation(digest_of("newer"), "another", NOW + 9) is None
    assert await store.password_of("Ada") == (done, "a hash")
    with pytest.raises(UnknownPerson):
        await store.add_invitation(person.id + 1, digest_of("x"), NOW)


@pytest_twisted.ensureDeferred
async def test_a_session_has_the_role_of_now(store):
    person = await accepted(store, role=Access.READ)
    actor = Actor("ada", Access.READ, person.id)
    await store.add_session(b"1", actor, NOW, NOW + 100, HERE)
    assert await store.actor_of_session(b"1", NOW) == actor
    await store.set_role("ada", Access.BUILD)
    assert await store.actor_of_session(b"1", NOW) == Actor("ada", Access.BUILD, person.id)


@pytest_twisted.ensureDeferred
async def test_sessions_end_with_the_password_and_with_the_person(store):
    person = await accepted(store, role=Access.READ)
    other = await accepted(store, "grace", Access.READ)
    for digest, who in ((b"1", person), (b"2", other)):
        await store.add_session(digest, Actor(who.name, who.role, who.id), NOW, NOW + 100, HERE)
    await store.set_password(person.id, "a better hash", ends_sessions=False)
    assert await store.actor_of_session(b"1", NOW) is not None
    await store.set_password(person.id, "another hash", ends_sessions=True)
    assert await store.actor_of_session(b"1", NOW) is None
    assert await store.actor_of_session(b"2", NOW) is not None
    await store.remove_person("grace")
    assert await store.actor_of_session(b"2", NOW) is None


@pytest_twisted.ensureDeferred
async def test_the_last_admin_with_a_password_stays(store):
    await accepted(store)
    await invited(store, "grace")
    for change in (store.remove_person("ada"), store.set_role("ada", Access.READ)):
        with pytest.raises(LastAdmin):
            await change
    await store.set_role("ada", Access.ADMIN)
    await store.accept_invitation(digest_of("grace"), "a hash", NOW)
    await store.set_role("ada", Access.READ)
    await store.remove_person("ada")


# -- where somebody is signed in


@pytest_twisted.ensureDeferred
async def test_sessions_are_listed_for_a_person_and_for_who_has_no_account_the_newest_first(store):
    person = await accepted(store, "admin-2", Access.ADMIN)
    actor, other = Actor(person.name, person.role, person.id), Actor(person.name, Access.ADMIN)
    for number, who in enumerate((actor, other, actor, Actor("admin", Access.ADMIN))):
        await store.add_session(b"%d" % number, who, NOW + number, NOW + 100 + number, HERE)
    assert await store.sessions(person.name, person.id, NOW) == [
        Session(b"2", NOW + 2, NOW + 2, HERE),
        Session(b"0", NOW, NOW, HERE),
    ]
    assert [each.digest for each in await store.sessions(person.name, None, NOW)] == [b"1"]
    assert [each.digest for each in await store.sessions("admin", None, NOW)] == [b"3"]
    assert [each.digest for each in await store.sessions(person.name, person.id, NOW + 100)] == [b"2"]
    assert await store.sessions("nobody\0", None, NOW) == []


@pytest_twisted.ensureDeferred
async def test_a_session_that_nobody_uses_is_not_listed(store):
    await store.add_session(b"1", Actor("admin", Access.ADMIN), NOW, NOW + 10 * SESSION_IDLE, HERE)
    assert len(await store.sessions("admin", None, NOW + SESSION_IDLE - 1)) == 1
    assert await store.sessions("admin", None, NOW + SESSION_IDLE) == []


@pytest_twisted.ensureDeferred
async def test_who_only_looks_whether_a_session_holds_does_not_use_it(store):
    await store.add_session(b"1", Actor("admin", Access.ADMIN), NOW, NOW + 10 * SESSION_IDLE, HERE)
    assert await store.actor_of_session(b"1", NOW + SESSION_IDLE - 1, is_use=False) is not None
    assert await store.actor_of_session(b"1", NOW + SESSION_IDLE, is_use=False) is None


# -- tokens of people


@pytest_twisted.ensureDeferred
async def test_a_token_of_a_person_acts_as_that_person_is_now(store):
    project = await store.add_project(settings("web-shop"), "secret", "", NOW)
    await accepted(store, "grace", Access.ADMIN)
    person = await accepted(store, "ada", Access.READ)
    token = await store.add_token("laptop", Access.BUILD, digest_of("t"), NOW, None, person_id=person.id)
    assert (token.name, token.person) == ("laptop", "ada")

    async def actor():
        return await store.actor_of_token(digest_of("t"), NOW)

    assert await actor() == Actor("ada", Access.READ, person.id)
    await store.set_member(project.id, "ada", Access.BUILD)
    assert await actor() == Actor("ada", Access.READ, person.id, {project.id: Access.BUILD})
    await store.set_role("ada", Access.ADMIN)
    assert await actor() == Actor("ada", Access.BUILD, person.id, {project.id: Access.BUILD})
    await store.set_role("ada", Access.NONE)
    await store.set_member(project.id, "ada", Access.READ)
    assert await actor() == Actor("ada", Access.NONE, person.id, {project.id: Access.READ})
    await store.set_member(project.id, "ada", None)
    assert await actor() == Actor("ada", Access.NONE, person.id)


@pytest_twisted.ensureDeferred
async def test_tokens_of_people_are_listed_beside_those_of_the_server_and_go_with_the_person(store):
    ada, grace = await accepted(store, "ada", Access.READ), await accepted(store, "grace", Access.READ)
    bot = await store.add_token("bot", Access.READ, digest_of("bot"), NOW, None)
    own = await store.add_token("laptop", Access.READ, digest_of("own"), NOW, None, person_id=ada.id)
    other = await store.add_token("laptop", Access.READ, digest_of("other"), NOW, None, person_id=grace.id)
    assert [token.person for token in await store.tokens()] == [None, "ada", "grace"]
    assert await store.tokens(person_id=ada.id) == [own]
    assert await store.token(digest_of("other")) == other
    assert await store.token(digest_of("none")) is None
    assert await store.actor_of_token(digest_of("own"), NOW) is not None
    await store.remove_person("ada")
    assert await store.actor_of_token(digest_of("own"), NOW) is None
    assert await store.tokens() == [bot, other]
    with pytest.raises(UnknownPerson):
        await store.add_token("laptop", Access.READ, digest_of("late"), NOW, None, person_id=ada.id)


@pytest_twisted.ensureDeferred
async def test_the_names_of_projects_that_are_there(store):
    ids = [(await store.add_project(settings(name), "secret", "", NOW)).id for name in ("web-shop", "docs")]
    assert await store.names_of([*ids, 999]) == dict(zip(ids, ("web-shop", "docs"), strict=True))
    assert await store.names_of([]) == {}
