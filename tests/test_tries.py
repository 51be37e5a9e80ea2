"""tries.py: how often somebody may be wrong."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sayci.errors import TooOften
from sayci.tries import WrongTries

NOW = 1_000_000.0


@pytest.fixture
def clock():
    made = Clock()
    made.advance(NOW)
    return made


def tries_left(bucket, address="192.0.2.1"):
    left = 0
    while True:
        try:
            bucket.check(address)
        except TooOften:
            return left
        bucket.wrong(address)
        left += 1


def test_tries_come_back_one_by_one(clock):
    bucket = WrongTries(clock.seconds, burst=3, refill=10)
    assert tries_left(bucket) == 3
    clock.advance(9)
    with pytest.raises(TooOften) as refusal:
        bucket.check("192.0.2.1")
    assert refusal.value.args[1] == 1
    clock.advance(1)
    assert tries_left(bucket) == 1
    clock.advance(1000)
    assert tries_left(bucket) == 3


def test_a_try_that_was_right_is_given_back(clock):
    bucket = WrongTries(clock.seconds, burst=2)
    for _ in range(10):
        bucket.wrong("192.0.2.1")
        bucket.right("192.0.2.1")
    bucket.right("192.0.2.9")
    assert tries_left(bucket) == 2


def test_no_more_addresses_are_remembered_than_there_is_room_for(clock):
    bucket = WrongTries(clock.seconds, room=10)
    for number in range(100):
        bucket.wrong(f"192.0.2.{number}")
    assert len(bucket) == 10


def test_a_clock_that_is_set_back_locks_nobody_out_for_longer(clock):
    now = [NOW]
    bucket = WrongTries(lambda: now[0], burst=3, refill=10)
    tries_left(bucket)
    now[0] -= 86400
    with pytest.raises(TooOften) as refusal:
        bucket.check("192.0.2.1")
    assert refusal.value.args[1] <= 30


@pytest.mark.parametrize(
    ("one", "other"),
    (
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ),
)
def test_addresses_of_one_customer_share_their_tries(clock, one, other):
    bucket = WrongTries(clock.seconds, burst=2)
    tries_left(bucket, one)
    assert tries_left(bucket, other) == 0


@pytest.mark.parametrize("other", ("2001:db8:0:1::1", "192.0.2.2", "", "/run/socket"))
def test_other_addresses_have_their_own(clock, other):
    bucket = WrongTries(clock.seconds, burst=2)
    tries_left(bucket, "2001:db8::1")
    tries_left(bucket, "192.0.2.1")
    assert tries_left(bucket, other) == 2
