"""The shim: starts the command of one step and stays with it to the end, whatever becomes of the server.

A launcher starts it as ``python -I -S shim.py RUNDIR`` with an empty environment and five file descriptors:

    0      /dev/null
    1, 2   RUNDIR/errors: what Python has to say, should the shim itself break
    3      a sealed memfd with the Orders: no secret is ever in an argument list, an environment or on disk
    4      RUNDIR/lock, locked by flock: the kernel holds the lock exactly as long as the shim lives

In RUNDIR it writes

    pid    which process it is; on disk before the command starts, so without it nothing of the step has run
    log    what the command prints, masked and limited; only ever appended to
    times  how far the log was when: pairs of a byte offset (8 bytes) and milliseconds since the start (4), little-endian
    exit   how it ended; on disk when no process of the step is left and the log is complete

and a file ``cancel`` that is there when ``pid`` has been written means that the command is not to be started any more.
TERM and INT ask for the end of the command, at any time.

One of these runs beside every step, so it starts quickly and stays small: only the standard library, and of that only
what costs next to nothing.  `signal` (it makes enums), `json`, `re`, `subprocess`, `contextlib`, `typing` and
`dataclasses` each take as long as all that is here, up to as long as Python itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # typing's own would have to be imported; mypy takes any name of this spelling for it
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    Prctl = Callable[[int, int], None]
else:
    import _signal  # what `signal` wraps, without the enums

# The names in a run directory.
LOCK, ERRORS, PID, LOG, TIMES, EXIT, CANCEL = "lock", "errors", "pid", "log", "times", "exit", "cancel"
# The file descriptors that a launcher hands over.
ORDERS_FD, LOCK_FD = 3, 4

#: What stands in the log where a secret was.
MARK = b"***"
LIMIT_REACHED = b"\n[sayci: output limit reached]\n"
#: Seconds that processes which outlive the command have to end by themselves: a `tee` at its output must not lose lines.
LINGER = 0.5
#: Seconds between two KILLs to a tree that grows while it is killed.
KILL_AGAIN = 0.05
#: Seconds between two looks at a step's processes, and while they take more than half of what they may.
MEASURE, MEASURE_NEAR = 0.5, 0.1
#: Seconds between two looks at how full the disk is; how long a workspace is counted at a time, and the pause after that;
#: and until it is counted again though the disk does not look as if it had been filled.
GLANCE, COUNT, COUNT_PAUSE, COUNT_AGAIN = 1.0, 0.02, 0.08, 10.0
#: For each second that was spent on looking, so many pass before the next look.
SPARING = 20
#: Seconds that the command may take that ends what is not below this process.
CLEANUP_LIMIT = 30.0
#: What one file takes at least: an empty one is no nothing.
SMALLEST_FILE = 4096

_PIPE_SIZE = 1 << 20  # the most that the kernel gives an ordinary user
_CHUNK = 1 << 18
_RECORD_SIZE = 4096
_DETAIL_LIMIT = 500
_NEVER = float("inf")
_LONGEST_POLL = 3600.0  # seconds; poll counts milliseconds in an int
_OOM_SCORE = b"500"  # of -1000 to 1000: when memory runs out the command goes, neither its shim nor the server
_NICE = 5  # of 0 to 19: what a step starts without end leaves the server and its shim their share of the processors
_STATUS_FD = 3  # in a wrapped command, where its wrapper says how far it came
_DEEPEST = 200  # directories in directories that are walked through
_THREADS, _RESIDENT = 17, 21  # the places in what `_stat` answers; the second is in pages

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


# ------------------------------------------------------------------------------------------------ what is handed over


def pack(fields: Iterable[tuple[str, bytes | str | float]]) -> bytes:
    """Named values as bytes: for each a line "NAME LENGTH:VALUE".  Values may be any bytes, names may repeat."""
    lines = []
    for name, value in fields:
        raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        lines.append(b"%s %d:%s\n" % (name.encode(), len(raw), raw))
    return b"".join(lines)


def unpack(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What `pack` packed.  Raises ValueError where it is cut short or no such thing."""
    at = 0
    while at < len(data):
        colon = data.index(b":", at)
        name, _, size = data[at:colon].partition(b" ")
        at = colon + 1 + int(size) + 1
        if data[at - 1 : at] != b"\n":
            raise ValueError("a field does not end where it says", name)
        yield name.decode(), data[colon + 1 : at - 1]


class Orders:
    """What one shim has to do.  Bytes, as the kernel takes them; seconds; 0 for a limit means none.

    `masks` are the byte strings that never appear in the log.  `grace` is the time between TERM and KILL.  `user` is who
    the command runs as, with the group of the same number; 0 means the shim's own user.  Every process of that user is
    taken for one of the step.  `killer` is a user whom nobody else is: who kills as that one, cannot be killed by them.

    `wrap` says that the command only wraps another: a TERM spares that many generations of processes, from the command
    on.  With `reports` the wrapper says on descriptor 3, as bubblewrap's --json-status-fd does, how the inner command
    ended; if it does not, that never started.  `cleanup` is a command that ends what is not below this process, run when
    the step is to be killed or its command was; it has the command's environment.  `directories` are what the step may
    fill, up to `workspace_limit` bytes.  `process_limit` counts threads too.
    """

    NUMBERS = {  # noqa: RUF012 - typing would have to be imported to say that nobody changes it
        "time_limit": float,
        "silence_limit": float,
        "output_limit": int,
        "ends_at_output_limit": int,
        "process_limit": int,
        "memory_limit": int,
        "workspace_limit": int,
        "open_files_limit": int,
        "grace": float,
        "user": int,
        "killer": int,
        "wrap": int,
        "reports": int,
    }

    def __init__(
        self,
        argv: list[bytes],
        environment: Mapping[bytes, bytes],
        workspace: bytes,
        masks: Sequence[bytes] = (),
        *,
        directories: Sequence[bytes] = (),
        cleanup: Sequence[bytes] = (),
        time_limit: float = 0.0,
        silence_limit: float = 0.0,
        output_limit: int = 0,
        ends_at_output_limit: int = 0,
        process_limit: int = 0,
        memory_limit: int = 0,
        workspace_limit: int = 0,
        open_files_limit: int = 0,
        grace: float = 5.0,
        user: int = 0,
        killer: int = 0,
        wrap: int = 0,
        reports: int = 0,
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.workspace = workspace
        self.masks = masks
        self.directories = list(directories)
        self.cleanup = list(cleanup)
        self.time_limit = time_limit
        self.silence_limit = silence_limit
        self.output_limit = output_limit
        self.ends_at_output_limit = ends_at_output_limit
        self.process_limit = process_limit
        self.memory_limit = memory_limit
        self.workspace_limit = workspace_limit
        self.open_files_limit = open_files_limit
        self.grace = grace
        self.user = user
        self.killer = killer
        self.wrap = wrap
        self.reports = reports

    def encode(self) -> bytes:
        """The orders as a memfd carries them."""
        return pack(
            [
                *(("argument", argument) for argument in self.argv),
                *(("variable", b"%s=%s" % variable) for variable in self.environment.items()),
                *(("mask", mask) for mask in self.masks),
                *(("directory", directory) for directory in self.directories),
                *(("cleanup", argument) for argument in self.cleanup),
                ("workspace", self.workspace),
                *((name, of(getattr(self, name))) for name, of in self.NUMBERS.items()),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Orders:
        """What `encode` made.  Raises ValueError or KeyError where it is anything else."""
        found: dict[str, list[bytes]] = {"argument": [], "variable": [], "mask": [], "directory": [], "cleanup": []}
        for name, value in unpack(data):
            found.setdefault(name, []).append(value)
        variables = [variable.partition(b"=") for variable in found["variable"]]
        return cls(
            found["argument"],
            {name: value for name, _, value in variables},
            found["workspace"][0],
            found["mask"],
            directories=found["directory"],
            cleanup=found["cleanup"],
            **{name: of(found[name][0]) for name, of in cls.NUMBERS.items()},
        )


class Durable:
    """A file that is there whole or not at all, also after a power cut.

    Its space is taken when it is made, so that it can still be written when the disk is full by then.
    """

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(f"{name}.new", flags, 0o600, dir_fd=directory)
        os.write(self._fd, b" " * _RECORD_SIZE)

    def commit(self, data: bytes) -> None:
        """Give it its contents and its name, and see them onto the disk."""
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))
        os.fsync(self._fd)
        os.close(self._fd)
        os.rename(f"{self._name}.new", self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)


# ------------------------------------------------------------------------------------------------ the log


class Masker:
    """Puts MARK in place of all secrets in a stream, wherever the stream is cut.

    Every byte that belongs to any occurrence of any pattern is masked, also where occurrences overlap, and every run of
    such bytes becomes one MARK.  The last bytes are held back as long as they may be the beginning of a pattern, however
    long that takes: half a secret is half a leak.  Memory is bounded by the longest pattern, and a pattern costs one
    bytes.find per chunk, which is ten times faster than one regular expression for all.
    """

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._patterns = sorted({pattern for pattern in patterns if pattern}, key=len, reverse=True)
        #: A byte -> the patterns, longest first, of which a proper prefix ends in it.
        self._ending: dict[int, list[bytes]] = {}
        for pattern in self._patterns:
            for byte in set(pattern[:-1]):
                self._ending.setdefault(byte, []).append(pattern)
        self._held = b""
        #: Whether the last that was let out is a MARK, and how many of the bytes held back belong to it.
        self._marked = False
        self._covered = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; answer those that can be told by now."""
        data = self._held + data
        return self._let_out(data, len(data) - self._undecided(data))

    def finish(self) -> bytes:
        """The rest: nothing follows."""
        return self._let_out(self._held, len(self._held))

    def _let_out(self, data: bytes, end: int) -> bytes:
        """`data` up to `end`, masked; the bytes from there on are held back."""
        self._held = data[end:]
        spans = self._spans(data)
        if not spans:
            return data[:end]
        pieces = []
        at, marked = 0, self._marked
        for start, stop in spans:
            continues = start == 0 and self._marked
            if start >= end and not continues:
                break  # all of it is held back, and will be found again
            pieces.append(data[at:start])
            if not continues:
                pieces.append(MARK)
            at, marked = stop, True
        if at < end:
            pieces.append(data[at:end])
            at, marked = end, False
        self._marked, self._covered = marked, at - end if marked else 0
        return b"".join(pieces)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """The parts of `data` to mask, in order, none touching another; a MARK that is out already begins at 0."""
        found = [(0, self._covered)] if self._marked else []
        for pattern in self._patterns:
            start = data.find(pattern)
            while start >= 0:
                stop = start + len(pattern)
                if found and found[-1][0] <= start <= found[-1][1]:  # "aaaa" in a megabyte of a must stay one span
                    found[-1] = (found[-1][0], max(found[-1][1], stop))
                else:
                    found.append((start, stop))
                start = data.find(pattern, start + 1)
        return _merged(found) if len(found) > 1 else found

    def _undecided(self, data: bytes) -> int:
        """How many of the last bytes of `data` may be the beginning of a pattern."""
        longest = 0
        for pattern in self._ending.get(data[-1], ()) if data else ():
            size = min(len(pattern) - 1, len(data))
            window = data[len(data) - size :]
            at = window.find(pattern[:1])
            while 0 <= at < size - longest:
                if pattern.startswith(window[at:]):
                    longest = size - at
                at = window.find(pattern[:1], at + 1)
        return longest


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same parts in order, those that overlap or touch made one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


class Log:
    """The step's log: appended to up to a limit, and as long as the disk has room; what is beyond is counted."""

    def __init__(self, fd: int, limit: int) -> None:
        self._fd = fd
        self._limit = limit or _NEVER
        self._begun = os.fstat(fd).st_size
        self._written = 0
        self.full = False
        self.dropped = 0
        self.error = ""

    def append(self, data: bytes) -> None:
        """Write `data`, or as much of it as may be."""
        if not self.full and self._written + len(data) > self._limit:
            self.full = True
            room = int(self._limit) - self._written
            self._write(data[:room] + LIMIT_REACHED)
            data = data[room:]
        if self.full:
            self.dropped += len(data)
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                count = os.write(self._fd, data)
                self._written += count
                data = data[count:]
        except OSError as error:
            self.dropped += len(data)
            self.error = f"the log could not be written: {error.strerror}"

    @property
    def size(self) -> int:
        """How many bytes it has, what was there before included."""
        return self._begun + self._written

    def close(self) -> int:
        """See it onto the disk, and say how many bytes it has."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            self.error = f"the log could not be written: {error.strerror}"
        return os.fstat(self._fd).st_size


class Times:
    """When the log was how long, for whoever reads it later: a few bytes now and then, and nothing if that cannot be.

    At most every `PACE` seconds, and later on every 2000th part of the time, so that a day takes some 150 KB.
    """

    PACE = 0.25

    def __init__(self, directory: int) -> None:
        self._started = time.monotonic()
        self._due = 0.0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(TIMES, flags, 0o600, dir_fd=directory)
        except OSError:
            self._due = _NEVER

    def note(self, offset: int, now: float) -> None:
        """What comes now begins at this offset of the log."""
        passed = now - self._started
        if passed < self._due:
            return
        self._due = passed + max(self.PACE, passed / 2000)
        record = offset.to_bytes(8, "little") + min(int(passed * 1000), 0xFFFFFFFF).to_bytes(4, "little")
        try:
            if os.write(self._fd, record) < len(record):
                self._due = _NEVER
        except OSError:
            self._due = _NEVER


# ------------------------------------------------------------------------------------------------ processes


def stat_of(pid: int) -> tuple[int, int] | None:
    """A process's parent and its start time in clock ticks since boot; None when there is no such process."""
    fields = _stat(pid)
    return (int(fields[1]), int(fields[19])) if fields else None


def _stat(pid: int) -> list[bytes]:
    """What /proc/PID/stat (proc(5)) says from the state on, which is its third field; empty when there is no such process."""
    try:
        # The name before it may hold anything, also ")".
        return _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return []


def generations(roots: Iterable[int]) -> list[list[int]]:
    """Every process below these: their children, the children of those, and so on.

    Zombies too: the first thread of a living process may be one.
    """
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        stat = stat_of(pid)
        if stat is not None:
            children.setdefault(stat[0], []).append(pid)
    found: list[list[int]] = []
    layer = list(roots)
    while layer:
        # A number may have come to mean another process meanwhile: taken out, so that nobody is his own ancestor.
        layer = [child for pid in layer for child in children.pop(pid, ())]
        found.append(layer)
    return found[:-1]


def descendants(roots: Iterable[int]) -> list[int]:
    """Every process below these, of all generations."""
    return [pid for generation in generations(roots) for pid in generation]


def boot_id() -> bytes:
    """Another one after every start of the machine."""
    return _content("/proc/sys/kernel/random/boot_id").strip()


class Tree:
    """All processes of a step: the command, and whatever descends from it.

    The shim is a subreaper: a process whose parent dies becomes the shim's child, so that nobody gets out, and when no
    child is left, nobody is.  Where the command has a user of its own, whoever is that user belongs to it too.
    """

    def __init__(self, command: int, orders: Orders) -> None:
        self._command = command
        self._user = orders.user
        self._killer = orders.killer
        self._wrap = orders.wrap
        #: Of the command: what it gave, or minus the signal that killed it; None while it runs.
        self.exit_code: int | None = None

    def reap(self) -> bool:
        """Take note of those that have ended; whether any are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._command:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> None:
        """Send a signal to every process; one that is stopped is woken for it.  What wraps the command gets none but KILL."""
        if self._user and signal_user(self._user, self._killer, number):
            return
        found = generations([os.getpid()])
        if number != _signal.SIGKILL and len(found) > self._wrap:
            found = found[self._wrap :]
        for generation in found:
            for pid in generation:
                _kill(pid, number)
                _kill(pid, _signal.SIGCONT)

    def kill(self) -> None:
        """Answer when none is left."""
        while self.reap():
            self.signal(_signal.SIGKILL)
            time.sleep(KILL_AGAIN)

    def evict(self) -> None:
        """When none is left, see to it that nobody else is the command's user: cron may have started him something."""
        if self._user:
            signal_user(self._user, self._killer, _signal.SIGKILL)


def signal_user(user: int, killer: int, number: int) -> bool:
    """Send a signal to all processes of `user` at once, and wake those that are stopped; whether that could be done.

    The kernel does it without letting one of them fork in between, which no walk through /proc can do (kill(2), pid -1).
    It goes to whom the sender may signal: so the sender is `user`, but by its real and saved user somebody whom that one
    may not signal in return.
    """
    if 0 in (user, killer):
        raise ValueError("nobody signals all processes of root")
    try:
        pid = os.fork()
    except OSError:  # no process can be made any more: it has to be done one by one
        return False
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(killer, user, killer)
            if 0 not in os.getresuid():
                for one in (number, _signal.SIGCONT):
                    _kill(-1, one)
                status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def inner_exit_code(report: bytes) -> int | None:
    """How a wrapper says that the command in it has ended (bubblewrap's --json-status-fd); None if that never started.

    It is minus the signal that killed it.  A wrapper says 128 + N of signal N, as a shell does: the two are taken for one.
    """
    code = report.rpartition(b'"exit-code":')[2].strip(b" }\n")
    if not code.isdigit():
        return None
    return 128 - int(code) if 128 < int(code) < 128 + _signal.NSIG else int(code)


def run_aside(argv: Sequence[bytes], environment: Mapping[bytes, bytes], seconds: float) -> None:
    """Run a command and wait for its end, but for no longer than that; its output is thrown away."""
    pid = os.fork()
    if pid == 0:
        try:
            _default_signals()
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            _execute(argv, environment)
        finally:
            os._exit(127)
    deadline = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            _kill(pid, _signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.01)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


class NotStarted(Exception):
    """The command could not be started: the arguments say why."""

    def __str__(self) -> str:
        return ": ".join(map(str, self.args))


def start(orders: Orders, output: int, status: int | None, prctl: Prctl) -> int:
    """Start the command with `output` as its stdout and stderr, and answer its process id.  Raises NotStarted.

    `status` is where a wrapper may write, if there is one.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    shim = os.getpid()
    limits = _resource_limits(orders)
    pid = os.fork()
    if pid == 0:
        _become(orders, limits, output, status, prctl, shim, writer)
    os.close(writer)
    complaint = _contents(reader)  # the other end closes when the command has taken over
    if complaint:
        os.waitpid(pid, 0)
        raise NotStarted(complaint.decode("utf-8", "replace"))
    return pid


def _become(
    orders: Orders,
    limits: Mapping[int, int],
    output: int,
    status: int | None,
    prctl: Prctl,
    shim: int,
    complaints: int,
) -> NoReturn:
    """Turn this forked process into the command; whatever goes wrong is written to `complaints`."""
    try:
        _limit(limits)
        _prepare(orders, prctl, shim)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if status is not None:
            complaints = fcntl.fcntl(complaints, fcntl.F_DUPFD_CLOEXEC, _STATUS_FD + 1)
            os.dup2(status, _STATUS_FD)
        os.chdir(orders.workspace)
        _execute(orders.argv, orders.environment)
    except BaseException as error:  # noqa: BLE001 - nothing may ever return into the shim's own code
        os.write(complaints, _sentence(error).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _resource_limits(orders: Orders) -> dict[int, int]:
    """What the kernel itself sees to, by setrlimit's names.  A dump of the memory of what breaks would fill the workspace."""
    limits = {resource.RLIMIT_CORE: 0}
    if orders.open_files_limit:
        limits[resource.RLIMIT_NOFILE] = orders.open_files_limit
    if orders.process_limit:
        # Counted are all threads of a user: where he has others, this only fences in what grows faster than we look.
        others = 0 if orders.user else _threads_of(os.getuid())
        limits[resource.RLIMIT_NPROC] = others + orders.process_limit
    return limits


def _threads_of(user: int) -> int:
    """How many threads all processes of a user have; root, whom the kernel does not limit, is not worth the look."""
    if user == 0:
        return 0
    count = 0
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and entry.stat().st_uid == user and (fields := _stat(int(entry.name))):
                count += int(fields[_THREADS])
    return count


def _limit(limits: Mapping[int, int]) -> None:
    for which, limit in limits.items():
        most = resource.getrlimit(which)[1]
        value = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(which, (value, value))


def _prepare(orders: Orders, prctl: Prctl, shim: int) -> None:
    os.setsid()  # a group of its own: the command's `kill 0` does not reach the shim
    _raise_oom_score()
    os.nice(_NICE)
    if orders.user:
        os.setgroups([])
        os.setresgid(orders.user, orders.user, orders.user)
        os.setresuid(orders.user, orders.user, orders.user)  # the kernel takes all capabilities away with it
    prctl(_PR_SET_DUMPABLE, 1)  # as after exec, where it makes no difference any more; /proc/self is ours again
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)  # has to come after any change of user, which clears it
    if os.getppid() != shim:
        raise NotStarted("the shim was killed")
    _default_signals()


def _execute(argv: Sequence[bytes], environment: Mapping[bytes, bytes]) -> NoReturn:
    """Become the command, looked for in its own PATH; os.execvpe would import a module, which its user may not read."""
    name = argv[0]
    path = b"" if b"/" in name else environment.get(b"PATH", os.fsencode(os.defpath))
    trouble = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in path.split(b":"):
        program = directory + b"/" + name if directory else name
        try:
            os.execve(program, list(argv), environment)  # noqa: S606 - a shell is just what is not wanted
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            trouble = error  # one that may not be executed is told of, should there be no other
    trouble.filename = name  # instead of the place in PATH
    raise trouble


def _raise_oom_score() -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, _OOM_SCORE)
    except OSError:
        return  # the server's own is higher already, and only root may lower it
    os.close(fd)


def _default_signals() -> None:
    """What is ignored would be ignored by the command too, and so would what is blocked stay blocked."""
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def load_prctl() -> Prctl:
    """The system call prctl(option, value), for which the standard library has no function.  It raises OSError."""
    call = _load_call("prctl")

    def prctl(option: int, value: int) -> None:
        if call((option, value, 0, 0, 0)) != 0:
            raise OSError(errno.EINVAL, f"the system refuses prctl {option}")

    return prctl


def _load_call(name: str) -> Callable[[tuple[int, ...]], int]:
    """A function of the C library: by the private half of ctypes where it is as we know it, which is much quicker."""
    try:
        from _ctypes import call_function, dlopen, dlsym  # noqa: PLC0415 - it may be absent
    except ImportError:
        from ctypes import CDLL  # noqa: PLC0415 - it is slow

        function = CDLL(None)[name]
        return lambda arguments: int(function(*arguments))
    address = dlsym(dlopen(None, os.RTLD_NOW), name)  # type: ignore[arg-type]  # typeshed does not know this use of None
    return lambda arguments: int(call_function(address, arguments))


# ------------------------------------------------------------------------------------------------ what a step takes


def family(root: int) -> Iterator[int]:
    """Every process below this one, as the kernel lists children (CONFIG_PROC_CHILDREN), else as `descendants` does.

    It reads nothing of other processes, so it costs the less; of a tree that changes it may miss some.
    """
    left = [root]
    while left:
        pid = left.pop()
        try:
            with os.scandir(f"/proc/{pid}/task") as tasks:
                for task in tasks:
                    left += map(int, _content(f"{task.path}/children").split())
        except OSError:  # it has ended
            if pid == root:
                yield from descendants([root])
        if pid != root:
            yield pid


class Consumption:
    """The processes of a step, and their memory, against what they may be."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._page = os.sysconf("SC_PAGE_SIZE")
        #: When to look next.
        self.due = time.monotonic() if orders.process_limit or orders.memory_limit else _NEVER

    def excess(self, now: float) -> str:
        """Which limit is broken, "" when none is."""
        if now < self.due:
            return ""
        pids, threads, resident = [], 0, 0
        for pid in family(os.getpid()):
            if fields := _stat(pid):
                pids.append(pid)
                threads += int(fields[_THREADS])
                resident += int(fields[_RESIDENT]) * self._page
        processes, memory = self._orders.process_limit or _NEVER, self._orders.memory_limit or _NEVER
        # What several processes share is counted several times so far: it is looked at closely only when it matters.
        used = memory_of(pids, self._orders.user, self._orders.killer) if resident > memory else resident
        is_near = 2 * threads > processes or 2 * used > memory
        self.due = max(now + (MEASURE_NEAR if is_near else MEASURE), now + (time.monotonic() - now) * SPARING)
        if used > memory:
            return "memory_limit"
        return "process_limit" if threads >= processes else ""


def memory_of(pids: Iterable[int], user: int, killer: int) -> int:
    """Bytes of memory, swapped out or not, that these processes have for themselves; what is shared is counted once.

    The kernel tells it the processes' user alone (ptrace(2)), so he is who looks where the command has a user of its own.
    """
    if not user:
        return sum(map(_proportion_of, pids))
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(killer, user, killer)
            os.write(writer, b"%d" % sum(map(_proportion_of, pids)))
        finally:
            os._exit(0)
    os.close(writer)
    told = _contents(reader)
    os.waitpid(pid, 0)
    return int(told or 0)


def _proportion_of(pid: int) -> int:
    """What a process has in memory, but for what is a file's; of what it shares, its part."""
    try:
        lines = _content(f"/proc/{pid}/smaps_rollup").splitlines()
    except OSError:  # it has ended, hides, or the kernel has no such file
        fields = _stat(pid)
        return int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE") if fields else 0
    found = {name: value for name, _, value in (line.partition(b":") for line in lines)}
    return sum(int(found.get(name, b"0").split()[0]) for name in (b"Pss_Anon", b"Pss_Shmem", b"SwapPss")) * 1024


class Disk:
    """How much is in a step's directories, against how much may be.

    To count it all takes long, so the file system is asked first: as long as it has not grown by what there is room for,
    nobody counts, but for once in a while, since somebody else may have made room meanwhile.  A count is made in small
    pieces between the shim's other duties.
    """

    def __init__(self, directories: Sequence[bytes], limit: int) -> None:
        self._directories = directories
        self._limit = limit or _NEVER
        now = time.monotonic()
        #: When to look next.
        self.due = now + GLANCE if limit else _NEVER
        self._again_at = now
        self._forced_at = now + COUNT_AGAIN
        #: What was counted last, or up to now, and what was taken of the file system when that began.
        self._counted = 0
        self._taken_before = self._taken()
        self._sizes: Iterator[int] | None = None
        self._spent = 0.0

    def is_too_full(self, now: float) -> bool:
        """Whether there is more in them than may be, as far as that is known."""
        if now < self.due:
            return False
        if self._sizes is None and self._is_suspect(now):
            self._taken_before, self._counted, self._spent = self._taken(), 0, 0.0
            self._sizes = sizes_in(self._directories)
        if self._sizes is not None:
            self._count_on(self._sizes, now)
        self.due = time.monotonic() + (GLANCE if self._sizes is None else COUNT_PAUSE)
        return self._counted > self._limit

    def _is_suspect(self, now: float) -> bool:
        if now >= self._forced_at:
            return True
        taken = self._taken()
        self._taken_before = min(taken, self._taken_before)  # others have made room, and the step may fill it
        return now >= self._again_at and self._counted + taken - self._taken_before > self._limit

    def _count_on(self, sizes: Iterator[int], began: float) -> None:
        for size in sizes:
            self._counted += size
            now = time.monotonic()
            if self._counted > self._limit or now > began + COUNT:
                self._spent += now - began
                return
        now = time.monotonic()
        self._sizes = None
        self._again_at = now + (self._spent + now - began) * SPARING
        self._forced_at = max(self._again_at, now + COUNT_AGAIN)

    def _taken(self) -> int:
        """What is taken of the file systems, by whomever."""
        total = 0
        for directory in self._directories:
            try:
                found = os.statvfs(directory)
            except OSError:
                continue
            total = max(
                total,
                (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * SMALLEST_FILE,
            )
        return total


def sizes_in(directories: Iterable[bytes]) -> Iterator[int]:
    """The sizes on disk of all that is in these directories, each at least SMALLEST_FILE; follows no link.

    A file with several names counts for each of them with its part: most are somebody else's too.
    """
    for path in directories:
        left: list[tuple[int, Iterator[os.DirEntry[str]]]] = []
        try:
            left.append(_entries(path, None))
            while left:
                directory, entries = left[-1]
                entry = next(entries, None)
                if entry is None:
                    os.close(left.pop()[0])
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False) and len(left) < _DEEPEST:
                        left.append(_entries(entry.name, directory))
                except OSError:  # it is gone, or closed to us
                    continue
                size = max(found.st_blocks * 512, SMALLEST_FILE)
                yield size if entry.is_dir(follow_symlinks=False) else size // max(1, found.st_nlink)
        except OSError:
            continue
        finally:
            for directory, _ in left:
                os.close(directory)


def _entries(name: bytes | str, directory: int | None) -> tuple[int, Iterator[os.DirEntry[str]]]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(name, flags, dir_fd=directory)
    return opened, os.scandir(opened)


def memory_kills() -> int:
    """How many processes the kernel has killed since the machine's start because memory had run out."""
    try:
        said = _content("/proc/vmstat")
    except OSError:
        return 0
    return int((said.partition(b"\noom_kill ")[2].split() or [b"0"])[0])


# ------------------------------------------------------------------------------------------------ the shim


class Signals:
    """What the shim is told by signals: a TERM or INT is remembered, those and a child's end can be polled for."""

    def __init__(self) -> None:
        self.cancelled = False
        self.wake, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (_signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2):
            _signal.signal(number, _signal.SIG_IGN)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        for number in (_signal.SIGTERM, _signal.SIGINT):
            _signal.signal(number, self._cancel)

    def _cancel(self, *_: object) -> None:
        self.cancelled = True


class Watch:
    """Stays with a tree until none of it is left: copies its output, and asks for its end when that is due."""

    def __init__(self, orders: Orders, signals: Signals, tree: Tree, output: int, log: Log, times: Times) -> None:
        self.why = ""
        self._times = times
        self._orders = orders
        self._signals = signals
        self._tree = tree
        self._output = output
        self._output_open = True
        self._log = log
        self._masker = Masker(orders.masks)
        self._consumption = Consumption(orders)
        self._disk = Disk(orders.directories, orders.workspace_limit)
        #: The end of what was printed, for the words of a wrapper that fails.
        self.last = b""
        self._is_cleaned_up = not orders.cleanup
        now = time.monotonic()
        self._time_out_at = now + (orders.time_limit or _NEVER)
        self._silent_at = now + (orders.silence_limit or _NEVER)
        self._term_at = self._kill_at = _NEVER
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)
        self._poll.register(signals.wake, select.POLLIN)

    def run(self) -> None:
        """Return when the tree has ended and all that it printed is in the log."""
        while self._tree.reap():
            self._enforce(time.monotonic())
            self._wait()
        # All that its processes wrote is in the pipe by now.  Somebody else may hold the pipe open and write for ever.
        left = _PIPE_SIZE
        while self._output_open and left > 0 and (count := self._copy()):
            left -= count
        self._log.append(self._masker.finish())
        if (self._tree.exit_code or 0) < 0:
            self.clean_up()

    def clean_up(self) -> None:
        """End what is not below this process, if the orders say how.  Safe to repeat."""
        if not self._is_cleaned_up:
            self._is_cleaned_up = True
            run_aside(self._orders.cleanup, self._orders.environment, CLEANUP_LIMIT)

    def _enforce(self, now: float) -> None:
        excess = self._consumption.excess(now)
        if self._tree.exit_code is not None:
            self._term_at = min(self._term_at, now + LINGER)
        elif not self.why and (why := excess or self._reason_to_end(now)):
            self.why, self._term_at = why, now
        if excess:  # there is no time to be lost
            self._kill_at = min(self._kill_at, now)
        if now >= self._kill_at:
            self.clean_up()
            self._tree.signal(_signal.SIGKILL)
            self._kill_at = now + KILL_AGAIN
        elif now >= self._term_at and self._kill_at == _NEVER:
            self._tree.signal(_signal.SIGTERM)
            self._kill_at = now + self._orders.grace

    def _reason_to_end(self, now: float) -> str:
        if self._signals.cancelled:
            return "cancelled"
        if now >= self._time_out_at:
            return "time_limit"
        if now >= self._silent_at:
            return "silence_limit"
        if self._log.full and self._orders.ends_at_output_limit:
            return "output_limit"
        return "workspace_limit" if self._disk.is_too_full(now) else ""

    def _wait(self) -> None:
        """Until there is something to do."""
        if self._kill_at < _NEVER:
            due = self._kill_at
        elif self._term_at < _NEVER:
            due = self._term_at
        else:
            due = min(self._time_out_at, self._silent_at, self._disk.due)
        due = min(due, self._consumption.due)
        seconds = min(max(0.0, due - time.monotonic()), _LONGEST_POLL)
        for fd, _ in self._poll.poll(int(seconds * 1000) + 1):
            if fd == self._output:
                self._copy()
            else:
                os.read(fd, _CHUNK)

    def _copy(self) -> int:
        """Copy some output to the log; how many bytes came."""
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._output_open = False
            self._poll.unregister(self._output)
            return 0
        now = time.monotonic()
        self._silent_at = now + (self._orders.silence_limit or _NEVER)
        self._times.note(self._log.size, now)
        if self._orders.reports:
            self.last = (self.last + data)[-_DETAIL_LIMIT:]
        self._log.append(data if self._log.full else self._masker.feed(data))
        return len(data)


class Shim:
    """One step from its orders to its record."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._record = Durable(directory, EXIT)
        self._tree: Tree | None = None
        self._watch: Watch | None = None
        self._log: Log | None = None
        self._started = time.monotonic()
        self._memory_kills = 0
        self._exit_code: int | None = None
        self._why = ""
        self._detail = ""

    def run(self) -> None:
        """Run the step, and record how it ended, also when that was the shim's own failure."""
        try:
            self._run()
        except NotStarted as error:
            self._why, self._detail = "start_failed", str(error)
        except BaseException as error:  # noqa: BLE001 - a record has to be written, and no process may be left
            sys.excepthook(type(error), error, error.__traceback__)
            self._fail(error)
        self._record.commit(self._end())

    def _run(self) -> None:
        prctl = load_prctl()
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        prctl(_PR_SET_DUMPABLE, 0)  # nobody of the same user reads our memory or writes to our files through /proc
        orders = Orders.decode(_contents(ORDERS_FD))
        signals = Signals()
        self._say_who()
        if signals.cancelled or self._is_cancelled():
            self._why = "cancelled"
            return
        self._log = log = Log(self._open_log(), orders.output_limit)
        reader, writer = _pipe()
        report = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if orders.reports else None
        self._memory_kills = memory_kills()
        self._started = time.monotonic()
        if orders.user:
            os.fchown(writer, orders.user, orders.user)  # or `echo > /dev/stdout` may not open it
        self._tree = Tree(start(orders, writer, report and report[1], prctl), orders)
        os.close(writer)
        self._watch = watch = Watch(orders, signals, self._tree, reader, log, Times(self._directory))
        watch.run()
        self._tree.evict()
        self._why, self._exit_code = watch.why, self._tree.exit_code
        if report is not None:
            self._look_into(_available(report[0]), watch)

    def _look_into(self, report: bytes, watch: Watch) -> None:
        """The command that counts is the one that was wrapped."""
        code = inner_exit_code(report)
        if code is not None:
            self._exit_code = code
        elif not self._why and (self._exit_code or 0) >= 0:
            last = watch.last.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self._why, self._detail, self._exit_code = "start_failed", last.removeprefix("bwrap: execvp "), None

    def _say_who(self) -> None:
        pid = os.getpid()
        stat = stat_of(pid)
        if stat is None:
            raise NotStarted("/proc is not mounted")
        Durable(self._directory, PID).commit(pack([("pid", pid), ("started", stat[1]), ("boot", boot_id())]))

    def _is_cancelled(self) -> bool:
        try:
            os.stat(CANCEL, dir_fd=self._directory)
        except FileNotFoundError:
            return False
        return True

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(LOG, flags, 0o600, dir_fd=self._directory)
        except OSError as error:
            raise NotStarted("the log cannot be opened", error.strerror) from error

    def _fail(self, error: BaseException) -> None:
        """Before the command has started the error is why it did not; after that, nobody watched the step any more."""
        self._why, self._detail = ("lost" if self._tree else "start_failed"), f"the shim failed: {_sentence(error)}"
        if self._watch:
            self._watch.clean_up()
        if self._tree:
            self._tree.kill()
            self._exit_code = self._tree.exit_code

    def _end(self) -> bytes:
        """The record."""
        duration = time.monotonic() - self._started
        output = self._log.close() if self._log else 0
        detail = self._detail or (self._log.error if self._log else "")
        return pack(
            [
                ("why", self._why),
                ("detail", detail[:_DETAIL_LIMIT]),
                ("exit_code", "" if self._exit_code is None else self._exit_code),
                ("output", output),
                ("dropped", self._log.dropped if self._log else 0),
                ("duration", round(duration, 6)),
                ("memory_kills", memory_kills() - self._memory_kills if self._tree else 0),
            ]
        )


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    try:  # noqa: SIM105 - contextlib costs more than all that is imported here
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # this user has too many large pipes already: an ordinary one does it too, only slower
    return reader, writer


def _available(fd: int) -> bytes:
    """What can be read from there now."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return b""


def _content(path: str) -> bytes:
    """The content of a small file.  Raises OSError."""
    return _contents(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _contents(fd: int) -> bytes:
    """All that can be read from there; it is closed."""
    parts = []
    try:
        while part := os.read(fd, _CHUNK):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts)


def _sentence(error: BaseException) -> str:
    """An error in the system's words: "make: No such file or directory"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error) if isinstance(error, NotStarted) else f"{type(error).__name__}: {error}"


def main() -> NoReturn:
    """Run the step whose run directory is the only argument."""
    os.setsid()
    os.umask(0o022)
    os.set_inheritable(LOCK_FD, False)  # the lock is proof of the shim's life, not of the command's
    Shim(os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)).run()
    os._exit(0)  # tidying up Python takes longer than the step may have


if __name__ == "__main__":
    main()
