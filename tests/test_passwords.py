"""passwords.py: hashes that carry their own cost, and a bounded number of them at a time."""

from __future__ import annotations

import hashlib

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from sayci.errors import Unavailable
from sayci.passwords import AT_ONCE, COST, Cost, Passwords, hash_of, is_outdated, matches
from tests.factories import CHEAP


def test_a_hash_matches_its_password_alone_and_has_a_salt_of_its_own():
    first, second = hash_of("correct horse", CHEAP), hash_of("correct horse", CHEAP)
    assert first != second
    assert matches("correct horse", first)
    assert not matches("correct horse ", first)
    assert "correct" not in first


def test_the_cost_is_kept_with_the_hash_so_that_it_can_grow():
    old = hash_of("correct horse", Cost(n=2**5, r=2, p=2))
    assert matches("correct horse", old)
    assert is_outdated(old, CHEAP)
    assert not is_outdated(hash_of("x", CHEAP), CHEAP)


def test_the_usual_cost_is_what_is_recommended_and_can_be_paid():
    assert 128 * COST.n * COST.r == 32 * 1024**2
    assert matches("x", hash_of("x"))


def test_the_hash_is_scrypt_s():
    # RFC 7914, 12: the second vector
    expected = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
    assert (
        hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16, maxmem=2**26, dklen=64).hex().startswith(expected)
    )


def test_letters_of_two_keyboards_are_the_same():
    assert matches("caf\u00e9 caf\u00e9", hash_of("cafe\u0301 cafe\u0301", CHEAP))


@pytest.mark.parametrize("stored", ("", "plain", "scrypt$", "scrypt$x$1$1$AA==$AA==", "md5$16$1$1$AA==$AA=="))
def test_what_is_no_hash_matches_nothing(stored):
    assert not matches("plain", stored)


@pytest_twisted.ensureDeferred
async def test_nobody_s_password_takes_the_same_work_and_never_matches():
    worked = []

    def in_thread(function, *arguments):
        worked.append(arguments[1].rpartition("$")[0].split("$")[:4])
        return maybeDeferred(function, *arguments)

    passwords = Passwords(in_thread, cost=CHEAP)
    kept = hash_of("correct horse", CHEAP)
    assert await passwords.matches("correct horse", kept)
    assert not await passwords.matches("correct horse", None)
    assert worked[0] == worked[1]


@pytest_twisted.ensureDeferred
async def test_few_are_hashed_at_a_time_and_a_bounded_number_waits():
    running: list[Deferred] = []

    def in_thread(function, *arguments):
        running.append(Deferred())
        return running[-1]

    passwords = Passwords(in_thread, cost=CHEAP, most_waiting=3)
    waiting = [Deferred.fromCoroutine(passwords.hash("x")) for _ in range(AT_ONCE + 3)]
    assert len(running) == AT_ONCE
    with pytest.raises(Unavailable):
        await passwords.hash("one too many")
    while any(not deferred.called for deferred in waiting):
        running.pop(0).callback("kept")
    assert await gatherResults(waiting) == ["kept"] * (AT_ONCE + 3)
    another = Deferred.fromCoroutine(passwords.hash("x"))
    running.pop(0).callback("kept")
    assert await another == "kept"
