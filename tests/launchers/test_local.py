"""launchers/local.py: what only its run directories know.  The rest is in tests/contracts/test_launcher.py."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from sayci.errors import LauncherError
from sayci.interfaces import Ended, Job
from sayci.launchers import shim
from sayci.launchers.local import COOKIE, TROUBLE_PAUSE, LocalLauncher, sweep

KEY = "12/1-test"
PYTHON = os.path.realpath(sys.executable)


class Launcher(LocalLauncher):
    """One of which a test waits for nothing for ever."""

    async def result(self, handle: str) -> Ended:
        return await Deferred.fromCoroutine(super().result(handle)).addTimeout(30, reactor)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def job(tmp_path):
    return Job(KEY, ("sh", "-c", "touch has-run"), {"PATH": "/usr/bin:/bin"}, tmp_path)


def a_program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def a_run(root: Path, **files: bytes) -> Path:
    """A run directory with these files, as some server has left it."""
    directory = root / KEY
    directory.mkdir(parents=True)
    for name, contents in files.items():
        (directory / name).write_bytes(contents)
    return directory


def who(pid: int, started: int, boot: bytes | None = None) -> bytes:
    return shim.pack([("pid", pid), ("started", started), ("boot", shim.boot_id() if boot is None else boot)])


# ------------------------------------------------------------------------------------------------ never started


@pytest_twisted.ensureDeferred
async def test_a_shim_that_dies_before_it_says_who_it_is_has_started_nothing(root, job, tmp_path):
    dying = Launcher(reactor, root, python=a_program(tmp_path / "python", "echo it broke >&2"))
    ended = await dying.result(await dying.start(job))
    assert (ended.exit_code, ended.why, ended.detail) == (None, "never_started", "it broke")
    assert not (tmp_path / "has-run").exists()


@pytest_twisted.ensureDeferred
async def test_what_never_started_can_be_started_again(root, job, tmp_path):
    dying = Launcher(reactor, root, python=a_program(tmp_path / "python", "exit 1"))
    await dying.result(await dying.start(job))
    launcher = Launcher(reactor, root)
    ended = await launcher.result(await launcher.start(job))
    assert (ended.exit_code, ended.why, ended.detail) == (0, "", "")
    assert (tmp_path / "has-run").exists()


@pytest_twisted.ensureDeferred
async def test_a_run_directory_with_nothing_but_a_log_says_that_nothing_has_started(root):
    a_run(root, log=b"")
    assert (await Launcher(reactor, root).result(KEY)).why == "never_started"


@pytest_twisted.ensureDeferred
async def test_no_python_is_an_error_and_nothing_has_started(root, job):
    missing = Launcher(reactor, root, python="/nowhere/python")
    with pytest.raises(LauncherError) as caught:
        await missing.start(job)
    assert caught.value.args == ("the step could not be started", KEY, "No such file or directory")
    assert (await missing.result(KEY)).why == "never_started"


@pytest_twisted.ensureDeferred
async def test_a_cancel_before_the_shim_says_who_it_is_takes_effect_when_it_does(root, job, tmp_path):
    slow = Launcher(reactor, root, python=a_program(tmp_path / "python", f'sleep 0.3; exec {PYTHON} "$@"'))
    handle = await slow.start(job)
    slow.cancel(handle)
    ended = await slow.result(handle)
    assert (ended.exit_code, ended.why) == (None, "cancelled")
    assert not (tmp_path / "has-run").exists()


@pytest_twisted.ensureDeferred
async def test_one_who_attaches_before_the_shim_says_who_it_is_waits(root, job, tmp_path):
    slow = Launcher(reactor, root, python=a_program(tmp_path / "python", f'sleep 0.3; exec {PYTHON} "$@"'))
    handle = await slow.start(job)
    assert (await Launcher(reactor, root).result(handle)).exit_code == 0


@pytest_twisted.ensureDeferred
async def test_a_cancelled_step_whose_shim_never_came_up_is_cancelled(root, job, tmp_path):
    dying = Launcher(reactor, root, python=a_program(tmp_path / "python", "sleep 0.3"))
    handle = await dying.start(job)
    dying.cancel(handle)
    assert (await dying.result(handle)).why == "cancelled"
    with pytest.raises(LauncherError):
        await dying.start(job)


# ------------------------------------------------------------------------------------------------ lost


@pytest_twisted.ensureDeferred
async def test_after_a_restart_of_the_machine_a_running_step_is_lost(root):
    a_run(root, lock=b"", pid=who(os.getpid(), 1, b"another-boot"))
    ended = await Launcher(reactor, root).result(KEY)
    assert (ended.why, ended.detail) == ("lost", "the machine was restarted")


@pytest.mark.parametrize("record", (b"", b"why 0:\n", b"\0" * 100, b"why 9:cancelled", b"exit_code 1:x\n"))
@pytest_twisted.ensureDeferred
async def test_a_record_that_cannot_be_read_is_a_lost_step(root, record):
    a_run(root, lock=b"", exit=record)
    ended = await Launcher(reactor, root).result(KEY)
    assert (ended.why, ended.detail) == ("lost", "its record cannot be read")


@pytest.mark.parametrize("garbage", (b"", b"\0\0\0", b"pid 5:1", b"pid 1:1\n"))
@pytest_twisted.ensureDeferred
async def test_a_step_of_which_it_cannot_be_told_whether_it_started_is_lost(root, garbage):
    a_run(root, lock=b"\xff", pid=garbage)
    launcher = Launcher(reactor, root)
    launcher.cancel(KEY)
    assert (await launcher.result(KEY)).why == "lost"


@pytest_twisted.ensureDeferred
async def test_a_directory_with_a_log_alone_is_no_step(root):
    a_run(root, log=b"text")
    assert (await Launcher(reactor, root).result(KEY)).why == "lost"


@pytest_twisted.ensureDeferred
async def test_a_run_directory_that_cannot_be_read_now_says_nothing(root):
    clock = Clock()
    directory = a_run(root, lock=b"")
    (directory / "exit").mkdir()
    waiting = Deferred.fromCoroutine(Launcher(clock, root).result(KEY))
    assert not waiting.called
    (directory / "exit").rmdir()
    clock.advance(TROUBLE_PAUSE)
    assert (await waiting).why == "never_started"


#: A shim that breaks when there is a file `fail`, once its command runs.
BREAKING = """
import os, sys, time
sys.path.insert(0, {folder!r})
import shim

def run(watch):
    while not os.path.exists(sys.argv[1] + "/fail"):
        time.sleep(0.01)
    raise RuntimeError("it broke")

shim.Watch.run = run
shim.main()
"""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing tells us of: the doings of other processes."""
    for _ in range(3000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it has not happened")


def shim_of(directory: Path) -> int:
    return int(dict(shim.unpack((directory / "pid").read_bytes()))["pid"])


@pytest_twisted.ensureDeferred
async def test_a_shim_that_fails_itself_leaves_a_record_and_no_process(root, tmp_path):
    breaking = tmp_path / "breaking.py"
    breaking.write_text(BREAKING.format(folder=str(Path(shim.__file__).parent)))
    launcher = Launcher(reactor, root)
    launcher._program = breaking
    script = "trap '' TERM; sleep 1000 & sleep 1000 & wait"
    handle = await launcher.start(Job(KEY, ("sh", "-c", script), {"PATH": "/usr/bin:/bin"}, tmp_path))
    directory = root / KEY
    await until((directory / "pid").exists)
    await until(lambda: len(shim.descendants([shim_of(directory)])) == 3)
    below = shim.descendants([shim_of(directory)])
    (directory / "fail").touch()
    await until((directory / "exit").exists)
    assert [shim.stat_of(pid) for pid in below] == [None, None, None]
    ended = await launcher.result(handle)
    assert (ended.why, ended.detail) == ("lost", "the shim failed: RuntimeError: it broke")
    assert "Traceback" in (directory / "errors").read_text()


# ------------------------------------------------------------------------------------------------ the wrong process


def a_stranger() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


@pytest_twisted.ensureDeferred
async def test_a_process_that_only_has_the_number_of_the_shim_is_let_be(root):
    with a_stranger() as stranger:
        stat = shim.stat_of(stranger.pid)
        assert stat is not None
        directory = a_run(root, lock=b"", pid=who(stranger.pid, stat[1] + 1))
        with (directory / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            launcher = Launcher(reactor, root)
            launcher.cancel(KEY)
            waiting = Deferred.fromCoroutine(launcher.result(KEY))
            await deferLater(reactor, 0.2)
            assert not waiting.called  # the lock says that a shim lives, though not here
        assert (await waiting).why == "lost"
        assert stranger.poll() is None
        stranger.kill()


@pytest_twisted.ensureDeferred
async def test_a_lock_that_is_looked_at_by_others_is_free(root):
    directory = a_run(root, lock=b"")
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert (await Launcher(reactor, root).result(KEY)).why == "never_started"


def test_a_sweep_ends_what_has_the_mark_and_nothing_else():
    environments = [
        {COOKIE: "1/1-test:abc"},
        {COOKIE: "1/1-test:abcd"},
        {COOKIE: ""},
        {"OTHER": f"{COOKIE}=1/1-test:abc"},
    ]
    processes = [subprocess.Popen(["sleep", "1000"], env={"PATH": "/usr/bin:/bin", **each}) for each in environments]
    try:
        assert sweep("1/1-test:abc")
        assert processes[0].wait(30) == -signal.SIGKILL
        assert sweep("")
        assert [process.poll() for process in processes[1:]] == [None, None, None]
    finally:
        for process in processes:
            process.kill()
            process.wait()


# ------------------------------------------------------------------------------------------------ its program


def test_the_shim_is_compiled_once_for_the_servers_own_python_alone(root):
    Launcher(reactor, root, python="/usr/bin/python3")
    assert not root.exists()
    Launcher(reactor, root)
    assert [path.name for path in root.iterdir()] == [".shim.pyc"]
    assert root.stat().st_mode & 0o777 == 0o700


@pytest_twisted.ensureDeferred
async def test_a_shim_runs_from_its_source_too(root, job, tmp_path):
    launcher = Launcher(reactor, root, python=PYTHON)
    assert (await launcher.result(await launcher.start(job))).exit_code == 0


def test_nothing_isolates_its_steps(root):
    assert not Launcher(reactor, root).isolation.holds
