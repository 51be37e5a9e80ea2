"""launchers/shim.py as a module: its masker, its formats, its files.  As a program: tests/contracts/test_launcher.py."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sayci.launchers import shim
from sayci.launchers.shim import (
    LIMIT_REACHED,
    MARK,
    Durable,
    Log,
    Masker,
    Orders,
    Times,
    descendants,
    pack,
    stat_of,
    unpack,
)

# ------------------------------------------------------------------------------------------------ masking


def masked_at_once(text: bytes, patterns: list[bytes]) -> bytes:
    """What masking means, without any stream: each run of bytes that belong to an occurrence becomes one MARK."""
    secret = bytearray(len(text))
    for pattern in patterns:
        for start in range(len(text) - len(pattern) + 1):
            if pattern and text[start : start + len(pattern)] == pattern:
                secret[start : start + len(pattern)] = b"\1" * len(pattern)
    told = b""
    for at, byte in enumerate(text):
        if not secret[at]:
            told += bytes([byte])
        elif at == 0 or not secret[at - 1]:
            told += MARK
    return told


def masked(chunks: list[bytes], patterns: list[bytes]) -> bytes:
    masker = Masker(patterns)
    return b"".join([*(masker.feed(chunk) for chunk in chunks), masker.finish()])


def cut(text: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:stop] for start, stop in pairwise(edges)]


# Few letters, so that secrets overlap, repeat and begin again in themselves all the time.
letters = st.sampled_from(b"ab").map(lambda letter: bytes([letter])) | st.sampled_from([b"c", b"\n", b"\0"])
words = st.lists(letters, max_size=40).map(b"".join)
secrets_ = st.lists(st.lists(letters, min_size=1, max_size=8).map(b"".join), max_size=5)


@settings(max_examples=1500, deadline=None)
@given(words, secrets_, st.lists(st.integers(0, 1000), max_size=8))
@example(b"aabaab", [b"aab", b"abaa"], [3])
@example(b"abab", [b"ab", b"ababc"], [2])
@example(b"aaaaaaaa", [b"aaa"], [1, 2, 3, 4, 5, 6, 7])
def test_a_stream_is_masked_as_the_whole_text_is_wherever_it_is_cut(text, patterns, places):
    assert masked(cut(text, places), patterns) == masked_at_once(text, patterns)


@settings(max_examples=300, deadline=None)
@given(words, secrets_)
def test_masking_byte_by_byte_changes_nothing(text, patterns):
    assert masked([bytes([byte]) for byte in text], patterns) == masked_at_once(text, patterns)


@settings(max_examples=300, deadline=None)
@given(words, secrets_, st.lists(st.integers(0, 1000), max_size=8))
def test_nothing_is_let_out_too_early(text, patterns, places):
    """What is out after each chunk can still be continued to the right whole, whatever may follow."""
    masker, out, seen = Masker(patterns), b"", b""
    for chunk in cut(text, places):
        seen += chunk
        out += masker.feed(chunk)
        for pattern in patterns:
            assert masked_at_once(seen + pattern, patterns).startswith(out)


def test_overlapping_secrets_leave_nothing_of_either():
    assert masked([b"x hunter22-token y"], [b"hunter22", b"22-token"]) == b"x *** y"


def test_the_mark_itself_may_be_a_secret():
    assert masked([b"a***b****"], [MARK]) == b"a***b***"


def test_nothing_to_mask_changes_nothing():
    data = bytes(range(256))
    assert masked([data, data], []) == data + data
    assert masked([data], [b""]) == data


def test_only_what_may_become_a_secret_is_held_back():
    masker = Masker([b"topsecret"])
    assert masker.feed(b"a line\n") == b"a line\n"
    assert masker.feed(b"it is top") == b"it is "
    assert masker.feed(b"ping\n") == b"topping\n"
    assert masker.feed(b"tops") == b""
    assert masker.finish() == b"tops"


def test_a_secret_that_repeats_without_end_takes_no_memory():
    masker = Masker([b"aaaaaa", b"a" * 3000 + b"b"])
    for _ in range(20):
        masker.feed(b"a" * 50_000)
        assert len(masker._held) <= 3000
    assert masker.finish() == b""


def test_long_secrets_are_found_across_many_small_chunks():
    secret = bytes(range(1, 250)) * 40
    text = b"<" + secret + b">" + secret[:-1] + b"|"
    assert masked(cut(text, list(range(0, len(text), 97))), [secret]) == b"<***>" + secret[:-1] + b"|"


# ------------------------------------------------------------------------------------------------ formats


names = st.text(st.characters(codec="ascii", exclude_characters=": \n"), min_size=1, max_size=12)


@given(st.lists(st.tuples(names, st.binary(max_size=50))))
def test_any_bytes_can_be_packed(fields):
    assert list(unpack(pack(fields))) == fields


def test_numbers_and_words_are_packed_as_text():
    assert pack([("a", 1), ("b", 0.5), ("c", "é\n")]) == b"a 1:1\nb 3:0.5\nc 3:\xc3\xa9\n\n"


@given(st.lists(st.tuples(names, st.binary(max_size=50)), min_size=1), st.data())
def test_what_was_cut_short_is_noticed_or_is_a_whole_beginning(fields, data):
    packed = pack(fields)
    kept = packed[: data.draw(st.integers(0, len(packed) - 1))]
    try:
        found = list(unpack(kept))
    except ValueError:
        return
    assert found == fields[: len(found)]
    assert pack(found) == kept


byte_strings = st.binary(max_size=30)


@given(
    st.lists(byte_strings),
    st.dictionaries(st.binary(min_size=1, max_size=20).filter(lambda name: b"=" not in name), byte_strings),
    byte_strings,
    st.lists(byte_strings),
    st.floats(0, 1e9),
    st.integers(0, 10**12),
)
def test_orders_arrive_as_they_were_given(argv, environment, workspace, masks, seconds, size):
    given_orders = Orders(
        argv,
        environment,
        workspace,
        masks,
        time_limit=seconds,
        silence_limit=seconds / 2,
        output_limit=size,
        grace=seconds / 3,
        directories=masks,
        cleanup=argv,
        ends_at_output_limit=size % 2,
        memory_limit=size,
        wrap=size % 3,
    )
    assert vars(Orders.decode(given_orders.encode())) == vars(given_orders)


def test_orders_that_miss_something_are_none():
    with pytest.raises(KeyError):
        Orders.decode(pack([("argument", "make")]))


# ------------------------------------------------------------------------------------------------ files


@pytest.fixture
def directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_durable_file_is_there_when_it_is_committed_and_not_before(tmp_path, directory):
    durable = Durable(directory, "exit")
    assert not (tmp_path / "exit").exists()
    durable.commit(b"all of it")
    assert (tmp_path / "exit").read_bytes() == b"all of it"
    assert [path.name for path in tmp_path.iterdir()] == ["exit"]


def test_the_times_of_a_log_are_noted_now_and_then(tmp_path, directory):
    times = Times(directory)
    begun = times._started
    day = 86_400.0
    told = ((0.0, 0), (0.1, 7), (0.3, 20), (0.4, 30), (60.0, 400), (day, 5000), (day + 20, 6000), (day + 50, 7000))
    for passed, offset in told:
        times.note(offset, begun + passed)
    records = list(struct.iter_unpack("<QI", (tmp_path / "times").read_bytes()))
    assert [offset for offset, _ in records] == [0, 20, 400, 5000, 7000]
    moments = [moment for _, moment in records]
    assert moments == [pytest.approx(moment, abs=1) for moment in (0, 300, 60_000, 86_400_000, 86_450_000)]


def test_times_that_cannot_be_noted_disturb_nothing(tmp_path, directory):
    (tmp_path / "times").mkdir()
    Times(directory).note(5, 10**9)
    assert (tmp_path / "times").is_dir()


def test_the_space_of_a_durable_file_is_taken_beforehand(tmp_path, directory):
    Durable(directory, "exit")
    assert (tmp_path / "exit.new").stat().st_size == 4096


def a_log(path: Path, limit: int = 0) -> Log:
    return Log(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), limit)


def test_a_log_at_its_limit_says_so_once_and_counts_the_rest(tmp_path):
    log = a_log(tmp_path / "log", 10)
    for part in (b"12345", b"67890", b"abc", b"defg"):
        log.append(part)
    assert (tmp_path / "log").read_bytes() == b"1234567890" + LIMIT_REACHED
    assert (log.full, log.dropped) == (True, 7)
    assert log.close() == 10 + len(LIMIT_REACHED)


def test_a_log_with_exactly_as_much_as_it_may_have_is_whole(tmp_path):
    log = a_log(tmp_path / "log", 10)
    log.append(b"1234567890")
    assert (tmp_path / "log").read_bytes() == b"1234567890"
    assert (log.full, log.dropped) == (False, 0)


def test_a_full_disk_drops_and_counts_and_says_why():
    log = Log(os.open("/dev/full", os.O_WRONLY), 0)
    log.append(b"12345")
    log.append(b"678")
    assert log.dropped == 8
    assert "No space left on device" in log.error


# ------------------------------------------------------------------------------------------------ processes


def test_descendants_are_found_at_any_depth():
    script = "sleep 60 & sh -c 'sleep 60 & echo $$ $!; wait' & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            named = {
                int(pid) for line in (process.stdout.readline(), process.stdout.readline()) for pid in line.split()
            }
            found = descendants([process.pid])
            assert named <= set(found)
            assert len(found) == 3
            assert process.pid not in found
        finally:
            os.killpg(process.pid, 9)


def test_the_start_time_of_a_process_tells_it_from_another_of_its_number():
    own = stat_of(os.getpid())
    assert own is not None
    assert own[0] == os.getppid()
    assert own[1] > 0
    assert stat_of(2**22 + 1) is None


def test_a_name_with_brackets_and_blanks_does_not_confuse():
    with subprocess.Popen(
        [sys.executable, "-c", "open('/proc/self/comm', 'w').write(') R 1 ('); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = stat_of(process.pid)
        process.communicate(b"\n")
    assert stat is not None
    assert stat[0] == os.getpid()


@pytest.mark.parametrize("private", (True, False), ids=("private half", "ctypes"))
def test_prctl_works_with_either_half_of_ctypes(private, monkeypatch):
    pytest.importorskip("ctypes")
    if not private:
        monkeypatch.setitem(sys.modules, "_ctypes", None)
    prctl = shim.load_prctl()
    prctl(shim._PR_SET_DUMPABLE, 1)  # as it is anyway
    with pytest.raises(OSError, match="12345"):
        prctl(12345, 0)


# ------------------------------------------------------------------------------------------------ its own promises


def imports_of(*arguments: str) -> set[str]:
    """The modules that Python imports when it is started like a shim."""
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", *arguments], capture_output=True, text=True, check=False
    ).stderr
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}


def test_starting_the_shim_imports_only_what_costs_nothing():
    # As a module: run as a program without its descriptors it breaks, and Python imports more to say so.
    load = f"import os, sys; sys.path.insert(0, {str(Path(shim.__file__).parent)!r}); import shim"
    imported = imports_of("-c", load) - imports_of("-c", "import os, sys") - {"shim"}
    assert imported <= {"__future__", "errno", "fcntl", "resource", "select", "time"}
