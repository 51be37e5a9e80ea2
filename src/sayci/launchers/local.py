"""Runs steps on this machine, each under a shim of its own, as the user to whom its workspace belongs.

A step is known by its job's key, which is also its handle: everything that a server needs to find it again is in its run
directory ROOT/KEY (shim.py says which files that are).  The shim has no pipe to the server and does not notice when that
dies; whether the shim itself lives, its lock says.

When a shim has been killed, the processes of its step are found by their user, if that is one whom the build had alone.
Otherwise by ``SAYCI_STEP`` in their environment, which every command gets beside its job's: the key, and a word that is
new with every start.
"""

from __future__ import annotations

import fcntl
import os
import py_compile
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sayci.buildlog import masks_of
from sayci.errors import LauncherError
from sayci.interfaces import Ended, Isolation, Job
from sayci.launchers import shim
from sayci.launchers.users import Numbers, clearing
from sayci.limits import Limits

#: The variable that marks the processes of a step.
COOKIE = "SAYCI_STEP"
#: Seconds between two looks at a step whose shim lives but cannot be watched: its pid is not on disk yet, or means
#: nothing here because the shim was started in another container.
POLL = 0.05
#: Seconds until a run directory is looked at again that could not be read: too many open files say nothing of a step.
TROUBLE_PAUSE = 5.0
#: Seconds that processes have to be gone after a KILL, before they are given up; a dead network disk can hold them.
SWEEP_LIMIT = 10.0

_SHIM = Path(shim.__file__)
#: Seconds for removing what a build has left where everybody may write.
CLEARING_LIMIT = 300.0

_CLEARING = "users"  # in ROOT, beside the builds, whose names are numbers
#: What a job's key, and so a step's handle, looks like.
KEY = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LOST = "lost"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A step's command within another, which puts it elsewhere.

    `environment` is what `argv` is started with.  A TERM spares the outermost `depth` generations of processes, and goes
    to all when there are no others.  `cleanup` is a command that ends what is not below them, run with the same
    environment before the rest is killed.  With `reports` the outer one says on descriptor 3 how the inner one ended, as
    bubblewrap's --json-status-fd does; if it says nothing, the inner one never started.  `limits` are those that the shim
    sees to; what the wrapping sees to itself is left out.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    limits: Limits
    depth: int = 0
    cleanup: tuple[str, ...] = ()
    reports: bool = False


class Wrapper(Protocol):
    """Puts steps' commands within others, and says how far that isolates them."""

    @property
    def isolation(self) -> Isolation:
        """What keeps a step from the server and other steps."""
        ...

    def wrap(self, job: Job) -> Wrapped:
        """The job's command within another.  Raises LauncherError."""
        ...


class Unwrapped:
    """The Wrapper that changes nothing, for the reason `obstacle`."""

    def __init__(self, obstacle: str = "") -> None:
        reason = f": {obstacle}" if obstacle else ""
        self.isolation = Isolation(False, f"Builds are not isolated from this server{reason}")

    def wrap(self, job: Job) -> Wrapped:
        """The job's command itself."""
        return Wrapped(job.argv, job.environment, job.limits)


class LocalLauncher:
    """The Launcher for steps that are processes of this machine.

    `reactor` starts processes, watches file descriptors, tells the time and has a thread pool.  With `users` a step runs
    as the one of them to whom its workspace belongs, and a workspace of anybody else is refused.  Without, it runs as the
    server's own user, within what `wrapper` puts around it.  `python` runs the shims; by default the interpreter that runs
    the server.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        root: Path,
        *,
        users: Numbers | None = None,
        wrapper: Wrapper | None = None,
        python: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._users = users
        self._wrapper = wrapper or Unwrapped()
        self._root = root.absolute()
        # Not what PATH or a virtual environment calls it: a version manager's wrapper takes 150 ms.
        self._python = python or os.path.realpath(sys.executable)
        self._program = _SHIM if python else compiled(_SHIM, self._root)
        self._children: dict[str, _Child] = {}

    @property
    def isolation(self) -> Isolation:
        """What keeps a step from the server and other steps."""
        if self._users is not None:
            return Isolation(True, "Each build runs as a user of its own")
        return self._wrapper.isolation

    async def start(self, job: Job) -> str:
        """Start the job under a shim.  Raises LauncherError, also for a job that has been started before."""
        return self._start(job, self._user_of(job))

    async def clear(self, uid: int) -> bool:
        """End all processes of a user, and remove what he has left where everybody may write; whether nobody is left."""
        key = f"{_CLEARING}/{uid}"
        directory = RunDirectory(self._root / key, key)
        await self._end_of(directory)  # an earlier server may have begun it
        await self._in_thread(partial(shutil.rmtree, directory.path, ignore_errors=True))
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
        limits = Limits(time_limit=CLEARING_LIMIT, output_limit=65536)
        job = Job(key, clearing(), environment, Path("/"), limits=limits)
        self._start(job, uid)
        ended = await self._end_of(directory)
        if ended.exit_code != 0:
            self._log.warn("clearing up after user {uid} ended with {ended}", uid=uid, ended=ended)
        return await self._in_thread(partial(is_nobody, uid))

    def _user_of(self, job: Job) -> int:
        """Whose the job's workspace is; 0 for the server's own.  Raises LauncherError for another that is none of `users`."""
        if self._users is None:
            return 0
        try:
            uid = os.lstat(job.workspace).st_uid
        except OSError as error:
            raise LauncherError("the workspace cannot be looked at", job.key, error.strerror or str(error)) from error
        if uid not in self._users.builds:
            raise LauncherError("the workspace belongs to no user whom builds may have", job.key, uid)
        return uid

    def _start(self, job: Job, user: int) -> str:
        directory = self._directory(job.key)
        if directory is None:
            raise LauncherError("this is no key for a step", job.key)
        try:
            with directory.claimed() as lock:
                self._spawn(job, directory, lock, user)
        except OSError as error:
            raise LauncherError("the step could not be started", job.key, error.strerror or str(error)) from error
        except UnicodeEncodeError:  # which has that text, and it may be a secret
            raise LauncherError("the step has a text that no program can be given", job.key) from None
        return job.key

    async def result(self, handle: str) -> Ended:
        """How the step ended; any number of callers may wait for it, from its start or attached to it later."""
        directory = self._directory(handle)
        if directory is None:
            return Ended(None, _LOST, "this is no step's handle")
        ended = await self._end_of(directory)
        if ended.why == _LOST:
            await self._sweep(directory)
        return ended

    def cancel(self, handle: str) -> None:
        """Ask the step's shim to end it."""
        directory = self._directory(handle)
        if directory is not None:
            try:
                directory.cancel()
            except OSError:
                self._log.failure("step {key} could not be cancelled", key=handle)

    def _directory(self, key: str) -> RunDirectory | None:
        return RunDirectory(self._root / key, key) if KEY.fullmatch(key) else None

    def _spawn(self, job: Job, directory: RunDirectory, lock: int, user: int) -> None:
        arguments = [self._python, "-I", "-S", os.fspath(self._program), os.fspath(directory.path)]
        with _handed_over(job, self._wrapper.wrap(job), directory, user) as fds:
            child = self._children[job.key] = _Child(self._children, job.key)  # before it can end
            try:
                # No path=, uid= or gid=: for those Twisted forks, and a large server stands still for 40 ms meanwhile.
                self._reactor.spawnProcess(child, self._python, arguments, env={}, childFDs={**fds, shim.LOCK_FD: lock})
            except OSError:
                child.forget()
                raise

    async def _end_of(self, directory: RunDirectory) -> Ended:
        """How the step ended, as soon as its shim has; of one that was killed, something may be left."""
        while True:
            try:
                ended = directory.ended()
                if ended is not None:
                    return ended
                await self._until_gone(directory)
            except OSError:
                self._log.failure("step {key} cannot be looked at", key=directory.key)
                await deferLater(self._reactor, TROUBLE_PAUSE)

    async def _until_gone(self, directory: RunDirectory) -> None:
        """Until the step's shim has ended, or it is time to look again."""
        child = self._children.get(directory.key)
        if child is not None:
            await child.gone()
            return
        pidfd = directory.open_shim()
        if pidfd is None:
            await deferLater(self._reactor, POLL)
        else:
            await _Exit(self._reactor, pidfd).gone

    async def _sweep(self, directory: RunDirectory) -> None:
        """End what a killed shim has left."""
        cookie, user = directory.marks()
        if self._users is not None and user in self._users.builds:
            gone = await self.clear(user)
        else:
            gone = await self._in_thread(partial(sweep, cookie))
        if not gone:
            self._log.error("processes of step {key} cannot be killed", key=directory.key)

    async def _in_thread(self, function: Callable[[], Answer]) -> Answer:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)


def compiled(program: Path, root: Path) -> Path:
    """A program of steps as this server knows it, compiled into `root`: that saves a third of what a step costs.

    A copy of our own, so that it understands the server that starts it also when sayci has been replaced meanwhile.
    """
    copy = root / f".{program.stem}.pyc"  # no key begins with a dot
    try:
        _make_private(root)
        py_compile.compile(os.fspath(program), os.fspath(copy), doraise=True)
    except OSError:
        return program  # nothing can be written there: the first start will say so
    return copy


# ------------------------------------------------------------------------------------------------ the run directory


def _make_private(path: Path) -> None:
    """Make a directory, and what is missing above it, for our own user alone."""
    for directory in (*reversed(path.parents), path):
        if not directory.is_dir():
            directory.mkdir(0o700, exist_ok=True)


class RunDirectory:
    """What the files of one step say about it."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    @contextmanager
    def claimed(self) -> Iterator[int]:
        """Make the directory and answer its lock's file descriptor, held; to be handed to a shim.

        Raises LauncherError when the step has been started before, OSError when that cannot be found out.
        """
        _make_private(self.path)
        lock = os.open(self.path / shim.LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._take(lock)
            if any((self.path / name).exists() for name in (shim.EXIT, shim.PID, shim.CANCEL)):
                raise LauncherError("the step has been started before", self.key)
            yield lock
        finally:
            os.close(lock)  # our copy: a shim that was started has its own, and the lock with it

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LauncherError("the step runs already", self.key) from None

    def ended(self) -> Ended | None:
        """How the step ended; None while its shim lives."""
        ended = self._recorded()
        if ended is not None:
            return ended
        if self.has_shim():
            return None
        # From here on nothing changes any more: no shim lives, and none will.  The last one may just have written.
        return self._recorded() or self._unrecorded()

    def _recorded(self) -> Ended | None:
        record = self._read(shim.EXIT)
        if record is None:
            return None
        try:
            return _ended_of(record)
        except (KeyError, ValueError):
            return Ended(None, _LOST, "its record cannot be read")

    def _unrecorded(self) -> Ended:
        if self._read(shim.LOCK) is None:
            if self._read(shim.LOG) == b"":  # made before the key was recorded; the lock is the first that a start adds
                return Ended(None, "never_started")
            return Ended(None, _LOST, "nothing is known of it")
        known = self._shim()
        if known is not None:
            if known.get("boot") != shim.boot_id():
                return Ended(None, _LOST, "the machine was restarted")
            return Ended(None, _LOST, self._last_error() or "its shim was killed")
        cancelled = self._read(shim.CANCEL) is not None
        return Ended(None, "cancelled" if cancelled else "never_started", self._last_error())

    def has_shim(self) -> bool:
        """Whether a shim lives.  Then it holds the lock; nobody else can have it then, or keep it afterwards."""
        try:
            lock = os.open(self.path / shim.LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look must not see each other
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def open_shim(self) -> int | None:
        """A pidfd of the living shim; None when there is none, or it has not said who it is yet."""
        known = self._shim()
        if known is None or known.get("boot") != shim.boot_id():
            return None
        pid = int(known["pid"])
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        stat = shim.stat_of(pid)  # after the opening: from now on the number cannot come to mean another process
        if stat is not None and stat[1] == int(known["started"]):
            return pidfd
        os.close(pidfd)
        return None

    def cancel(self) -> None:
        """Ask a living shim for the step's end."""
        if not self.has_shim():
            return
        try:
            # One that has not written who it is looks for this afterwards; one that has can be sent a signal.
            (self.path / shim.CANCEL).touch(0o600)
        finally:
            self._terminate()

    def _terminate(self) -> None:
        pidfd = self.open_shim()
        if pidfd is None:
            return
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        except ProcessLookupError:
            pass  # it has just ended
        finally:
            os.close(pidfd)

    def _shim(self) -> dict[str, bytes] | None:
        """Which process the shim is, or was; None when that is not written: then it has not started the command."""
        known = self._read(shim.PID)
        if known is None:
            return None
        try:
            return dict(shim.unpack(known))
        except ValueError:
            return {}  # a damaged disk: that it has started the command cannot be ruled out

    def new_cookie(self, user: int) -> str:
        """A mark for the processes of the step, kept in the lock's file with the user whose they are; 0 for our own."""
        cookie = f"{self.key}:{secrets.token_hex(8)}"
        (self.path / shim.LOCK).write_text(f"{cookie}\n{user}\n")
        return cookie

    def marks(self) -> tuple[str, int]:
        """The mark that was made at the start, "" when there is none, and the user."""
        # Before there were users the mark stood there alone.
        cookie, _, user = (self._read(shim.LOCK) or b"").decode("utf-8", "replace").partition("\n")
        return cookie, int(user) if user.strip().isdecimal() else 0

    def open_errors(self) -> int:
        """The file that takes what a breaking shim has to say."""
        return os.open(self.path / shim.ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def _last_error(self) -> str:
        lines = (self._read(shim.ERRORS) or b"").decode("utf-8", "replace").splitlines()
        return lines[-1] if lines else ""

    def _read(self, name: str) -> bytes | None:
        """A whole small file; None when it is not there.  Raises OSError when that cannot be told."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _ended_of(record: bytes) -> Ended:
    fields = {name: value.decode("utf-8", "replace") for name, value in shim.unpack(record)}
    return Ended(
        int(fields["exit_code"]) if fields["exit_code"] else None,
        fields["why"],
        fields["detail"],
        int(fields["output"]),
        int(fields["dropped"]),
        float(fields["duration"]),
        int(fields.get("memory_kills", "0")),  # shims of an older sayci do not say
    )


# ------------------------------------------------------------------------------------------------ the orders


def _orders_of(job: Job, wrapped: Wrapped, cookie: str, user: int) -> shim.Orders:
    environment = {**wrapped.environment, COOKIE: cookie}
    return shim.Orders(
        _raw(wrapped.argv),
        {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        os.fsencode(job.workspace),
        masks_of(job.secrets),
        directories=_raw((job.workspace, *job.beside)),
        cleanup=_raw(wrapped.cleanup),
        **asdict(wrapped.limits),
        grace=job.grace,
        user=user,
        killer=Numbers.killer_of(user) if user else 0,
        wrap=wrapped.depth,
        reports=wrapped.reports,
    )


def _raw(texts: Iterable[str | Path]) -> list[bytes]:
    return [os.fsencode(text) for text in texts]


@contextmanager
def _handed_over(job: Job, wrapped: Wrapped, directory: RunDirectory, user: int) -> Iterator[dict[int, int]]:
    """The file descriptors for a shim, by their numbers there; ours are closed at the end."""
    ours = []
    try:
        ours.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        ours.append(directory.open_errors())
        ours.append(_memfd(_orders_of(job, wrapped, directory.new_cookie(user), user).encode()))
        null, errors, orders = ours
        yield {0: null, 1: errors, 2: errors, shim.ORDERS_FD: orders}
    finally:
        for fd in ours:
            os.close(fd)


def _memfd(contents: bytes) -> int:
    """A file in memory alone that nobody can change any more, read from its beginning."""
    fd = os.memfd_create("orders", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(contents)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


# ------------------------------------------------------------------------------------------------ who waits


class _Child(ProcessProtocol):
    """A shim that this server started, one of the `children` as long as it lives."""

    def __init__(self, children: dict[str, _Child], key: str) -> None:
        self._children = children
        self._key = key
        self._waiting: list[Deferred[None]] = []

    def gone(self) -> Deferred[None]:
        """Fires when the shim has ended."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def forget(self) -> None:
        """There is nothing to wait for any more."""
        if self._children.get(self._key) is self:
            del self._children[self._key]

    def processExited(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        self.forget()
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)


@implementer(IReadDescriptor)
class _Exit:
    """The end of a process that is no child of ours: its pidfd becomes readable."""

    def __init__(self, reactor: Any, pidfd: int) -> None:
        self._reactor = reactor
        self._pidfd = pidfd
        self.gone: Deferred[None] = Deferred(lambda _: self._close())
        reactor.addReader(self)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._pidfd)

    def fileno(self) -> int:
        return self._pidfd

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "shim"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        self._close()
        self.gone.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The reactor has stopped, and reads nothing any more; the process goes on."""


# ------------------------------------------------------------------------------------------------ the last resort


def sweep(cookie: str) -> bool:
    """Kill the processes that have this cookie in their environment, and those below them; whether all are gone.

    It is for a step whose shim was killed, and the best that can be done for processes of our own user: one that has
    changed its environment, and whose parents are gone, is not found.  Blocks: for a thread.
    """
    if not cookie:
        return True
    mark = f"{COOKIE}={cookie}".encode()
    deadline = time.monotonic() + SWEEP_LIMIT
    looks = 0
    while looks < 2:  # while a process becomes another program (execve), the kernel shows no environment of it
        marked = [pid for pid in _pids() if _is_marked(pid, mark)]
        if marked and time.monotonic() > deadline:
            return False
        looks = 0 if marked else looks + 1
        for pid in {*marked, *shim.descendants(marked)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return True


def is_nobody(uid: int) -> bool:
    """Whether no process is that user, once those that are being killed are gone.  Blocks: for a thread."""
    deadline = time.monotonic() + SWEEP_LIMIT
    while any(_is_user(pid, uid) for pid in _pids()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_user(pid: int, uid: int) -> bool:
    """Whether a living process is that user in any of the four ways (proc(5)): real, effective, saved, file system's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
    except OSError:
        return False
    fields = {name: value.split() for name, _, value in (line.partition(b":") for line in lines)}
    return b"%d" % uid in fields.get(b"Uid", ()) and fields[b"State"][0] not in (b"Z", b"X")


def _pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
