"""outlook.py: how projects stand, loaded once and moved by the bus."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sayci.build import BuildState, Cause
from sayci.bus import Bus
from sayci.errors import Unavailable
from sayci.event import BuildChanged, ProjectChanged, ProjectRemoved
from sayci.outlook import LENGTH, Outlook, Outlooks, past_of
from sayci.step import Result
from tests.factories import NOW, a_build, a_project


def outlook(*builds, **fields):
    """The outlook of a project after these builds, given the oldest first."""
    known = Outlook(a_project(**fields))
    for build in builds:
        known = known.with_build(build)
    return known


def numbered(number, **fields):
    return a_build(**{"id": number, "number": number} | fields)


def test_a_build_that_moves_is_remembered_once():
    known = outlook(numbered(1), numbered(2), numbered(1, result=Result.FAILURE))
    assert [(past.number, past.result) for past in known.past] == [(2, None), (1, Result.FAILURE)]
    assert known.newest == numbered(2)
    assert known.standing == past_of(numbered(1, result=Result.FAILURE))


def test_what_says_how_a_project_stands_is_remembered_longer():
    others = [numbered(number, ref="refs/heads/x", result=Result.SUCCESS) for number in range(3, LENGTH + 20)]
    known = outlook(numbered(1, result=Result.FAILURE), numbered(2, result=Result.SUCCESS), *others)
    assert len(known.past) == LENGTH + 1
    assert known.standing == past_of(numbered(2, result=Result.SUCCESS))
    newer = known.with_build(numbered(90, result=Result.FAILURE))
    assert len(newer.past) == LENGTH
    assert newer.standing == past_of(numbered(90, result=Result.FAILURE))


@pytest.mark.parametrize("result", (Result.CANCELLED, Result.SKIPPED))
def test_some_results_say_nothing(result):
    assert outlook(numbered(1, result=Result.SUCCESS), numbered(2, result=result)).standing.number == 1


def test_what_is_usual_is_known_by_builds_with_the_same_steps():
    def took(number, seconds, **fields):
        return numbered(number, result=Result.SUCCESS, started_at=NOW, finished_at=NOW + seconds, **fields)

    known = outlook(
        took(1, 10),
        took(2, 12),
        took(3, 100, deploys=True),
        took(4, 120, deploys=True),
        took(5, 1, deploys=True, tests=False, cause=Cause.DEPLOY),
        numbered(6, result=Result.FAILURE),
        a_build(BuildState.RUNNING, id=7, number=7),
    )
    assert known.usual(a_build()) == 11
    assert known.usual(a_build(deploys=True)) == 110
    assert known.usual(a_build(deploys=True, tests=False, cause=Cause.DEPLOY)) is None


# -- the bus


class Loaded:
    """What a store would answer, and what it was asked."""

    def __init__(self, *outlooks):
        self.known = {each.project.id: each for each in outlooks}
        self.asked = []
        self.answers = []
        self.at_once = True

    async def __call__(self, project_ids):
        self.asked.append(project_ids)
        if not self.at_once:
            self.answers.append(Deferred())
            await self.answers[-1]
        return [each for key, each in self.known.items() if project_ids is None or key in project_ids]


@pytest.fixture
def bus():
    return Bus()


def now(coroutine):
    """What a coroutine answers that waits for nothing."""
    found: list[Any] = []
    deferred: Deferred[Any] = Deferred.fromCoroutine(coroutine)
    deferred.addBoth(found.append)
    return found[0] if found else None


def test_they_are_loaded_once_and_kept_by_the_bus(bus):
    load = Loaded(outlook(numbered(1)))
    outlooks = Outlooks(load, bus)
    bus.publish(BuildChanged(numbered(5)))
    assert [each.newest.number for each in now(outlooks.all())] == [1]
    bus.publish(BuildChanged(numbered(2)))
    assert [each.newest.number for each in now(outlooks.all())] == [2]
    assert load.asked == [None]
    outlooks.stop()
    bus.publish(BuildChanged(numbered(3)))
    assert [each.newest.number for each in now(outlooks.all())] == [2]


def test_what_moves_while_they_are_loaded_is_not_lost(bus):
    load = Loaded(outlook(numbered(1)))
    load.at_once = False
    outlooks = Outlooks(load, bus)
    first, second = Deferred.fromCoroutine(outlooks.all()), Deferred.fromCoroutine(outlooks.all())
    bus.publish(BuildChanged(numbered(2)))
    first.addErrback(lambda failure: failure.trap(CancelledError))
    first.cancel()
    assert len(load.answers) == 1
    load.answers[0].callback(None)
    assert [each.newest.number for each in now(_value(second))] == [2]


async def _value(deferred):
    return await deferred


def test_when_they_cannot_be_loaded_it_is_said_and_tried_again(bus):
    load = Loaded(outlook(numbered(1)))
    load.at_once = False
    outlooks = Outlooks(load, bus)
    asked = Deferred.fromCoroutine(outlooks.all())
    load.answers[0].errback(Unavailable("the disk is gone"))
    with pytest.raises(Unavailable):
        raise now(_value(asked)).value
    load.at_once = True
    assert len(now(outlooks.all())) == 1


def test_projects_come_change_and_go(bus):
    first = a_project("one", id=1)
    load = Loaded(Outlook(first))
    outlooks = Outlooks(load, bus)
    now(outlooks.all())
    second = a_project("two", id=2)
    load.known[2] = Outlook(second)
    bus.publish(ProjectChanged(second))
    assert [each.project.name for each in now(outlooks.all())] == ["one", "two"]
    bus.publish(ProjectChanged(replace(first, mirror_error="gone")))
    assert now(outlooks.of(first)).project.mirror_error == "gone"
    assert load.asked == [None, [2]]
    renamed = replace(first, settings=replace(first.settings, default_branch="trunk"))
    load.known[1] = Outlook(renamed)
    bus.publish(ProjectChanged(renamed))
    assert now(outlooks.of(first)).project == renamed
    assert load.asked == [None, [2], [1]]
    bus.publish(ProjectRemoved(second))
    assert [each.project.name for each in now(outlooks.all())] == ["one"]


def test_what_is_usual_is_unknown_of_an_unknown_project(bus):
    outlooks = Outlooks(Loaded(), bus)
    assert outlooks.usual(a_build()) is None
    assert now(outlooks.of(a_project())) == Outlook(a_project())
