"""bus.py: who is told what."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import provider

from sayci.bus import Bus
from sayci.event import BuildChanged, DeliveryChanged, ProjectChanged, ProjectRemoved, StatusesDue
from tests.factories import a_build, a_delivery, a_project

EVENTS = {
    BuildChanged(a_build(id=7, project_id=1)): ("everything", "project 1", "build 7"),
    BuildChanged(a_build(id=8, project_id=1)): ("everything", "project 1", "build 8"),
    BuildChanged(a_build(id=1, project_id=2)): ("everything", "project 2"),
    DeliveryChanged(a_delivery(id=7, project_id=1)): ("everything", "project 1"),
    ProjectChanged(a_project(id=2)): ("everything", "project 2"),
    ProjectRemoved(a_project(id=1)): ("everything", "project 1"),
    StatusesDue(): ("everything",),
}


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def failures():
    """What is logged as a failure during the test."""
    events: list = []

    @provider(ILogObserver)
    def observe(event):
        if event["log_level"] is LogLevel.critical:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def test_every_scope_is_told_its_own_events_and_no_others(bus):
    told = []
    scopes = {
        "everything": {},
        "project 1": {"project_id": 1},
        "project 2": {"project_id": 2},
        "build 7": {"build_id": 7},
        "build 8": {"build_id": 8},
    }
    for name, scope in scopes.items():
        bus.subscribe(lambda event, name=name: told.append((name, event)), **scope)
    for event, names in EVENTS.items():
        told.clear()
        bus.publish(event)
        assert told == [(name, event) for name in names]


def test_a_build_is_the_narrower_scope(bus):
    told: list = []
    bus.subscribe(told.append, project_id=1, build_id=7)
    for event in EVENTS:
        bus.publish(event)
    assert [event.build.id for event in told] == [7]


def test_nobody_is_told_what_was_before(bus):
    told: list = []
    bus.publish(StatusesDue())
    bus.subscribe(told.append)
    assert told == []


def test_listeners_are_told_in_the_order_of_their_subscription(bus):
    told = []
    for number in range(5):
        bus.subscribe(lambda event, number=number: told.append(number))
    bus.publish(StatusesDue())
    assert told == [0, 1, 2, 3, 4]


def test_one_listener_may_subscribe_twice_and_end_one_of_them(bus):
    told: list = []
    end = bus.subscribe(told.append)
    bus.subscribe(told.append)
    bus.publish(StatusesDue())
    assert len(told) == 2
    end()
    end()
    bus.publish(StatusesDue())
    assert len(told) == 3


def test_a_listener_that_raises_stops_nobody_and_is_logged(bus, failures):
    told: list = []

    def broken(event):
        raise RuntimeError("swordfish")

    bus.subscribe(broken)
    bus.subscribe(told.append)
    bus.subscribe(told.append, project_id=1)
    bus.publish(ProjectChanged(a_project(id=1)))
    assert len(told) == 2
    (event,) = failures
    assert "swordfish" in event["log_failure"].getErrorMessage()


def test_who_has_ended_a_subscription_is_not_told_any_more_not_even_of_the_event_under_way(bus):
    told: list = []

    def first(event):
        end_second()

    bus.subscribe(first)
    end_second = bus.subscribe(told.append)
    bus.publish(StatusesDue())
    assert told == []


def test_a_listener_may_end_its_own_subscription_while_it_is_told(bus):
    told: list = []

    def once(event):
        told.append(event)
        end()

    end = bus.subscribe(once)
    after: list = []
    bus.subscribe(after.append)
    bus.publish(StatusesDue())
    bus.publish(StatusesDue())
    assert (len(told), len(after)) == (1, 2)


def test_who_subscribes_while_others_are_told_is_told_from_the_next_event_on(bus):
    told: list = []

    def recruiting(event):
        bus.subscribe(told.append)

    bus.subscribe(recruiting)
    bus.publish(StatusesDue())
    assert told == []
    bus.publish(StatusesDue())
    assert len(told) == 1


def test_an_event_that_is_published_while_another_is_reaches_everybody(bus):
    told: list = []

    def echoing(event):
        if isinstance(event, StatusesDue):
            bus.publish(ProjectChanged(a_project()))

    bus.subscribe(echoing)
    bus.subscribe(told.append)
    bus.publish(StatusesDue())
    assert {type(event) for event in told} == {StatusesDue, ProjectChanged}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([{}, {"project_id": 1}, {"build_id": 7}]), st.booleans()), max_size=20))
def test_subscriptions_that_have_ended_leave_nothing_behind(subscriptions):
    bus = Bus()
    told: list = []
    kept = 0
    ends = []
    for scope, keeps in subscriptions:
        end = bus.subscribe(told.append, **scope)
        kept += keeps
        ends += [] if keeps else [end]
    for end in ends:
        end()
    bus.publish(BuildChanged(a_build(id=7, project_id=1)))
    assert len(told) == kept
    assert sum(len(listeners) for listeners in bus._listeners.values()) == kept
    assert all(bus._listeners.values())
