"""git as the rest of this folder uses it: a command line in, what it said out, and trouble in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from sayci import git
from sayci.errors import RepositoryUnreachable
from sayci.interfaces import Remote
from sayci.mirrors.askpass import sealed
from sayci.mirrors.command import Commands, Output


class Deadline:
    """How much of a time limit is left for the commands of one task."""

    def __init__(self, clock: IReactorTime, limit: float) -> None:
        self.limit = limit
        self._clock = clock
        self._end = clock.seconds() + limit

    def left(self) -> float:
        """Seconds; a little is always left, so that it is the command that runs out of time."""
        return max(0.01, self._end - self._clock.seconds())


class Git:
    """Runs git command lines with the environment, the credential and the ssh keys that they may have."""

    def __init__(self, commands: Commands, askpass: Path, ssh: Path, passed_on: Mapping[str, str]) -> None:
        self._commands = commands
        self._askpass = askpass
        self._ssh = ssh
        self._passed_on = passed_on

    async def done(
        self,
        command: Sequence[str],
        deadline: Deadline,
        *,
        remote: Remote | None = None,
        listen: Callable[[bytes], None] | None = None,
        traces: bool = False,
        uid: int | None = None,
    ) -> Output:
        """Run `command` to its success.  Raises what its failure means."""
        output = await self.run(command, deadline, remote=remote, listen=listen, traces=traces, uid=uid)
        if output.exit_code != 0:
            raise git.explain(output.stderr, output.exit_code)
        return output

    async def run(
        self,
        command: Sequence[str],
        deadline: Deadline,
        *,
        remote: Remote | None = None,
        listen: Callable[[bytes], None] | None = None,
        traces: bool = False,
        uid: int | None = None,
    ) -> Output:
        """Run `command` to its end; it may reach `remote` and nothing else.  With `uid` it runs as that user.

        Raises RepositoryUnreachable when it cannot be started or does not end in time.
        """
        with ExitStack() as stack:
            token = remote.access_token if remote is not None and git.takes_token(remote.url) else ""
            token_fd = stack.enter_context(sealed(token)) if token else None
            environment = git.environment(
                remote.url if remote is not None else "",
                ssh=self._ssh,
                askpass=self._askpass if token else None,
                # An address of a proxy may hold a password: what reaches nothing does not need to know it.
                passed_on=self._passed_on if remote is not None else {},
                traces=traces,
            )
            try:
                output = await self._commands.run(
                    command, environment, deadline.left(), token_fd=token_fd, listen=listen, uid=uid
                )
            except OSError as error:
                raise RepositoryUnreachable("git could not be started", error.strerror or str(error)) from error
        if output.out_of_time:
            raise git.out_of_time(deadline.limit)
        return output
