"""buildlog.py: what is masked, and bytes as text with offsets."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import digest_of
from sayci.buildlog import PATTERNS_LIMIT, SHORTEST_SECRET, Chunk, chunk_of, key_of, masks_of
from tests.factories import a_build

SECRET = "hunter2/+%ü"
secrets = st.text(min_size=SHORTEST_SECRET, max_size=60)


def masked(secret, output):
    return any(mask in output for mask in masks_of([secret]))


def test_a_log_s_key_names_the_build_the_attempt_and_the_step():
    assert key_of(a_build(id=12, number=3, attempt=2), "test") == "12/2-test"


def test_attempts_have_logs_of_their_own():
    build = a_build()
    assert key_of(build, "test") != key_of(a_build(attempt=2), "test")


@given(secrets)
def test_a_secret_is_masked_as_it_is(secret):
    assert masked(secret, b"before " + secret.encode("utf-8", "replace") + b" after")


@given(secrets, st.binary(max_size=20), st.binary(max_size=20))
def test_a_secret_is_masked_in_base64_wherever_it_stands(secret, before, after):
    raw = before + secret.encode() + after
    assert masked(secret, base64.b64encode(raw))
    assert masked(secret, base64.urlsafe_b64encode(raw))


@given(secrets)
def test_a_secret_is_masked_in_hex_and_in_urls(secret):
    raw = secret.encode()
    assert masked(secret, raw.hex().encode())
    assert masked(secret, raw.hex().upper().encode())
    assert masked(secret, urllib.parse.quote(secret, safe="").encode())
    assert masked(secret, urllib.parse.urlencode({"key": secret}).encode())


def test_the_lines_of_a_key_are_masked_one_by_one():
    key = "-----BEGIN KEY-----\r\n  b3BlbnNzaC1rZXk\nAAAAB3NzaC1\n-----END KEY-----\n"
    for line in ("b3BlbnNzaC1rZXk", "AAAAB3NzaC1"):
        assert line.encode() in masks_of([key])
    assert masked(key, json.dumps(key).encode())


@pytest.mark.parametrize("secret", ("", "a", "12345", "é1"))
def test_short_secrets_are_not_looked_for(secret):
    assert masks_of([secret]) == ()


def test_short_lines_of_a_long_secret_are_not_looked_for():
    assert all(len(mask) >= SHORTEST_SECRET for mask in masks_of(["ab\ncd\nlonger-line\n"]))


def test_nothing_is_looked_for_twice():
    masks = masks_of([SECRET, SECRET, SECRET + "\n"])
    assert len(masks) == len(set(masks))


def test_there_is_a_limit_and_the_secrets_themselves_come_first():
    known = ["\n".join(digest_of(f"{number} {line}").hex() for line in range(10)) for number in range(50)]
    masks = masks_of(known)
    assert len(masks) == PATTERNS_LIMIT
    assert masks[:50] == tuple(secret.encode() for secret in known)


def test_a_secret_with_half_a_surrogate_pair_does_no_harm():
    assert masks_of(["abcdef\ud800"])


def test_no_secrets_no_masks():
    assert masks_of([]) == ()


# -- text with offsets


@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=30).map(str.encode)), st.lists(st.integers(1, 7), max_size=60)
)
def test_text_read_in_pieces_is_the_text_read_at_once(data, sizes):
    start, text = 0, ""
    end = 0
    for size in sizes:
        end = min(len(data), end + size)
        chunk = chunk_of(data[start:end], start, final=False)
        assert chunk.start == start
        assert start <= chunk.end <= end
        start, text = chunk.end, text + chunk.text
    last = chunk_of(data[start:], start, final=True)
    assert last.end == len(data)
    assert text + last.text == data.decode("utf-8", "replace")


@given(st.binary(max_size=60))
def test_at_most_three_bytes_are_left_for_later(data):
    assert len(data) - chunk_of(data, 0, final=False).end <= 3


@pytest.mark.parametrize("letter", ("é", "€", "💣"))
def test_a_letter_in_two_chunks_is_left_for_the_second(letter):
    data = letter.encode()
    for cut in range(1, len(data)):
        assert chunk_of(b"a" + data[:cut], 7, final=False) == Chunk(7, 8, "a")
    assert chunk_of(b"a" + data, 7, final=False) == Chunk(7, 8 + len(data), "a" + letter)


def test_what_is_no_utf8_is_marked():
    assert chunk_of(b"a\xff\xc3", 0, final=True) == Chunk(0, 3, "a\ufffd\ufffd")


def test_nothing_is_an_empty_chunk():
    assert chunk_of(b"", 5, final=False) == Chunk(5, 5, "")
