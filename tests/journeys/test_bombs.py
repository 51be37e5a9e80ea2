"""Builds that take all they can get, by a real server: each ends in the right words, and the neighbour's build goes on.

The server is process 1 of a pid namespace of its own, and builds have users whose processes the kernel limits: whatever goes
wrong here stays in there.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests import payloads
from tests.gitserver import Repository
from tests.server import Server
from tests.slots import passable_directory, some_numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="limits of processes are the kernel's for users of their own"),
]

FORK = r"""
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
MEMORY = r"""
taken = []
while True:
    taken.append(b"x" * (1 << 24))
"""
FILES = r"""
for number in range(10_000_000):
    open(str(number), "w").close()
"""
BOMBS = {
    "forks": (FORK, "make test was killed: it had 120 processes and threads at a time, its limit"),
    "memory": (MEMORY, "make test was killed: out of memory, its processes took more than 256 MiB"),
    "files": (FILES, "make test was stopped: its workspace took more than 24 MiB of the disk"),
}
LIMITS = {"process": 120, "memory": 256 << 20, "workspace": 24 << 20, "output": 1 << 20}


class FencedServer(Server):
    """A server that is process 1 of its own namespace; it can only be killed from outside."""

    def command(self):
        return ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *super().command())


@pytest.fixture(scope="module")
def server():
    with passable_directory() as place:
        limits = [word for name, number in LIMITS.items() for word in (f"--{name}-limit", str(number))]
        users = ("--isolation", "users", "--slot-uid", str(some_numbers().first))
        server = FencedServer(place / "data", *users, "--allow-url", "file", "--grace", "1", *limits)
        server.start()
        try:
            yield server.sign_in()
        finally:
            server.stop(signal.SIGKILL)


def register(server, name, place, files, **settings):
    """A project whose only commit has been pushed."""
    repository = Repository(place / f"{name}.git")
    commit = repository.commit(files)
    answer = server.post("/api/v1/projects", {"name": name, "url": f"file://{repository.path}", **settings})
    assert answer.code == 201, answer.body
    pushed = payloads.body_of(payloads.push(after=commit))
    headers = payloads.headers_of(pushed, secret=answer.json["webhook_secret"])
    assert server.request("POST", f"/hooks/{name}", pushed, headers, token=False).code == 202


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_ends_in_its_words_and_the_neighbour_goes_on(server, tmp_path, name):
    bomb, words = BOMBS[name]
    files = {"Makefile": "test:\n\t@echo begun\n\t@python3 bomb.py\n", "bomb.py": bomb}
    register(server, f"bomb-{name}", tmp_path, files)
    server.step_runs(f"bomb-{name}", 1)
    register(server, f"beside-{name}", tmp_path, {"Makefile": "test:\n\t@echo fine\n"})
    assert server.get("/healthz").code == 200
    assert server.finished(f"beside-{name}", 1)["result"] == "success"
    build = server.finished(f"bomb-{name}", 1)
    assert (build["result"], build["reason"]) == ("failure", words)
    assert server.get("/healthz").code == 200


@pytest.mark.parametrize("ends", (False, True))
def test_output_without_end_is_cut_off_or_ends_the_step(server, tmp_path, ends):
    name = f"yes-{ends}".lower()
    # `head` ends by itself, long after the limit, where the step may go on.
    makefile = f"test:\n\t@{'yes' if ends else 'yes | head -c 30000000'}\n"
    register(server, name, tmp_path, {"Makefile": makefile}, ends_at_output_limit=ends)
    build = server.finished(name, 1)
    if ends:
        assert (build["result"], build["reason"]) == ("failure", "make test was stopped: it printed more than 1 MiB")
    else:
        assert build["result"] == "success", build["reason"]
    log = server.log_of(name, 1, "test")
    assert len(log) <= LIMITS["output"] + 1000
    assert log.startswith(b"y\ny\n")
    assert b"y\n" not in log[-20:], log[-200:]
