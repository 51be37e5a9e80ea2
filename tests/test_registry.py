"""registry.py: the repository is asked before anything is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from sayci.errors import (
    Conflict,
    Invalid,
    NameTaken,
    RepositoryDenied,
    RepositoryRefused,
    RepositoryUnreachable,
    UnknownProject,
)
from sayci.event import ProjectChanged, ProjectRemoved
from sayci.git import Policy
from sayci.project import MirrorState
from sayci.registry import Registry
from tests.factories import NOW, new_build, settings


@pytest.fixture
def busy():
    """Ids of projects of which builds wait or run."""
    return set()


@pytest.fixture
def registry(store, sources, logs, bus, busy):
    def require_idle(project_id):
        if project_id in busy:
            raise Conflict("busy")

    return Registry(store, sources, logs, bus, Policy(), lambda: NOW, require_idle)


@pytest.fixture
def mirrored(bus):
    """A Deferred of the project once its mirror is ready or has failed."""

    def wait():
        over: Deferred = Deferred()

        def heard(event):
            if (
                isinstance(event, ProjectChanged)
                and event.project.mirror is not MirrorState.CLONING
                and not over.called
            ):
                over.callback(event.project)

        bus.subscribe(heard)
        return over

    return wait


@pytest_twisted.ensureDeferred
async def test_registering_asks_the_repository_and_clones_it(registry, sources, mirrored, store):
    over = mirrored()
    project, secret = await registry.register(settings(), "the token")
    assert (await over).mirror is MirrorState.READY
    assert sources.transcript == [("heads", project.settings.url, "the token"), ("clone", project.id, "main")]
    assert (await store.webhook_secret(project.name))[1] == secret
    assert len(secret) >= 40


@pytest.mark.parametrize("error", (RepositoryRefused("no"), RepositoryUnreachable("silent")))
@pytest_twisted.ensureDeferred
async def test_a_repository_that_cannot_be_read_is_not_registered(registry, sources, store, error):
    sources.problems = [error]
    with pytest.raises(type(error)):
        await registry.register(settings())
    assert (await store.projects()).items == []


@pytest_twisted.ensureDeferred
async def test_a_default_branch_that_is_not_there_is_said_with_those_that_are(registry, sources, store):
    sources.branches = {"trunk": "1" * 40, "stable": "2" * 40}
    with pytest.raises(RepositoryRefused, match=r"main.*stable trunk"):
        await registry.register(settings())
    assert (await store.projects()).items == []


@pytest_twisted.ensureDeferred
async def test_an_empty_repository_may_be_registered(registry, sources, mirrored):
    sources.branches = {}
    over = mirrored()
    await registry.register(settings())
    await over


@pytest_twisted.ensureDeferred
async def test_a_url_that_the_operator_does_not_allow_is_never_asked(registry, sources):
    for url in ("ext::sh -c id", "file:///etc", "http://git.example/x.git", "-oProxyCommand=x:y"):
        with pytest.raises(Invalid):
            await registry.register(settings(url=url))
    assert sources.transcript == []


@pytest_twisted.ensureDeferred
async def test_a_name_is_taken_in_any_case(registry, mirrored):
    over = mirrored()
    await registry.register(settings("Shop"))
    await over
    with pytest.raises(NameTaken):
        await registry.register(settings("shop"))


@pytest_twisted.ensureDeferred
async def test_a_clone_that_fails_is_said_and_tried_again_with_a_new_token(registry, sources, mirrored):
    over = mirrored()
    project, _ = await registry.register(settings())
    sources.problems = [RepositoryRefused("no access")]
    failed = await over
    assert (failed.mirror, failed.mirror_error) == (MirrorState.FAILED, "no access")
    over = mirrored()
    await registry.set_access_token(project.name, "a better token")
    assert (await over).mirror is MirrorState.READY


@pytest_twisted.ensureDeferred
async def test_the_clone_of_a_revoked_repository_is_removed_and_made_again(registry, sources, mirrored, store):
    over = mirrored()
    project, _ = await registry.register(settings())
    await over
    over = mirrored()
    await registry.revoke(project.id, RepositoryDenied("set a new one", "error: 401"))
    revoked = await over
    assert (revoked.mirror, revoked.mirror_error) == (MirrorState.REVOKED, "set a new one: error: 401")
    assert sources.transcript[-1] == ("remove", project.id)
    over = mirrored()
    await registry.regain(project.id)
    assert (await over).mirror is MirrorState.READY
    assert (await store.project(project.name)).mirror_error == ""
    await registry.revoke(project.id, RepositoryDenied("again"))
    over = mirrored()
    await registry.set_access_token(project.name, "a better token")
    assert (await over).mirror is MirrorState.READY


@pytest_twisted.ensureDeferred
async def test_a_repository_that_is_denied_while_it_is_cloned_leaves_nothing(registry, sources, mirrored):
    over = mirrored()
    project, _ = await registry.register(settings())
    sources.problems = [RepositoryDenied("no access")]
    assert (await over).mirror is MirrorState.REVOKED
    await registry._background.idle()
    assert sources.transcript[-1] == ("remove", project.id)


@pytest_twisted.ensureDeferred
async def test_a_clone_that_a_stopped_server_had_to_remove_is_removed(registry, sources, store):
    project = await store.add_project(settings(), "s", "", NOW)
    await store.set_mirror(project.id, MirrorState.REVOKED, "no access")
    await registry.start()
    assert sources.transcript == [("remove", project.id)]


@pytest_twisted.ensureDeferred
async def test_a_new_url_is_asked_and_gets_a_new_mirror(registry, sources, mirrored, busy):
    over = mirrored()
    project, _ = await registry.register(settings())
    await over
    elsewhere = "https://git.example/elsewhere.git"
    busy.add(project.id)
    with pytest.raises(Conflict):
        await registry.change(project.name, lambda old: replace(old, url=elsewhere))
    busy.clear()
    over = mirrored()
    changed = await registry.change(project.name, lambda old: replace(old, url=elsewhere))
    assert changed.settings.url == elsewhere
    assert (await over).mirror is MirrorState.READY
    assert ("remove", project.id) in sources.transcript
    with pytest.raises(Invalid):
        await registry.change(project.name, lambda old: replace(old, url="/etc"))


@pytest_twisted.ensureDeferred
async def test_other_settings_ask_nobody(registry, sources, mirrored):
    over = mirrored()
    project, _ = await registry.register(settings())
    await over
    before = list(sources.transcript)
    changed = await registry.change(project.name, lambda old: replace(old, deploy_branch="main"))
    assert changed.settings.deploy_branch == "main"
    assert sources.transcript == before


@pytest_twisted.ensureDeferred
async def test_a_new_webhook_secret_replaces_the_old_one(registry, mirrored, store):
    over = mirrored()
    project, old = await registry.register(settings())
    await over
    new = await registry.new_webhook_secret(project.name)
    assert new != old
    assert (await store.webhook_secret(project.name))[1] == new


@pytest_twisted.ensureDeferred
async def test_a_removed_project_leaves_nothing(registry, sources, mirrored, store, ledger, logs, bus, busy):
    over = mirrored()
    project, _ = await registry.register(settings())
    await over
    build = await ledger.add(new_build(project.id))
    logs.files[f"{build.id}/1-test"] = b"x"
    busy.add(project.id)
    with pytest.raises(Conflict):
        await registry.remove(project.name)
    busy.clear()
    await ledger.advance(build.id, lambda build: build.cancelled(NOW, "x"))
    heard: list = []
    bus.subscribe(heard.append)
    await registry.remove(project.name)
    await registry.stop()
    assert [type(event) for event in heard] == [ProjectRemoved]
    assert ("remove", project.id) in sources.transcript
    assert logs.files == {}
    with pytest.raises(UnknownProject):
        await store.project(project.name)


@pytest_twisted.ensureDeferred
async def test_a_mirror_that_a_stopped_server_had_not_finished_is_gone_on_with(registry, sources, mirrored, store):
    project = await store.add_project(settings(), "s", "the token", NOW)
    over = mirrored()
    await registry.start()
    assert (await over).mirror is MirrorState.READY
    assert ("clone", project.id, "main") in sources.transcript
