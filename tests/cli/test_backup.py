"""cli/backup.py, cli/restore.py, cli/doctor.py and taken_back.py: a server's place is copied, made again and examined."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import stat
import tarfile

import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sayci.build import BuildState
from sayci.cli.main import main
from sayci.delivery import Verdict
from sayci.project import Variable
from sayci.step import Result
from sayci.store.sql_store import SqlStore
from tests.factories import MAIN, NOW, a_variable, deploying_settings, new_build, new_delivery


def now(work):
    """What a coroutine answers that waits for nothing."""
    outcome: list = []
    Deferred.fromCoroutine(work).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def opened(data):
    clock = Clock()
    clock.advance(NOW)
    return SqlStore.open(f"sqlite:///{data / 'sayci.sqlite'}", data / "key", clock, in_process=True)


@pytest.fixture
def data(tmp_path):
    """A data directory as a server has left it: a project, a build that has ended, and one of each kind that is open."""
    place = tmp_path / "data"
    place.mkdir(0o700)
    store = opened(place)
    project = now(store.add_project(deploying_settings(), "the webhook secret", "the access token", NOW))
    now(store.set_variable(project.id, a_variable("TOKEN", "a secret of theirs", secret=True)))
    refs = ("refs/heads/first", MAIN)
    builds = [now(store.add_build(new_build(project.id, ref=ref, deploys=ref == MAIN), NOW)).build for ref in refs]
    for build in builds:
        now(store.advance(build.id, lambda build: build.claimed(NOW)))
    now(store.advance(builds[0].id, lambda build: build.finished(NOW, Result.SUCCESS)))
    now(store.add_build(new_build(project.id, ref="refs/heads/other", deploys=True), NOW))
    now(store.add_build(new_build(project.id, ref="refs/heads/third"), NOW))
    now(store.accept(new_delivery(project.id)))
    now(store.close())
    for name in ("builds/1/1-test/log", "builds/1/1-test/pid", "mirrors/1.git/HEAD", "ssh/id_ed25519", "certs/ci.pem"):
        path = place / name
        for directory in reversed(path.relative_to(place).parents[:-1]):
            (place / directory).mkdir(0o700, exist_ok=True)
        path.write_text(f"what is in {name}")
        path.chmod(0o600)
    (place / "lock").touch(0o600)
    return place


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def files_in(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


KEPT = ["backup.json", "builds/1/1-test/log", "certs/ci.pem", "key", "sayci.sqlite", "ssh/id_ed25519"]


def test_a_backup_is_whole_private_and_never_over_something(data, tmp_path):
    target = tmp_path / "backup"
    assert "only you can read it" in run("backup", target, "--data", data)
    assert files_in(target) == KEPT
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (target, *target.rglob("*"))}
    assert modes == {0o700, 0o600}
    with sqlite3.connect(target / "sayci.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "already" in run("backup", target, "--data", data, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]


def test_logs_can_be_left_out_and_certificates_of_elsewhere_be_taken_along(data, tmp_path):
    certificates = tmp_path / "elsewhere"
    certificates.mkdir()
    (certificates / "ci.example.pem").write_text("a certificate")
    target = tmp_path / "sayci.tar.gz"
    run("backup", target, "--data", data, "--without-logs", "--certificates", certificates)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as tar:
        names = sorted(tar.getnames())
        assert {member.mode for member in tar} == {0o600}
    assert names == sorted([*(set(KEPT) - {"builds/1/1-test/log"}), "certificates-1/ci.example.pem"])
    output = run("restore", target, "--data", tmp_path / "again")
    assert f"certificates that were at {certificates} are in" in output


def test_a_backup_that_fails_leaves_nothing(data, tmp_path):
    (data / "sayci.sqlite").write_bytes(b"this is no database, however long one looks at it" * 100)
    assert "could not be made" in run("backup", tmp_path / "backup", "--data", data, code=4)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_with_postgresql_the_rest_is_copied_and_what_to_do_is_said(data, tmp_path):
    output = run("backup", tmp_path / "backup", "--data", data, "--database", "postgresql://sayci@db/sayci")
    assert "pg_dump" in output
    assert files_in(tmp_path / "backup") == sorted(set(KEPT) - {"sayci.sqlite"})
    assert "pg_restore" in run("restore", tmp_path / "backup", "--data", tmp_path / "again")


@pytest.mark.parametrize("name", ("backup", "backup.tar", "backup.tar.gz"))
def test_what_is_taken_back_is_all_there_and_runs_nothing_twice(data, tmp_path, name):
    run("backup", tmp_path / name, "--data", data)
    again = tmp_path / "again"
    output = run("restore", tmp_path / name, "--data", again)
    assert output.count("web-shop #") == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in again.rglob("*")} == {0o700, 0o600}
    assert (again / "builds/1/1-test/log").read_text() == "what is in builds/1/1-test/log"
    store = opened(again)
    project = now(store.project("web-shop"))
    assert now(store.access_token(project.id)) == "the access token"
    assert now(store.variables(project.id, revealed=True)) == [Variable("TOKEN", "a secret of theirs", secret=True)]
    builds = {build.number: build for build in now(store.builds(project.id)).items}
    assert [builds[number].result for number in (1, 2, 3)] == [Result.SUCCESS, Result.ERROR, Result.CANCELLED]
    assert builds[4].state is BuildState.QUEUED
    assert [delivery.verdict for delivery in now(store.deliveries(project.id)).items] == [Verdict.FAILED]
    now(store.close())


def test_a_directory_that_is_used_is_left_alone(data, tmp_path):
    run("backup", tmp_path / "backup", "--data", data)
    before = files_in(data)
    assert "not empty" in run("restore", tmp_path / "backup", "--data", data, code=2)
    lock = os.open(data / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert "another sayci is using" in run("restore", tmp_path / "backup", "--data", data, code=4)
    os.close(lock)
    assert files_in(data) == before


@pytest.mark.parametrize(
    ("damage", "words"),
    (
        (lambda backup: (backup / "backup.json").unlink(), "this is no backup"),
        (lambda backup: (backup / "backup.json").write_text('{"format": 99}'), "this is no backup"),
        (lambda backup: (backup / "key").unlink(), "no key"),
        (lambda backup: (backup / "key").write_bytes(bytes(32)), "the key does not open the secrets"),
        (lambda backup: (backup / "sayci.sqlite").write_bytes(b"rubbish" * 1000), "could not be taken back"),
    ),
)
def test_what_is_no_good_backup_is_refused_and_leaves_nothing(data, tmp_path, damage, words):
    backup = tmp_path / "backup"
    run("backup", backup, "--data", data)
    damage(backup)
    again = tmp_path / "again"
    result = CliRunner().invoke(main, ["restore", str(backup), "--data", str(again)])
    assert result.exit_code in (2, 4)
    assert words in result.output
    assert not again.exists() or [path.name for path in again.iterdir()] == ["lock"]


def test_an_archive_of_strangers_writes_nothing_elsewhere(data, tmp_path):
    run("backup", tmp_path / "good.tar", "--data", data)
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "good.tar", "a") as tar:
        for name in ("../escaped", "/tmp/escaped-by-sayci-test", "builds/../../escaped", "workspaces/1/tree/x"):
            member = tarfile.TarInfo(name)
            member.size = 4
            with (tmp_path / "evil").open("rb") as file:
                tar.addfile(member, file)
        link = tarfile.TarInfo("ssh/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
    again = tmp_path / "again"
    run("restore", tmp_path / "good.tar", "--data", again)
    assert not (tmp_path / "escaped").exists()
    assert not os.path.lexists("/tmp/escaped-by-sayci-test")
    assert files_in(again) == sorted([*(set(KEPT) - {"backup.json"}), "lock"])


# -- doctor


def test_a_doctor_says_one_line_for_each_thing(data):
    (data / "workspaces").mkdir(0o711)
    for name in ("workspaces/1", "builds/99", "mirrors/7.git"):
        (data / name).mkdir(0o700)
    output = run("doctor", "--data", data, "--keep-free", "0")
    lines = {line[9:].split("  ")[0].strip(): line for line in output.splitlines()}
    assert lines["database"].startswith("ok")
    assert lines["key"].startswith("ok")
    assert lines["data"].startswith("ok")
    assert "1 left over: 99" in lines["logs"]
    assert "1 left over: 1" in lines["workspaces"]
    assert "1 left over: 7.git" in lines["mirrors"]
    assert "no server is running" in lines["server"]
    assert "none yet" in lines["certificate of ci"]


def test_a_doctor_that_finds_an_error_says_so_for_programs_too(data):
    (data / "key").chmod(0o644)
    found = json.loads(run("doctor", "--data", data, "--json", "--keep-free", "0", code=1))
    assert found["ok"] is False
    key = next(each for each in found["findings"] if each["name"] == "key")
    assert (key["level"], key["words"]) == ("error", "others can read the key")
    assert key["advice"]


def test_a_doctor_needs_a_directory(tmp_path):
    assert "there is no directory" in run("doctor", "--data", tmp_path / "absent", code=2)
