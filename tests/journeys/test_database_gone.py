"""The database locked by somebody else, without room, or stopped, under a real server: what is told, and what is after.

Whatever it is: nothing is accepted that cannot be kept, what runs goes on, and all is well again by itself.
"""

from __future__ import annotations

import contextlib
import http.client
import resource
import sqlite3
import urllib.parse

import pytest

from sayci.web.session import SESSION_COOKIE
from tests import payloads
from tests.gitserver import Repository
from tests.postgresql import running_server

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy

#: What must not be told to anybody: how the database is reached, and how we are made.
UNTOLD = (b"Traceback", b"sqlalchemy", b"psycopg", b"/tmp", b".sqlite", b"SELECT", b"INSERT")


class Locked:
    """SQLite, where another program holds the lock for writing."""

    reads = True

    def __init__(self, server):
        self._server = server

    @contextlib.contextmanager
    def trouble(self):
        connection = sqlite3.connect(self._server.data / "sayci.sqlite", timeout=60, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.rollback()
            connection.close()


class Full:
    """SQLite, where no file can grow any more: as on a full disk, but for the name of the error."""

    reads = True

    def __init__(self, server):
        self._server = server

    @contextlib.contextmanager
    def trouble(self):
        before = resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, before)


class Stopped:
    """PostgreSQL, stopped and started again."""

    reads = False

    def __init__(self, postgresql):
        self._postgresql = postgresql

    @contextlib.contextmanager
    def trouble(self):
        self._postgresql.stop()
        try:
            yield
        finally:
            self._postgresql.start()


@pytest.fixture(params=("locked", "full", "stopped"))
def scene(request, server_of):
    """A server with a database, and what may become of that."""
    with contextlib.ExitStack() as stack:
        if request.param == "stopped":
            postgresql = stack.enter_context(running_server())
            yield server_of("--allow-url", "file", "--database", postgresql.fresh()), Stopped(postgresql)
        else:
            server = server_of("--allow-url", "file", "--sign-in-link")
            yield server, {"locked": Locked, "full": Full}[request.param](server)


def page(server, path):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.base).netloc, timeout=60)
    connection.request("GET", path, headers={"Cookie": f"{SESSION_COOKIE}={'0' * 43}"})
    answer = connection.getresponse()
    code, headers, body = answer.status, answer.headers, answer.read()
    connection.close()
    return code, headers, body


def test_nothing_is_lost_while_the_database_is_gone_and_all_is_well_afterwards(scene, tmp_path, commons):
    server, database = scene
    repository = Repository(tmp_path / "slow.git")
    wait = f"while [ ! -e {commons}/go ]; do sleep 0.05; done"
    commit = repository.commit({"Makefile": f".PHONY: test\ntest:\n\t@echo before; {wait}; echo after\n"})
    answer = server.post("/api/v1/projects", {"name": "slow", "url": repository.url})
    assert answer.code == 201, answer.body
    secret = answer.json["webhook_secret"]

    def push(number):
        body = payloads.body_of(payloads.push(f"refs/heads/topic{number}", after=commit))
        headers = payloads.headers_of(body, secret=secret, delivery=f"delivery-{number}")
        return server.request("POST", "/hooks/slow", body, headers, token=False)

    assert push(1).code == 202
    server.step_runs("slow", 1)
    pid = server.pid
    with database.trouble():
        refused = push(2)
        assert (refused.code, int(refused.headers["Retry-After"]) > 0) == (503, True), refused.body
        well = server.get("/healthz", token=False)
        assert (well.code, well.json["status"], well.json["database"]) == (503, "failing", "failing")
        by_hand = server.post("/api/v1/projects/slow/builds")
        shown = page(server, "/")
        seen = server.get("/api/v1/projects/slow/builds/1")
        answers = [
            (refused.code, refused.body),
            (by_hand.code, by_hand.body),
            (shown[0], shown[2]),
            (seen.code, seen.body),
        ]
        for code, body in answers:
            assert code == 503 or (code in (200, 303) and database.reads), (code, body)
            for words in UNTOLD:
                assert words not in body, body
        (commons / "go").touch()
        log = server.data / "builds"
        server.wait_for(lambda: any(path.read_bytes().endswith(b"after\n") for path in log.glob("*/1-test/log")))

    server.wait_for(lambda: server.get("/healthz", token=False).code == 200)
    assert server.finished("slow", 1)["result"] == "success"
    assert server.log_of("slow", 1, "test") == b"before\nafter\n"
    assert push(2).code == 202
    assert server.finished("slow", 2)["result"] == "success"
    assert server.get("/api/v1/projects/slow/builds/3").code == 404
    assert server.pid == pid
    assert server.process is not None
    assert server.process.poll() is None
