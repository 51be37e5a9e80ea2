"""command.py: one command, one session, one time limit, and nothing left of it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sayci.errors import CannotStart
from sayci.mirrors import command
from sayci.mirrors.askpass import sealed
from sayci.mirrors.command import GRACE, STDERR_LIMIT, STDOUT_LIMIT, Commands
from tests.gitserver import processes_mentioning

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def mark():
    """A fraction of a second that is in the command lines of this test's processes alone, when they sleep for it."""
    return f"0.{secrets.randbelow(10**15):015}"


@pytest.fixture(params=(None, 60801), ids=("ours", "another user's"))
def uid(request):
    """Whose the command is: all that ends one of ours ends one of another user as well."""
    if request.param is not None and os.geteuid() != 0:
        pytest.skip("only root can run commands as other users")
    return request.param


def sh(script: str, *arguments: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh", *arguments)


async def until(condition):
    """Wait for the doings of another process, of which nothing tells us."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it has not happened"
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_a_command_says_what_it_says_and_how_it_ended(commands, uid):
    output = await commands.run(sh("echo out; echo err >&2; exit 3"), PATH, 30, uid=uid)
    assert (output.exit_code, output.stdout, output.stderr) == (3, b"out\n", b"err\n")
    assert not output.cut
    assert not output.out_of_time


@pytest_twisted.ensureDeferred
async def test_a_command_that_was_killed_says_by_what(commands):
    assert (await commands.run(sh("kill -KILL $$"), PATH, 30)).exit_code == -signal.SIGKILL


@pytest_twisted.ensureDeferred
async def test_a_command_is_given_its_environment_and_nothing_else(commands, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    output = await commands.run(("env",), PATH | {"A": "b c"}, 30)
    assert dict(line.split("=", 1) for line in output.stdout.decode().splitlines()) == PATH | {"A": "b c"}


@pytest_twisted.ensureDeferred
async def test_a_command_has_nothing_to_read_and_no_descriptor_of_ours(commands, tmp_path):
    with (tmp_path / "x").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        output = await commands.run(sh("cat; readlink /proc/$$/fd/*"), PATH, 30)
    assert output.stdout.splitlines()[0] == b"/dev/null"
    assert ours.name not in output.stdout.decode()


@pytest_twisted.ensureDeferred
async def test_a_token_comes_by_descriptor_three(commands):
    with sealed("moonlight") as descriptor:
        output = await commands.run(sh("cat <&3; cat /proc/self/fd/3"), PATH, 30, token_fd=descriptor)
    assert output.stdout.startswith(b"moonlight\n")


@pytest_twisted.ensureDeferred
async def test_a_command_leads_a_session_of_its_own(commands, uid):
    output = await commands.run(sh("cut -d' ' -f5,6 /proc/self/stat; echo $PPID"), PATH, 30, uid=uid)
    group, session, leader = map(int, output.stdout.split())
    assert group == session == leader
    assert session != os.getsid(0)


@pytest_twisted.ensureDeferred
async def test_the_server_is_not_copied_for_it(commands, monkeypatch, uid):
    def fork():
        raise AssertionError

    monkeypatch.setattr(os, "fork", fork)
    assert (await commands.run(("true",), PATH, 30, uid=uid)).exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as other users")
@pytest_twisted.ensureDeferred
async def test_a_command_of_another_user_has_no_power_of_ours(commands):
    output = await commands.run(("cat", "/proc/self/status"), PATH, 30, uid=60801)
    status = dict(line.split(":\t", 1) for line in output.stdout.decode().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["60801"] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


@pytest_twisted.ensureDeferred
async def test_a_command_that_takes_too_long_is_ended_with_all_its_children(commands, mark, uid):
    output = await commands.run(sh('sleep 1000 "$1" & sleep 1000 "$1"', mark), PATH, 0.3, uid=uid)
    assert output.out_of_time
    assert not processes_mentioning(mark)


@pytest_twisted.ensureDeferred
async def test_a_command_that_does_not_care_is_killed(commands, mark, uid):
    started = time.monotonic()
    output = await commands.run(sh("trap '' TERM; while :; do sleep 0.1 $1; done", mark), PATH, 0.3, uid=uid)
    assert output.out_of_time
    assert time.monotonic() - started >= GRACE
    assert not processes_mentioning(mark)


@pytest_twisted.ensureDeferred
async def test_a_child_that_stays_behind_is_killed_and_not_waited_for(commands, mark, uid):
    started = time.monotonic()
    output = await commands.run(sh("(trap '' TERM HUP; sleep 1000 $1) & echo done", mark), PATH, 30, uid=uid)
    assert output.stdout == b"done\n"
    assert time.monotonic() - started < 20
    assert not processes_mentioning(mark)


@pytest_twisted.ensureDeferred
async def test_a_child_that_has_left_the_session_does_not_keep_us_waiting(commands):
    output = await commands.run(sh("setsid sleep 1000 & echo $!; sleep 0.3"), PATH, 30)
    try:
        assert output.exit_code == 0
    finally:
        os.kill(int(output.stdout), signal.SIGKILL)


@pytest_twisted.ensureDeferred
async def test_a_cancelled_command_is_gone_before_we_hear_of_it(commands, mark, uid):
    running = Deferred.fromCoroutine(commands.run(sh('sleep 1000 "$1" & sleep 1000 "$1"', mark), PATH, 30, uid=uid))
    await until(lambda: processes_mentioning(mark))
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    assert not processes_mentioning(mark)


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_cancelled_at_once_is_gone(commands, mark, uid):
    running = Deferred.fromCoroutine(commands.run(sh('sleep 1000 "$1" & sleep 1000 "$1"', mark), PATH, 30, uid=uid))
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    assert not processes_mentioning(mark)


@pytest_twisted.ensureDeferred
async def test_a_stop_ends_everything_that_runs(commands, mark, uid):
    running = [Deferred.fromCoroutine(commands.run(sh("sleep 1000 $1", mark), PATH, 30, uid=uid)) for _ in range(3)]
    await until(lambda: len(processes_mentioning(mark)) >= 3)
    await commands.stop()
    assert not processes_mentioning(mark)
    for one in running:
        assert (await one).exit_code != 0


@pytest_twisted.ensureDeferred
async def test_of_much_output_the_beginning_and_of_many_complaints_the_end_is_kept(commands):
    heard: list[bytes] = []
    script = "head -c 20000000 /dev/zero; head -c 100000 /dev/zero >&2; echo last >&2"
    output = await commands.run(sh(script), PATH, 30, listen=heard.append)
    assert output.cut
    assert len(output.stdout) == STDOUT_LIMIT
    assert len(output.stderr) == STDERR_LIMIT
    assert output.stderr.endswith(b"last\n")
    assert len(b"".join(heard)) == 100_005


@pytest_twisted.ensureDeferred
async def test_a_command_can_neither_fill_the_disk_nor_the_memory(tmp_path):
    commands = Commands(reactor, file_limit=1_000_000, memory_limit=64_000_000)  # type: ignore[arg-type]  # provides it
    output = await commands.run(sh('head -c 2000000 /dev/zero > "$1"', str(tmp_path / "big")), PATH, 30)
    assert output.exit_code != 0
    assert (tmp_path / "big").stat().st_size == 1_000_000
    output = await commands.run(sh("head -c 200000000 /dev/zero | tail"), PATH, 30)
    assert b"memory" in output.stderr


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_command_ends_by_itself_when_the_server_is_killed(mark):
    script = (
        "import sys\n"
        "from twisted.internet import reactor\n"
        "from twisted.internet.defer import Deferred\n"
        "from sayci.mirrors.command import Commands\n"
        f"run = Commands(reactor).run(('sleep', '1000', {mark!r}), {PATH!r}, 1.0)\n"
        "Deferred.fromCoroutine(run)\n"
        "reactor.run()\n"
    )
    environment = {"PYTHONPATH": str(Path(command.__file__).parents[2]), **PATH}
    server = subprocess.Popen((sys.executable, "-c", script), env=environment)  # noqa: ASYNC220 - it only starts it
    try:
        await until(lambda: processes_mentioning(f"sleep 1000 {mark}"))
    finally:
        server.kill()
        server.wait()
    assert processes_mentioning(f"sleep 1000 {mark}")
    await until(lambda: not processes_mentioning(f"sleep 1000 {mark}"))


def test_a_server_without_git_does_not_start(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "PATH", str(tmp_path))
    with pytest.raises(CannotStart, match="not installed"):
        Commands(reactor)  # type: ignore[arg-type]  # it provides what is needed


def test_setpriv_is_needed_for_other_users_alone(monkeypatch, tmp_path):
    for name in ("setsid", "env", "prlimit", "timeout", "git"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(command, "PATH", str(tmp_path))
    Commands(reactor)  # type: ignore[arg-type]  # it provides what is needed
    with pytest.raises(CannotStart, match="setpriv"):
        Commands(reactor, other_users=True)  # type: ignore[arg-type]  # it provides what is needed
