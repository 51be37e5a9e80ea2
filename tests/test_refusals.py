"""refusals.py: what was refused is remembered, within bounds that nobody can move."""

from __future__ import annotations

from sayci.errors import Malformed, NoSignature, WrongSignature
from sayci.refusals import PROJECTS_KEPT, REASON_LIMIT, REFUSALS_KEPT, TEXT_LIMIT, Refusals, Why

WRONG = WrongSignature("the delivery's signature does not match")


def test_the_last_comes_first():
    refusals = Refusals()
    refusals.add(1, 10.0, WRONG, "192.0.2.1", "push", "id-1", 12)
    refusals.add(1, 20.0, NoSignature("the delivery does not have the one signature"), "192.0.2.1")
    refusals.add(2, 30.0, Malformed("the payload is not JSON"), "192.0.2.2")
    assert [(each.why, each.at) for each in refusals.of(1)] == [(Why.UNSIGNED, 20.0), (Why.SIGNATURE, 10.0)]
    assert [each.why for each in refusals.of(2)] == [Why.UNREADABLE]
    assert (refusals.last(3), refusals.of(3), refusals.projects()) == (None, (), (1, 2))


def test_a_sender_has_one_place_for_each_reason():
    refusals = Refusals()
    refusals.add(1, 5.0, WRONG, "198.51.100.9")
    for number in range(5_000):
        refusals.add(1, 10.0 + number, WRONG, "192.0.2.1")
    one, other = refusals.of(1)
    assert (one.sender, one.count, one.first_at, one.at) == ("192.0.2.1", 5_000, 10.0, 5_009.0)
    assert (other.sender, other.count) == ("198.51.100.9", 1)


def test_many_senders_make_it_no_larger():
    refusals = Refusals()
    for number in range(3 * REFUSALS_KEPT):
        refusals.add(1, float(number), WRONG, f"2001:db8:{number:x}::/64", "x" * 5_000, "y" * 5_000)
    kept = refusals.of(1)
    assert len(kept) == REFUSALS_KEPT
    assert kept[0].at == 3 * REFUSALS_KEPT - 1
    assert {(len(each.event), len(each.forge_id)) for each in kept} == {(TEXT_LIMIT, TEXT_LIMIT)}
    refusals.add(1, 0.0, Malformed("z" * 5_000), "192.0.2.1")
    assert max(len(each.reason) for each in refusals.of(1)) <= REASON_LIMIT


def test_many_projects_make_it_no_larger():
    refusals = Refusals()
    for number in range(PROJECTS_KEPT + 2):
        refusals.add(number, 1.0, WRONG, "192.0.2.1")
        refusals.add(0, 2.0, WRONG, "192.0.2.1")
    assert len(refusals.projects()) == PROJECTS_KEPT
    assert refusals.last(0) is not None, "of which something was refused just now"
    assert refusals.last(1) is None


def test_what_was_refused_can_be_forgotten():
    refusals = Refusals()
    refusals.add(1, 1.0, WRONG, "192.0.2.1")
    refusals.forget(1)
    refusals.forget(2)
    assert refusals.last(1) is None
