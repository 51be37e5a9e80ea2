"""cli/feed.py: server-sent events are read as the standard has them, and taken up where the connection broke."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.cli import feed
from sayci.cli.api import Api, path
from sayci.cli.config import Account
from sayci.cli.feed import Event, Parser, events
from sayci.cli.trouble import Busy, Shut, Trouble

STREAM = (
    b'retry: 2000\n\n:\n\nid: 5\ndata: {"a": 1}\n\n:\n\nevent: build\r\ndata: {"b":\r\ndata:2}\r\n\r\n'
    b"id:9\nevent: end\nunknown: x\ndata: {}\n\n"
)
EVENTS = [Event("message", {"a": 1}), Event("build", {"b": 2}), Event("end", {})]
LOG = path("projects", "demo", "builds", 12, "steps", "test", "log")


@given(st.integers(1, 20))
def test_events_are_found_however_their_bytes_arrive(size):
    parser = Parser()
    parts = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert list(itertools.chain.from_iterable(map(parser.take, parts))) == EVENTS
    assert parser.last_id == "9"
    assert parser.pause == 2.0


def test_the_id_counts_only_once_its_event_is_whole():
    parser = Parser("3")
    assert list(parser.take(b"id: 8\ndata: {}")) == []
    assert parser.last_id == "3"


@pytest.mark.parametrize(
    "data", (b"data: [1]\n\n", b"data: {\n\n", b"data: " + b"[" * 100_000 + b"\n\n", b"data: \xff\n\n")
)
def test_what_is_no_json_object_cannot_be_read(data):
    with pytest.raises(Shut):
        list(Parser().take(data))


@pytest.mark.parametrize("part", (b"data: " + b"x" * 100, b"data: " + b"x" * 100 + b"\n"))
def test_an_event_without_end_is_given_up(monkeypatch, part):
    monkeypatch.setattr(feed, "EVENT_LIMIT", 1000)
    parser = Parser()
    with pytest.raises(Shut):
        list(itertools.chain.from_iterable(parser.take(part) for _ in range(100)))


@pytest.fixture
def api(server, values):
    return Api(Account(server.url, values.TOKEN))


def read(api, place=LOG):
    lost: list[int] = []
    text = ""
    with contextlib.closing(events(api, place, lambda: lost.append(len(text)))) as found:
        for event in found:
            if event.name == "end":
                return text, lost
            text += event.data["text"]
    raise AssertionError


def test_a_broken_feed_is_taken_up_after_the_last_event(api, server):
    server.logs[12, "test"] = b"".join(b"line %d\n" % number for number in range(20))
    server.cuts = [25, 25, 60]
    text, lost = read(api)
    assert text.encode() == server.logs[12, "test"]
    assert lost == [25, 25, 60]
    assert [each.headers.get("Last-Event-ID") for each in server.asked] == [None, "25", "25", "60"]


def test_a_server_that_is_being_restarted_is_waited_for(api, server, values):
    problem = values.Answer.problem(503, "Service Unavailable", "sayci is starting")
    server.trouble("GET", "projects/demo/builds/12/steps/test/log", values.Answer(0), problem, values.Answer.html(502))
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(feed, "FIRST_PAUSE", 0.01)
        text, lost = read(api)
    assert text.encode() == server.logs[12, "test"]
    assert len(lost) == 3


@pytest.mark.parametrize("code", (401, 403, 404))
def test_a_refusal_is_final(api, server, values, code):
    server.trouble("GET", "projects/demo/builds/12/steps/test/log", values.Answer.problem(code, "No", "go away"))
    with pytest.raises(Trouble, match="go away"):
        read(api)


def test_a_feed_that_stays_silent_is_given_up(api, server, values, monkeypatch):
    monkeypatch.setattr(feed, "PATIENCE", 0.05)
    monkeypatch.setattr(feed, "FIRST_PAUSE", 0.02)
    server.trouble("GET", "projects/demo/builds/12/steps/test/log", *[values.Answer(0)] * 100)
    with pytest.raises(Busy):
        read(api)
