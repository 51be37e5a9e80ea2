"""crowd.py: who may be connected when many are."""

from __future__ import annotations

import pytest

from sayci.web.crowd import Crowd


class Guest:
    def __init__(self, network):
        self.network = network
        self.is_here = True

    def drop(self):
        self.is_here = False


@pytest.fixture
def crowd():
    return Crowd(8)


def come(crowd, network, number=1):
    guests = [Guest(network) for _ in range(number)]
    for guest in guests:
        assert crowd.arrived(guest)
    return guests


def here(guests):
    return [guest.is_here for guest in guests]


def test_as_long_as_there_is_room_all_may_come_from_one_address(crowd):
    guests = come(crowd, "192.0.2.1", 8)
    assert all(here(guests))
    assert (len(crowd), crowd.dropped) == (8, 0)


def test_who_has_waited_longest_makes_room(crowd):
    old = come(crowd, "192.0.2.1", 2)
    others = [guest for number in range(6) for guest in come(crowd, f"198.51.100.{number}")]
    crowd.asks(old[0])
    crowd.waits(old[0])  # it was answered meanwhile, and so is no longer the oldest
    come(crowd, "203.0.113.1")
    assert here(old) == [True, False]
    come(crowd, "203.0.113.2")
    assert here(old) == [True, False]
    assert here(others) == [False, True, True, True, True, True]
    assert (len(crowd), crowd.dropped) == (8, 2)


def test_who_is_being_answered_stays_and_where_all_are_nobody_more_may_come(crowd):
    guests = come(crowd, "192.0.2.1", 8)
    for guest in guests:
        crowd.asks(guest)
    late = Guest("198.51.100.1")
    assert not crowd.arrived(late)
    crowd.left(late)
    crowd.waits(late)
    assert all(here(guests))
    assert len(crowd) == 8
    crowd.left(guests[0])
    crowd.left(guests[0])
    assert crowd.arrived(late)


def test_one_address_with_more_than_its_share_loses_its_own(crowd):
    quiet = come(crowd, "192.0.2.1", 2)
    flood = come(crowd, "203.0.113.1", 60)
    assert all(here(quiet))
    assert here(flood) == [False] * 54 + [True] * 6
    # The others still come in, and what the greedy one holds goes on shrinking only when he is the oldest.
    assert crowd.arrived(Guest("198.51.100.1"))
    assert len(crowd) == 8


def test_nothing_is_remembered_of_those_who_have_left(crowd):
    for number in range(1000):
        (guest,) = come(crowd, f"2001:db8:{number:x}::/64")
        crowd.asks(guest)
        crowd.waits(guest)
        crowd.left(guest)
    assert len(crowd) == 0
    assert not crowd._counts
    assert not crowd._waiting_of
    assert not crowd._waiting
