"""A server that ends, and the next one: nobody is refused, nothing is lost, and what is asked twice happens at once."""

from __future__ import annotations

import http.client
import signal
import socket
import sqlite3
import threading
import time
import zlib
from contextlib import suppress

import pytest

from tests import payloads
from tests.gitserver import Repository
from tests.server import PATIENCE, Server

pytestmark = pytest.mark.timeout(300)
MAKEFILE = ".PHONY: test\ntest:\n\t@echo before; while [ ! -e {gate} ]; do sleep 0.02; done; echo after\n"


@pytest.fixture
def slow(tmp_path, commons):
    """A repository whose test waits for the gate, and the gate."""
    repository = Repository(tmp_path / "slow.git")
    gate = commons / "go"
    repository.commit({"Makefile": MAKEFILE.format(gate=gate)})
    return repository, gate


def registered(server, repository):
    answer = server.post("/api/v1/projects", {"name": "slow", "url": repository.url})
    assert answer.code == 201, answer.body
    return answer.json["webhook_secret"]


def built(server):
    assert server.post("/api/v1/projects/slow/builds").code == 201
    server.step_runs("slow", 1)


def waiting(server):
    """The next server, once it says that it waits for the one that runs."""
    successor = Server(server.data, *server.options, environment=server.environment)
    successor.token = server.token
    log = server.data.parent / f"{server.data.name}.log"
    before = log.stat().st_size

    def begin():
        with suppress(AssertionError):
            successor.start()

    starting = threading.Thread(target=begin)
    starting.start()
    server.wait_for(lambda: b"sayci: waiting for process" in log.read_bytes()[before:])
    server.wait_for(lambda: b"waits to take over" in log.read_bytes()[before:])
    said = log.read_bytes()[before:]
    assert f"waiting for process {server.pid}".encode() in said
    assert said.count(b"sayci: waiting") == 1
    return successor, starting


class Hammer(threading.Thread):
    """Sends a delivery after the other, each over a connection of its own, until it is told to stop."""

    def __init__(self, port, secret, name):
        super().__init__()
        self.accepted: list[str] = []
        self.problems: list[str] = []
        self.longest = 0.0
        self._address = ("127.0.0.1", port)
        self._secret = secret
        self._ended = threading.Event()
        self._name = name

    def run(self):
        number = 0
        while not self._ended.is_set():
            number += 1
            began = time.monotonic()
            try:
                self._send(f"{self._name}-{number}")
            except OSError as error:  # refused, reset, or closed without an answer
                self.problems.append(repr(error))
            self.longest = max(self.longest, time.monotonic() - began)

    def stop(self):
        self._ended.set()
        self.join()

    def _send(self, delivery):
        body = payloads.body_of(payloads.push(after=f"{zlib.crc32(delivery.encode()):040x}"))
        headers = payloads.headers_of(body, secret=self._secret, delivery=delivery)
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        try:
            connection.request("POST", "/hooks/slow", body, headers | {"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            if answer.status in (200, 202):
                self.accepted.append(delivery)
            else:
                self.problems.append(f"{answer.status}")
        except http.client.HTTPException as error:
            self.problems.append(repr(error))
        finally:
            connection.close()


def kept(server):
    """The verdict of each delivery by the forge's identity of it."""
    with sqlite3.connect(f"file:{server.data}/sayci.sqlite?mode=ro", uri=True) as database:
        return dict(database.execute("SELECT forge_id, verdict FROM deliveries"))


def test_upgrades_under_load_refuse_no_connection_and_lose_no_delivery(server_of, slow):
    """The third of the servers is killed rather than asked to end: its sockets are in the next one's hands already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = server_of("--allow-url", "file", "--port", f"tcp:{port}:interface=127.0.0.1")
    repository, gate = slow
    secret = registered(server, repository)
    built(server)
    hammers = [Hammer(port, secret, name) for name in "abcd"]
    for hammer in hammers:
        hammer.start()
    servers = [server]
    try:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            successor, starting = waiting(servers[-1])
            servers.append(successor)
            sent = len(hammers[0].accepted)
            servers[-2].stop(number)
            starting.join(PATIENCE)
            servers[-1].wait_for(lambda sent=sent: len(hammers[0].accepted) > sent + 20)
    finally:
        for hammer in hammers:
            hammer.stop()
        last = servers[-1]
        gate.touch()
    try:
        # A request that was under way in the server that was killed may have had no answer; it was not accepted then.
        problems = [problem for hammer in hammers for problem in hammer.problems]
        assert len(problems) <= len(hammers), problems
        assert not [problem for problem in problems if "refused" in problem], problems
        accepted = {delivery for hammer in hammers for delivery in hammer.accepted}
        last.wait_for(lambda: "received" not in kept(last).values())
        verdicts = kept(last)
        assert accepted <= verdicts.keys()
        assert set(verdicts.values()) <= {"built", "superseded"}
        build = last.finished("slow", 1)
        assert (build["result"], build["attempt"]) == ("success", 1)
    finally:
        for started in servers[1:]:
            started.stop()


def test_a_server_that_is_drained_waits_for_what_runs_and_starts_nothing_more(server_of, slow):
    server = server_of("--allow-url", "file", "--drain", "300")
    repository, gate = slow
    registered(server, repository)
    built(server)
    repository.move("refs/heads/other", repository.head())
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "waiting for 1 running builds" in server.log())
    assert server.post("/api/v1/projects/slow/builds", {"branch": "other"}).code == 201  # it goes on answering
    waits = server.build("slow", 2)
    assert waits["state"] == "queued"
    assert "next server" in waits["waiting"]
    gate.touch()
    server.process.wait(PATIENCE)
    server.stop()
    server.start()
    first = server.build("slow", 1)
    assert (first["state"], first["result"]) == ("finished", "success")
    assert server.finished("slow", 2)["result"] == "success"


def test_who_asks_twice_is_obeyed_at_once_and_nothing_is_lost(server_of, slow):
    server = server_of("--allow-url", "file", "--drain", "300")
    repository, gate = slow
    registered(server, repository)
    built(server)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "waiting for 1 running builds" in server.log())
    assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    gate.touch()
    server.start()
    build = server.finished("slow", 1)
    assert (build["result"], build["attempt"]) == ("success", 1)


def test_feeds_and_idle_connections_are_closed_in_order_when_the_server_ends(server_of, slow):
    server = server_of("--allow-url", "file")
    repository, gate = slow
    registered(server, repository)
    built(server)
    address = server.base.removeprefix("http://")
    idle, feed = (http.client.HTTPConnection(address, timeout=PATIENCE) for _ in range(2))
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    path = "/api/v1/projects/slow/builds/1/steps/test/log"
    feed.request("GET", path, headers={"Accept": "text/event-stream", "Authorization": f"Bearer {server.token}"})
    answer = feed.getresponse()
    while b"before" not in answer.readline():
        pass
    assert server.stop() is not None
    told = answer.read()  # raises IncompleteRead where the end of a chunked answer is missing
    assert b"event: end" not in told  # the step goes on
    assert idle.sock.recv(1) == b""
    gate.touch()
    server.start()
    assert server.finished("slow", 1)["result"] == "success"
