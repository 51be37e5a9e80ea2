"""listening/: two servers with the same sockets, and what is in their queues when one of them closes."""

# ruff: noqa: N802 - names of methods are Twisted's

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from sayci.listening import handover
from sayci.listening.handover import Handover
from sayci.listening.shared import Place, SharedSockets
from tests.server import ROOT

HERE = Place("127.0.0.1", 0)


class Greets(Protocol):
    """Says who has taken the connection."""

    transport: Any

    def __init__(self, words):
        self._words = words

    def connectionMade(self):
        self.transport.write(self._words)
        self.transport.loseConnection()


class Greeting(Factory):
    """Whoever connects is told `words`."""

    noisy = False

    def __init__(self, words):
        self._words = words

    def buildProtocol(self, addr):
        return Greets(self._words)


@pytest_twisted.async_yield_fixture
async def shared():
    """Make reactors with shared sockets; all is closed at the end."""
    made, ports = [], []

    def make(inherited=()):
        sockets = SharedSockets(reactor, inherited)
        made.append(sockets)

        def listen(words=b"", place=HERE):
            ports.append(sockets.listenTCP(place.port, Greeting(words), 7, place.interface))
            return ports[-1]

        return sockets, listen

    yield make
    for port in ports:
        await maybeDeferred(port.stopListening)
    for sockets in made:
        sockets.close()


def ask_from_a_thread(directory):
    return deferToThread(handover.ask, directory)


@pytest_twisted.ensureDeferred
async def test_what_waits_in_the_queue_of_the_one_is_answered_by_the_other(shared, tmp_path):
    # The path is longer than the address of a Unix socket may be.
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    sockets, listen = shared()
    port = listen(b"the first")
    number = port.getHost().port
    giving = Handover(reactor, directory, lambda: sockets.open)
    received = await ask_from_a_thread(directory)
    assert [place for place, _ in received] == [HERE]
    giving.stop()
    assert not (directory / handover.NAME).exists()

    await maybeDeferred(port.stopListening)
    sockets.close()
    with socket.create_connection(("127.0.0.1", number), timeout=30) as client:  # taken by the kernel alone
        _, listen = shared(received)
        assert listen(b"the second").getHost().port == number
        assert await deferToThread(client.recv, 20) == b"the second"


@pytest_twisted.ensureDeferred
async def test_another_port_is_opened_anew_and_what_nobody_wants_is_closed(shared):
    sockets, listen = shared()
    number = listen().getHost().port
    inherited = [(place, opened.dup()) for place, opened in sockets.open]
    later, listen = shared(inherited)
    assert listen(place=Place("::1", 0)).getHost().port != number
    later.close_unused()
    assert inherited[0][1].fileno() == -1


def test_without_a_server_nothing_is_handed_over(tmp_path):
    assert handover.ask(tmp_path) is None
    (tmp_path / handover.NAME).touch()
    assert handover.ask(tmp_path) is None


@pytest_twisted.ensureDeferred
async def test_what_a_killed_server_has_left_is_no_obstacle(shared, tmp_path):
    (tmp_path / handover.NAME).touch()
    giving = Handover(reactor, tmp_path, list)
    try:
        assert (tmp_path / handover.NAME).stat().st_mode & 0o777 == 0o600
        assert await ask_from_a_thread(tmp_path) == []
    finally:
        giving.stop()


@pytest_twisted.ensureDeferred
async def test_a_port_in_use_says_so_as_twisted_does(shared):
    _, listen = shared()
    taken = listen().getHost().port
    _, again = shared()
    with pytest.raises(CannotListenError, match="in use"):
        again(place=Place("127.0.0.1", taken))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks")
@pytest_twisted.ensureDeferred
async def test_in_another_network_nothing_is_taken_over(shared, tmp_path):
    sockets, listen = shared()
    listen()
    giver = Handover(reactor, tmp_path, lambda: sockets.open)
    try:
        program = (
            "import pathlib, sys; from sayci.listening import handover; print(handover.ask(pathlib.Path(sys.argv[1])))"
        )
        command = ("unshare", "--net", "--", sys.executable, "-c", program, str(tmp_path))
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        said = await deferToThread(subprocess.run, command, capture_output=True, text=True, env=environment, check=True)
        assert said.stdout == "None\n"
        assert len(await ask_from_a_thread(tmp_path)) == 1
    finally:
        giver.stop()
