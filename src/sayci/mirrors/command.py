"""Runs git: one command, one session, one time limit, and nothing left of it afterwards."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorFromThreads,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sayci.errors import CannotStart
from sayci.git import PATH, TOKEN_FD

#: What is kept of a command's output, in bytes: the beginning of the one, the end of the other.
STDOUT_LIMIT = 8 * 1024 * 1024
STDERR_LIMIT = 64 * 1024
#: Seconds between TERM and KILL, and how long output is waited for from processes that must be dead.
GRACE = 2.0
#: The largest file that git may write, and the most memory that one of its processes may have, in bytes.
FILE_LIMIT = 10 * 1024**3
MEMORY_LIMIT = 4 * 1024**3
#: Seconds after which a command ends by itself when the server that set its time limit is gone.
MARGIN = 5.0


class Reactor(IReactorProcess, IReactorTime, IReactorFromThreads):
    """What is needed of a reactor here."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a command ended, and what it said.

    `exit_code` is negative for a signal.  `cut` says that `stdout` is only the beginning.  `out_of_time` says that the
    command was ended at its time limit.
    """

    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    cut: bool
    out_of_time: bool


class Commands:
    """Runs commands, each leading a session of its own, and ends whole sessions.

    Twisted's spawnProcess is given no path, uid or gid: with one of them it forks, which takes longer the bigger the server
    is.  The session, the limits and the second time limit, which holds even when the server is killed, are made by small
    programs that replace themselves by the next: ``setsid env prlimit timeout git``.  Each is in the group that is ended.
    For a command that is to be of another user there is ``setpriv`` before it; this takes root with CAP_SETUID, CAP_SETGID
    and, to end it, CAP_KILL.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        file_limit: int = FILE_LIMIT,
        memory_limit: int = MEMORY_LIMIT,
        other_users: bool = False,
    ) -> None:
        """Limits are in bytes.  `other_users` says that commands may be run as somebody else.

        Raises CannotStart when one of the programs is not installed.
        """
        self._reactor = reactor
        self._file_limit = _within(file_limit, resource.RLIMIT_FSIZE)
        self._memory_limit = _within(memory_limit, resource.RLIMIT_DATA)
        self._running: set[_Running] = set()
        programs = ("setsid", "env", "prlimit", "timeout", "git", *(("setpriv",) if other_users else ()))
        self._setsid, *_ = (_program(name) for name in programs)

    async def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        limit: float,
        *,
        token_fd: int | None = None,
        listen: Callable[[bytes], None] | None = None,
        uid: int | None = None,
    ) -> Output:
        """Run `command` for at most `limit` seconds; nothing of it is left when this returns, or is cancelled.

        `listen` is called with the standard error as it comes.  The command finds `token_fd` as descriptor TOKEN_FD.  With
        `uid` it is of that user and of the group of that number, without any power of ours.
        """
        running = _Running(self._reactor, limit, listen)
        self._running.add(running)
        try:
            self._spawn(running, (*self._limits(limit), *_becoming(uid), *command), environment, token_fd)
            return await running.output()
        finally:
            self._running.discard(running)

    async def stop(self) -> None:
        """End every command that runs, and wait until all are gone."""
        gone = [running.gone() for running in self._running]
        for running in list(self._running):
            running.end()
        await DeferredList(gone)

    def _spawn(
        self, running: _Running, argv: Sequence[str], environment: Mapping[str, str], token_fd: int | None
    ) -> None:
        with _nothing_to_read() as stdin:
            descriptors: dict[int, int | str] = {0: stdin, 1: "r", 2: "r"}
            if token_fd is not None:
                descriptors[TOKEN_FD] = token_fd
            self._reactor.spawnProcess(running, self._setsid, argv, environment, childFDs=descriptors)

    def _limits(self, limit: float) -> tuple[str, ...]:
        return (
            # Whose file becomes too large is told so, rather than killed without a word.
            *("setsid", "env", "--ignore-signal=XFSZ"),
            *("prlimit", f"--fsize={self._file_limit}", f"--data={self._memory_limit}", "--core=0"),
            *("timeout", f"--kill-after={GRACE}", f"{limit + MARGIN}"),
        )


class _Running(ProcessProtocol):
    """One command, from its start until the last process of its session is gone."""

    transport: IProcessTransport

    def __init__(self, reactor: IReactorTime, limit: float, listen: Callable[[bytes], None] | None) -> None:
        self._reactor = reactor
        self._limit = limit
        self._listen = listen
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._cut = self._out_of_time = self._ending = False
        self._leader: int | None = None
        self._timers: list[IDelayedCall] = []
        self._waiting: list[Deferred[None]] = []
        self._exit_code: int | None = None

    # -- for those who wait

    async def output(self) -> Output:
        """What it said, as soon as all of it is gone; cancelling this ends it, and still waits until it is gone."""
        try:
            await self.gone()
        except CancelledError:
            self.end()
            await self.gone()
            raise
        return Output(self._exit_code or 0, bytes(self._stdout), bytes(self._stderr), self._cut, self._out_of_time)

    def gone(self) -> Deferred[None]:
        """Fires when nothing of it is left."""
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        if self._exit_code is None:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def end(self) -> None:
        """TERM to the whole session, and KILL after GRACE; safe to repeat."""
        if not self._ending:
            self._ending = True
            self._signal(signal.SIGTERM)
            self._later(GRACE, self._signal, signal.SIGKILL)

    # -- what Twisted calls

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """It runs, or is about to."""
        self._leader = self.transport.pid
        self._later(self._limit, self._time_is_up)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        """It has said something."""
        if childFD == 1:
            room = STDOUT_LIMIT - len(self._stdout)
            self._cut = self._cut or len(data) > room
            self._stdout += data[:room]
            return
        self._stderr += data
        del self._stderr[:-STDERR_LIMIT]
        if self._listen is not None:
            self._listen(data)

    def processExited(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Its first process has ended: so must the others, and then nobody holds the pipes any more."""
        self._signal(signal.SIGKILL)
        self._later(GRACE, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Nothing is left and nothing more will be said."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._exit_code = _exit_code_of(reason)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    # -- its own

    def _later(self, seconds: float, call: Callable[..., object], *arguments: object) -> None:
        self._timers.append(self._reactor.callLater(seconds, call, *arguments))

    def _time_is_up(self) -> None:
        self._out_of_time = True
        self.end()

    def _signal(self, number: signal.Signals) -> None:
        """To the session's process group; to the one process while it has not become the leader of it yet."""
        if self._leader is None:
            return
        try:
            os.killpg(self._leader, number)
        except ProcessLookupError:
            if self.transport.pid is not None:
                os.kill(self._leader, number)


def _becoming(uid: int | None) -> tuple[str, ...]:
    if uid is None:
        return ()
    # Becoming somebody else gives up the effective and ambient capabilities, but not the inheritable ones.
    nothing_left = ("--clear-groups", "--inh-caps=-all", "--no-new-privs")
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", *nothing_left)


def _exit_code_of(reason: Failure) -> int:
    error = reason.value
    if not isinstance(error, ProcessTerminated):
        return 0
    return -int(error.signal) if error.signal is not None else int(error.exitCode or 0)


def _program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise CannotStart("a program that sayci needs is not installed", name)
    return found


def _within(wanted: int, limit: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


@contextmanager
def _nothing_to_read() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
