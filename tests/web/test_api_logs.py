"""api_logs.py: a step's log as bytes, whole or a range of it."""

from __future__ import annotations

import pytest_twisted
from twisted.internet.task import deferLater

from sayci.account import Access
from sayci.buildlog import key_of
from tests.web.api_fixtures import house, reactor

__all__ = ["house"]  # a fixture

LOG = "/api/v1/projects/web-shop/builds/1/steps/test/log"


async def a_log(house, data):
    build = await house.build(await house.project())
    house.write(build, "test", data)
    return build


@pytest_twisted.ensureDeferred
async def test_the_bytes_are_as_they_were_printed_and_no_browser_takes_them_for_a_page(house):
    data = b"\x00\xff<script>alert(1)</script>\x1b[31m\r\n\r\ndata: x\n\n"
    await a_log(house, data)
    reply = await house.get(LOG, token=house.tokens[Access.READ])
    assert (reply.code, reply.body) == (200, data)
    assert reply.header("content-type") == "text/plain; charset=utf-8"
    assert reply.header("x-content-type-options") == "nosniff"
    assert reply.header("content-disposition") == 'inline; filename="web-shop-1-test.log"'
    assert reply.header("content-security-policy") == "default-src 'none'; sandbox"
    assert (reply.header("accept-ranges"), reply.header("vary")) == ("bytes", "Accept")
    assert reply.header("cache-control") == "no-store"


@pytest_twisted.ensureDeferred
async def test_a_step_that_has_said_nothing_has_an_empty_log(house):
    await house.build(await house.project())
    reply = await house.get(LOG)
    assert (reply.code, reply.body) == (200, b"")
    assert (await house.get(LOG, headers={"Range": "bytes=0-"})).code == 416


@pytest_twisted.ensureDeferred
async def test_a_range_of_it_is_answered(house):
    data = bytes(range(256)) * 1000
    await a_log(house, data)
    for header, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=1000-200999", 1000, 201_000),
        ("bytes=255990-", 255_990, 256_000),
        ("bytes=-5", 255_995, 256_000),
        ("bytes=255999-999999999", 255_999, 256_000),
    ):
        reply = await house.get(LOG, headers={"Range": header})
        assert (header, reply.code, reply.body) == (header, 206, data[start:end])
        assert reply.header("content-range") == f"bytes {start}-{end - 1}/256000"


@pytest_twisted.ensureDeferred
async def test_a_range_outside_of_it_is_416_and_its_size_is_told(house):
    await a_log(house, b"hello")
    for header in ("bytes=5-", "bytes=9-10", "bytes=-0"):
        reply = await house.get(LOG, headers={"Range": header})
        assert (header, reply.code, reply.header("content-range")) == (header, 416, "bytes */5")
        assert reply.said["error"] == "range_not_satisfiable"


@pytest_twisted.ensureDeferred
async def test_what_is_no_single_range_of_bytes_is_not_looked_at(house):
    await a_log(house, b"hello")
    for header in ("bytes=0-1,3-4", "lines=0-1", "bytes=3-1", "bytes=x", "nonsense"):
        reply = await house.get(LOG, headers={"Range": header})
        assert (header, reply.code, reply.body) == (header, 200, b"hello")


@pytest_twisted.ensureDeferred
async def test_head_tells_the_size(house, dial):
    await a_log(house, b"x" * 300_000)
    wire = await dial(house.served)
    head = (
        f"HEAD {LOG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.tokens[Access.READ]}\r\nRange: bytes=0-9\r\n"
    )
    for accept in ("*/*", "text/event-stream"):
        wire.send(f"{head}Accept: {accept}\r\n\r\n".encode())
        while b"\r\n\r\n" not in wire.received:
            await wire._more()
        said, wire.received = wire.received, b""
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nContent-Length: 300000\r\n" in said
        assert said.endswith(b"\r\n\r\n")


class CountingLogs:
    """Logs whose reads are counted and can be held up."""

    def __init__(self, logs):
        self._logs = logs
        self.reads: list[int] = []
        self.size = logs.size
        self.writer = logs.writer

    async def read(self, key, start, length):
        self.reads.append(length)
        return await self._logs.read(key, start, length)


async def at_rest(counted):
    """Wait until nothing is read for anybody any more."""
    before = -1
    while len(counted.reads) != before or not counted.reads:
        before = len(counted.reads)
        await deferLater(reactor, 0.3)


@pytest_twisted.ensureDeferred
async def test_a_reader_that_does_not_read_has_nothing_read_for_it(house, serve):
    """The socket's buffers and one part: that is all that waits, whatever the size of the log."""
    await a_log(house, b"x" * 40_000_000)
    house.logs = counted = CountingLogs(house.logs)
    reader = await house.read(LOG, await serve(house.make_api().resource()))
    reader.pause()
    await at_rest(counted)
    assert max(counted.reads) <= 64 * 1024
    assert sum(counted.reads) < 20_000_000
    reader.resume()
    assert (await reader.closed()).endswith(b"\r\n\r\n" + b"x" * 40_000_000)


@pytest_twisted.ensureDeferred
async def test_a_log_that_is_removed_while_it_is_read_does_not_look_complete(house):
    build = await a_log(house, b"x" * 40_000_000)
    reader = await house.read(LOG)
    reader.pause()
    await deferLater(reactor, 0.3)
    await house.logs.remove(build.id)
    assert house.logs.size(key_of(build, "test")) == 0
    reader.resume()
    received = await reader.closed()
    assert b"Content-Length: 40000000\r\n" in received
    assert len(received) < 40_000_000


@pytest_twisted.ensureDeferred
async def test_a_reader_that_takes_nothing_for_a_minute_is_cut_off(house, serve, clock):
    await a_log(house, b"x" * 40_000_000)
    house.logs = counted = CountingLogs(house.logs)
    reader = await house.read(LOG, await serve(house.make_api(clock).resource()))
    reader.pause()
    await at_rest(counted)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(60)
    reader.resume()
    assert len(await reader.closed()) < 40_000_000
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_log_that_was_removed_is_gone_and_when_is_said(house):
    build = await a_log(house, b"old words")
    await house.logs.clear(build.id)
    reply = await house.get(LOG)
    assert (reply.code, reply.said["error"]) == (410, "gone")
    assert reply.said["detail"].startswith("The log was removed by retention on ")
