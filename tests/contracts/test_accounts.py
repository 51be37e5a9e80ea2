"""The contract of interfaces.Store for people, their invitations and sessions, on every database."""

from __future__ import annotations

import pytest
import pytest_twisted

from sayci.account import Access, Actor, Origin, digest_of
from sayci.errors import LastAdmin, NameTaken, UnknownPerson
from tests.contracts.test_store import postgresql, store, url
from tests.factories import NOW

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
