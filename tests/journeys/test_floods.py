"""Slow and greedy clients against a real server with few descriptors: others are served, builds run, all is given back."""

from __future__ import annotations

import http.client
import os
import re
import resource
import shutil
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest

from tests.gitserver import Repository
from tests.server import PATIENCE, Server
from tests.slots import passable_directory
from tests.tls import self_signed

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy

#: As many descriptors as the server may have, of which some 270 are for clients.
DESCRIPTORS = 512
SECONDS = 6
CONNECTIONS = 150
#: MiB that a server may have more after a flood than before.
MEMORY = 40
MODES = {
    "headers": ("-H", "-i", "1"),
    "body": ("-B", "-i", "1", "-s", "8192"),
    "read": ("-X", "-k", "20", "-n", "2", "-w", "10", "-y", "20", "-z", "5"),
}


class Poor(Server):
    """A server that is given few descriptors; `secure` is its address over TLS."""

    secure = ""

    def command(self):
        return ("prlimit", f"--nofile={DESCRIPTORS // 2}:{DESCRIPTORS}", *super().command())

    @property
    def descriptors(self):
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    @property
    def memory(self):
        """MiB."""
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[0]) / 1024

    @property
    def cpu(self):
        """Seconds of a processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def build_by_hand(self):
        answer = self.post("/api/v1/projects/quick/builds")
        return answer.json["number"] if answer.code == 201 else answer


@pytest.fixture(scope="module")
def server():
    with passable_directory() as place:
        place.chmod(0o755)
        certificate = self_signed(place, "localhost")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            secure = probe.getsockname()[1]
        tls = f"ssl:{secure}:interface=127.0.0.1:privateKey={certificate.key}:certKey={certificate.certificate}"
        ports = ("--port", "tcp:0:interface=127.0.0.1", "--port", tls)
        poor = Poor(place / "data", "--allow-url", "file", "--isolation", "none", *ports)
        poor.start().sign_in()
        poor.secure = f"https://localhost:{secure}"
        repository = Repository(place / "quick.git")
        repository.commit({"Makefile": ".PHONY: test\ntest:\n\t@echo tested\n"})
        assert poor.post("/api/v1/projects", {"name": "quick", "url": repository.url}).code == 201
        poor.finished("quick", poor.build_by_hand())
        yield poor
        poor.stop()


def stylesheet(server):
    return re.findall(rb'href="(/[^"]+\.css[^"]*)"', server.get("/sign-in", token=False).body)[0].decode()


@pytest.mark.parametrize("scheme", ("http", "https"))
def test_slow_clients_keep_nobody_out_and_nothing(server, scheme):
    if shutil.which("slowhttptest") is None:
        pytest.skip("slowhttptest is not installed")
    base = server.base if scheme == "http" else server.secure
    descriptors, memory = server.descriptors, server.memory
    shared = (
        "-c",
        str(CONNECTIONS),
        "-r",
        str(CONNECTIONS),
        "-l",
        str(SECONDS),
        "-p",
        "60",
        "-u",
        base + stylesheet(server),
    )
    attackers = [
        subprocess.Popen(("slowhttptest", *mode, *shared), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for mode in MODES.values()
    ]
    try:
        server.wait_for(lambda: server.descriptors > descriptors + CONNECTIONS // 2)
        served = refused = 0
        while any(attacker.poll() is None for attacker in attackers):
            try:
                assert server.get("/healthz", token=False).code == 200
                served += 1
            except ConnectionError:  # where hundreds come at the same moment, one of them
                refused += 1
        assert server.finished("quick", server.build_by_hand())["result"] == "success"
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
    assert served >= 3
    assert refused <= served
    server.wait_for(lambda: server.descriptors <= descriptors + 5)
    assert server.memory < memory + MEMORY


def test_who_only_holds_on_makes_room(server):
    """Plain idle connections, more than the server has descriptors: the newest are those that are answered."""
    descriptors, logged = server.descriptors, len(server.log())
    address = ("127.0.0.1", urllib.parse.urlsplit(server.base).port)
    held = []
    try:
        for _ in range(DESCRIPTORS):
            held.append(socket.create_connection(address, timeout=PATIENCE))
            held[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        begun = server.cpu, time.monotonic()
        number = server.build_by_hand()
        assert server.finished("quick", number)["result"] == "success"
        time.sleep(1)
        assert server.cpu - begun[0] < max(1.0, 0.8 * (time.monotonic() - begun[1]))  # it does not go round in circles
        assert b"sayci_connections_dropped" in server.get("/metrics", token=False).body
    finally:
        for connection in held:
            connection.close()
    server.wait_for(lambda: server.descriptors <= descriptors + 5)
    assert "EMFILE" not in server.log()[logged:]


def test_without_descriptors_it_says_so_waits_and_recovers(server):
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    answers = []
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.base).netloc, timeout=PATIENCE)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors, before[1]))
    try:
        for _ in range(3):
            connection.request("POST", "/api/v1/projects/quick/builds", b"{}", headers)
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()))
        for _ in range(20):  # nobody can be let in
            with socket.create_connection(("127.0.0.1", connection.port), timeout=PATIENCE):
                pass
        began = server.cpu
        time.sleep(1)
        assert server.cpu - began < 0.7
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        connection.close()
    assert all(code in (201, 502, 503) for code, _ in answers), answers
    assert all(b"Too many open files" in body for code, body in answers if code != 201), answers
    server.wait_for(lambda: server.get("/healthz", token=False).code == 200)
    assert server.finished("quick", server.build_by_hand())["result"] == "success"
