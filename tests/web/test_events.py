"""events.py: live feeds of builds and logs, over real HTTP."""

from __future__ import annotations

import itertools
import json

import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sayci.step import Result
from sayci.web.events import HEARTBEAT, LOOK, Bell, WatchedLogs, frame
from sayci.web.outlet import PATIENCE
from tests.factories import NOW
from tests.web.api_fixtures import house, reactor

__all__ = ["house"]  # a fixture

BUILD = "/api/v1/projects/web-shop/builds/1"
LOG = f"{BUILD}/steps/test/log"


async def a_running_build(house):
    build = await house.start(await house.build(await house.project()))
    return await house.move(build, "test", lambda step: step.started(NOW + 2, "handle"))


async def finish(house, build, result=Result.SUCCESS):
    return await house.finish(await house.store.build(build.project_id, build.number), result)


def told(reader):
    """The log as the reader has it, from events that follow on each other."""
    parts = [json.loads(event["data"]) for event in reader.events if "event" not in event and "data" in event]
    for part, event in zip(parts, (event for event in reader.events if "id" in event), strict=False):
        assert str(part["end"]) == event["id"]
    for before, after in itertools.pairwise(parts):
        assert before["end"] == after["start"]
    return "".join(part["text"] for part in parts)


async def until(condition):
    """Wait until the server has noticed; nothing announces it."""
    while not condition():
        await deferLater(reactor, 0.01)


# -- the format


@given(st.text(), st.integers(0, 2**63 - 1))
def test_nothing_that_a_build_prints_can_break_the_framing(text, offset):
    lines = frame({"text": text}, offset=offset, event="x").split(b"\n")
    assert lines[0:2] == [b"event: x", b"id: %d" % offset]
    assert json.loads(lines[2].removeprefix(b"data: ")) == {"text": text}
    assert lines[3:] == [b"", b""]
    assert b"\r" not in b"".join(lines)


# -- the feed of a build


@pytest_twisted.ensureDeferred
async def test_a_build_is_told_at_once_and_at_each_change_until_it_has_finished(house):
    build = await house.build(await house.project())
    reader = await house.watch(BUILD)
    assert (await reader.event("build"))["waiting"] == "For a free slot."
    running = await house.start(build)
    await reader.until(lambda data: data.count(b"event: build") == 3)
    await house.finish(running, Result.FAILURE)
    await reader.closed()
    assert "Content-Type: text/event-stream" in reader.head
    assert "Cache-Control: no-store" in reader.head
    assert "X-Accel-Buffering: no" in reader.head
    states = [json.loads(event["data"])["state"] for event in reader.events if event.get("event") == "build"]
    assert (states[0], states[-1]) == ("queued", "finished")
    assert states.count("finished") == 1
    last = json.loads(reader.events[-1]["data"])
    assert last == (await house.get(BUILD)).said
    assert reader.events[0] == {"retry": "2000"}


@pytest_twisted.ensureDeferred
async def test_the_feed_of_a_finished_build_is_told_once(house):
    await house.finish(await house.build(await house.project()))
    reader = await house.watch(BUILD)
    await reader.closed()
    assert [event.get("event") for event in reader.events] == [None, "build"]


@pytest_twisted.ensureDeferred
async def test_a_feed_takes_a_credential_and_a_build_that_is_there(house):
    await house.project()
    accept = {"Accept": "text/event-stream"}
    assert (await house.get(BUILD, headers=accept, token="")).code == 401
    missing = await house.get(BUILD, headers=accept)
    assert (missing.code, missing.header("content-type")) == (404, "application/problem+json")
    assert (await house.get(LOG, headers=accept)).code == 404


# -- the feed of a log


@pytest_twisted.ensureDeferred
async def test_a_log_is_told_as_it_grows_and_its_end_last(house):
    build = await a_running_build(house)
    house.write(build, "test", b"one\n")
    reader = await house.watch(LOG)
    await reader.until(lambda data: b"one" in data)
    for word in (b"two\n", b"three\n", b"four"):
        house.write(build, "test", word)
        await reader.until(lambda data, word=word: word.strip() in data)
    await finish(house, build, Result.FAILURE)
    assert await reader.event("end") == {"size": 18, "result": "failure", "reason": ""}
    await reader.closed()
    assert told(reader) == "one\ntwo\nthree\nfour"
    assert house.api.feeds.open == 0


@pytest_twisted.ensureDeferred
async def test_a_log_that_is_complete_is_told_at_once(house):
    build = await a_running_build(house)
    text = "".join(f"line {number} é𝄞\n" for number in range(20_000))
    house.write(build, "test", text.encode())
    await finish(house, build)
    reader = await house.watch(LOG)
    await reader.closed()
    assert told(reader) == text
    assert reader.events[-1]["event"] == "end"
    assert (await reader.event("end"))["size"] == len(text.encode())


@pytest_twisted.ensureDeferred
async def test_what_was_written_just_before_the_end_is_not_lost(house):
    build = await a_running_build(house)
    reader = await house.watch(LOG)
    await reader.until(lambda data: b"retry" in data)
    house.write(build, "test", b"x" * 500_000)
    await finish(house, build)
    await reader.closed()
    assert told(reader) == "x" * 500_000


@pytest_twisted.ensureDeferred
async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(house):
    build = await a_running_build(house)
    text = "".join(f"{number} ä\n" for number in range(30_000))
    data = text.encode()
    house.write(build, "test", data[:200_000])
    first = await house.watch(LOG)
    await first.until(lambda data: data.count(b"\nid: ") >= 3)
    first.leave()
    await first.closed()
    last = [event["id"] for event in first.events if "id" in event][-1]
    house.write(build, "test", data[200_000:])
    await finish(house, build)
    second = await house.watch(f"{LOG}?after=5", Last_Event_ID=last)
    await second.closed()
    assert told(first) + told(second) == text
    third = await house.watch(f"{LOG}?after={len(data) - 4}")
    await third.closed()
    assert told(third) == data[-4:].decode()


@pytest_twisted.ensureDeferred
async def test_bytes_that_break_lines_or_are_no_text_stay_inside_their_events(house):
    build = await a_running_build(house)
    data = b"\n\ndata: forged\n\nevent: end\r\n\r\n\x00\xff\x1b[2J</script>\xe2\x80\xa8" * 100
    house.write(build, "test", data)
    await finish(house, build)
    reader = await house.watch(LOG)
    await reader.closed()
    assert told(reader) == data.decode("utf-8", "replace")
    assert [event.get("event") for event in reader.events if "event" in event] == ["end"]


@pytest_twisted.ensureDeferred
async def test_a_character_that_comes_in_two_parts_is_told_whole(house):
    build = await a_running_build(house)
    note = "𝄞".encode()
    reader = await house.watch(LOG)
    house.write(build, "test", b"a" + note[:2])
    await reader.until(lambda data: b'"a"' in data)
    house.write(build, "test", note[2:])
    await reader.until(lambda data: "𝄞".encode() in data)
    house.write(build, "test", note[:3])
    await finish(house, build)
    await reader.closed()
    assert told(reader) == "a𝄞\ufffd"
    assert (await reader.event("end"))["size"] == 8


@pytest_twisted.ensureDeferred
async def test_a_step_that_is_skipped_ends_its_feed(house):
    build = await house.start(await house.build(await house.project()))
    reader = await house.watch(LOG)
    await house.ledger.advance(build.id, lambda build: build.cancelled(NOW, "cancelled by ada"))
    await house.ledger.advance(build.id, lambda build: build.finished(NOW))
    assert await reader.event("end") == {"size": 0, "result": "skipped", "reason": ""}
    await reader.closed()


@pytest_twisted.ensureDeferred
async def test_a_step_that_runs_again_begins_its_log_anew(house):
    build = await a_running_build(house)
    house.write(build, "test", b"of the first attempt")
    reader = await house.watch(LOG)
    await reader.until(lambda data: b"first" in data)
    await house.ledger.advance(build.id, lambda build: build.requeued("interrupted"))
    assert await reader.event("restart") == {"attempt": 2}
    again = await a_running_again(house, build)
    house.write(again, "test", b"second")
    await finish(house, again)
    await reader.closed()
    texts = [json.loads(event["data"])["text"] for event in reader.events if "id" in event and "event" not in event]
    assert texts == ["of the first attempt", "second"]
    assert [event["id"] for event in reader.events if event.get("event") == "restart"] == ["0"]
    assert (await reader.event("end"))["size"] == 6


async def a_running_again(house, build):
    await house.ledger.advance(build.id, lambda build: build.claimed(NOW))
    await house.move(build, "checkout", lambda step: step.finished(NOW, Result.SUCCESS))
    return await house.move(build, "test", lambda step: step.started(NOW, "handle"))


@pytest_twisted.ensureDeferred
async def test_an_offset_that_the_log_does_not_have_is_one_of_an_earlier_attempt(house):
    build = await a_running_build(house)
    house.write(build, "test", b"short")
    await finish(house, build)
    reader = await house.watch(LOG, Last_Event_ID="6")
    await reader.closed()
    assert await reader.event("restart") == {"attempt": 1}
    assert b'"text":"short"' in reader.data


@pytest_twisted.ensureDeferred
async def test_an_offset_that_is_no_number_is_refused(house):
    await a_running_build(house)
    events = {"Accept": "text/event-stream"}
    for value in ("x", "-1", "1e3", str(2**63), ""):
        assert (await house.get(f"{LOG}?after={value}", headers=events)).code == 422
        assert (await house.get(LOG, headers=events | {"Last-Event-ID": value})).code == 422


# -- those who watch


@pytest_twisted.ensureDeferred
async def test_silence_is_broken_by_a_comment(house, serve, clock):
    await a_running_build(house)
    served = await serve(house.make_api(clock).resource())
    readers = [await house.watch(LOG, served), await house.watch(BUILD, served)]
    for reader in readers:
        await reader.until(lambda data: data.endswith(b"\n\n") and b"retry" in data)
    # Two that wait, one that looks at the log, and one at who reads.
    await until(lambda: len(clock.getDelayedCalls()) == 4)
    for count in (1, 2):
        clock.pump([LOOK] * int(HEARTBEAT / LOOK + 1))
        for reader in readers:
            await reader.until(lambda data, count=count: data.count(b":\n\n") == count)
        await until(lambda: len(clock.getDelayedCalls()) == 4)


@pytest_twisted.ensureDeferred
async def test_a_reader_that_goes_away_leaves_nothing_behind(house, bus):
    await a_running_build(house)
    feeds = house.api.feeds
    readers = [await house.watch(path) for path in (LOG, LOG, BUILD)]
    for reader in readers:
        await reader.until(lambda data: b"retry" in data)
    await until(lambda: len(feeds.watched) == 1)
    assert feeds.open == 3
    subscribed = len(bus._listeners[("build", 1)])
    assert subscribed == 3
    for reader in readers:
        reader.leave()
    await until(lambda: feeds.open == 0)
    assert len(feeds.watched) == 0
    assert ("build", 1) not in bus._listeners


@pytest_twisted.ensureDeferred
async def test_two_hundred_watch_one_log_and_it_is_looked_at_once(house):
    build = await a_running_build(house)
    readers = await gatherResults([Deferred.fromCoroutine(house.watch(LOG)) for _ in range(200)])
    for reader in readers:
        await reader.until(lambda data: b"retry" in data)
    assert (house.api.feeds.open, len(house.api.feeds.watched)) == (200, 1)
    text = ""
    for number in range(5):
        line = f"line {number}: " + "é" * 2000 + "\n"
        text += line
        house.write(build, "test", line.encode())
        await readers[number].until(lambda data, number=number: b"line %d" % number in data)
    await finish(house, build)
    for reader in readers:
        await reader.closed()
        assert told(reader) == text
    assert house.api.feeds.open == 0


@pytest_twisted.ensureDeferred
async def test_a_reader_that_does_not_read_is_not_read_for_and_is_cut_off_in_the_end(house, serve, clock):
    build = await a_running_build(house)
    house.write(build, "test", b"x" * 40_000_000)
    api = house.make_api(clock)
    reader = await house.watch(LOG, await serve(api.resource()))
    reader.pause()
    await until(lambda: any(call.getTime() >= PATIENCE for call in clock.getDelayedCalls()))
    assert api.feeds.open == 1
    clock.advance(PATIENCE)
    await until(lambda: api.feeds.open == 0)
    assert not clock.getDelayedCalls()
    reader.resume()
    assert len(await reader.closed()) < 20_000_000


@pytest_twisted.ensureDeferred
async def test_there_is_room_for_so_many_feeds_and_no_more(house):
    await a_running_build(house)
    house.api.feeds._limit = 2
    readers = [await house.watch(LOG) for _ in range(2)]
    for reader in readers:
        await reader.until(lambda data: b"retry" in data)
    refused = await house.get(LOG, headers={"Accept": "text/event-stream"})
    assert (refused.code, refused.header("content-type")) == (503, "application/problem+json")
    assert int(refused.header("retry-after")) > 0
    readers[0].leave()
    await until(lambda: house.api.feeds.open == 1)
    another = await house.watch(LOG)
    await another.until(lambda data: b"retry" in data)


# -- what wakes them


def test_a_bell_that_is_rung_before_anybody_waits_is_heard(clock):
    bell = Bell(clock)
    bell.ring()
    first, second = Deferred.fromCoroutine(bell.wait(5)), Deferred.fromCoroutine(bell.wait(5))
    assert (first.result, second.called) == (True, False)
    clock.advance(5)
    assert second.result is False
    assert not clock.getDelayedCalls()


def test_whoever_stops_waiting_for_a_bell_leaves_no_timer(clock):
    waiting = Deferred.fromCoroutine(Bell(clock).wait(5))
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    assert not clock.getDelayedCalls()


def test_a_log_is_looked_at_only_while_somebody_watches(clock, logs):
    build_key = "1/1-test"
    watched = WatchedLogs(logs, clock)
    first, second = Bell(clock), Bell(clock)
    with watched.watch(build_key, first), watched.watch(build_key, second):
        assert len(clock.getDelayedCalls()) == 1
        clock.advance(LOOK)
        logs.files[build_key] = b"x"
        clock.advance(LOOK)
        assert [Deferred.fromCoroutine(bell.wait(5)).result for bell in (first, second)] == [True, True]
    assert not clock.getDelayedCalls()
    assert len(watched) == 0
