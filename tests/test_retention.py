"""retention.py: what may go, and what never does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sayci.retention import DAY, Keep, Remains, builds_to_go, deliveries_before, logs_to_go, needed
from sayci.step import Result
from tests.factories import MAIN, NOW

OTHER = "refs/heads/other"
EVERYTHING = Keep(0, 0, 0, 0, 0, 0)


def ended(number, days=400.0, *, ref=MAIN, **fields):
    """A build that ended so many days ago."""
    return Remains(number, number, ref, NOW - days * DAY, **fields)


def test_of_each_branch_the_newest_the_newest_green_and_the_newest_deployed_are_needed():
    builds = [
        ended(1, is_green=True, deploy=Result.SUCCESS),
        ended(2, is_green=True, deploy=Result.SUCCESS),
        ended(3, is_green=True, deploy=Result.FAILURE),
        ended(4, is_green=True),
        ended(5),
        ended(6),
        ended(7, ref=OTHER, is_green=True),
        ended(8, ref=OTHER),
        ended(9, ref=OTHER),
    ]
    assert needed(builds) == {2, 4, 6, 7, 9}


def test_a_deploy_of_which_nobody_knows_is_needed_until_a_later_one_succeeds():
    builds = [
        ended(1, deploy=Result.UNKNOWN),
        ended(2, deploy=Result.SUCCESS),
        ended(3, deploy=Result.UNKNOWN),
        ended(4),
    ]
    assert needed(builds) == {2, 3, 4}


def test_what_waits_or_runs_never_goes():
    builds = [Remains(1, 1, MAIN, None), ended(2), ended(3)]
    assert builds_to_go(builds, Keep(days=1, builds=1), NOW) == [2]


def test_builds_go_by_age():
    builds = [ended(1, 11), ended(2, 9), ended(3, 1)]
    assert builds_to_go(builds, Keep(days=10, builds=0), NOW) == [1]
    assert builds_to_go(builds, EVERYTHING, NOW) == []


def test_builds_go_by_number_the_oldest_first():
    builds = [ended(number, 1) for number in range(1, 8)]
    assert builds_to_go(builds, Keep(days=0, builds=3), NOW) == [1, 2, 3, 4]


def test_logs_go_by_age_and_by_size_the_oldest_first():
    ends = {number: NOW - (10 - number) * DAY for number in range(1, 9)}
    sizes = dict.fromkeys(range(2, 9), 10)
    assert logs_to_go(ends, frozenset({4}), sizes, Keep(log_days=5, log_bytes=0), NOW) == [2, 3]
    assert logs_to_go(ends, frozenset({2, 4}), sizes, Keep(log_days=0, log_bytes=45), NOW) == [3, 5, 6]
    assert logs_to_go(ends, frozenset(), sizes, EVERYTHING, NOW) == []


def test_a_log_of_an_unknown_or_open_build_is_not_chosen():
    assert logs_to_go({1: NOW}, frozenset(), {1: 5, 99: 500}, Keep(log_days=0, log_bytes=100), NOW) == [1]
    assert logs_to_go({}, frozenset(), {99: 500}, Keep(log_bytes=100), NOW) == []


def test_bodies_go_first():
    assert deliveries_before(Keep(), NOW) == (NOW - 14 * DAY, NOW - 90 * DAY)
    assert deliveries_before(Keep(delivery_days=3, body_days=0), NOW) == (NOW - 3 * DAY, NOW - 3 * DAY)
    assert max(deliveries_before(EVERYTHING, NOW)) < 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([MAIN, OTHER]),
            st.none() | st.floats(0, 800),
            st.booleans(),
            st.sampled_from([None, Result.SUCCESS, Result.FAILURE, Result.UNKNOWN]),
        ),
        max_size=30,
    ),
    st.integers(0, 800),
    st.integers(0, 10),
)
def test_whatever_there_is_what_explains_the_present_stays(given_builds, days, number):
    builds = [
        Remains(place, place, ref, None if ago is None else NOW - ago * DAY, green, deploy)
        for place, (ref, ago, green, deploy) in enumerate(given_builds, 1)
    ]
    gone = set(builds_to_go(builds, Keep(days=days, builds=number), NOW))
    left = [build for build in builds if build.id not in gone]
    assert not gone & needed(builds)
    assert needed(left) == needed(builds)  # so that a second round takes nothing that the first has left for a reason
    assert not set(builds_to_go(left, Keep(days=days, builds=number), NOW)) - gone or number
