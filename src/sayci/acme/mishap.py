"""What the failure of a try means: in words for people, and for the next try; pure."""

from __future__ import annotations

from twisted.internet import defer

from sayci.acme.schedule import Mishap
from sayci.acme.trouble import AcmeError, AuthorityUnreachable
from sayci.errors import SayciError

# What an authority refuses before it has looked whether a name is ours.
_NOT_COUNTED = frozenset(
    {
        "accountDoesNotExist",
        "alreadyReplaced",
        "badNonce",
        "externalAccountRequired",
        "invalidContact",
        "invalidProfile",
        "profile",
        "rateLimited",
        "serverInternal",
        "unsupportedContact",
        "userActionRequired",
    }
)


class RehearsalFailed(SayciError):
    """A try at the staging authority has failed, so that there was none at the real one; `reason` is why."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("a try at the staging authority failed", words_of(reason))
        self.reason = reason


def is_expected(error: Exception) -> bool:
    """Whether it is one of those that happen; others are mistakes of ours."""
    return isinstance(_reason_of(error), SayciError | OSError | defer.TimeoutError)


def mishap_of(error: Exception) -> Mishap:
    """What the next try has to know of it."""
    reason = _reason_of(error)
    return Mishap(
        words=words_of(error),
        counts=counts(reason),
        rehearsal=reason is not error,
        rate_limited=isinstance(reason, AcmeError) and reason.kind == "rateLimited",
        retry_after=reason.retry_after if isinstance(reason, AcmeError) else None,
    )


def counts(error: Exception) -> bool:
    """Whether the authority may have counted it as a failed validation; what we do not know counts."""
    if isinstance(error, AcmeError):
        return not isinstance(error, AuthorityUnreachable) and error.kind not in _NOT_COUNTED
    return not isinstance(error, SayciError | OSError)


def words_of(error: Exception) -> str:
    """It, for people; what is a mistake of ours is named, and no more."""
    if isinstance(error, defer.TimeoutError):
        return "the authority was not done in time"
    if isinstance(error, SayciError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"sayci made a mistake; its server log says more: {type(error).__name__}"


def _reason_of(error: Exception) -> Exception:
    return error.reason if isinstance(error, RehearsalFailed) else error
