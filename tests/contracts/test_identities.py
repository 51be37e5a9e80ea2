"""The contract of interfaces.Identities, on every database."""

from __future__ import annotations

import dataclasses

import pytest
import pytest_twisted

from sayci.account import Access, Actor, Origin, digest_of
from sayci.errors import IdentityTaken, NameTaken, UnknownPerson
from sayci.identity import ForgeToken, Identity, Linked
from tests.contracts.test_store import postgresql, store, url
from tests.factories import NOW, settings

__all__ = ["postgresql", "store", "url"]  # fixtures

OCTOCAT, HUBOT = Identity(583231, "octocat"), Identity(480938, "hubot")
TOKEN = ForgeToken("gho_secret", NOW + 100.5, "ghr_secret")


@pytest.fixture
def identities(store):
    return store.identities("https://github.com")


@pytest_twisted.async_fixture
async def project(store):
    return await store.add_project(settings(), "webhook secret", "", NOW)


async def session_of(store, person, name="s"):
    await store.add_session(digest_of(name), Actor(person.name, person.role, person.id), NOW, NOW + 100, Origin())
    return digest_of(name)


async def actor_of(store, digest):
    return await store.actor_of_session(digest, NOW)


@pytest_twisted.ensureDeferred
async def test_somebody_new_has_the_first_name_that_is_free(store, identities, project):
    await store.add_person("Octocat", Access.ADMIN, NOW)
    names = ["octocat", "OCTOCAT", "octocat-2", "octocat-3"]
    person = await identities.add_person(names, OCTOCAT, TOKEN, {project.id: Access.READ}, NOW)
    assert (person.name, person.role, person.has_password) == ("octocat-2", Access.NONE, False)
    assert await identities.person_of(OCTOCAT.id) == person
    assert await identities.linked(person.id) == Linked(person, OCTOCAT, True)
    assert await identities.access(person.id) == {project.id: Access.READ}
    assert await identities.has_anything(person.id)
    with pytest.raises(NameTaken):
        await identities.add_person(["octocat"], HUBOT, TOKEN, {}, NOW)
    with pytest.raises(IdentityTaken):
        await identities.add_person(["another"], OCTOCAT, TOKEN, {}, NOW)
    assert [each.name for each in await store.people()] == ["Octocat", "octocat-2"]


@pytest_twisted.ensureDeferred
async def test_the_number_counts_and_only_at_its_forge(store, identities):
    ada = await store.add_person("ada", Access.READ, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    assert await identities.person_of(HUBOT.id) is None
    assert await identities.person_of(10**30) is None
    elsewhere = store.identities("https://ghe.example")
    assert await elsewhere.person_of(OCTOCAT.id) is None
    assert await elsewhere.all_linked() == []
    assert await elsewhere.token(ada.id) is None
    renamed = Identity(OCTOCAT.id, "monalisa")
    await identities.link(ada.id, renamed, TOKEN, NOW + 1)
    assert await identities.all_linked() == [Linked(ada, renamed, True)]


@pytest_twisted.ensureDeferred
async def test_an_account_is_one_persons(store, identities, project):
    ada, grace = [await store.add_person(name, Access.READ, NOW) for name in ("ada", "grace")]
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.BUILD}, NOW)
    with pytest.raises(IdentityTaken):
        await identities.link(grace.id, OCTOCAT, TOKEN, NOW)
    with pytest.raises(UnknownPerson):
        await identities.link(10**30, HUBOT, TOKEN, NOW)
    # The same once more keeps what is known, another one does not.
    await identities.link(ada.id, OCTOCAT, ForgeToken("newer"), NOW)
    assert await identities.access(ada.id) == {project.id: Access.BUILD}
    await identities.link(ada.id, HUBOT, TOKEN, NOW)
    assert await identities.access(ada.id) == {}
    await identities.link(grace.id, OCTOCAT, TOKEN, NOW)
    assert [each.identity for each in await identities.all_linked()] == [HUBOT, OCTOCAT]


@pytest_twisted.ensureDeferred
async def test_a_token_is_kept_as_it_is_and_sealed(store, identities, url, tmp_path):
    ada = await store.add_person("ada", Access.READ, NOW)
    assert await identities.token(ada.id) is None
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    assert await identities.token(ada.id) == TOKEN
    newer = ForgeToken("gho_ünlike any")
    await identities.keep_token(ada.id, newer)
    assert await identities.token(ada.id) == newer
    await identities.keep_token(ada.id + 1, newer)
    assert await identities.token(ada.id + 1) is None
    if url.startswith("sqlite"):
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("sayci.sqlite*"))
        assert b"gho_" not in kept
        assert b"ghr_" not in kept


@pytest_twisted.ensureDeferred
async def test_of_what_is_granted_here_and_what_the_forge_gives_the_greater_holds(store, identities, project):
    other = await store.add_project(settings("other"), "s", "", NOW)
    ada = await store.add_person("ada", Access.NONE, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    session = await session_of(store, ada)
    await store.set_member(project.id, "ada", Access.READ)
    assert await identities.set_access(ada.id, {project.id: Access.BUILD, other.id: Access.READ}, NOW)
    assert (await actor_of(store, session)).grants == {project.id: Access.BUILD, other.id: Access.READ}
    assert not await identities.set_access(ada.id, {project.id: Access.BUILD, other.id: Access.READ}, NOW)
    await store.set_member(other.id, "ada", Access.BUILD)
    assert await identities.set_access(ada.id, {project.id: Access.NONE}, NOW)  # of the other nothing is said
    assert (await actor_of(store, session)).grants == {project.id: Access.READ, other.id: Access.BUILD}
    assert [each.name for each in await identities.members(other.id)] == ["ada"]
    assert await identities.members(project.id) == []
    assert [each.role for each in await store.members(other.id)] == [Access.BUILD]
    await store.set_member(other.id, "ada", None)
    assert (await actor_of(store, session)).grants == {project.id: Access.READ, other.id: Access.READ}


@pytest_twisted.ensureDeferred
async def test_what_is_gone_is_left_out(store, identities, project):
    ada = await store.add_person("ada", Access.NONE, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    assert not await identities.set_access(ada.id, {project.id + 1: Access.READ}, NOW)
    assert not await identities.set_access(ada.id + 1, {project.id: Access.READ}, NOW)
    assert await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    await store.remove_project(project.name)
    assert await identities.access(ada.id) == {}
    await store.remove_person("ada")
    assert await identities.person_of(OCTOCAT.id) is None


@pytest_twisted.ensureDeferred
async def test_another_repository_is_another_matter(store, identities, project):
    ada = await store.add_person("ada", Access.NONE, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    session = await session_of(store, ada)
    await store.change_project(project.name, lambda old: dataclasses.replace(old, default_branch="trunk"))
    assert (await actor_of(store, session)).grants == {project.id: Access.READ}
    await store.change_project(project.name, lambda old: dataclasses.replace(old, url="https://git.example/x/y.git"))
    assert (await actor_of(store, session)).grants == {}


@pytest.mark.parametrize("left", ("nothing", "role", "password", "granted", "forge"))
@pytest_twisted.ensureDeferred
async def test_sessions_end_when_nothing_is_left(store, identities, project, left):
    other = await store.add_project(settings("other"), "s", "", NOW)
    ada = await store.add_person("ada", Access.READ if left == "role" else Access.NONE, NOW)
    bystander = await store.add_person("grace", Access.NONE, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    if left == "password":
        await store.set_password(ada.id, "a hash", ends_sessions=False)
    if left == "granted":
        await store.set_member(project.id, "ada", Access.READ)
    if left == "forge":
        await identities.set_access(ada.id, {other.id: Access.READ}, NOW)
    session, others = await session_of(store, ada), await session_of(store, bystander, "other")
    assert await actor_of(store, session) is not None
    await identities.set_access(ada.id, {project.id: Access.NONE}, NOW)
    assert (await actor_of(store, session) is None) == (left == "nothing")
    assert await identities.has_anything(ada.id) == (left != "nothing")
    assert await actor_of(store, others) is not None


@pytest_twisted.ensureDeferred
async def test_a_revoked_authorization_ends_all_that_came_of_it_and_the_sessions(store, identities, project):
    ada = await store.add_person("ada", Access.ADMIN, NOW)
    await store.set_password(ada.id, "a hash", ends_sessions=False)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    session = await session_of(store, ada)
    assert await actor_of(store, session) is not None
    await identities.revoke(ada.id)
    assert await actor_of(store, session) is None
    assert (await identities.token(ada.id), await identities.access(ada.id)) == (None, {})
    assert await identities.all_linked() == [Linked(await store.person("ada"), OCTOCAT, False)]


@pytest_twisted.ensureDeferred
async def test_what_is_unlinked_is_forgotten(store, identities, project):
    ada = await store.add_person("ada", Access.READ, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    session = await session_of(store, ada)
    await identities.unlink(ada.id)
    assert (await actor_of(store, session)).grants == {}
    assert await identities.linked(ada.id) is None
    await identities.unlink(ada.id)


@pytest_twisted.ensureDeferred
async def test_what_was_not_said_again_lapses(store, identities, project):
    other = await store.add_project(settings("other"), "s", "", NOW)
    ada = await store.add_person("ada", Access.NONE, NOW)
    await identities.link(ada.id, OCTOCAT, TOKEN, NOW)
    await identities.set_access(ada.id, {project.id: Access.READ}, NOW)
    await identities.set_access(ada.id, {other.id: Access.READ}, NOW + 10)
    session = await session_of(store, ada)
    assert await identities.lapse(NOW) == []
    assert await identities.lapse(NOW + 10) == [ada.id]
    assert (await actor_of(store, session)).grants == {other.id: Access.READ}
    assert await identities.lapse(NOW + 11) == [ada.id]
    assert await actor_of(store, session) is None
    assert await identities.lapse(float("inf")) == []
