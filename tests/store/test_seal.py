"""store/seal.py: secrets sealed under a key in a file."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from sayci.errors import CannotStart, Unavailable
from sayci.store.seal import KEY_SIZE, Seal, load_key, make_key

PLACE = ("projects", 12, "webhook_secret")


@pytest.fixture
def seal():
    return Seal(os.urandom(KEY_SIZE))


@pytest.mark.parametrize("text", ("", "s3cr3t", "ünï\ncode\0", "x" * 100_000))
def test_what_was_sealed_opens_at_its_place(seal, text):
    assert seal.opened(seal.sealed(text, *PLACE), *PLACE) == text


def test_what_was_sealed_does_not_show_and_is_never_the_same_twice(seal):
    sealed = {seal.sealed("s3cr3t", *PLACE) for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"s3cr3t" in one for one in sealed)


@pytest.mark.parametrize(
    "place",
    (
        ("projects", 13, "webhook_secret"),
        ("projects", 12, "access_token"),
        ("variables", 12, "webhook_secret"),
        ("projects", "12", "webhook_secret"),
        ("projects", 12, "webhook", "secret"),
        (),
    ),
)
def test_it_opens_at_no_other_place(seal, place):
    with pytest.raises(Unavailable):
        seal.opened(seal.sealed("s3cr3t", *PLACE), *place)


def test_it_does_not_open_under_another_key(seal):
    with pytest.raises(Unavailable) as raised:
        Seal(os.urandom(KEY_SIZE)).opened(seal.sealed("s3cr3t", *PLACE), *PLACE)
    assert "s3cr3t" not in str(raised.value)
    assert "does not open" in str(raised.value)


def test_whatever_was_changed_does_not_open(seal):
    sealed = seal.sealed("s3cr3t", *PLACE)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Unavailable):
            seal.opened(bytes(changed), *PLACE)
    for length in range(len(sealed)):
        with pytest.raises(Unavailable):
            seal.opened(sealed[:length], *PLACE)


def test_a_new_key_is_random_and_its_owners_alone(tmp_path):
    key = make_key(tmp_path / "key")
    assert len(key) == KEY_SIZE
    assert key != make_key(tmp_path / "other")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert load_key(tmp_path / "key") == key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other"]


def test_a_key_that_is_there_is_never_replaced(tmp_path):
    key = make_key(tmp_path / "key")
    assert make_key(tmp_path / "key") == key


def test_of_several_that_make_it_at_once_all_have_the_same(tmp_path):
    keys = []
    ready = threading.Barrier(8)

    def make():
        ready.wait()
        keys.append(make_key(tmp_path / "key"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", (0o640, 0o604, 0o660, 0o666, 0o620))
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(CannotStart, match="chmod 600"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize("size", (0, 16, 31, 33, 64))
def test_a_key_of_another_size_is_refused(tmp_path, size):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(os.urandom(size))
    with pytest.raises(CannotStart, match="32 bytes"):
        load_key(path)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    for name in ("fifo", "directory", "nothing"):
        with pytest.raises(CannotStart):
            load_key(tmp_path / name)


def test_a_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CannotStart, match="cannot make the key"):
        make_key(tmp_path / "nowhere" / "key")
