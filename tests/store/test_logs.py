"""store/logs.py: logs as files."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from sayci.errors import Invalid, Unavailable
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


# -- compressed, removed

LINES = b"".join(b"%06d compiling part %d of the shop\n" % (number, number * 7919 % 1000) for number in range(20_000))


def _go_on():
    return True


def _write(logs, key, data):
    writer = logs.writer(key)
    writer.write(data)
    writer.close()


@pytest_twisted.ensureDeferred
async def test_a_compressed_log_is_read_as_before_and_takes_less(logs, tmp_path):
    _write(logs, KEY, LINES)
    _write(logs, "12/1-test", b"short\n")
    before = (await logs.kept())[12]
    assert await logs.compress(12, _go_on)
    assert sorted(path.name for path in (tmp_path / "runs" / "12").glob("*/*")) == ["log", "log.gz"]
    assert (tmp_path / "runs" / KEY / "log.gz").stat().st_mode & 0o777 == 0o600
    assert logs.size(KEY) == len(LINES)
    for start, length in ((0, 10), (131_070, 5), (len(LINES) - 3, 100), (len(LINES), 1), (300_000, 262_144)):
        assert await logs.read(KEY, start, length) == LINES[start : start + length]
    assert (await logs.kept())[12] < before / 2
    assert await logs.compress(12, _go_on)  # nothing is left to do
    assert logs.size(KEY) == len(LINES)


@pytest_twisted.ensureDeferred
async def test_compressing_can_be_ended_and_leaves_the_log(logs, tmp_path):
    _write(logs, KEY, LINES)
    answers = [True, False]
    assert not await logs.compress(12, lambda: answers.pop(0))
    assert [path.name for path in (tmp_path / "runs" / KEY).iterdir()] == ["log"]
    assert await logs.read(KEY, 0, 10) == LINES[:10]


@pytest.mark.parametrize("point", ("half written", "complete beside", "both"))
@pytest_twisted.ensureDeferred
async def test_wherever_a_server_is_killed_the_log_is_whole(logs, tmp_path, point):
    directory = tmp_path / "runs" / KEY
    _write(logs, KEY, LINES)
    assert await logs.compress(12, _go_on)
    packed = (directory / "log.gz").read_bytes()
    if point == "both":
        (directory / "log").write_bytes(LINES)
    else:
        (directory / "log.gz").unlink()
        (directory / "log").write_bytes(LINES)
        (directory / "log.gz.new").write_bytes(packed if point == "complete beside" else packed[:100])
    assert logs.size(KEY) == len(LINES)
    assert await logs.read(KEY, 5, 500_000) == LINES[5:500_005]
    assert await logs.compress(12, _go_on)
    assert [path.name for path in directory.iterdir()] == ["log.gz"]
    assert await logs.read(KEY, 5, 500_000) == LINES[5:500_005]


@pytest_twisted.ensureDeferred
async def test_who_reads_while_a_log_is_compressed_notices_nothing(logs):
    keys = [f"12/{number}-test" for number in range(1, 6)]
    for key in keys:
        _write(logs, key, LINES)
    done = Deferred.fromCoroutine(logs.compress(12, _go_on))
    while not done.called:
        for key in keys:
            assert logs.size(key) == len(LINES)
            assert await logs.read(key, 200_000, 50) == LINES[200_000:200_050]
    assert await done


@pytest_twisted.ensureDeferred
async def test_a_damaged_log_is_said_to_be(logs, tmp_path):
    (tmp_path / "runs" / KEY).mkdir(parents=True)
    (tmp_path / "runs" / KEY / "log.gz").write_bytes(b"something else")
    assert logs.size(KEY) == 0
    with pytest.raises(Unavailable, match="compressed log"):
        await logs.read(KEY, 0, 1)


@pytest_twisted.ensureDeferred
async def test_a_removed_log_is_known_to_have_been_there(logs, tmp_path):
    _write(logs, KEY, LINES)
    _write(logs, "13/1-test", LINES)
    assert logs.removed_at(KEY) is None
    await logs.clear(12)
    await logs.clear(99)  # which has none
    assert logs.removed_at(KEY) == (tmp_path / "runs" / "12" / "removed").stat().st_mtime
    assert (logs.size(KEY), await logs.read(KEY, 0, 5)) == (0, b"")
    assert [*await logs.kept()] == [13]
    await logs.remove(12)
    assert logs.removed_at(KEY) is None
