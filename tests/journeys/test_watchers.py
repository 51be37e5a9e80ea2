"""Many watch one log of a real server, and some of them never read: each who reads gets all of it, memory stays."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.gitserver import Repository
from tests.watchers import Deaf, Watcher, read_all

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy

WATCHERS, DEAF = 50, 10
LINES, LINE = 20_000, 100
#: MiB that the server may grow by; the log is 2 MB, and what all are sent is 120.
MEMORY = 60
PATH = "/api/v1/projects/loud/builds/1/steps/test/log"


def memory(server):
    return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())[0]) / 1024


def gauge(server, name):
    return float(re.findall(rf"^{name} (\S+)$".encode(), server.get("/metrics", token=False).body, re.MULTILINE)[0])


def test_each_who_reads_gets_every_byte_though_others_do_not(sayci_server, tmp_path, commons):
    server = sayci_server
    repository = Repository(tmp_path / "loud.git")
    wait = f"while [ ! -e {commons}/go ]; do sleep 0.05; done"
    line = "0123456789" * (LINE // 10)
    loud = f"yes {line[1:]} | head -n {LINES}"
    repository.commit({"Makefile": f".PHONY: test\ntest:\n\t@echo begun; {wait}; {loud}\n"})
    assert server.post("/api/v1/projects", {"name": "loud", "url": repository.url}).code == 201
    assert server.post("/api/v1/projects/loud/builds").code == 201
    server.step_runs("loud", 1)
    deaf = [Deaf(server, PATH) for _ in range(DEAF)]
    watchers = [Watcher(server, PATH) for _ in range(WATCHERS)]
    server.wait_for(lambda: gauge(server, "sayci_feeds") == WATCHERS + DEAF)
    before = memory(server)

    (commons / "go").touch()
    read_all(watchers, 240)
    log = server.log_of("loud", 1, "test")
    assert len(log) == LINES * LINE + len("begun\n")
    assert {watcher.digest.hexdigest() for watcher in watchers} == {hashlib.sha256(log).hexdigest()}
    assert all(watcher.is_gap_free for watcher in watchers)
    assert memory(server) - before < MEMORY

    # Who comes back with the offset that he has got to is told the rest, whatever it was.
    for after in (0, 1, LINE + 1, len(log) // 2 + 7, len(log) - 1, len(log)):
        again = Watcher(server, PATH, after)
        read_all([again], 60)
        assert again.digest.hexdigest() == hashlib.sha256(log[after:]).hexdigest()
        assert (again.offset, again.is_gap_free) == (len(log), True)
    ones: list[Watcher | Deaf] = [*watchers, *deaf]
    for one in ones:
        one.socket.close()
    server.wait_for(lambda: gauge(server, "sayci_feeds") == 0)
