"""scheduler.py: what may start starts, and cancel, rebuild and deploy do what they say or say why not."""

from __future__ import annotations

from functools import partial

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sayci.build import BuildState, Cause
from sayci.buildlog import key_of
from sayci.errors import IllegalMove, Invalid, NotGreen, NothingToDeploy, RepositoryRefused, UnknownBuild
from sayci.event import BuildChanged
from sayci.interfaces import Ended
from sayci.limits import Limits
from sayci.runner import Runner
from sayci.scheduler import SPACE_PAUSE, Scheduler
from sayci.space import Space, Volume
from sayci.step import DEPLOY, TEST, Result
from tests.factories import NOW, deploying_settings, new_build, settings

SUCCESS, FAILURE = Ended(0), Ended(2)


@pytest_twisted.async_yield_fixture
async def scheduler(store, ledger, sources, launcher, logs, bus):
    runner_of = partial(
        Runner,
        store=store,
        ledger=ledger,
        sources=sources,
        launcher=launcher,
        logs=logs,
        page_of=lambda build: "https://ci.example",
        limits=Limits(),
        clock=reactor,
    )
    made = Scheduler(store, ledger, sources, bus, reactor, slots=2, runner_of=runner_of)
    await made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def project(store):
    yield await store.add_project(deploying_settings(), "s", "the token", NOW)


@pytest.fixture
def finished(bus, store):
    """A Deferred of a build once it has ended."""

    def wait(build):
        over: Deferred = Deferred()

        def heard(event):
            if isinstance(event, BuildChanged) and not event.build.is_open and not over.called:
                over.callback(event.build)

        bus.subscribe(heard, build_id=build.id)
        return over

    return wait


async def run_to(build, launcher, finished, **ends):
    """Let the build's steps end as `ends` says; the build after it."""
    over = finished(build)
    for name, ended in ends.items():
        await launcher.started(key_of(build, name))
        launcher.end(key_of(build, name), ended)
    return await over


@pytest_twisted.ensureDeferred
async def test_a_build_that_is_added_is_run(scheduler, project, ledger, launcher, finished):
    build = await ledger.add(new_build(project.id))
    assert (await run_to(build, launcher, finished, test=SUCCESS)).result is Result.SUCCESS


@pytest_twisted.ensureDeferred
async def test_no_more_builds_run_than_there_are_slots(scheduler, project, ledger, launcher, finished):
    builds = [await ledger.add(new_build(project.id, ref=f"refs/heads/{name}")) for name in "abc"]
    for build in builds[:2]:
        await launcher.started(key_of(build, TEST))
    assert key_of(builds[2], TEST) not in launcher.jobs
    assert scheduler.why_waiting(builds[2]) == "For a free slot."
    waiting, running = scheduler.waiting_and_running()
    assert ([build.number for build in waiting], [build.number for build in running]) == ([3], [1, 2])
    launcher.end(key_of(builds[0], TEST), SUCCESS)
    await launcher.started(key_of(builds[2], TEST))
    for build in builds[1:]:
        launcher.end(key_of(build, TEST), SUCCESS)
        await finished(build)


@pytest_twisted.ensureDeferred
async def test_deploys_of_a_project_never_overlap(scheduler, project, ledger, launcher, finished):
    first = await ledger.add(new_build(project.id, deploys=True, supersedes=False))
    second = await ledger.add(new_build(project.id, cause=Cause.DEPLOY, ref="refs/heads/other"))
    await launcher.started(key_of(first, TEST))
    assert "one deploy of a project at a time" in scheduler.why_waiting(second)
    over = finished(first)
    launcher.end(key_of(first, TEST), SUCCESS)
    await launcher.started(key_of(first, DEPLOY))
    assert key_of(second, DEPLOY) not in launcher.jobs
    launcher.end(key_of(first, DEPLOY), SUCCESS)
    await over
    assert (await run_to(second, launcher, finished, deploy=SUCCESS)).result is Result.SUCCESS


@pytest_twisted.ensureDeferred
async def test_builds_of_different_projects_run_side_by_side(scheduler, store, ledger, launcher, finished):
    builds = []
    for name in ("one", "two"):
        project = await store.add_project(settings(name), "s", "", NOW)
        builds.append(await ledger.add(new_build(project.id)))
    for build in builds:
        await launcher.started(key_of(build, TEST))
    for build in builds:
        over = finished(build)
        launcher.end(key_of(build, TEST), SUCCESS)
        await over


@pytest_twisted.ensureDeferred
async def test_a_queued_build_is_cancelled_at_once_and_a_running_one_when_its_processes_are_gone(
    scheduler, project, ledger, launcher, finished
):
    running = await ledger.add(new_build(project.id))
    queued = await ledger.add(new_build(project.id, supersedes=False))
    await launcher.started(key_of(running, TEST))
    ended = await scheduler.cancel(queued, "ada")
    assert (ended.state, ended.result, ended.reason) == (BuildState.FINISHED, Result.CANCELLED, "cancelled by ada")
    over = finished(running)
    assert (await scheduler.cancel(running, "ada")).state in (BuildState.CANCELLING, BuildState.FINISHED)
    assert (await over).result is Result.CANCELLED
    with pytest.raises(IllegalMove):
        await scheduler.cancel(queued, "ada")


@pytest_twisted.ensureDeferred
async def test_a_rebuild_deploys_only_what_was_to_be_deployed_and_is_still_the_newest(
    scheduler, project, ledger, launcher, finished
):
    build = await ledger.add(new_build(project.id, deploys=True))
    with pytest.raises(IllegalMove):
        await scheduler.rebuild(build, "ada")
    build = await run_to(build, launcher, finished, test=FAILURE)
    again = await scheduler.rebuild(build, "ada")
    assert (again.cause, again.source, again.asked_by, again.deploys) == (Cause.REBUILD, 1, "ada", True)
    await run_to(again, launcher, finished, test=SUCCESS, deploy=SUCCESS)
    newer = await ledger.add(new_build(project.id, commit="ab" * 20))
    await run_to(newer, launcher, finished, test=SUCCESS)
    old = await scheduler.rebuild(build, "ada")
    assert not old.deploys
    await run_to(old, launcher, finished, test=SUCCESS)


@pytest_twisted.ensureDeferred
async def test_only_a_green_commit_is_deployed(scheduler, project, ledger, launcher, finished):
    red = await run_to(await ledger.add(new_build(project.id)), launcher, finished, test=FAILURE)
    for named in ({"commit": red.commit}, {"number": red.number}):
        with pytest.raises(NotGreen):
            await scheduler.deploy(project, "ada", **named)
    with pytest.raises(UnknownBuild):
        await scheduler.deploy(project, "ada", number=99)
    for named in ({}, {"commit": red.commit, "number": 1}, {"commit": "HEAD"}):
        with pytest.raises(Invalid):
            await scheduler.deploy(project, "ada", **named)
    green = await run_to(await ledger.add(new_build(project.id, commit="ab" * 20)), launcher, finished, test=SUCCESS)
    for named in ({"commit": green.commit}, {"number": green.number}):
        deploy = await scheduler.deploy(project, "ada", **named)
        assert (deploy.cause, deploy.source, deploy.commit) == (Cause.DEPLOY, green.number, green.commit)
        deploy = await run_to(deploy, launcher, finished, deploy=SUCCESS)
    again = await scheduler.deploy(project, "ada", number=deploy.number)
    assert again.source == green.number
    await run_to(again, launcher, finished, deploy=SUCCESS)


@pytest_twisted.ensureDeferred
async def test_a_project_without_a_deploy_branch_deploys_nothing(scheduler, store, ledger, launcher, finished):
    project = await store.add_project(settings("plain"), "s", "", NOW)
    green = await run_to(await ledger.add(new_build(project.id)), launcher, finished, test=SUCCESS)
    with pytest.raises(NothingToDeploy):
        await scheduler.deploy(project, "ada", number=green.number)


@pytest_twisted.ensureDeferred
async def test_a_build_by_hand_is_of_the_branch_as_the_repository_has_it(
    scheduler, project, sources, launcher, finished
):
    sources.branches = {"main": "1" * 40, "topic": "2" * 40}
    build = await scheduler.build_by_hand(project, "topic", "ada")
    assert (build.commit, build.branch, build.cause, build.deploys) == ("2" * 40, "topic", Cause.MANUAL, False)
    assert ("heads", project.settings.url, "the token") in sources.transcript
    ended = await run_to(build, launcher, finished, test=SUCCESS)
    assert (ended.message, ended.author) == ("a message", "an author")
    with pytest.raises(RepositoryRefused):
        await scheduler.build_by_hand(project, "absent", "ada")
    with pytest.raises(Invalid):
        await scheduler.build_by_hand(project, "--upload-pack=x", "ada")


@pytest_twisted.ensureDeferred
async def test_what_an_earlier_server_left_is_taken_up(store, ledger, sources, launcher, logs, bus, project, finished):
    queued = await ledger.add(new_build(project.id))
    claimed = await ledger.add(new_build(project.id, ref="refs/heads/topic"))
    await ledger.advance(claimed.id, lambda build: build.claimed(NOW))
    runner_of = partial(
        Runner,
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
    await scheduler.start()
    for build in (queued, claimed):
        assert (await run_to(build, launcher, finished, test=SUCCESS)).result is Result.SUCCESS
    await scheduler.stop()


@pytest_twisted.ensureDeferred
async def test_a_stopped_scheduler_starts_nothing_and_leaves_what_runs(scheduler, project, ledger, launcher, store):
    running = await ledger.add(new_build(project.id))
    await launcher.started(key_of(running, TEST))
    await turn()  # out of the runner's own stack
    await scheduler.stop()
    queued = await ledger.add(new_build(project.id, ref="refs/heads/topic"))
    await turn()
    assert key_of(queued, TEST) not in launcher.jobs
    assert ("cancel", key_of(running, TEST)) not in launcher.transcript
    assert (await store.build(project.id, running.number)).state is BuildState.RUNNING


async def turn():
    """One turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


@pytest_twisted.ensureDeferred
async def test_without_space_builds_wait_and_go_on_by_themselves(store, ledger, sources, launcher, logs, bus, project):
    clock = Clock()
    disk = [Volume("/srv", 100 << 30, 0)]
    space = Space(lambda: disk)
    runner_of = partial(
        Runner,
        store=store,
        ledger=ledger,
        sources=sources,
        launcher=launcher,
        logs=logs,
        page_of=lambda build: "https://ci.example",
        limits=Limits(),
        clock=clock,
        space=space,
    )
    scheduler = Scheduler(store, ledger, sources, bus, clock, slots=2, runner_of=runner_of, space=space)
    await scheduler.start()
    build = await ledger.add(new_build(project.id))
    assert scheduler.why_waiting(build).startswith("No space: 0 bytes are free of the disk with /srv")
    clock.advance(SPACE_PAUSE)
    assert (await store.build(project.id, build.number)).state is BuildState.QUEUED
    claimed: Deferred = Deferred()

    def heard(event):
        if event.build.state is BuildState.RUNNING and not claimed.called:
            claimed.callback(None)

    bus.subscribe(lambda event: reactor.callLater(0, heard, event), build_id=build.id)
    disk[:] = [Volume("/srv", 100 << 30, 50 << 30)]
    assert scheduler.why_waiting(build) == ""
    clock.advance(SPACE_PAUSE)
    await claimed
    await scheduler.stop()
