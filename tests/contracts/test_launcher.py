"""What every launcher promises (interfaces.Launcher), and every shim: the same tests for each, with real processes."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sayci import limits
from sayci.errors import LauncherError
from sayci.interfaces import Ended, Job, Launcher
from sayci.launchers import bubblewrap, shim
from sayci.launchers.bubblewrap import Bubblewrap
from sayci.launchers.local import LocalLauncher
from sayci.launchers.users import Numbers
from sayci.limits import Limits
from tests.slots import passable_directory, some_numbers

LAUNCHERS: dict[str, Callable[[Path, Numbers | None], Launcher]] = {
    "own user": lambda root, _: LocalLauncher(reactor, root),
    "users": lambda root, users: LocalLauncher(reactor, root, users=users),
    "bubblewrap": lambda root, _: LocalLauncher(reactor, root, wrapper=sandbox(root)),
}
KEY = "12/1-test"
#: For what steps run: the one of the tests may be where no other user gets.
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or os.path.realpath(sys.executable)
#: Seconds after which something that should have happened counts as not happening.
PATIENCE = 30.0

#: A daemon as textbooks make it: forks twice, leads a session of its own, keeps the output, and does not care for TERM.
DAEMON = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("daemon", flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing tells us of: the doings of other processes."""
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it has not happened", condition)


class Server:
    """A server's launcher, of which a test waits for nothing for ever."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.start = launcher.start
        self.cancel = launcher.cancel

    async def result(self, handle: str) -> Ended:
        return await Deferred.fromCoroutine(self.launcher.result(handle)).addTimeout(PATIENCE, reactor)


class Place:
    """Where steps run: a root for their run directories, a workspace, and as many servers as come along.

    With `users` each workspace belongs to one of them, otherwise to ourselves.  Where it is `sandboxed`, a step sees its
    own processes alone, and numbers them anew.
    """

    def __init__(
        self,
        make: Callable[[Path, Numbers | None], Launcher],
        path: Path,
        users: Numbers | None = None,
        *,
        sandboxed: bool = False,
    ) -> None:
        self.sandboxed = sandboxed
        self._make = make
        self._path = path
        self.users = users
        self.root = path / "runs"
        self.workspace = self.new_workspace(0)
        #: In the environment of every process of a step.
        self.probe = f"probe-{secrets.token_hex(8)}"

    def new_workspace(self, number: int) -> Path:
        workspace = self._path / f"workspace-{number}"
        workspace.mkdir()
        if self.users:
            uid = self.users.builds[number]
            os.chown(workspace, uid, uid)
        return workspace

    def server(self) -> Server:
        return Server(self._make(self.root, self.users))

    def job(self, *argv: str, **fields) -> Job:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PROBE": self.probe, **fields.pop("environment", {})}
        defaults: dict[str, Any] = {
            "key": KEY,
            "argv": argv,
            "environment": environment,
            "workspace": self.workspace,
            "grace": 20.0,
            "limits": Limits(**{name: fields.pop(name) for name in limits.NAMES if name in fields}),
        }
        return Job(**defaults | fields)

    def script(self, script: str, **fields) -> Job:
        return self.job("sh", "-c", script, **fields)

    async def run(self, job: Job) -> Ended:
        server = self.server()
        return await server.result(await server.start(job))

    def log(self, key: str = KEY) -> bytes:
        path = self.root / key / "log"
        return path.read_bytes() if path.exists() else b""

    async def told(self, text: bytes, key: str = KEY) -> None:
        await until(lambda: text in self.log(key))

    def processes(self) -> set[int]:
        """The living processes of all steps here."""
        return {int(path.parent.name) for path in Path("/proc").glob("[1-9]*/environ") if self._is_ours(path)}

    def _is_ours(self, environ: Path) -> bool:
        try:
            return self.probe.encode() in environ.read_bytes()
        except OSError:
            return False

    def shim(self, key: str = KEY) -> int:
        """The process id of a step's shim."""
        return int(dict(shim.unpack((self.root / key / "pid").read_bytes()))["pid"])

    def shown_by_shim(self) -> bytes:
        """What anybody can see of the shim, and our own user beside that."""
        proc = Path("/proc") / str(self.shim())
        try:
            return (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        except PermissionError:  # not even our own user can, but for root
            return (proc / "cmdline").read_bytes()

    def peak_memory(self) -> int:
        """Kilobytes that the shim has needed at most."""
        status = Path(f"/proc/{self.shim()}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

    def start_server(self, script: str) -> subprocess.Popen[bytes]:
        """A server that is a process of its own, and starts this script."""
        source = os.pathsep.join([str(Path(shim.__file__).parent.parent.parent), *filter(None, sys.path)])
        users = f"{self.users.first} {self.users.count}" if self.users else ""
        arguments = [str(self.root), str(self.workspace), KEY, self.probe, script, users]
        return subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments], stdout=subprocess.PIPE, env={"PYTHONPATH": source}
        )


def sandbox(root: Path) -> Bubblewrap:
    wrapper, obstacle = bubblewrap.found([root])
    if wrapper is None:
        pytest.skip(obstacle)
    return wrapper


@pytest.fixture(params=LAUNCHERS)
def place(request):
    users = some_numbers(16) if request.param == "users" else None
    with passable_directory() as path:
        place = Place(LAUNCHERS[request.param], path, users, sandboxed=request.param == "bubblewrap")
        yield from checked(place)


def checked(place):
    """The place, and at the end nothing of it may be left."""
    yield place
    left = place.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left"


# ------------------------------------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("code", (0, 1, 2, 77, 126, 127, 137, 255))
@pytest_twisted.ensureDeferred
async def test_the_exit_code_is_the_commands(place, code):
    ended = await place.run(place.script(f"exit {code}"))
    expected = -signal.SIGKILL if place.sandboxed and code == 137 else code  # there the two look alike
    assert (ended.exit_code, ended.why, ended.detail, ended.output, ended.dropped) == (expected, "", "", 0, 0)


@pytest.mark.parametrize("name", ("TERM", "KILL", "SEGV", "HUP", "PIPE"))
@pytest_twisted.ensureDeferred
async def test_a_death_by_signal_is_a_negative_exit_code(place, name):
    ended = await place.run(place.script(f"kill -{name} $$"))
    assert (ended.exit_code, ended.why) == (-signal.Signals[f"SIG{name}"], "")


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_not_there_is_a_result(place):
    ended = await place.run(place.job("no-such-command"))
    assert (ended.exit_code, ended.why, ended.detail) == (
        None,
        "start_failed",
        "no-such-command: No such file or directory",
    )


@pytest_twisted.ensureDeferred
async def test_a_command_that_may_not_be_executed_is_a_result(place):
    (place.workspace / "tool").write_text("#!/bin/sh\n")
    ended = await place.run(place.job("./tool"))
    assert (ended.why, ended.detail) == ("start_failed", "./tool: Permission denied")


@pytest_twisted.ensureDeferred
async def test_a_workspace_that_is_not_there_is_a_result(place):
    job = place.job("true", workspace=place.workspace / "gone")
    if place.users:  # whose it is says who the step is
        with pytest.raises(LauncherError, match="No such file or directory"):
            await place.run(job)
        return
    ended = await place.run(job)
    assert (ended.why, ended.detail) == ("start_failed", f"{place.workspace}/gone: No such file or directory")


@pytest_twisted.ensureDeferred
async def test_the_duration_is_that_of_the_command(place):
    ended = await place.run(place.script("sleep 0.3"))
    assert 0.3 <= ended.duration < PATIENCE


# ------------------------------------------------------------------------------------------------ what it is given


@pytest_twisted.ensureDeferred
async def test_the_environment_is_what_was_stated_and_the_steps_own_mark(place):
    job = place.job("env", environment={"LEVEL": "a b=c\td", "EMPTY": "", "UMLAUT": "ü"})
    await place.run(job)
    found = dict(line.split("=", 1) for line in place.log().decode().splitlines())
    assert found.pop("SAYCI_STEP").startswith(f"{KEY}:")
    if place.sandboxed:
        assert found.pop("PWD") == str(place.workspace)
    assert found == job.environment


@pytest_twisted.ensureDeferred
async def test_it_runs_in_the_workspace(place):
    await place.run(place.job("pwd"))
    assert place.log().decode() == f"{place.workspace}\n"


@pytest_twisted.ensureDeferred
async def test_arguments_arrive_as_they_are(place):
    await place.run(place.job("printf", "[%s]", "a b", "", "*", "$HOME", "\n", "ü", "\udcff"))
    assert place.log() == "[a b][][*][$HOME][\n][ü]".encode() + b"[\xff]"


@pytest_twisted.ensureDeferred
async def test_its_input_is_at_its_end(place):
    assert (await place.run(place.job("cat"))).exit_code == 0


@pytest_twisted.ensureDeferred
async def test_there_is_no_terminal(place):
    await place.run(place.script("if (: < /dev/tty) 2> /dev/null; then echo tty; else echo none; fi"))
    assert place.log() == b"none\n"


@pytest_twisted.ensureDeferred
async def test_it_has_three_open_files_and_leads_a_session(place):
    await place.run(place.script("ls /proc/$$/fd; cut -d' ' -f1,5,6 /proc/$$/stat"))
    *files, leader = place.log().decode().splitlines()
    assert files == ["0", "1", "2"]
    own, *group_and_session = leader.split()
    if place.sandboxed:
        own = "1"  # of the sandbox, not of anybody outside
    assert group_and_session == [own, own]


@pytest_twisted.ensureDeferred
async def test_signals_are_as_a_new_program_expects_them(place):
    await place.run(place.script("grep -E '^Sig(Blk|Ign)' /proc/self/status; umask"))
    blocked, ignored, umask = (line.split()[-1] for line in place.log().decode().splitlines())
    threads = 1 << 31 | 1 << 32  # the C library's own, which nobody else can set
    assert (int(blocked, 16), int(ignored, 16) & ~threads, umask) == (0, 0, "0022")


@pytest_twisted.ensureDeferred
async def test_it_gains_no_privileges_and_goes_first_when_memory_runs_out(place):
    await place.run(place.script("grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj"))
    privileges, score = place.log().decode().splitlines()
    assert privileges.split() == ["NoNewPrivs:", "1"]
    assert int(score) >= 500


@pytest_twisted.ensureDeferred
async def test_no_secret_is_in_an_argument_list_or_on_disk(place):
    server = place.server()
    job = place.script("echo ready; exec sleep 1000", environment={"T": "s3cr3t-t0ken"}, secrets=("s3cr3t-t0ken",))
    handle = await server.start(job)
    await place.told(b"ready")
    assert b"s3cr3t" not in place.shown_by_shim()
    for path in (place.root / KEY).iterdir():
        assert b"s3cr3t" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    assert (place.root / KEY).stat().st_mode & 0o777 == 0o700
    server.cancel(handle)
    await server.result(handle)


# ------------------------------------------------------------------------------------------------ its log


@pytest_twisted.ensureDeferred
async def test_the_log_has_every_byte_in_order(place):
    data = (
        bytes(range(256)) * 3 + b"\x1b[31mred\x1b[0m\r\n\0\0\xff\xfe\xc3" + "ü€😀".encode() + b"no newline at the end"
    )
    (place.workspace / "data").write_bytes(data)
    ended = await place.run(place.script("cat data; cat data >&2; cat data > /dev/stdout", secrets=("not-in-there",)))
    assert place.log() == data * 3
    assert ended.output == len(data) * 3


@pytest_twisted.ensureDeferred
async def test_what_was_in_the_log_stays(place):
    (place.root / KEY).mkdir(parents=True)
    (place.root / KEY / "log").write_bytes(b"before\n")
    ended = await place.run(place.script("echo after"))
    assert place.log() == b"before\nafter\n"
    assert ended.output == len(place.log())


@pytest_twisted.ensureDeferred
async def test_thirty_megabytes_in_one_line_take_no_memory(place):
    server = place.server()
    size = 30_000_000
    script = f"head -c {size} /dev/zero | tr '\\0' x; : > printed; while [ ! -e go ]; do sleep 0.02; done"
    handle = await server.start(place.script(script, secrets=("xxxxxxxxy", "topsecret")))
    await until((place.workspace / "printed").exists)
    await until(lambda: len(place.log()) > size - 100)
    peak = place.peak_memory()
    (place.workspace / "go").touch()
    assert (await server.result(handle)).output == size
    assert place.log() == b"x" * size
    assert peak < 30_000  # kilobytes; Python itself takes 9,000


@pytest_twisted.ensureDeferred
async def test_a_secret_in_two_writes_is_masked_and_its_first_half_never_shown(place):
    server = place.server()
    script = "printf 'x tops'; : > half; while [ ! -e go ]; do sleep 0.02; done; printf 'ecret-word y'"
    handle = await server.start(place.script(script, secrets=("topsecret-word",)))
    await until((place.workspace / "half").exists)
    await place.told(b"x ")
    assert place.log() == b"x "
    (place.workspace / "go").touch()
    await server.result(handle)
    assert place.log() == b"x *** y"


@pytest_twisted.ensureDeferred
async def test_what_looked_like_a_secret_and_was_none_is_in_the_log_at_the_end(place):
    ended = await place.run(place.script("printf 'x tops'", secrets=("topsecret-word",)))
    assert place.log() == b"x tops"
    assert ended.output == 6


@pytest_twisted.ensureDeferred
async def test_secrets_are_masked_in_their_usual_encodings(place):
    script = 'echo "$T"; printf %s "$T" | base64; printf %s "$T" | od -An -tx1 | tr -d " \\n"'
    secret = "p4ss/w0rd&more"
    await place.run(place.script(script, environment={"T": secret}, secrets=(secret,)))
    first, second, third = place.log().splitlines()
    assert (first, third) == (b"***", b"***")
    assert second.startswith(b"***")


@pytest_twisted.ensureDeferred
async def test_output_beyond_the_limit_is_dropped_and_counted_and_the_step_goes_on(place):
    script = "yes | head -c 300000; yes | head -c 700000; exit 3"
    ended = await place.run(place.script(script, output_limit=1000))
    assert place.log() == b"y\n" * 500 + b"\n[sayci: output limit reached]\n"
    assert (ended.exit_code, ended.why, ended.dropped) == (3, "", 999_000)
    assert ended.output == len(place.log())


@pytest_twisted.ensureDeferred
async def test_a_log_that_cannot_be_opened_is_a_result(place):
    (place.root / KEY / "log").mkdir(parents=True)
    ended = await place.run(place.script("touch has-run"))
    assert (ended.why, ended.detail) == ("start_failed", "the log cannot be opened: Is a directory")
    assert not (place.workspace / "has-run").exists()


@pytest_twisted.ensureDeferred
async def test_a_process_at_the_output_that_outlives_the_command_loses_nothing(place):
    script = "(sleep 0.1; echo late) & echo early"
    ended = await place.run(place.script(script))
    assert (ended.exit_code, place.log()) == (0, b"early\nlate\n")


# ------------------------------------------------------------------------------------------------ limits


@pytest_twisted.ensureDeferred
async def test_the_time_limit_ends_it(place):
    ended = await place.run(place.script("echo begun; sleep 1000; echo never", time_limit=0.3))
    assert (ended.why, ended.exit_code, place.log()) == ("time_limit", -signal.SIGTERM, b"begun\n")
    assert 0.3 <= ended.duration < PATIENCE


@pytest_twisted.ensureDeferred
async def test_silence_for_too_long_ends_it(place):
    ended = await place.run(place.script("echo begun; sleep 1000", silence_limit=0.3))
    assert (ended.why, place.log()) == ("silence_limit", b"begun\n")


@pytest_twisted.ensureDeferred
async def test_what_goes_on_talking_is_not_silent(place):
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.25; done"
    ended = await place.run(place.script(script, silence_limit=2.0))
    assert (ended.why, ended.exit_code) == ("", 0)
    assert ended.duration > 2.0


@pytest_twisted.ensureDeferred
async def test_what_can_tidy_up_may(place):
    script = "trap 'echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.02; done"
    ended = await place.run(place.script(script, time_limit=0.5))
    assert (ended.why, ended.exit_code, place.log()[-7:]) == ("time_limit", 5, b"tidied\n")


@pytest_twisted.ensureDeferred
async def test_what_ignores_term_is_killed_after_the_grace_time(place):
    server = place.server()
    script = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
    handle = await server.start(place.script(script, grace=0.4))
    await place.told(b"ready")
    server.cancel(handle)
    ended = await server.result(handle)
    assert (ended.why, ended.exit_code) == ("cancelled", -signal.SIGKILL)
    assert ended.duration >= 0.4


@pytest_twisted.ensureDeferred
async def test_what_is_stopped_is_ended_too(place):
    ended = await place.run(place.script("echo ready; kill -STOP $$", time_limit=0.3))
    assert (ended.why, ended.exit_code) == ("time_limit", -signal.SIGTERM)


#: A program that wants more processes than it is let have, and has patience; each of them waits.
MANY_PROCESSES = """
import os, time
for _ in range(150):
    try:
        if os.fork() == 0:
            time.sleep(1000)
    except OSError:
        time.sleep(0.05)
time.sleep(1000)
"""
MANY_THREADS = """
import threading, time
for _ in range(150):
    try:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError:
        time.sleep(0.05)
time.sleep(1000)
"""
MUCH_MEMORY = "import time; held = b'x' * 300_000_000; time.sleep(1000)"
MUCH_SHARED_MEMORY = """
import mmap, time
held = mmap.mmap(-1, 300_000_000)
for at in range(0, 300_000_000, 4096):
    held[at] = 1
time.sleep(1000)
"""
MEMORY_OF_MANY = """
import os, time
held = b'x' * 80_000_000
for _ in range(3):
    if os.fork() == 0:
        held = b'y' * 80_000_000
        break
time.sleep(1000)
"""
MANY_FILES = """
import time
for number in range(400):
    open(f"file-{number}", "w").close()
time.sleep(1000)
"""
MB = 1_000_000
TOO_MUCH = {
    "processes": (MANY_PROCESSES, {"process_limit": 40}, "process_limit"),
    "threads": (MANY_THREADS, {"process_limit": 40}, "process_limit"),
    "memory": (MUCH_MEMORY, {"memory_limit": 200 * MB}, "memory_limit"),
    "shared memory": (MUCH_SHARED_MEMORY, {"memory_limit": 200 * MB}, "memory_limit"),
    "memory of many": (MEMORY_OF_MANY, {"memory_limit": 200 * MB}, "memory_limit"),
    "a large file": ("open('big', 'wb').write(b'x' * 3_000_000); input()", {"workspace_limit": MB}, "workspace_limit"),
    "many files": (MANY_FILES, {"workspace_limit": MB}, "workspace_limit"),
    "output": ("while True: print('y' * 80)", {"output_limit": 1000, "ends_at_output_limit": True}, "output_limit"),
}


@pytest.mark.parametrize(("program", "limits", "why"), TOO_MUCH.values(), ids=TOO_MUCH)
@pytest_twisted.ensureDeferred
async def test_a_step_that_takes_too_much_is_ended_with_all_its_processes(place, program, limits, why):
    program = program.replace("input()", "import time; time.sleep(1000)")
    ended = await place.run(place.job(PYTHON, "-I", "-S", "-c", program, **limits))
    assert ended.why == why
    assert (ended.exit_code or 0) < 0
    assert not place.processes()


@pytest_twisted.ensureDeferred
async def test_what_a_step_has_beside_its_workspace_counts_too(place):
    home = place.new_workspace(1)
    job = place.script(f"head -c 3000000 /dev/zero > {home}/big; exec sleep 1000", beside=(home,), workspace_limit=MB)
    if place.users:
        os.chown(home, place.users.builds[0], place.users.builds[0])
    assert (await place.run(job)).why == "workspace_limit"


@pytest_twisted.ensureDeferred
async def test_what_processes_share_is_counted_once(place):
    program = "import os, time; held = b'x' * 80_000_000; [os.fork() for _ in range(2)]; time.sleep(1.5)"
    ended = await place.run(place.job(PYTHON, "-I", "-S", "-c", program, memory_limit=200 * MB))
    assert (ended.why, ended.exit_code) == ("", 0)


@pytest_twisted.ensureDeferred
async def test_the_number_of_open_files_is_limited_and_no_memory_is_dumped(place):
    await place.run(place.script("ulimit -n; ulimit -Hn; ulimit -c", open_files_limit=77))
    assert place.log() == b"77\n77\n0\n"


# ------------------------------------------------------------------------------------------------ nothing is left


@pytest_twisted.ensureDeferred
async def test_a_daemon_does_not_outlive_its_step(place):
    ended = await place.run(place.job(PYTHON, "-I", "-S", "-c", DAEMON, grace=0.3))
    assert (ended.exit_code, ended.why, place.log()) == (0, "", b"daemon\n")
    assert not place.processes()


@pytest_twisted.ensureDeferred
async def test_a_cancel_reaches_daemons_and_everything_below(place):
    server = place.server()
    script = f"{PYTHON} -I -S -c '{DAEMON}'; sh -c 'sh -c \"sleep 1000; :\" & sleep 1000; :' & sleep 1000 & wait"
    handle = await server.start(place.script(script, grace=0.3))
    await until(lambda: len(place.processes()) >= 7)
    server.cancel(handle)
    assert (await server.result(handle)).why == "cancelled"
    assert not place.processes()


@pytest_twisted.ensureDeferred
async def test_a_step_cannot_end_its_shim_by_its_process_group(place):
    ended = await place.run(place.script("echo begun; kill -KILL 0"))
    assert (ended.why, ended.exit_code, place.log()) == ("", -signal.SIGKILL, b"begun\n")


@pytest_twisted.ensureDeferred
async def test_a_killed_shim_is_a_lost_step_of_which_nothing_is_left(place):
    server = place.server()
    bare = "env -i sleep 1000"  # without the mark, but its parent has it
    script = f"{PYTHON} -I -S -c '{DAEMON}'; sh -c '{bare}; :' & echo ready; wait"
    handle = await server.start(place.script(script))
    await place.told(b"ready")
    await until(lambda: len(place.processes()) >= 3)
    below = shim.descendants([place.shim()])
    os.kill(place.shim(), signal.SIGKILL)
    ended = await server.result(handle)
    assert (ended.exit_code, ended.why, ended.detail) == (None, "lost", "its shim was killed")
    assert not place.processes()
    assert not [pid for pid in below if is_alive(pid)]
    assert await place.server().result(handle) == ended


@pytest_twisted.ensureDeferred
async def test_a_command_dies_with_its_shim_even_if_nothing_marks_it(place):
    server = place.server()
    handle = await server.start(place.job("env", "-i", "sh", "-c", "echo ready; exec sleep 1000"))
    await place.told(b"ready")
    (command, *_) = shim.descendants([place.shim()])
    os.kill(place.shim(), signal.SIGKILL)
    assert (await server.result(handle)).why == "lost"
    await until(lambda: not is_alive(command))


@pytest_twisted.ensureDeferred
async def test_no_other_signal_ends_a_shim_and_it_leads_a_session(place):
    server = place.server()
    handle = await server.start(place.script("echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 6"))
    await place.told(b"ready")
    assert os.getsid(place.shim()) == place.shim()
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGCHLD):
        os.kill(place.shim(), number)
    (place.workspace / "go").touch()
    ended = await server.result(handle)
    assert (ended.exit_code, ended.why) == (6, "")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest_twisted.ensureDeferred
async def test_twenty_steps_leave_no_open_files(place):
    server = place.server()
    await server.result(await server.start(place.job("true", key="1/0-test")))
    before = open_files()
    for number in range(1, 21):
        handle = await server.start(place.job("true", key=f"1/{number}-test"))
        await (server if number % 2 else place.server()).result(handle)
    assert open_files() <= before + 2  # the reactor's own come and go


# ------------------------------------------------------------------------------------------------ cancel


@pytest_twisted.ensureDeferred
async def test_a_cancel_right_after_the_start_counts(place):
    server = place.server()
    handle = await server.start(place.script("touch has-run; exec sleep 1000"))
    server.cancel(handle)
    assert (await server.result(handle)).why == "cancelled"


@pytest_twisted.ensureDeferred
async def test_a_cancel_at_any_moment_of_the_start_is_a_cancel(place):
    for number in range(20):
        server, other = place.server(), place.server()
        # What wraps a command may be deaf to TERM while it sets up; then it takes the grace time.
        handle = await server.start(place.job("sleep", "1000", key=f"1/{number}-test", grace=1.0))
        await deferLater(reactor, random.uniform(0, 0.06))
        (server if number % 2 else other).cancel(handle)
        assert (await server.result(handle)).why == "cancelled"


@pytest_twisted.ensureDeferred
async def test_a_cancel_while_it_runs_can_be_repeated(place):
    server = place.server()
    handle = await server.start(place.script("echo ready; sleep 1000"))
    await place.told(b"ready")
    server.cancel(handle)
    place.server().cancel(handle)
    server.cancel(handle)
    ended = await server.result(handle)
    assert (ended.why, ended.exit_code) == ("cancelled", -signal.SIGTERM)
    server.cancel(handle)
    assert await server.result(handle) == ended


@pytest_twisted.ensureDeferred
async def test_a_cancel_after_the_end_changes_nothing(place):
    ended = await place.run(place.script("exit 4"))
    server = place.server()
    server.cancel(KEY)
    assert await server.result(KEY) == ended
    assert ended.why == ""


@pytest_twisted.ensureDeferred
async def test_a_cancel_of_what_has_not_been_started_changes_nothing(place):
    server = place.server()
    server.cancel(KEY)
    assert (await place.run(place.script("exit 4"))).exit_code == 4


# ------------------------------------------------------------------------------------------------ who waits for it


@pytest_twisted.ensureDeferred
async def test_another_server_attaches_to_a_running_step(place):
    handle = await place.server().start(place.script("echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 6"))
    waiting = Deferred.fromCoroutine(place.server().result(handle))
    await place.told(b"ready")
    assert not waiting.called
    (place.workspace / "go").touch()
    assert (await waiting).exit_code == 6


@pytest_twisted.ensureDeferred
async def test_another_server_can_cancel(place):
    handle = await place.server().start(place.script("echo ready; exec sleep 1000"))
    await place.told(b"ready")
    other = place.server()
    other.cancel(handle)
    assert (await other.result(handle)).why == "cancelled"


@pytest_twisted.ensureDeferred
async def test_another_server_attaches_to_an_ended_step(place):
    ended = await place.run(place.script("echo hello; exit 6"))
    assert await place.server().result(KEY) == ended


@pytest_twisted.ensureDeferred
async def test_any_number_may_wait_and_one_that_stops_waiting_disturbs_nobody(place):
    server, other = place.server(), place.server()
    handle = await server.start(place.script("echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 6"))
    waiting = [Deferred.fromCoroutine(each.result(handle)) for each in (server, server, other, other)]
    await place.told(b"ready")
    before = len(reactor.getReaders())
    gone = [Deferred.fromCoroutine(each.result(handle)) for each in (server, other)]
    for deferred in gone:
        deferred.addErrback(lambda _: None)
        deferred.cancel()
    assert len(reactor.getReaders()) == before
    (place.workspace / "go").touch()
    assert {ended.exit_code for ended in await gatherResults(waiting)} == {6}
    assert (await server.result(handle)).exit_code == 6


@pytest_twisted.ensureDeferred
async def test_many_steps_at_once_keep_apart(place):
    server = place.server()
    handles = [
        await server.start(
            place.script(f"echo {number}; exit {number}", key=f"{number}/1-test", workspace=place.new_workspace(number))
        )
        for number in range(1, 13)
    ]
    ended = await gatherResults([Deferred.fromCoroutine(server.result(handle)) for handle in handles])
    assert [each.exit_code for each in ended] == list(range(1, 13))
    assert [place.log(handle) for handle in handles] == [b"%d\n" % number for number in range(1, 13)]


#: A server that starts a step, says so, and never gets any further.
SERVER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from sayci.interfaces import Job
from sayci.launchers.local import LocalLauncher
from sayci.launchers.users import Numbers

async def main():
    root, workspace, key, probe, script, users = sys.argv[1:]
    environment = {"PATH": "/usr/bin:/bin", "PROBE": probe}
    numbers = Numbers(*map(int, users.split())) if users else None
    launcher = LocalLauncher(reactor, Path(root), users=numbers)
    handle = await launcher.start(Job(key, ("sh", "-c", script), environment, Path(workspace), ("topsecret",)))
    print(handle, flush=True)
    await launcher.result(handle)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback()))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_a_step_survives_the_kill_of_its_server(place):
    script = "echo one topsecret; while [ ! -e go ]; do sleep 0.02; done; printf 'two tops'; echo ecret; exit 7"
    with place.start_server(script) as server:
        assert server.stdout is not None
        handle = server.stdout.readline().decode().strip()
        await place.told(b"one ***\n")
        server.kill()
    (place.workspace / "go").touch()
    ended = await place.server().result(handle)
    assert (ended.exit_code, ended.why) == (7, "")
    assert place.log() == b"one ***\ntwo ***\n"


# ------------------------------------------------------------------------------------------------ what is refused


@pytest_twisted.ensureDeferred
async def test_what_has_ended_is_not_started_again(place):
    await place.run(place.script("echo once"))
    with pytest.raises(LauncherError) as caught:
        await place.server().start(place.script("echo twice"))
    assert caught.value.args == ("the step has been started before", KEY)
    assert place.log() == b"once\n"


@pytest_twisted.ensureDeferred
async def test_what_runs_is_not_started_again(place):
    server = place.server()
    handle = await server.start(place.script("echo once; exec sleep 1000"))
    for other in (server, place.server()):
        with pytest.raises(LauncherError):
            await other.start(place.script("echo twice"))
    await place.told(b"once")
    server.cancel(handle)
    await server.result(handle)
    assert place.log() == b"once\n"


BAD_KEYS = (
    "../12/1-test",
    "/tmp/x",
    "12/../../x",
    "..",
    ".",
    "",
    "12/",
    "12//1",
    "12/.x",
    "a\0b",
    "a\n",
    "a" * 200,
    "a b",
)


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest_twisted.ensureDeferred
async def test_no_key_leads_out_of_the_root(place, tmp_path, key):
    server = place.server()
    with pytest.raises(LauncherError):
        await server.start(place.job("true", key=key))
    server.cancel(key)
    assert (await server.result(key)).why == "lost"
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "workspace"}


@pytest_twisted.ensureDeferred
async def test_a_root_that_cannot_be_written_is_an_error(place):
    place.root.write_text("in the way")
    with pytest.raises(LauncherError):
        await place.server().start(place.job("true"))


@pytest_twisted.ensureDeferred
async def test_a_text_that_no_program_can_be_given_is_an_error(place):
    with pytest.raises(LauncherError):
        await place.server().start(place.job("echo", "\ud800"))


@pytest_twisted.ensureDeferred
async def test_nothing_is_known_of_a_step_that_nobody_started(place):
    ended = await place.server().result("99/1-test")
    assert (ended.exit_code, ended.why, ended.detail) == (None, "lost", "nothing is known of it")


def test_every_launcher_says_what_isolates_its_steps(place):
    assert place.server().launcher.isolation.words
