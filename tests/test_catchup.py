"""catchup.py: what nobody told of is built once, what is old is not, and a repository that is down is left alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from sayci.build import Cause
from sayci.catchup import CLOSELY, CatchUp
from sayci.delivery import Verdict
from sayci.errors import RepositoryDenied, RepositoryRefused, RepositoryUnreachable
from sayci.forges.github import GitHub
from sayci.git import Policy
from sayci.inbox import Inbox
from sayci.project import MirrorState
from sayci.registry import Registry
from tests.factories import MAIN, NOW, a_change, commit, deploying_settings, new_build, new_delivery, settings


@pytest.fixture
def clock():
    return Clock()


@pytest_twisted.async_yield_fixture
async def inbox(store, ledger, clock):
    made = Inbox(store, ledger, GitHub(), clock)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def registry(store, sources, logs, bus):
    made = Registry(store, sources, logs, bus, Policy(), lambda: NOW, lambda project_id: None)
    yield made
    await made.stop()


@pytest.fixture
def catch_up(store, sources, inbox, registry, clock):
    return CatchUp(store, sources, inbox, registry, clock, interval=100.0, random=lambda: 0.5)


@pytest_twisted.async_yield_fixture
async def project(store, sources):
    """A deploying project that has been seen with its main branch at the first commit."""
    project = await store.add_project(deploying_settings(), "s", "the token", NOW)
    sources.branches = {"main": commit(1)}
    await store.see_heads(project.id, sources.branches)
    yield project


async def builds_of(store, project):
    return [(build.cause, build.ref, build.commit, build.deploys) for build in (await store.builds(project.id)).items]


@pytest_twisted.ensureDeferred
async def test_what_is_there_when_a_project_is_seen_first_is_not_built(catch_up, store, sources):
    project = await store.add_project(settings(), "s", "", NOW)
    await catch_up.look(project)
    assert not await builds_of(store, project)
    assert await store.seen_heads(project.id) == sources.branches


@pytest_twisted.ensureDeferred
async def test_a_branch_that_has_moved_and_a_new_one_are_built_once(catch_up, store, sources, project):
    sources.branches = {"main": commit(2), "topic": commit(3)}
    for _ in range(2):
        await catch_up.look(project)
    assert sorted(await builds_of(store, project), key=str) == [
        (Cause.CATCH_UP, MAIN, commit(2), True),
        (Cause.CATCH_UP, "refs/heads/topic", commit(3), False),
    ]
    build = (await store.builds(project.id)).items[0]
    assert (build.message, build.author) == ("a message", "an author")
    sources.branches = {"main": commit(2)}
    await catch_up.look(project)
    assert await store.seen_heads(project.id) == {"main": commit(2)}


@pytest_twisted.ensureDeferred
async def test_what_was_built_or_asks_to_be_skipped_is_only_seen(
    catch_up, store, sources, project, ledger, monkeypatch
):
    await ledger.add(new_build(project.id, commit=commit(2)))
    sources.branches = {"main": commit(2)}
    await catch_up.look(project)

    async def skipped(*_):
        return "typo [skip ci]", "an author"

    monkeypatch.setattr(sources, "describe", skipped)
    sources.branches = {"main": commit(3)}
    await catch_up.look(project)
    assert len(await builds_of(store, project)) == 1
    assert await store.seen_heads(project.id) == {"main": commit(3)}


@pytest_twisted.ensureDeferred
async def test_a_commit_that_cannot_be_had_is_looked_for_again(catch_up, store, sources, project, monkeypatch):
    sources.branches = {"main": commit(2), "topic": commit(3)}

    async def gone(project_id, remote, branch):
        raise RepositoryUnreachable("gone")

    monkeypatch.setattr(sources, "clone", gone)
    await catch_up.look(project)
    assert not await builds_of(store, project)
    assert await store.seen_heads(project.id) == {"main": commit(1)}
    monkeypatch.undo()
    await catch_up.look(project)
    assert len(await builds_of(store, project)) == 2


@pytest_twisted.ensureDeferred
async def test_a_delivery_of_the_branch_that_came_since_is_newer(catch_up, store, sources, project, inbox, monkeypatch):
    """The answer of the repository is old by then: it must not be deployed after the newer commit."""
    sources.branches = {"main": commit(2)}
    answered: Deferred = Deferred()

    async def heads(remote):
        told = dict(sources.branches)
        await answered
        return told

    monkeypatch.setattr(sources, "heads", heads)
    looking = Deferred.fromCoroutine(catch_up.look(project))
    accepted = await store.accept(new_delivery(project.id))
    inbox.put(accepted.delivery, a_change(commit=commit(9)))
    answered.callback(None)
    await looking
    while (await store.delivery(project.id, accepted.delivery.id))[0].verdict is Verdict.RECEIVED:
        pass
    assert await builds_of(store, project) == [(Cause.PUSH, MAIN, commit(9), True)]
    assert await store.seen_heads(project.id) == {"main": commit(1)}


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_comes_later_builds_it_no_more_while_it_is_the_newest(
    catch_up, store, sources, project, inbox, ledger
):
    sources.branches = {"main": commit(2)}
    await catch_up.look(project)

    async def deliver(forge_id):
        accepted = await store.accept(new_delivery(project.id, forge_id=forge_id))
        inbox.put(accepted.delivery, a_change(commit=commit(2)))
        while True:
            delivery, _ = await store.delivery(project.id, accepted.delivery.id)
            if delivery.verdict is not Verdict.RECEIVED:
                return delivery

    late = await deliver("late")
    assert (late.verdict, late.build_number) == (Verdict.IGNORED, None)
    assert "#1" in late.explanation
    await ledger.add(new_build(project.id, commit=commit(3)))
    assert (await deliver("pushed back")).verdict is Verdict.BUILT


@pytest_twisted.ensureDeferred
async def test_it_looks_at_every_project_at_the_start_and_again(catch_up, store, sources, project, clock):
    other = await store.add_project(settings("other"), "s", "", NOW)
    catch_up.start()
    try:
        await _asked(sources, clock, 2)
        assert [entry[1] for entry in sources.transcript if entry[0] == "heads"] == [
            project.settings.url,
            other.settings.url,
        ]
        await _asked(sources, clock, 4)
    finally:
        await catch_up.stop()


@pytest_twisted.ensureDeferred
async def test_a_repository_that_does_not_answer_is_left_alone_for_longer_each_time(
    catch_up, store, sources, project, clock
):
    sources.problems = [RepositoryUnreachable("down") for _ in range(10)]
    times = []
    catch_up.start()
    try:
        for count in range(1, 5):
            await _asked(sources, clock, count)
            times.append(clock.seconds())
    finally:
        await catch_up.stop()
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 200
    assert pauses[2] >= 800


DENIED, DOWN = RepositoryDenied("set a new token"), RepositoryUnreachable("down")


@pytest.mark.parametrize(
    ("answers", "states"),
    (
        # One that denies itself twice is revoked; what does not answer in between says nothing.
        ((DENIED, DENIED), ("ready", "revoked")),
        ((DENIED, DOWN, DENIED), ("ready", "ready", "revoked")),
        ((DENIED, None, DENIED), ("ready", "ready", "ready")),
        ((DOWN, DOWN, DOWN), ("ready", "ready", "ready")),
        ((RepositoryRefused("a certificate"),) * 3, ("ready", "ready", "ready")),
        ((DENIED, DENIED, DENIED, DOWN, None), ("ready", "revoked", "revoked", "revoked", "ready")),
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_clone_goes_with_the_access_and_comes_back_with_it(
    catch_up, store, sources, project, registry, answers, states
):
    await store.set_mirror(project.id, MirrorState.READY)
    seen = []
    for answer in answers:
        sources.problems = [type(answer)(*answer.args)] if answer is not None else []
        await catch_up._surely(await store.project_by_id(project.id))
        await registry._background.idle()
        seen.append((await store.project_by_id(project.id)).mirror.value)
    assert tuple(seen) == states
    removed = [entry for entry in sources.transcript if entry[0] == "remove"]
    assert removed == [("remove", project.id)] * ("revoked" in states)


async def _asked(sources, clock, times):
    """Let time pass until so many repositories were asked."""
    while sum(entry[0] == "heads" for entry in sources.transcript) < times:
        clock.advance(1.0)
        await deferLater(reactor, 0.001)


@pytest_twisted.ensureDeferred
async def test_of_very_many_branches_some_wait_for_the_next_look(catch_up, store, sources, project):
    sources.branches |= {f"topic-{number}": commit(number) for number in range(CLOSELY + 5)}
    await catch_up.look(project)
    assert len((await store.builds(project.id, limit=500)).items) == CLOSELY
    await catch_up.look(project)
    assert len((await store.builds(project.id, limit=500)).items) == CLOSELY + 5
