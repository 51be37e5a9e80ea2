"""errand.py: bound to one browser, good once, and not for long."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.errand import LIFETIME, Errands
from sayci.errors import Unauthenticated


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def errands(now):
    return Errands(lambda: now[0])


def test_what_began_in_a_browser_ends_there_once(errands):
    secret, errand = errands.begin("/web-shop", 7)
    assert errands.end(secret, errand.state) is errand
    assert (errand.where, errand.person_id) == ("/web-shop", 7)
    with pytest.raises(Unauthenticated):
        errands.end(secret, errand.state)
    assert len(errands) == 0


def test_the_state_of_another_browser_is_worth_nothing_and_neither_is_a_second_try(errands):
    secret, errand = errands.begin("/")
    other, others = errands.begin("/")
    for state in (others.state, "", "ä", "\ud800", "x" * 10_000):
        with pytest.raises(Unauthenticated):
            errands.end(secret, state)
    with pytest.raises(Unauthenticated):
        errands.end(secret, errand.state)
    assert errands.end(other, others.state) is others


@pytest.mark.parametrize("secret", ("", "x", "x" * 10_000))
def test_a_browser_without_the_secret_has_begun_nothing(errands, secret):
    _, errand = errands.begin("/")
    with pytest.raises(Unauthenticated):
        errands.end(secret, errand.state)


@pytest.mark.parametrize(("after", "is_good"), ((LIFETIME - 1, True), (LIFETIME, False)))
def test_ten_minutes_and_no_longer(errands, now, after, is_good):
    secret, errand = errands.begin("/")
    now[0] += after
    if is_good:
        errands.end(secret, errand.state)
    else:
        with pytest.raises(Unauthenticated):
            errands.end(secret, errand.state)


def test_there_is_room_for_so_many(now):
    errands = Errands(lambda: now[0], room=3)
    begun = [errands.begin("/") for _ in range(5)]
    assert len(errands) == 3
    with pytest.raises(Unauthenticated):
        errands.end(begun[1][0], begun[1][1].state)
    errands.end(begun[2][0], begun[2][1].state)


def test_the_challenge_is_the_verifiers_digest_and_no_two_are_alike(errands):
    _, errand = errands.begin("/")
    _, other = errands.begin("/")
    assert urlsafe_b64decode(errand.challenge + "=") == hashlib.sha256(errand.verifier.encode()).digest()
    assert len(errand.verifier) >= 43  # RFC 7636, 4.1
    assert len({errand.state, errand.verifier, other.state, other.verifier}) == 4
    assert errand.state not in repr(errand)
    assert errand.verifier not in repr(errand)


@given(st.text(), st.text())
def test_nothing_that_is_made_up_is_an_errand(secret, state):
    errands = Errands(lambda: 0.0)
    errands.begin("/")
    with pytest.raises(Unauthenticated):
        errands.end(secret, state)
