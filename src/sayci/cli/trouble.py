"""What the client can say when it cannot do what it was asked, and the exit code that goes with it."""

from __future__ import annotations

from sayci.errors import SayciError

#: The answer is no: the build or deploy that was waited for did not succeed.
NO = 1
#: The command line is not one that sayci understands.
USAGE = 2
#: The server cannot be reached, or does not let this client in.
SHUT = 3
#: The server has understood the request and refuses it.
REFUSED = 4
#: Ended by control-C, as shells count it.
INTERRUPTED = 130


class Trouble(SayciError):
    """Why a command ended early.  `advice` is what to do about it, "" where there is nothing to say."""

    exit_code = REFUSED

    def __init__(self, *args: object, advice: str = "") -> None:
        super().__init__(*args)
        self.advice = advice


class Shut(Trouble):
    """The server cannot be reached, is not a sayci, or does not let this client in."""

    exit_code = SHUT


class Misused(Trouble):
    """What was typed cannot be meant."""

    exit_code = USAGE


class Busy(Shut):
    """The server would do it later: worth another try."""
