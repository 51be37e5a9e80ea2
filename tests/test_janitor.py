"""janitor.py: rounds that remove what may go, and logs that are compressed when little else is to do."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from sayci import janitor as module
from sayci.build import BuildState
from sayci.delivery import Verdict
from sayci.event import BuildChanged
from sayci.janitor import OVERDUE, PAUSE, Janitor
from sayci.retention import DAY, Keep
from sayci.step import Result
from tests.factories import COMMIT, MAIN, NOW, a_build, commit, deploying_settings, new_build, new_delivery


class Work:
    """Whether a build runs."""

    is_busy = False


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def janitor(store, logs, bus, clock, work):
    def make(**keep):
        given = {"days": 10, "builds": 0, "log_days": 5, "log_bytes": 0, "delivery_days": 10, "body_days": 5} | keep
        return Janitor(store, logs, bus, clock, keep=Keep(**given), wall=lambda: NOW, is_busy=lambda: work.is_busy)

    return make


@pytest.fixture
def ended(store, ledger, logs):
    """Builds that ended so many days ago, the first the newest but one of all."""

    async def make(*days):
        project = await store.add_project(deploying_settings(), "s", "", NOW)
        builds = []
        for number, ago in enumerate(days):
            build = await ledger.add(new_build(project.id, commit=commit(number)))
            then = NOW - ago * DAY
            await store.advance(build.id, lambda build, then=then: build.claimed(then).finished(then, Result.FAILURE))
            logs.files[f"{build.id}/1-test"] = b"x" * 10
            builds.append(build)
        return project, builds

    return make


async def numbers(store, project):
    return [build.number for build in (await store.builds(project.id)).items]


@pytest_twisted.ensureDeferred
async def test_a_round_removes_old_builds_and_logs_and_what_belongs_to_nobody(janitor, ended, store, logs):
    project, builds = await ended(20, 15, 7, 1, 30)
    logs.files["999/1-test"] = b"of a project that is gone"
    assert await janitor().round()
    assert await numbers(store, project) == [5, 4, 3]
    assert sorted(logs.files) == [f"{builds[3].id}/1-test", f"{builds[4].id}/1-test"]
    assert [*logs.removed] == [builds[2].id]
    assert await janitor().round()
    assert await numbers(store, project) == [5, 4, 3]


@pytest_twisted.ensureDeferred
async def test_that_a_commit_was_built_is_remembered(janitor, ended, store):
    project, builds = await ended(20, 1)
    await janitor().round()
    assert await numbers(store, project) == [2]
    assert await store.was_built(project.id, MAIN, builds[0].commit)
    assert not await store.was_built(project.id, "refs/heads/other", builds[0].commit)


@pytest_twisted.ensureDeferred
async def test_a_round_is_bounded_and_says_that_something_is_left(janitor, ended, store, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    monkeypatch.setattr(module, "TOGETHER", 2)
    project, _ = await ended(*[20] * 6)
    assert not await janitor().round()
    assert await numbers(store, project) == [6, 5, 4]
    assert await janitor().round()
    assert await numbers(store, project) == [6]


@pytest_twisted.ensureDeferred
async def test_of_deliveries_the_body_goes_first(janitor, store):
    project = await store.add_project(deploying_settings(), "s", "", NOW)

    async def came(days, *, verdict_too=True):
        new = new_delivery(project.id, forge_id=f"d{days}{verdict_too}", received_at=NOW - days * DAY)
        delivery = (await store.accept(new)).delivery
        if verdict_too:
            await store.settle(delivery.id, Verdict.IGNORED, "not ours", None)
        return delivery

    _, stale, fresh = [await came(days) for days in (20, 7, 1)]
    waiting = await came(21, verdict_too=False)
    await janitor().round()
    left = {delivery.id: delivery for delivery in (await store.deliveries(project.id)).items}
    assert sorted(left) == sorted([stale.id, fresh.id, waiting.id])
    assert (await store.delivery(project.id, stale.id))[1].body == b""
    assert left[stale.id].size == stale.size
    for whole in (fresh, waiting):
        assert (await store.delivery(project.id, whole.id))[1].body


@pytest_twisted.ensureDeferred
async def test_logs_are_compressed_when_nothing_runs(janitor, bus, clock, logs, work):
    made = janitor()
    made.start()
    work.is_busy = True
    bus.publish(BuildChanged(a_build(BuildState.FINISHED, id=7, commit=COMMIT)))
    bus.publish(BuildChanged(a_build(BuildState.RUNNING, id=8)))
    clock.advance(PAUSE)
    assert logs.compressed == []
    work.is_busy = False
    clock.advance(PAUSE)
    assert logs.compressed == [7]
    work.is_busy = True
    bus.publish(BuildChanged(a_build(BuildState.FINISHED, id=9)))
    clock.advance(OVERDUE + 1)
    assert logs.compressed == [7, 9]
    await made.stop()
    assert not clock.getDelayedCalls()
