"""What a queue costs the server, and how soon it is back with all that ran while it was gone."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from tests import payloads
from tests.gitserver import Repository
from tests.server import Server
from tests.slots import passable_directory, some_numbers

QUEUED = 200
RUNNING = 50
TRIVIAL = ".PHONY: test\ntest:\n\t@echo tested\n"
WAITS = ".PHONY: test\ntest:\n\t@echo begun; while [ ! -e {gate} ]; do sleep 1; done\n"


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors, its ended children aside."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Many:
    """A server with one project, and a branch for each build, so that they may run side by side."""

    def __init__(self, stack: ExitStack, slots: int, makefile: str, branches: int) -> None:
        self.directory = stack.enter_context(passable_directory())
        self.gate = self.directory / "go"
        self.branches = branches
        repository = Repository(self.directory / "many.git")
        self.commit = repository.commit({"Makefile": makefile.format(gate=self.gate)})
        for number in range(branches):
            repository.move(f"refs/heads/b{number}", self.commit)
        users = ("--slot-uid", str(some_numbers().first)) if os.geteuid() == 0 else ()
        options = (*users, "--allow-url", "file", "--slots", str(slots), "--catch-up", "0")
        self.server = Server(self.directory / "data", *options)
        stack.callback(self.server.stop)
        stack.callback(self.gate.touch)
        self.server.start().sign_in()
        answer = self.server.post("/api/v1/projects", {"name": "many", "url": repository.url})
        self.secret = answer.json["webhook_secret"]
        self.server.wait_for(lambda: self.server.get("/api/v1/projects/many").json["mirror"] == "ready")

    def queue(self) -> None:
        """Push each branch."""
        for number in range(self.branches):
            body = payloads.body_of(payloads.push(f"refs/heads/b{number}", self.commit))
            headers = payloads.headers_of(body, secret=self.secret)
            answer = self.server.request("POST", "/hooks/many", body, headers, token=False)
            if answer.code != 202:
                raise RuntimeError("not accepted", answer.code, answer.body)

    def count(self, condition: str) -> int:
        """How many builds there are of which that is true; read from the database, so that the server has no work of it."""
        with closing(sqlite3.connect(f"file:{self.directory}/data/sayci.sqlite?mode=ro", uri=True)) as database:
            (number,) = database.execute(f"SELECT count(*) FROM builds WHERE {condition}").fetchone()  # noqa: S608 - ours
            return int(number)

    def wait(self, patience: float) -> None:
        """Until all builds have ended."""
        self.server.wait_for(lambda: self.count("state = 'finished'") == self.branches, patience)

    def logs(self) -> int:
        """How many tests have begun."""
        return sum(1 for log in (self.directory / "data" / "builds").glob("*/1-test/log") if log.stat().st_size)


def figures() -> Iterator[tuple[str, str]]:
    """Names and values."""
    yield from _queue()
    yield from _restart()


def _queue() -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        many = Many(stack, 2, TRIVIAL, QUEUED)
        pid = many.server.pid
        many.queue()
        left = QUEUED - many.count("state = 'finished'")
        began, used = time.perf_counter(), processor_seconds(pid)
        many.wait(1800)
        seconds, used = time.perf_counter() - began, processor_seconds(pid) - used
        if many.count("result <> 'success'"):
            raise RuntimeError("not all have succeeded")
        value = f"{60 * left / seconds:.0f} builds a minute, {used / left:.3f} s of the server's processor for each"
        yield f"{QUEUED} queued trivial builds, two slots", f"{value} ({left} were left when all were queued)"


def _restart() -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        many = Many(stack, RUNNING, WAITS, RUNNING)
        many.queue()
        many.server.wait_for(lambda: many.logs() == RUNNING, 1800)
        os.kill(many.server.pid, signal.SIGKILL)
        many.server.stop()
        began = time.perf_counter()
        many.server.start()
        many.server.get("/healthz", token=False)
        answering = time.perf_counter() - began
        pid = many.server.pid
        many.server.wait_for(lambda: _watched(pid) >= RUNNING)
        attached = time.perf_counter() - began
        many.gate.touch()
        many.wait(600)
        again = many.count("attempt <> 1 OR result <> 'success'")
        value = f"first answer after {answering:.2f} s, all attached after {attached:.2f} s"
        yield f"killed and started with {RUNNING} running steps", f"{value}, {again} went wrong"


def _watched(pid: int) -> int:
    """How many processes the server watches by a pidfd: the shims that it has attached to."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += "pidfd" in os.readlink(descriptor)  # noqa: PTH115 - what it points to is no path
        except OSError:
            continue
    return count
