"""store/logs.py: logs as files."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.python.threadpool import ThreadPool

from sayci.errors import Invalid
from sayci.store.logs import FileLogs

KEY = "12/1-checkout"


@pytest.fixture
def pool():
    pool = ThreadPool(1, 2, "logs")
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def logs(tmp_path, pool):
    return FileLogs(tmp_path / "runs", reactor, pool)


@pytest_twisted.ensureDeferred
async def test_what_is_written_can_be_read_by_ranges(logs):
    writer = logs.writer(KEY)
    writer.write(b"Cloning ")
    writer.write(b"into tree\n")
    assert logs.size(KEY) == 18
    assert await logs.read(KEY, 0, 100) == b"Cloning into tree\n"
    assert await logs.read(KEY, 8, 4) == b"into"
    assert await logs.read(KEY, 18, 10) == b""
    assert await logs.read(KEY, 1000, 10) == b""
    writer.close()


@pytest_twisted.ensureDeferred
async def test_a_log_that_nobody_has_begun_is_empty(logs):
    assert logs.size(KEY) == 0
    assert await logs.read(KEY, 0, 10) == b""


@pytest_twisted.ensureDeferred
async def test_a_log_grows_by_whoever_writes_to_it(logs):
    first, second = logs.writer(KEY), logs.writer(KEY)
    first.write(b"one ")
    second.write(b"two ")
    first.write(b"three")
    assert await logs.read(KEY, 0, 100) == b"one two three"
    first.close()
    second.close()


def test_closing_can_be_repeated_and_writing_afterwards_is_only_counted(logs):
    writer = logs.writer(KEY)
    writer.close()
    writer.close()
    writer.write(b"late")
    assert (writer.dropped, logs.size(KEY)) == (4, 0)


def test_a_log_is_for_our_own_user_alone(logs, tmp_path):
    logs.writer(KEY).close()
    for path in (tmp_path / "runs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_disk_that_takes_nothing_raises_nothing(logs, tmp_path):
    directory = tmp_path / "runs" / KEY
    directory.mkdir(parents=True)
    writer = logs.writer(KEY)
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer._fd)
    writer.write(b"12345")
    writer.write(b"678")
    assert writer.dropped == 8
    writer.close()


def test_a_log_that_cannot_be_made_raises_nothing(logs, tmp_path):
    (tmp_path / "runs").write_text("in the way")
    writer = logs.writer(KEY)
    writer.write(b"12345")
    writer.close()
    assert writer.dropped == 5
    assert logs.size(KEY) == 0


def test_a_link_in_place_of_a_log_is_not_followed(logs, tmp_path):
    (tmp_path / "runs" / KEY).mkdir(parents=True)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "runs" / KEY / "log").symlink_to(tmp_path / "victim")
    logs.writer(KEY).write(b"yours")
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize(
    "key", ("../x", "/etc", "12/../../x", "", ".", "..", "12/", "a\0", "a\n", ".hidden", "x" * 300)
)
@pytest_twisted.ensureDeferred
async def test_no_key_leads_out_of_the_root(logs, key):
    with pytest.raises(Invalid):
        logs.size(key)
    with pytest.raises(Invalid):
        await logs.read(key, 0, 1)
    with pytest.raises(Invalid):
        logs.writer(key)


@pytest_twisted.ensureDeferred
async def test_removing_a_build_takes_all_its_logs_and_no_others(logs, tmp_path):
    for key in ("12/1-checkout", "12/1-test", "12/2-test", "123/1-test"):
        writer = logs.writer(key)
        writer.write(b"text")
        writer.close()
    await logs.remove(12)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["123"]
    await logs.remove(12)
    assert logs.size("12/1-test") == 0


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_removed_raises_nothing(logs, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "12").write_text("no directory")
    await logs.remove(12)
    assert (tmp_path / "runs" / "12").exists()
