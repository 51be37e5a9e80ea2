"""pages_logs.py: some lines of a log for its page, what is found in it, and all of it as text."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted

from sayci.buildlog import key_of
from sayci.step import Result
from sayci.web.pages_logs import MORE, SHOWN
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]


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
async def test_that_a_log_was_removed_is_said_with_the_date(house):
    browser = await a_log(house, b"")
    build_id = int(next(iter(house.logs.files)).partition("/")[0])
    await house.logs.clear(build_id)
    house.logs.removed[build_id] = NOW
    seen = await browser.get("/web-shop/1/test.log")
    assert seen.code == 410
    assert "The log was removed by retention on 21 November 2026" in seen.text
    assert (await browser.get("/web-shop/1/test.log", Accept="text/event-stream")).code == 410
    text = (await browser.get("/web-shop/1")).document.text("main")
    assert "The log was removed by retention on 21 November 2026." in text
    assert "It printed nothing" not in text


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


# -- in pages


LONG = b"".join(b"line %d\n" % number for number in range(1, 2001))


def rows_of(document, step="test"):
    """The numbers of the lines that a page has of a step's log."""
    ids = [given.get("id", "") for tag, given in document.elements if tag == "li"]
    return [int(name.removeprefix(f"{step}-")) for name in ids if name.startswith(f"{step}-")]


def rows_in(html):
    return [int(number) for number in re.findall(r'<li id="test-(\d+)"', html)]


@pytest_twisted.ensureDeferred
async def test_of_a_long_log_the_end_is_in_the_page_which_leads_to_the_rest(house):
    browser = await a_log(house, LONG)
    document = (await browser.get("/web-shop/1")).document
    assert rows_of(document) == list(range(2001 - SHOWN.lines, 2001))
    assert f"Lines 1 to {2000 - SHOWN.lines:,}: show earlier ones" in document.text("main")
    earlier = next(link for link in document.attributes("href") if "?until=" in link)
    document = (await browser.get(earlier.partition("#")[0])).document
    assert rows_of(document)[-1] == 2000 - SHOWN.lines


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    (
        ("around=test:1000", 875, 1124),
        ("from=test:5", 5, 254),
        ("until=test:300", 51, 300),
        ("around=test:99999", 1875, 2000),
    ),
)
@pytest_twisted.ensureDeferred
async def test_any_line_has_an_address_that_needs_no_script(house, asked, first, last):
    browser = await a_log(house, LONG)
    shown = rows_of((await browser.get(f"/web-shop/1?{asked}")).document)
    assert (shown[0], shown[-1]) == (first, last)


@pytest.mark.parametrize(
    ("asked", "code"),
    (
        ("around=test:0", 422),
        ("around=test:x", 422),
        ("around=none:1", 404),
        ("from=test", 422),
        ("around=checkout:5", 200),
    ),
)
@pytest_twisted.ensureDeferred
async def test_an_address_of_no_line_is_refused(house, asked, code):
    browser = await a_log(house, LONG)
    assert (await browser.get(f"/web-shop/1?{asked}")).code == code


@pytest_twisted.ensureDeferred
async def test_more_lines_are_given_as_markup(house):
    browser = await a_log(house, LONG)
    seen = await browser.get("/web-shop/1/test/lines?until=900")
    assert seen.header("content-type") == "application/json"
    told = json.loads(seen.body)
    assert (told["first"], told["last"], told["total"], told["is_end"]) == (901 - MORE.lines, 900, 2000, False)
    assert rows_in(told["html"]) == list(range(901 - MORE.lines, 901))
    told = json.loads((await browser.get("/web-shop/1/test/lines")).body)
    assert (told["last"], told["is_end"]) == (2000, True)
    assert (await browser.get("/web-shop/1/test/lines?from=0")).code == 422
    assert (await browser.get("/web-shop/1/none/lines")).code == 404
    assert (await house.stranger().get("/web-shop/1/test/lines")).code == 303


@pytest_twisted.ensureDeferred
async def test_words_are_found_in_the_whole_log(house):
    browser = await a_log(house, LONG)
    told = json.loads((await browser.get("/web-shop/1/find?words=LINE+1234")).body)
    assert told == {"hits": [{"step": "test", "line": 1234, "excerpt": "line 1234"}], "is_all": True}
    told = json.loads((await browser.get("/web-shop/1/find?words=line")).body)
    assert (len(told["hits"]), told["is_all"]) == (200, False)
    document = (await browser.get("/web-shop/1?find=line+1234")).document
    assert "“ line 1234 ” is in 1 line." in document.text("section")
    assert "/web-shop/1?around=test:1234#test-1234" in document.attributes("href")
    document = (await browser.get("/web-shop/1?find=%3Cscript%3E")).document
    assert "“ <script> ” is in no line of these logs." in document.text("section")


HOSTILE = b"".join(
    (
        b"<script>alert(1)</script>\n",
        b"</li></ol></div><img src=x onerror=alert(1)>\n",
        b"\x00\x01\x7f \xff\xfe \xc3(\n",
        "\u202egnp.exe\u2066 \u200b\ufeff\u2028x\n".encode(),
        b"\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\ \x1b]0;title\x07\n",
        b'\x1b[38;2;1;2;3m" onmouseover="alert(1)\x1b[0m\n',
        b'\x1b["><b>31m x\n',
        b"&lt;b&gt; &amp;amp;\n",
        b"\x1b_\x1b^\x1bP<svg onload=alert(1)>\n",
        b"{{ 7 * 7 }} {% raw %}\n",
    )
)


@pytest_twisted.ensureDeferred
async def test_nothing_that_a_build_prints_becomes_markup(house):
    browser = await a_log(house, HOSTILE)
    await a_log_of(house, "plain", b"x\n" * 10)
    plain = await browser.get("/plain/1")
    seen = await browser.get("/web-shop/1")
    allowed = {tag for tag, _ in plain.document.elements} | {"details", "summary", "section"}
    assert {tag for tag, _ in seen.document.elements} <= allowed
    assert not [name for _, given in seen.document.elements for name in given if name.startswith("on")]
    text = seen.document.text("li")
    for words in (
        "<script>alert(1)</script>",
        "</li></ol></div><img src=x onerror=alert(1)>",
        "<U+202E>gnp.exe<U+2066> <U+200B><U+FEFF><U+2028>x",
        '" onmouseover="alert(1)',
        "&lt;b&gt; &amp;amp;",
        "{{ 7 * 7 }} {% raw %}",
        "\u2400\u2401\u2421 \ufffd\ufffd \ufffd(",
        "click",
    ):
        assert words in text, words
    assert "javascript:" not in seen.text
    told = json.loads((await browser.get("/web-shop/1/test/lines")).body)["html"]
    assert "<script" not in told
    assert "onerror=alert(1)>" not in told.replace("&gt;", "")


async def a_log_of(house, name, log):
    await house.build(await house.project(name), Result.SUCCESS, logs={"test": log})


@pytest_twisted.ensureDeferred
async def test_a_page_of_any_log_is_bounded(house):
    browser = await house.signed_in()
    for name, log in (("wide", b"<" * 3_000_000), ("deep", b"\n" * 3_000_000), ("odd", b"\x1b[31mx\x1b[0m" * 200_000)):
        await a_log_of(house, name, log)
        seen = await browser.get(f"/{name}/1")
        assert seen.code == 200
        assert len(seen.body) < 100_000, name


# -- its feed


def events_of(seen):
    """The events of a whole feed: (event, id, data)."""
    found = []
    for part in seen.text.split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in part.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], lines.get("id", ""), json.loads(lines["data"])))
    return found


FEED = {"Accept": "text/event-stream"}


@pytest_twisted.ensureDeferred
async def test_the_feed_of_a_page_goes_on_where_it_ended(house):
    browser = await a_log(house, b"one\ntwo\nthree")
    seen = await browser.get("/web-shop/1?after=test:4", **FEED)
    assert seen.header("content-type") == "text/event-stream"
    events = events_of(seen)
    assert [event for event, _, _ in events] == ["build", "lines", "end"]
    _, name, told = events[1]
    assert (name, told["step"], told["first"], rows_in(told["html"])) == ("test:13", "test", 2, [2, 3])
    # in the middle of a line: the whole line comes again
    events = events_of(await browser.get("/web-shop/1?after=test:0", **FEED, Last_Event_ID="test:6"))
    assert rows_in(events[1][2]["html"]) == [2, 3]
    assert ">two</li>" in events[1][2]["html"]
    assert [event for event, _, _ in events_of(await browser.get("/web-shop/1?after=test:13", **FEED))] == [
        "build",
        "end",
    ]
    assert [event for event, _, _ in events_of(await browser.get("/web-shop/1?after=test:99", **FEED))] == [
        "build",
        "restart",
    ]
    assert (await browser.get("/web-shop/1?after=test:x", **FEED)).code == 422
    assert (await browser.get("/web-shop/1?after=none:1", **FEED)).code == 404


@pytest_twisted.ensureDeferred
async def test_a_reader_who_is_far_behind_is_told_the_end(house):
    browser = await a_log(house, b"".join(b"line %d\n" % number for number in range(1, 100_001)))
    events = events_of(await browser.get("/web-shop/1?after=test:0", **FEED))
    assert [event for event, _, _ in events] == ["build", "lines", "end"]
    told = events[1][2]
    assert told["leap"]
    assert rows_in(told["html"])[-1] == 100_000
    assert told["first"] == rows_in(told["html"])[0] > 99_000


@pytest_twisted.ensureDeferred
async def test_a_feed_follows_the_build_from_step_to_step(house, dial):
    project = await house.project(deploy_branch="main")
    build = await house.running(project, deploys=True, logs={"test": b"tested"})
    browser = await house.signed_in()
    wire = await dial(house.served)
    cookie = browser.cookies["sayci_session"].encode()
    wire.send(
        b"GET /web-shop/1?after=test:0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        b"Cookie: sayci_session=%s\r\n\r\n" % cookie
    )

    async def received(words):
        while words not in wire.received:
            await wire._more()

    await received(b"id: test:6\n")
    house.logs.files[key_of(build, "test")] += " ü\n".encode()[:2]
    house.logs.files[key_of(build, "test")] += " ü\n".encode()[2:]
    await received(b"id: test:10\n")
    now = NOW + 5

    def on(build):
        build = build.with_step(build.step("test").finished(now, Result.SUCCESS, duration=3.0))
        return build.with_step(build.step("deploy").started(now, "handle"))

    await house.ledger.advance(build.id, on)
    await received(b'"name":"deploy","state":"running"')
    house.logs.files[key_of(build, "deploy")] = b"deployed\n"
    await received(b"id: deploy:9\n")
    await house.ledger.advance(
        build.id,
        lambda build: build.with_step(build.step("deploy").finished(now, Result.SUCCESS, duration=1.0)).finished(now),
    )
    await received(b"event: end\n")
    assert wire.received.index(b"tested") < wire.received.index(b"deployed")


@pytest_twisted.ensureDeferred
async def test_where_it_was_noted_lines_say_when_they_came(house):
    browser = await a_log(house, b"one\ntwo\nthree\n")
    assert "<i>" not in (await browser.get("/web-shop/1")).text
    (key,) = [key for key in house.logs.files if key.endswith("-test")]
    house.logs.files[f"{key}/times"] = b"".join(
        offset.to_bytes(8, "little") + moment.to_bytes(4, "little") for offset, moment in ((0, 200), (8, 61_500))
    )
    text = (await browser.get("/web-shop/1")).document.text("li")
    assert "1 0:00 one 2 0:00 two 3 1:01 three" in text
    assert "1:01" in json.loads((await browser.get("/web-shop/1/test/lines")).body)["html"]
