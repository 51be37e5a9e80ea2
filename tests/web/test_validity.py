"""validity.py: how certificates stand, and what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.certificate import Certificate
from sayci.web.validity import (
    ERROR_LIMIT,
    Validity,
    failure_of,
    left_of,
    mark_of_certificate,
    meaning_of,
    needs_a_person,
    news_of,
    renewal_of,
    saying_of_server,
    traffic_in_words,
    validity,
)
from sayci.web.words import DAY, HOUR
from tests.factories import NOW


def issued(left, *, lifetime=90 * DAY, name="ci.example", **fields):
    """A certificate that has `left` seconds of its lifetime left."""
    given = {"issuer": "Good Authority R1", "renew_at": NOW + HOUR, **fields}
    return Certificate(name, not_before=NOW + left - lifetime, not_after=NOW + left, **given)


GOOD = issued(61 * DAY)
FAILING = issued(60 * DAY, tries=2, error="no answer")
LATE = issued(5 * DAY)
ENDING = issued(5 * DAY, tries=3, error="no answer")
EXPIRED = issued(-2 * DAY, tries=9, error="no answer")
AWAITED = Certificate("ci.example", renew_at=NOW)
MISSING = Certificate("ci.example", renew_at=NOW + 12 * 60, error="no answer", tries=1)


@pytest.mark.parametrize(
    ("certificate", "stands", "mark", "needs"),
    (
        (GOOD, Validity.GOOD, "success", False),
        (FAILING, Validity.GOOD, "success", False),
        (LATE, Validity.GOOD, "success", False),
        (ENDING, Validity.ENDING, "error", True),
        (EXPIRED, Validity.EXPIRED, "failure", True),
        (issued(0), Validity.EXPIRED, "failure", True),
        (AWAITED, Validity.AWAITED, "running", False),
        (MISSING, Validity.MISSING, "error", True),
        (Certificate("ci.example", not_before=NOW, not_after=NOW + DAY), Validity.AWAITED, "running", False),
    ),
)
def test_how_certificates_stand(certificate, stands, mark, needs):
    assert validity(certificate, NOW) is stands
    assert mark_of_certificate(certificate, NOW) == mark
    assert needs_a_person(certificate, NOW) is needs


@pytest.mark.parametrize("lifetime", (6 * DAY, 90 * DAY, 300))
def test_a_failing_one_needs_a_person_once_less_than_a_quarter_is_left(lifetime):
    enough = issued(lifetime / 4, lifetime=lifetime, tries=1)
    short = issued(lifetime / 4 - 1, lifetime=lifetime, tries=1)
    assert not needs_a_person(enough, NOW)
    assert needs_a_person(short, NOW)


@pytest.mark.parametrize(
    ("certificate", "news", "renewal", "left"),
    (
        (GOOD, "is good until 21 January 2027.", "It is renewed in 60 minutes.", "61 days left of 90 days"),
        (FAILING, "is good until 20 January 2027.", "The next try is in 60 minutes.", "60 days left of 90 days"),
        (ENDING, "expires in 5 days, on 26 November 2026.", "The next try is in 60 minutes.", "5 days left of 90 days"),
        (EXPIRED, "expired 2 days ago.", "The next try is in 60 minutes.", "expired"),
        (AWAITED, "is getting its first certificate.", "The first try is now.", ""),
        (MISSING, "has no certificate yet.", "The next try is in 12 minutes.", ""),
        (issued(DAY, renew_at=None, lifetime=0), "is good until 22 November 2026.", "", "24 hours left"),
    ),
)
def test_what_is_said_of_one(certificate, news, renewal, left):
    assert (news_of(certificate, NOW), renewal_of(certificate, NOW), left_of(certificate, NOW)) == (news, renewal, left)


def test_what_it_means_is_said_where_visitors_notice():
    assert [bool(meaning_of(each, NOW)) for each in (GOOD, FAILING, ENDING)] == [False] * 3
    assert "self-signed" in meaning_of(AWAITED, NOW)
    assert "self-signed" in meaning_of(MISSING, NOW)
    assert meaning_of(EXPIRED, NOW) == "Browsers warn of it, and forges refuse it."


def test_failures_are_counted_and_the_last_is_told():
    assert failure_of(GOOD) == ("", "")
    assert failure_of(MISSING) == ("The last try failed:", "no answer")
    assert failure_of(EXPIRED) == ("9 tries failed; the last:", "no answer")
    assert failure_of(issued(DAY, tries=1)) == ("The last try failed:", "nothing says why")
    assert len(failure_of(issued(DAY, tries=1, error="x" * 100_000))[1]) <= ERROR_LIMIT + 1


@pytest.mark.parametrize(
    ("certificates", "mark", "words"),
    (
        ([], "success", "sayci works."),
        ([GOOD, FAILING, LATE], "success", "sayci works."),
        ([GOOD, AWAITED], "running", "sayci works. ci.example is getting its first certificate."),
        ([AWAITED, AWAITED], "running", "sayci works. Two names are getting their first certificates."),
        ([MISSING, GOOD], "error", "sayci works. ci.example has no certificate yet."),
        ([ENDING], "error", "sayci works. The certificate of ci.example needs you within 5 days."),
        (
            [ENDING, issued(2 * DAY, tries=1)],
            "error",
            "sayci works. Two certificates need you; the first within 2 days.",
        ),
        ([GOOD, EXPIRED], "failure", "sayci works. The certificate of ci.example has expired."),
        ([EXPIRED, EXPIRED, EXPIRED], "failure", "sayci works. Three certificates have expired."),
        (
            [MISSING, EXPIRED],
            "failure",
            "sayci works. The certificate of ci.example has expired. ci.example has no certificate yet.",
        ),
        (
            [MISSING, EXPIRED, ENDING, AWAITED],
            "failure",
            "sayci works. The certificate of ci.example has expired. Three more things to look at.",
        ),
    ),
)
def test_the_worst_is_said_first(certificates, mark, words):
    saying = saying_of_server(certificates, NOW, is_isolated=True)
    assert (saying.mark, str(saying)) == (mark, words)


def test_missing_isolation_is_said_before_what_mends_itself_and_after_what_does_not():
    assert (saying_of_server([GOOD], NOW, is_isolated=False).mark) == "error"
    said = "Builds are not isolated from this server."
    assert saying_of_server([AWAITED], NOW, is_isolated=False).news == said
    assert saying_of_server([EXPIRED], NOW, is_isolated=False).rest == said


def test_that_builds_wait_for_space_is_said_first():
    saying = saying_of_server([EXPIRED], NOW, is_isolated=True, has_space=False)
    assert (saying.mark, saying.news) == ("error", "Builds wait for space on the disk.")


def test_a_name_with_braces_is_a_name():
    odd = issued(-DAY, name="{0.__class__}")
    assert saying_of_server([odd], NOW, is_isolated=True).news == "The certificate of {0.__class__} has expired."


@given(
    st.builds(
        Certificate,
        st.text(max_size=30),
        st.sampled_from(["", "Good Authority"]),
        st.floats(0, 4e9),
        st.floats(0, 4e9),
        st.none() | st.floats(0, 4e9),
        st.text(max_size=30),
        st.integers(0, 10**6),
    )
)
def test_something_can_be_said_of_any(certificate):
    assert news_of(certificate, NOW).endswith(".")
    renewal_of(certificate, NOW), left_of(certificate, NOW), failure_of(certificate), meaning_of(certificate, NOW)
    assert needs_a_person(certificate, NOW) == (mark_of_certificate(certificate, NOW) in ("failure", "error"))
    assert saying_of_server([certificate], NOW, is_isolated=True).title


@pytest.mark.parametrize(
    ("running", "slots", "waiting", "words"),
    (
        (0, 2, 0, "0 of 2 slots are busy, no build waits."),
        (1, 1, 1, "1 of 1 slot is busy, 1 build waits."),
        (2, 4, 3, "2 of 4 slots are busy, 3 builds wait."),
    ),
)
def test_traffic(running, slots, waiting, words):
    assert traffic_in_words(running, slots, waiting) == words
