"""pages_logs.py: the end of a log in a page, and all of it as text."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from sayci.step import Result
from sayci.web.pages_logs import BYTES_SHOWN, LINES_SHOWN, tail_of
from tests.fakes import FakeLogs

pytest_plugins = ["tests.web.page_fixtures"]


def tail(log):
    """tail_of, for logs that answer at once."""
    logs = FakeLogs()
    logs.files["key"] = log
    coroutine = tail_of(logs, "key")
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def text_of(tail):
    return ["".join(run.text for run in line) for line in tail.lines]


def test_a_short_log_is_shown_whole_and_numbered_from_1():
    shown = tail(b"one\ntwo\n")
    assert text_of(shown) == ["one", "two"]
    assert (shown.first, shown.end, shown.size, shown.is_cut, shown.is_open) == (1, 8, 8, False, False)


def test_an_empty_log():
    shown = tail(b"")
    assert text_of(shown) == []
    assert (shown.end, shown.is_cut, shown.is_open) == (0, False, False)


def test_of_many_lines_the_last_are_shown_with_their_numbers():
    shown = tail(b"".join(b"line %d\n" % number for number in range(1, LINES_SHOWN + 11)))
    assert len(shown.lines) == LINES_SHOWN
    assert (shown.first, shown.is_cut) == (11, True)
    assert text_of(shown)[0] == "line 11"
    assert text_of(shown)[-1] == f"line {LINES_SHOWN + 10}"


def test_of_many_bytes_the_last_whole_lines_are_shown_without_numbers():
    line = b"x" * 999 + b"\n"
    shown = tail(line * 200)
    assert (shown.first, shown.is_cut, shown.end) == (None, True, 200_000)
    assert set(text_of(shown)) == {"x" * 999}


def test_a_line_that_goes_on_is_open():
    assert tail(b"one\ntw").is_open
    assert tail("one\nü".encode()).end == 6


def test_a_letter_of_which_half_has_come_is_left_for_the_feed():
    shown = tail("one\nü".encode()[:-1])
    assert (text_of(shown), shown.end, shown.size) == (["one"], 4, 5)


def test_a_log_of_one_endless_line():
    shown = tail(b"y" * (BYTES_SHOWN + 10))
    assert len(shown.lines) == 1
    assert shown.is_cut


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\x1b[31m", "ü".encode(), b"\xff"]), max_size=40).map(b"".join))
def test_what_the_page_has_and_what_the_feed_sends_is_all(log):
    shown = tail(log)
    assert shown.end <= len(log)
    assert len(log) - shown.end <= 3
    assert shown.is_open == (bool(log[: shown.end]) and not log[: shown.end].endswith(b"\n"))


# -- as text

LOG = "one\n<script>alert(1)</script>\n\x1b[31mrot\x1b[0m ü\n".encode() + b"\xff\0"


async def a_log(house, log=LOG):
    await house.build(await house.project(), Result.FAILURE, logs={"test": log})
    return await house.signed_in()


@pytest_twisted.ensureDeferred
async def test_all_of_a_log_comes_byte_for_byte_as_text_that_runs_nowhere(house):
    seen = await (await a_log(house)).get("/web-shop/1/test.log")
    assert (seen.code, seen.body) == (200, LOG)
    assert seen.header("content-type") == "text/plain; charset=utf-8"
    assert seen.header("x-content-type-options") == "nosniff"
    assert seen.header("content-security-policy") == "default-src 'none'; sandbox"
    assert seen.header("accept-ranges") == "bytes"


@pytest.mark.parametrize(
    ("asked", "code", "told", "part"),
    (
        ("bytes=0-2", 206, f"bytes 0-2/{len(LOG)}", LOG[:3]),
        ("bytes=4-", 206, f"bytes 4-{len(LOG) - 1}/{len(LOG)}", LOG[4:]),
        ("bytes=-5", 206, f"bytes {len(LOG) - 5}-{len(LOG) - 1}/{len(LOG)}", LOG[-5:]),
        ("bytes=99999-", 416, f"bytes */{len(LOG)}", b""),
        ("lines=1-2", 200, "", LOG),
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_range_of_a_log(house, asked, code, told, part):
    seen = await (await a_log(house)).get("/web-shop/1/test.log", Range=asked)
    assert (seen.code, seen.header("content-range"), seen.body) == (code, told, part)


@pytest_twisted.ensureDeferred
async def test_the_head_of_a_log(house):
    seen = await (await a_log(house)).request("HEAD", "/web-shop/1/test.log")
    assert (seen.code, seen.body, seen.header("content-length")) == (200, b"", str(len(LOG)))


@pytest_twisted.ensureDeferred
async def test_a_large_log_comes_whole(house):
    log = bytes(range(256)) * 8192
    seen = await (await a_log(house, log)).get("/web-shop/1/test.log")
    assert seen.body == log


@pytest_twisted.ensureDeferred
async def test_a_log_that_cannot_be_read_to_its_end_does_not_look_whole(house, dial, logged):
    browser = await a_log(house, b"x" * 200_000)
    whole, reads = house.logs.read, []

    async def read(key, start, length):
        reads.append(start)
        if len(reads) > 1:
            raise OSError("the disk is gone")
        return await whole(key, start, length)

    house.logs.read = read
    wire = await dial(house.served)
    cookie = browser.cookies["sayci_session"].encode()
    wire.send(b"GET /web-shop/1/test.log HTTP/1.1\r\nHost: x\r\nCookie: sayci_session=%s\r\n\r\n" % cookie)
    received = await wire.closed()
    assert b"Content-Length: 200000\r\n" in received
    assert len(received) < 150_000
    assert b"<html" not in received
    assert [event for event in logged if "mistake" in event]


@pytest_twisted.ensureDeferred
async def test_a_log_that_is_not_there_is_empty(house):
    seen = await (await a_log(house)).get("/web-shop/1/checkout.log")
    assert (seen.code, seen.body) == (200, b"")


@pytest_twisted.ensureDeferred
async def test_the_feed_of_a_log_goes_on_where_the_page_or_the_last_event_ended(house):
    browser = await a_log(house, b"one\ntwo\n")
    feed = {"Accept": "text/event-stream"}
    seen = await browser.get("/web-shop/1/test.log", **feed)
    assert seen.header("content-type") == "text/event-stream"
    assert '"text":"one\\ntwo\\n"' in seen.text
    assert "event: end" in seen.text
    seen = await browser.get("/web-shop/1/test.log?after=4", **feed)
    assert '"text":"two\\n"' in seen.text
    seen = await browser.get("/web-shop/1/test.log?after=0", **feed, Last_Event_ID="4")
    assert '"text":"two\\n"' in seen.text
    assert (await browser.get("/web-shop/1/test.log?after=-1", **feed)).code == 422


@pytest_twisted.ensureDeferred
async def test_a_long_log_is_cut_in_the_page_which_leads_to_all_of_it(house):
    browser = await a_log(house, b"".join(b"line %d\n" % number for number in range(700)))
    document = (await browser.get("/web-shop/1")).document
    assert (
        len([tag for tag, given in document.elements if tag == "li" and given.get("id", "").startswith("test-")]) == 500
    )
    assert "This is the end of it. The whole log" in document.text("main")
