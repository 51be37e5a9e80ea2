"""launchers/users.py: whom builds may be, what such a user can and cannot do, and that nothing is left of him."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sayci.errors import CannotStart, LauncherError
from sayci.interfaces import Job
from sayci.launchers import users as users_module
from sayci.launchers.local import LocalLauncher, is_nobody
from sayci.launchers.users import Numbers, SlotUsers, obstacle, reserve
from tests.slots import passable_directory, some_numbers

NUMBERS = Numbers(60600, 3)
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class Clearing:
    """Clears users when the test says so; `stubborn` are those who cannot be cleared."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.asked: list[int] = []
        self.stubborn: set[int] = set()
        self.broken = False
        self._at_once = at_once
        self._waiting: list[Deferred[None]] = []

    async def __call__(self, uid: int) -> bool:
        self.asked.append(uid)
        if self.broken:
            raise OSError("no process can be started")
        if not self._at_once:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        return uid not in self.stubborn

    def go_on(self) -> None:
        self._waiting.pop(0).callback(None)


def lend(users: SlotUsers, build_id: int) -> Deferred[int]:
    return Deferred.fromCoroutine(users.lend(build_id))


def sleeping_as(uid: int) -> subprocess.Popen[bytes]:
    """A process of that user; it is he when this returns."""
    process = subprocess.Popen(["setpriv", f"--reuid={uid}", "--clear-groups", "sleep", "1000"])
    while f"Uid:\t{uid}\t" not in Path(f"/proc/{process.pid}/status").read_text():
        time.sleep(0.005)
    return process


def is_of(path: Path, uid: int) -> bool:
    try:
        return path.lstat().st_uid == uid
    except FileNotFoundError:  # somebody else's, and gone since it was listed
        return False


def left_of(uid: int) -> list[str]:
    """What that user has where everybody may write."""
    files = [path for place in ("/tmp", "/dev/shm") for path in Path(place).iterdir() if is_of(path, uid)]
    memory = [line for line in Path("/proc/sysvipc/shm").read_text().splitlines() if str(uid) in line.split()]
    return [*map(str, files), *memory]


# ------------------------------------------------------------------------------------------------ who is lent to whom


def test_builds_get_every_other_number_and_the_next_one_may_kill():
    assert list(NUMBERS.builds) == [60601, 60603, 60605]
    assert NUMBERS.killer_of(60603) == 60604


@pytest_twisted.ensureDeferred
async def test_each_build_gets_a_user_of_its_own_and_keeps_it():
    users = SlotUsers(NUMBERS, Clearing())
    assert [await users.lend(build) for build in (7, 8, 7)] == [60601, 60603, 60601]


@pytest_twisted.ensureDeferred
async def test_a_user_is_cleared_before_the_first_build_and_after_each():
    clear = Clearing()
    users = SlotUsers(NUMBERS, clear)
    for build in (1, 2):
        assert await users.lend(build) == 60601
        await users.give_back(build)
    assert clear.asked == [60601, 60601, 60601]


@pytest_twisted.ensureDeferred
async def test_a_user_is_not_lent_again_before_he_is_cleared():
    clear = Clearing(at_once=False)
    users = SlotUsers(NUMBERS, clear)
    first = lend(users, 1)
    clear.go_on()
    assert await first == 60601
    Deferred.fromCoroutine(users.give_back(1))
    second = lend(users, 2)
    assert clear.asked == [60601, 60601, 60603]
    clear.go_on()
    clear.go_on()
    assert await second == 60603


@pytest_twisted.ensureDeferred
async def test_who_finds_all_users_lent_waits_for_one():
    users = SlotUsers(NUMBERS, Clearing())
    for build in (1, 2, 3):
        await users.lend(build)
    fourth, fifth = lend(users, 4), lend(users, 5)
    assert not fourth.called
    await users.give_back(2)
    assert await fourth == 60603
    assert not fifth.called
    await users.give_back(1)
    assert await fifth == 60601


@pytest_twisted.ensureDeferred
async def test_who_stops_waiting_takes_no_user():
    users = SlotUsers(Numbers(60600, 1), Clearing())
    await users.lend(1)
    second = lend(users, 2)
    second.addErrback(lambda _: None)
    second.cancel()
    third = lend(users, 3)
    await users.give_back(1)
    assert await third == 60601


@pytest_twisted.ensureDeferred
async def test_a_build_of_an_earlier_server_keeps_its_user():
    users = SlotUsers(NUMBERS, Clearing())
    users.keep(5, 60601)
    users.keep(6, 0)
    users.keep(7, 60604)
    assert [await users.lend(build) for build in (5, 6, 7)] == [60601, 60603, 60605]


@pytest_twisted.ensureDeferred
async def test_nobody_gets_a_user_who_cannot_be_cleared():
    clear = Clearing()
    clear.stubborn = {60601}
    users = SlotUsers(NUMBERS, clear)
    assert [await users.lend(1), await users.lend(2)] == [60603, 60605]


@pytest_twisted.ensureDeferred
async def test_where_no_user_can_be_cleared_a_build_is_told_rather_than_left_waiting():
    clear = Clearing()
    clear.broken = True
    users = SlotUsers(NUMBERS, clear)
    with pytest.raises(LauncherError):
        await users.lend(1)


@pytest_twisted.ensureDeferred
async def test_giving_back_what_was_not_lent_changes_nothing():
    clear = Clearing()
    await SlotUsers(NUMBERS, clear).give_back(1)
    assert clear.asked == []


# ------------------------------------------------------------------------------------------------ what such a user can do


@pytest.fixture
def house():
    """A passable directory with a workspace of a user's, and one beside that is the server's alone."""
    numbers = some_numbers(2)
    with passable_directory() as path:
        (path / "private").mkdir(mode=0o700)
        (path / "private" / "key").write_text("topsecret")
        for number, uid in enumerate(numbers.builds):
            workspace = path / f"workspace-{number}"
            workspace.mkdir(mode=0o700)
            os.chown(workspace, uid, uid)
        yield House(numbers, path)


class House:
    """A launcher with users, and where their workspaces are."""

    def __init__(self, numbers: Numbers, path: Path) -> None:
        self.numbers = numbers
        self.path = path
        self.uid = numbers.builds[0]
        self.launcher = LocalLauncher(reactor, path / "private" / "runs", users=numbers)

    async def run(self, script: str, number: int = 0) -> tuple[int | None, str]:
        """The exit code and the log of a script that one of the users runs."""
        key = f"{number}/1-{len(list((self.path / 'private').glob('runs/*/*')))}"
        job = Job(key, ("sh", "-c", script), ENVIRONMENT, self.path / f"workspace-{number}", grace=5.0)
        ended = await Deferred.fromCoroutine(self._result(job)).addTimeout(30, reactor)
        return ended.exit_code, (self.path / "private" / "runs" / key / "log").read_text()

    async def _result(self, job):
        return await self.launcher.result(await self.launcher.start(job))


@pytest_twisted.ensureDeferred
async def test_a_step_is_its_workspaces_owner_and_nobody_else(house):
    code, said = await house.run("id -u; id -g; id -G; grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status; touch mine")
    zeros = "".join(f"Cap{name}:\t0000000000000000\n" for name in ("Prm", "Eff", "Amb"))
    assert (code, said) == (0, f"{house.uid}\n" * 3 + zeros)
    assert (house.path / "workspace-0" / "mine").stat().st_uid == house.uid


@pytest_twisted.ensureDeferred
async def test_it_reads_neither_what_is_the_servers_nor_another_builds(house):
    _, said = await house.run(
        "cat ../private/key; ls ../private ../workspace-1; cat ../private/runs/*/*/lock; echo over"
    )
    assert "topsecret" not in said
    assert said.count("Permission denied") == 4
    assert said.endswith("over\n")


@pytest_twisted.ensureDeferred
async def test_it_sees_nothing_of_the_servers_and_the_shims_memory_and_environment(house):
    _, said = await house.run(
        f"for p in {os.getpid()} $PPID; do cat /proc/$p/environ; ls /proc/$p/fd; readlink /proc/$p/cwd; done; echo over"
    )
    assert said.count("Permission denied") == 4
    assert "=" not in said
    assert said.endswith("over\n")


@pytest_twisted.ensureDeferred
async def test_it_can_open_its_output_anew(house):
    assert await house.run("echo one > /dev/stdout; echo two | tee /dev/stderr") == (0, "one\ntwo\ntwo\n")


@pytest_twisted.ensureDeferred
async def test_a_step_that_kills_all_it_can_kills_itself_alone(house):
    # Guarded twice: it would take the whole machine with it if it were root.
    other = Deferred.fromCoroutine(house.run("echo begun; sleep 3; echo survived", number=1))
    await deferLater(reactor, 0.1)
    code, _ = await house.run(f'[ "$(id -u)" = {house.uid} ] || exit 99; kill -9 -1; exit 0')
    assert code in (0, -9)  # a shell is spared by its own kill
    assert await other == (0, "begun\nsurvived\n")


@pytest_twisted.ensureDeferred
async def test_who_runs_beside_the_step_as_its_user_is_ended_with_it(house):
    stranger = sleeping_as(house.uid)
    assert await house.run("true") == (0, "")
    assert stranger.wait(30) == -9


@pytest_twisted.ensureDeferred
async def test_a_workspace_of_the_servers_own_is_refused(house):
    os.chown(house.path / "workspace-0", 0, 0)
    with pytest.raises(LauncherError, match="belongs to no user whom builds may have"):
        await house.run("id")


@pytest_twisted.ensureDeferred
async def test_a_link_is_no_workspace(house):
    (house.path / "workspace-0").rmdir()
    (house.path / "workspace-0").symlink_to("workspace-1")
    with pytest.raises(LauncherError, match="belongs to no user"):
        await house.run("id")


# ------------------------------------------------------------------------------------------------ nothing is left


@pytest_twisted.ensureDeferred
async def test_clearing_ends_his_processes_and_removes_what_he_has_left_where_all_may_write(house):
    mine = f"sayci-{house.uid}"
    script = f"""
        cd /tmp && mkdir -p {mine}/deep/er && echo x > {mine}/deep/er/file && chmod 000 {mine}/deep
        ln -s /etc/passwd {mine}-link; echo x > /dev/shm/{mine}; ipcmk --shmem 100 >/dev/null
    """
    await house.run(script)
    left = sleeping_as(house.uid)
    assert len(left_of(house.uid)) == 4
    assert await house.launcher.clear(house.uid)
    assert left.wait(30) == -9
    assert left_of(house.uid) == []


@pytest_twisted.ensureDeferred
async def test_clearing_can_be_repeated_and_by_two_servers(house):
    again = LocalLauncher(reactor, house.path / "private" / "runs", users=house.numbers)
    assert await house.launcher.clear(house.uid)
    assert await house.launcher.clear(house.uid)
    assert await again.clear(house.uid)


def test_somebody_is_there_as_long_as_a_process_of_his_lives(monkeypatch):
    uid = some_numbers().builds[0]
    monkeypatch.setattr("sayci.launchers.local.SWEEP_LIMIT", 0.05)
    process = sleeping_as(uid)
    try:
        assert not is_nobody(uid)
    finally:
        process.kill()
        process.wait()
    assert is_nobody(uid)


# ------------------------------------------------------------------------------------------------ what the place allows


def test_the_wall_holds_in_a_passable_directory(house):
    assert obstacle(house.numbers, house.path, [house.path, house.path / "private"]) == ""


def test_a_closed_directory_above_is_named(house):
    (house.path / "private" / "workspaces").mkdir()
    said = obstacle(house.numbers, house.path / "private" / "workspaces", [])
    assert said == (
        f"users of builds cannot get into {house.path}/private/workspaces: a directory above it is closed to others"
    )


def test_what_could_be_read_is_named(house):
    (house.path / "private").chmod(0o755)
    said = obstacle(house.numbers, house.path, [house.path, house.path / "private"])
    assert f"could read {house.path}/private" in said


def test_a_program_that_is_missing_is_named(house, monkeypatch):
    monkeypatch.setattr(users_module, "PROGRAMS", ("setpriv", "no-such-program"))
    assert obstacle(house.numbers, house.path, []) == "no-such-program is not installed"


def test_two_servers_do_not_share_users(tmp_path):
    reserved = reserve(NUMBERS, tmp_path)
    assert reserved is not None
    # Who can open it can lock it: a build must not keep the next server from starting.
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    with pytest.raises(CannotStart, match="--slot-uid"):
        reserve(NUMBERS, tmp_path, patience=0)
    reserved.close()
    again = reserve(NUMBERS, tmp_path)
    assert again is not None
    again.close()


def test_where_no_lock_can_be_made_there_is_none(tmp_path):
    assert reserve(NUMBERS, tmp_path / "gone") is None
