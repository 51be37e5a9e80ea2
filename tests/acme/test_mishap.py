"""What failures mean."""

from __future__ import annotations

import pytest
from twisted.internet import defer

from sayci.acme.mishap import RehearsalFailed, counts, is_expected, mishap_of, words_of
from sayci.acme.trouble import AcmeError, AuthorityRefused, AuthorityUnreachable, BadAnswer, ValidationFailed
from sayci.errors import Unavailable


@pytest.mark.parametrize(
    ("error", "counted"),
    (
        (ValidationFailed("no", kind="connection"), True),
        (ValidationFailed("no", kind="unauthorized"), True),
        (AuthorityRefused("no", kind="caa"), True),
        (AuthorityRefused("no"), True),
        (BadAnswer("what?", kind="answer"), True),
        (AuthorityUnreachable("nobody there", kind="unreachable"), False),
        (AuthorityRefused("too often", kind="rateLimited"), False),
        (AuthorityRefused("oops", kind="serverInternal"), False),
        (AcmeError("no such profile", kind="profile"), False),
        (Unavailable("disk full"), False),
        (OSError(28, "No space left on device"), False),
        (defer.TimeoutError(), True),
        (ZeroDivisionError(), True),
    ),
)
def test_what_the_authority_may_have_counted(error, counted):
    assert counts(error) is counted
    assert mishap_of(error).counts is counted
    assert mishap_of(error).rehearsal is False


def test_what_the_authority_asks_for_is_kept():
    mishap = mishap_of(AuthorityRefused("too often", kind="rateLimited", retry_after=7.0))
    assert (mishap.rate_limited, mishap.retry_after) == (True, 7.0)


def test_a_rehearsal_fails_for_the_reason_that_it_has():
    mishap = mishap_of(RehearsalFailed(ValidationFailed("not reached", "a.example", kind="connection")))
    assert mishap.words == "a try at the staging authority failed: not reached: a.example"
    assert (mishap.rehearsal, mishap.counts) == (True, True)
    assert str(RehearsalFailed(defer.TimeoutError())).endswith("failed: the authority was not done in time")
    assert not is_expected(RehearsalFailed(ZeroDivisionError()))


def test_words_are_for_people():
    assert words_of(OSError(28, "No space left on device")) == "No space left on device"
    assert words_of(defer.TimeoutError()) == "the authority was not done in time"
    assert words_of(ValueError("s3cret")) == "sayci made a mistake; its server log says more: ValueError"
    assert not is_expected(ValueError())
    assert is_expected(Unavailable("full"))
