"""What ``sayci.pex`` and ``python -m sayci`` run: twist if asked for ``[options] sayci [options]``, else the client."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType


def is_for_twist(arguments: Sequence[str]) -> bool:
    """Whether `arguments` are a command line of twist: ``[options] sayci [options]``."""
    return "sayci" in arguments[:1] or ("sayci" in arguments and arguments[0].startswith("-"))


def _end(_number: int, _frame: FrameType | None) -> None:
    # Not SystemExit, which an import that is under way may take for its own failure; nothing has been opened yet.
    os._exit(0)


def _listen_to_signals() -> None:
    """Be stoppable from the first moment as process 1, for which the kernel ignores signals that nobody handles.

    Twisted's own handlers take over when the reactor runs.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)


def main() -> None:
    """Be twist or the command-line client, as the command line says."""
    if is_for_twist(sys.argv[1:]):
        _listen_to_signals()
        from twisted.application.twist._twist import Twist  # noqa: PLC0415 - the client does without Twisted

        Twist.main()
    else:
        from sayci.cli.main import main as client  # noqa: PLC0415 - the server does without the client

        client(prog_name="sayci")


if __name__ == "__main__":
    main()
