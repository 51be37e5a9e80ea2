"""Every exception that sayci raises on purpose: one family, the data as arguments.

The first argument is a sentence for people without its data, the others are the data: ``raise UnknownProject("no such
project", name)``.  ``str()`` joins them; programs look at the class and at ``args``.  The web floor maps the five
kinds directly below :class:`SayciError` to HTTP status codes in one place.
"""

from __future__ import annotations


class SayciError(Exception):
    """Something that sayci can explain; ``args[0]`` says what, the rest are the data."""

    def __str__(self) -> str:
        if not self.args:
            return type(self).__name__
        sentence, *data = (str(part) for part in self.args)
        return f"{sentence}: {', '.join(data)}" if data else sentence


class Invalid(SayciError):
    """A value that somebody sent cannot be used (HTTP 422)."""


class Malformed(Invalid):
    """Bytes that cannot be read as what they claim to be (HTTP 400)."""


class Unsupported(Invalid):
    """A representation that is not taken here: a content type, an encoding (HTTP 415)."""


class NotAcceptable(Invalid):
    """It is there, and not in any of the forms that the request takes (HTTP 406)."""


class TooLarge(Invalid):
    """More bytes than are taken here (HTTP 413)."""


class Missing(SayciError):
    """There is no such thing, or none that this person may see (HTTP 404)."""


class UnknownProject(Missing):
    """No project has that name or number."""


class UnknownBuild(Missing):
    """The project has no build with that number."""


class UnknownStep(Missing):
    """The build has no step with that name."""


class UnknownDelivery(Missing):
    """The project has no delivery with that number."""


class Gone(Missing):
    """It was here, and was removed on purpose because it was old (HTTP 410)."""


class UnknownToken(Missing):
    """There is no token with that number."""


class UnknownSession(Missing):
    """Nobody is signed in there, or somebody else."""


class UnknownPerson(Missing):
    """There is nobody with that name."""


class Conflict(SayciError):
    """The request is understood, but the thing is not in a state for it (HTTP 409)."""


class NameTaken(Conflict):
    """A project or a person with that name, or one that differs only in case, exists."""


class IdentityTaken(Conflict):
    """That account at the forge is linked to somebody else here."""


class LastAdmin(Conflict):
    """Nobody else with a password is an admin."""


class IllegalMove(Conflict):
    """A build or a step was asked to do what its state does not allow; nothing was changed."""


class NotGreen(Conflict):
    """A deploy was asked for a commit whose tests have not succeeded."""


class NothingToDeploy(Conflict):
    """The project has no deploy branch, so it has no deploys."""


class Refused(SayciError):
    """Who asks is not who may (HTTP 401 or 403)."""


class Unauthenticated(Refused):
    """No credential, or one that is not right (HTTP 401)."""


class WrongSignature(Unauthenticated):
    """A delivery whose signature is missing or does not match, or whose project is unknown: never told apart."""


class NoSignature(WrongSignature):
    """A delivery without the one signature that it must have; only who may look at the project's deliveries learns that."""


class Forbidden(Refused):
    """A right credential that does not reach this far (HTTP 403)."""


class ForgeDenied(Forbidden):
    """The forge does not take what was shown to it: a code, or a token whose owner has revoked it."""


class NoAccess(Forbidden):
    """Somebody is known to the forge, and has no access to anything here."""


class TooOften(Refused):
    """Too many wrong tries from one address (HTTP 429); ``args[1]`` is the number of seconds to wait."""


class Unavailable(SayciError):
    """sayci cannot do it now and would do it later: a full disk, a locked database (HTTP 503)."""


class ForgeAway(Unavailable):
    """The forge gave no answer that says anything; `retry_after` is the number of seconds that it asks us to wait."""

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class ForgeMisconfigured(Unavailable):
    """The forge does not take this server itself: its client, its secret, or the address for coming back."""


class RepositoryError(SayciError):
    """A repository could not be read; ``args[0]`` says why in words, ``args[1]`` is what git said, without secrets."""


class RepositoryRefused(Invalid, RepositoryError):
    """The repository answered, and the answer is no: not there, a wrong token, no such branch, an untrusted host."""


class RepositoryUnreachable(RepositoryError):
    """The repository did not answer, or not in time: worth another try."""


class RepositoryDenied(RepositoryRefused):
    """The repository is not there for who asks: it was removed, or what sayci has to show does not open it."""


class CommitNotFound(RepositoryRefused):
    """The repository does not have that commit."""


class CannotStart(SayciError):
    """The server cannot start: a port in use, a data directory that is not ours; printed as one line."""


class LauncherError(SayciError):
    """A step could not be started or watched; the fault is ours, not the commit's."""
