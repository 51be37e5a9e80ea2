"""When certificates are renewed, and when what has failed is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.acme.ari import Window
from sayci.acme.schedule import (
    DAY,
    FAILURES_LIMIT,
    HOUR,
    ISSUES_LIMIT,
    MINUTE,
    Mishap,
    Record,
    after_failure,
    after_issue,
    after_success,
    alarm_pause,
    at_authority,
    back_off,
    next_check,
    next_try,
    order_at,
    renew_at,
    warn_at,
    window_pause,
)

NOW = 1_800_000_000.0
draws = st.floats(0, 1)
lifetimes = st.floats(30, 400 * DAY)
mishaps = st.builds(
    Mishap,
    words=st.just("no"),
    counts=st.booleans(),
    rehearsal=st.booleans(),
    rate_limited=st.booleans(),
    retry_after=st.none() | st.floats(-10, 1e9),
)


@pytest.mark.parametrize(
    ("lifetime", "at"),
    ((90 * DAY, 60 * DAY), (45 * DAY, 30 * DAY), (10 * DAY, 20 / 3 * DAY), (160 * HOUR, 80 * HOUR), (300, 150)),
)
def test_a_third_is_left_or_half_of_a_short_life(lifetime, at):
    assert renew_at(NOW, NOW + lifetime, None, 0.5) == pytest.approx(NOW + at)


def test_the_authoritys_window_comes_first():
    window = Window(NOW + 10 * DAY, NOW + 12 * DAY)
    assert renew_at(NOW, NOW + 90 * DAY, window, 0.0) == NOW + 10 * DAY
    assert renew_at(NOW, NOW + 90 * DAY, window, 0.25) == NOW + 10.5 * DAY
    assert renew_at(NOW, NOW + 90 * DAY, window, 1.0) == NOW + 12 * DAY


def test_a_window_that_is_nonsense_is_none():
    assert renew_at(NOW, NOW + 90 * DAY, Window(NOW + DAY, NOW), 0.5) == NOW + 60 * DAY


@given(lifetimes, st.floats(0, 3e9), st.floats(0, 1e9), draws)
def test_a_renewal_is_in_the_window_and_never_too_late(lifetime, start, length, draw):
    window = Window(start, start + length)
    at = renew_at(NOW, NOW + lifetime, window, draw)
    assert at <= NOW + lifetime * 0.75 + 1e-3
    assert min(start, warn_at(NOW, NOW + lifetime)) - 1e-3 <= at <= window.end + 1e-3


@given(lifetimes)
def test_people_are_warned_after_renewals_have_begun_and_before_it_is_too_late(lifetime):
    assert renew_at(NOW, NOW + lifetime, None, 0.5) < warn_at(NOW, NOW + lifetime) < NOW + lifetime
    assert alarm_pause(lifetime) <= DAY


@given(lifetimes, st.floats(0, 1e9))
def test_the_authority_is_asked_at_most_twice_a_day_and_in_time(lifetime, asked):
    pause = window_pause(lifetime, asked)
    assert min(12 * HOUR, lifetime / 10) <= pause <= DAY
    assert pause <= max(lifetime / 4, 12 * HOUR)


@pytest.mark.parametrize(("tries", "pause"), ((1, MINUTE), (2, 10 * MINUTE), (3, 100 * MINUTE), (4, DAY), (99, DAY)))
def test_pauses_grow_up_to_a_day(tries, pause):
    assert back_off(tries, 90 * DAY, 0.0) == pause
    assert back_off(tries, 90 * DAY, 1.0) == pause * 1.25


@given(st.integers(1, 10_000), lifetimes, draws)
def test_some_tries_are_left_before_a_certificate_ends(tries, lifetime, draw):
    assert 0 < back_off(tries, lifetime, draw) <= min(1.25 * DAY, lifetime / 8)


@given(lifetimes, st.lists(st.tuples(mishaps, draws, st.booleans()), max_size=60))
def test_whatever_fails_no_more_validations_fail_than_are_allowed(lifetime, mishaps):
    now, record, failed = NOW, Record(), []
    for mishap, draw, by_hand in mishaps:
        now = max(now, order_at(record, now, lifetime, by_hand=by_hand))
        assert order_at(record, now, lifetime, by_hand=by_hand) == 0.0
        record = after_failure(record, mishap, now, lifetime, draw)
        if mishap.counts and not mishap.rehearsal:
            failed.append(now)
            assert record.rehearse
        assert record.retry_at - now <= 14 * DAY
        assert len(record.failures) <= FAILURES_LIMIT
    assert _most_within(failed, HOUR) <= FAILURES_LIMIT


@given(lifetimes, st.lists(st.tuples(st.floats(0, DAY), st.booleans()), max_size=60))
def test_whoever_wants_them_no_more_certificates_are_issued_than_are_allowed(lifetime, wishes):
    now, record, issued = NOW, Record(), []
    for pause, by_hand in wishes:
        now = max(now + pause, order_at(record, now + pause, lifetime, by_hand=by_hand))
        record = after_success(after_issue(record, now), "here")
        issued.append(now)
        assert len(record.issues) <= ISSUES_LIMIT
    assert _most_within(issued, min(7 * DAY, lifetime)) <= ISSUES_LIMIT


@given(st.floats(0, 20 * DAY), st.booleans())
def test_what_the_authority_asks_for_binds_a_person_as_well(asked, by_hand):
    record = after_failure(Record(), Mishap("no", rate_limited=True, retry_after=asked), NOW, 90 * DAY, 0.0)
    until = order_at(record, NOW + 1, 90 * DAY, by_hand=by_hand)
    assert until >= min(NOW + asked, NOW + 14 * DAY) or asked <= 1


def test_too_often_without_saying_for_how_long_is_an_hour():
    record = after_failure(Record(), Mishap("no", rate_limited=True), NOW, 90 * DAY, 0.0)
    assert order_at(record, NOW, 90 * DAY) == NOW + HOUR


def test_a_person_need_not_wait_for_the_back_off():
    record = after_failure(Record(tries=5), Mishap("no"), NOW, 90 * DAY, 0.0)
    assert order_at(record, NOW + 1, 90 * DAY) == NOW + DAY
    assert order_at(record, NOW + 1, 90 * DAY, by_hand=True) == 0.0


def test_what_failed_elsewhere_asks_for_no_rehearsal_and_counts_for_nothing():
    record = after_failure(Record(), Mishap("down", counts=False), NOW, 90 * DAY, 0.0)
    assert (record.rehearse, record.failures, record.tries, record.error) == (False, (), 1, "down")
    record = after_failure(Record(rehearse=True), Mishap("no", rehearsal=True), NOW, 90 * DAY, 0.0)
    assert (record.rehearse, record.failures) == (True, ())


def test_success_forgets_what_failed_but_not_what_was_counted():
    record = after_failure(after_issue(Record(), NOW), Mishap("no"), NOW, 90 * DAY, 0.0)
    assert after_success(record, "here") == Record(failures=(NOW,), issues=(NOW,), tried="here", authority="here")


def test_what_another_authority_has_refused_does_not_matter():
    record = after_failure(Record(tried="there", authority="there", certificate="c"), Mishap("no"), NOW, DAY, 0.0)
    assert at_authority(record, "there") is record
    assert at_authority(record, "here") == Record(tried="here", authority="there", certificate="c")


@given(mishaps, lifetimes, st.integers(0, 10))
def test_a_clock_that_was_years_ahead_stops_nothing(mishap, lifetime, issues):
    record = Record()
    for _ in range(issues):
        record = after_issue(record, NOW + 1000 * DAY)
    record = after_failure(record, mishap, NOW + 1000 * DAY, lifetime, 0.5)
    assert order_at(record, NOW, lifetime) == 0.0


def test_a_clock_that_steps_back_a_little_changes_nothing():
    record = after_failure(Record(tries=2), Mishap("no"), NOW, 90 * DAY, 0.0)
    assert order_at(record, NOW - 10, 90 * DAY) == NOW + 100 * MINUTE


def test_the_next_try_is_when_it_is_due_and_allowed():
    record = after_failure(Record(tries=2), Mishap("no"), NOW, 90 * DAY, 0.0)
    assert next_try(NOW + DAY, record, NOW, 90 * DAY) == NOW + DAY
    assert next_try(NOW - DAY, record, NOW, 90 * DAY) == NOW + 100 * MINUTE


@given(st.lists(st.floats(0, 4e9) | st.just(float("inf")), max_size=5))
def test_sleep_is_bounded(times):
    assert 0.0 <= next_check(times, NOW, 60.0) <= 60.0


def _most_within(times, span):
    return max((sum(1 for other in times if time <= other < time + span) for time in times), default=0)
