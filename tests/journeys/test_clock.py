"""A clock that is set by hours, forward and back, while a real server has a build running."""

from __future__ import annotations

import http.client
import sys
import urllib.parse

import pytest

from tests import payloads
from tests.gitserver import Repository
from tests.server import TWIST, Server
from tests.slots import passable_directory

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy

HOURS = 3600.0

#: A server whose time of day is ahead by as many seconds as a file says. Twisted takes the function when it is imported.
AHEAD = """\
import sys, time
from pathlib import Path
real, said = time.time, Path({path!r})
time.time = lambda: real() + float(said.read_text() or 0)
from twisted.application.twist._twist import Twist
Twist.main()
"""


class Shifted(Server):
    """A server whose clock the test sets."""

    def __init__(self, data, *options):
        super().__init__(data, *options)
        self._ahead = data.parent / "ahead"
        self.set_clock(0)

    def set_clock(self, seconds):
        """Let the server's clock be ahead by so many seconds."""
        part = self._ahead.with_suffix(".new")
        part.write_text(str(seconds))
        part.replace(self._ahead)

    def command(self):
        return (sys.executable, "-c", AHEAD.format(path=str(self._ahead)), *super().command()[len(TWIST) :])


@pytest.fixture
def place():
    with passable_directory() as path:
        path.chmod(0o755)
        yield path


@pytest.fixture
def shifted(place, forge):
    server = Shifted(
        place / "data", "--allow-url", "file", "--github-api", forge.url, "--isolation", "none", "--slots", "1"
    )
    server.start().sign_in()
    yield server
    server.stop()


class Feed:
    """A log that somebody watches."""

    def __init__(self, server, path):
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.base).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "text/event-stream"}
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()

    def until(self, words):
        """Read on until they come; the connection has a limit of time."""
        while line := self._answer.readline():
            if words in line:
                return
        raise AssertionError("the feed has ended before", words)

    def close(self):
        self._connection.close()


def test_hours_forward_and_back_end_nothing_and_put_nothing_off(shifted, forge, place):
    server, said = shifted, place / "said"
    repository = Repository(place / "slow.git")
    wait = (
        f"n=1; while [ ! -e {said}.go ]; do if [ -e {said}.$$n ]; then echo line $$n; n=$$((n+1)); fi; sleep 0.05; done"
    )
    commit = repository.commit({"Makefile": f".PHONY: test\ntest:\n\t@echo begun; {wait}; echo done\n"})
    forge.mood = "500"
    fields = {"name": "slow", "url": repository.url, "access_token": "the-forge-token", "forge_api": forge.url}
    secret = server.post("/api/v1/projects", fields).json["webhook_secret"]
    body = payloads.body_of(payloads.push(after=commit))
    assert (
        server.request("POST", "/hooks/slow", body, payloads.headers_of(body, secret=secret), token=False).code == 202
    )
    server.step_runs("slow", 1)
    assert forge.wait(lambda: bool(forge.posts))
    feed = Feed(server, "/api/v1/projects/slow/builds/1/steps/test/log")
    feed.until(b"begun")
    idle = http.client.HTTPConnection(urllib.parse.urlsplit(server.base).netloc, timeout=60)
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    socket_of_before = idle.sock

    for number, hours in enumerate((6, -6, 0), 1):
        server.set_clock(hours * HOURS)
        # What was waiting goes on waiting: nobody is taken for idle, the step is within its hour.
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        assert idle.sock is socket_of_before
        # And what is to come comes: the log is looked at, by a timer that was set before.
        (place / f"said.{number}").touch()
        feed.until(f"line {number}".encode())
        assert server.build("slow", 1)["state"] == "running"

    server.set_clock(-6 * HOURS)
    posts = len(forge.posts)
    forge.mood = "ok"
    (place / "said.go").touch()
    feed.until(b"event: end")
    feed.close()
    idle.close()
    build = server.finished("slow", 1)
    assert build["result"] == "success", build
    assert all(0 <= step["duration"] < HOURS for step in build["steps"]), build
    # A try that was put off by the clock of before is made nevertheless.
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/test")) == "success", 60)
    assert len(forge.posts) > posts
