"""data_directory.py: ours alone, once, and who may pass."""

from __future__ import annotations

import os

import pytest

from sayci.data_directory import DataDirectory
from sayci.errors import CannotStart


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture
def data(tmp_path):
    data = DataDirectory(tmp_path / "a" / "data")
    data.take()
    yield data
    data.release()


def test_it_is_made_for_our_own_user_alone(data):
    assert mode(data.path) == 0o700
    assert mode(data.path / "lock") == 0o600


@pytest.mark.parametrize(("before", "after"), ((0o755, 0o711), (0o770, 0o710), (0o500, 0o700), (0o711, 0o711)))
def test_one_that_was_open_to_others_is_closed_but_who_passes_through_it_may_go_on(tmp_path, before, after):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(before)
    data = DataDirectory(tmp_path / "data")
    data.take()
    assert mode(data.path) == after
    data.close()
    assert mode(data.path) == 0o700
    data.release()


def test_only_one_server_has_it(data):
    second = DataDirectory(data.path)
    with pytest.raises(CannotStart, match="another sayci"):
        second.take()
    data.release()
    second.take()
    second.release()


def test_a_second_server_waits_for_the_first_as_long_as_it_is_told_to(data):
    second = DataDirectory(data.path)
    holders: list[str] = []
    with pytest.raises(CannotStart, match=f"process {os.getpid()}"):
        second.take(0.01, holders.append)
    assert set(holders) == {str(os.getpid())}

    def meanwhile(holder):
        holders.append(holder)
        data.release()

    second.take(None, meanwhile)
    second.release()


def test_what_is_no_directory_is_named(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(CannotStart, match="cannot be used"):
        DataDirectory(tmp_path / "data").take()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a directory over")
def test_root_takes_over_the_directory_of_an_images_user(tmp_path):
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 10000, 10000)
    data = DataDirectory(tmp_path / "data")
    data.take()
    assert (data.path.stat().st_uid, data.path.stat().st_gid) == (0, 0)
    data.release()


def test_others_pass_to_the_workspaces_and_to_nothing_else(data):
    (data.path / "sayci.sqlite").touch(0o644)
    (data.path / "builds").mkdir(0o755)
    (data.path / "link").symlink_to("/etc/passwd")
    before = mode(data.path / "link")
    data.let_through()
    assert mode(data.path) == mode(data.workspaces) == 0o711
    assert mode(data.path / "sayci.sqlite") == 0o600
    assert mode(data.path / "builds") == 0o700
    assert mode(data.path / "link") == before  # what a link points to is not ours
    assert set(data.private()) == {
        data.path,
        *(data.path / name for name in ("lock", "sayci.sqlite", "builds", "link")),
    }
    data.close()
    assert mode(data.path) == 0o700


def test_it_says_where_the_server_listens_until_it_is_released(data):
    data.say_address(["http://127.0.0.1:8080", "http://[::1]:8081"])
    assert (data.path / "address").read_text() == "http://127.0.0.1:8080\nhttp://[::1]:8081\n"
    assert mode(data.path / "address") == 0o600
    data.release()
    assert not (data.path / "address").exists()
