"""The server killed at each boundary of a build, and at any moment: nothing is lost, nothing runs twice, all ends right.

One server, killed and started again and again, takes a push at a time through test and deploy.  The shims of its steps
are not killed: so no step may ever run again, and each log is to be whole.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import ExitStack
from http.client import HTTPException

import pytest

from tests import payloads
from tests.forge_server import ForgeServer
from tests.gitserver import Repository, processes_mentioning, run
from tests.server import ROOT, Server
from tests.slots import passable_directory, some_numbers

MAKEFILE = """\
.PHONY: test deploy
test deploy:
\t@echo "$$SAYCI_BUILD $@" >> {runs}
\t@for n in 1 2 3 4 5; do echo "$@ $$n of $$SAYCI_BUILD"; sleep 0.03; done
"""
pytestmark = pytest.mark.timeout(600)
#: How many random moments, and from which seed; another one is given as SAYCI_CRASH_SEED, more as SAYCI_CRASHES.
RANDOM_CRASHES = int(os.environ.get("SAYCI_CRASHES", "5"))
SEED = int(os.environ.get("SAYCI_CRASH_SEED") or time.time())


class CrashingServer(Server):
    """A server that obeys orders to kill itself."""

    @property
    def order(self):
        return self.data.parent / "order"

    def command(self):
        arguments = super().command()
        return (sys.executable, "-m", "tests.crashing", str(self.order), *arguments[arguments.index("--log-format") :])

    def has_died(self):
        return self.process is None or self.process.poll() is not None


class World:
    """A server with a project, the project's repository, and the forge that is told of it."""

    def __init__(self, server, repository, forge, runs):
        self.server, self.repository, self.forge, self.runs = server, repository, forge, runs
        answer = server.post(
            "/api/v1/projects",
            {
                "name": "crashes",
                "url": repository.url,
                "deploy_branch": "main",
                "access_token": "the-forge-token",
                "forge_api": forge.url,
            },
        )
        assert answer.code == 201, answer.body
        self.secret = answer.json["webhook_secret"]
        self.pushed = 0
        server.wait_for(lambda: server.get("/api/v1/projects/crashes").json["mirror"] == "ready")

    # -- what a forge does

    def push(self):
        """Push a new commit; its identity, as the delivery's identity too."""
        self.pushed += 1
        commit = self.repository.commit({"count": str(self.pushed)}, f"change {self.pushed}")
        self.is_accepted(commit)
        return commit

    def is_accepted(self, commit):
        """Deliver it; whether there was an answer that it was taken."""
        body = payloads.body_of(payloads.push(after=commit))
        headers = payloads.headers_of(body, secret=self.secret, delivery=commit)
        try:
            return self.server.request("POST", "/hooks/crashes", body, headers, token=False).code in (200, 202)
        except (OSError, HTTPException):
            return False

    def has_printed(self, step):
        """Whether the newest build's step has begun to write its log."""
        begin = f"{step} 1 of {self.pushed}\n".encode()
        return any(log.startswith(begin) for log in self.logs().values())

    def kill(self):
        os.kill(self.server.pid, signal.SIGKILL)

    # -- what is left when the server has died

    def restart(self):
        self.server.wait_for(self.server.has_died)
        self.server.order.unlink(missing_ok=True)
        self.server.stop()
        before = self.logs()
        self.server.start()
        return before

    def logs(self):
        """Every log as it is on disk."""
        return {path: path.read_bytes() for path in (self.server.data / "builds").glob("[0-9]*/*/log")}

    def rows(self, query, *values):
        with sqlite3.connect(f"file:{self.server.data}/sayci.sqlite?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def check(self, commit, before):
        """All that must hold when the build of `commit`, the only one under way, has ended."""
        server, number = self.server, self.pushed
        server.wait_for(lambda: self.is_accepted(commit))  # a forge tries again where it had no answer
        build = server.finished("crashes", number)
        assert (build["commit"], build["result"], build["attempt"]) == (commit, "success", 1), build
        assert self.rows("SELECT verdict, build_number FROM deliveries WHERE forge_id = ?", commit) == [
            ("built", number)
        ]
        assert self.rows("SELECT count(*) FROM builds") == [(number,)]
        assert self.rows("SELECT count(*) FROM builds WHERE state <> 'finished'") == [(0,)]
        assert self.rows("SELECT count(*) FROM steps WHERE state <> 'finished'") == [(0,)]

        runs = self.runs.read_text().splitlines()
        assert sorted(runs) == sorted(f"{n} {step}" for n in range(1, number + 1) for step in ("test", "deploy"))
        for step in ("test", "deploy"):
            log = "".join(f"{step} {line} of {number}\n" for line in range(1, 6))
            assert server.log_of("crashes", number, step).decode() == log
        for path, log in before.items():
            assert path.read_bytes().startswith(log), path

        told = {(commit, "sayci/test"): "success", (commit, "sayci/deploy"): "success"}
        server.wait_for(lambda: told.items() <= self.forge.statuses().items())
        server.wait_for(lambda: self.rows("SELECT count(*) FROM statuses WHERE due_at IS NOT NULL") == [(0,)])
        server.wait_for(self.is_swept)

    def is_swept(self):
        """Whether no process, workspace or hold on the mirror is left."""
        ours = [line for line in processes_mentioning(str(self.server.data)) if not self._is_server(line)]
        mirrors = [path for path in (self.server.data / "mirrors").iterdir() if path.suffix == ".git"]
        held = [run(f"--git-dir={path}", "for-each-ref", "refs/sayci/builds") for path in mirrors]
        return not ours and not any(held) and not list((self.server.data / "workspaces").iterdir())

    def _is_server(self, line):
        return line.startswith(f"{self.server.pid}: ")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with ExitStack() as stack:
        place = stack.enter_context(passable_directory())
        commons = stack.enter_context(passable_directory())
        commons.chmod(0o777)
        runs = commons / "runs"
        runs.touch()
        runs.chmod(0o666)
        repository = Repository(place / "team" / "crashes.git")
        repository.commit({"Makefile": MAKEFILE.format(runs=runs)})
        forge = stack.enter_context(ForgeServer(token="the-forge-token"))
        users = ("--slot-uid", str(some_numbers().first)) if os.geteuid() == 0 else ()
        server = CrashingServer(
            place / "data",
            *users,
            "--allow-url",
            "file",
            "--catch-up",
            "0",
            environment={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        stack.callback(server.stop)
        server.start().sign_in()
        yield World(server, repository, forge, runs)


@pytest.mark.parametrize(
    "order",
    (
        "accept before 1",
        "accept after 1",  # the delivery is stored, and nobody has been told so
        "settle before 1",
        "settle after 1",
        *(f"advance before {n}" for n in (1, 2, 3)),  # claim, checkout started, checkout finished
        "checkout before 1",
        "checkout after 1",
        "advance after 1",
        "advance after 3",
        "advance after 4",  # the test's key is recorded, and it has no run directory
        "spawn before 1",  # it has one, and no shim
        "spawn after 1",
        "result after 1",  # the exit record is written and nobody has read it
        "advance after 5",  # the test's end is recorded
        "advance after 6",  # so is the deploy's key
        "spawn before 2",
        "spawn after 2",
        "result after 2",
        "advance after 7",
        "advance after 8",  # the build has ended, with its workspace
        "discard after 1",
        "post before 1",
        "post after 2",
        "told before 1",
        "told after 2",
    ),
)
def test_a_server_that_is_killed_at_a_boundary_goes_on_behind_it(world, order):
    world.server.order.write_text(order)
    commit = world.push()
    world.check(commit, world.restart())


@pytest.mark.parametrize("step", ("test", "deploy"))
def test_a_server_that_is_killed_while_a_log_is_being_written_goes_on_with_it(world, step):
    commit = world.push()
    world.server.wait_for(lambda: world.has_printed(step))
    world.kill()
    before = world.restart()
    world.check(commit, before)


def test_a_server_may_be_killed_at_any_moment(world):
    print(f"seed {SEED}, {RANDOM_CRASHES} crashes")  # noqa: T201 - to do it again with SAYCI_CRASH_SEED
    chance = random.Random(SEED)
    for _ in range(RANDOM_CRASHES):
        commit = world.push()
        for _ in range(chance.randint(1, 2)):
            time.sleep(chance.uniform(0.0, 0.7))
            world.kill()
            before = world.restart()
        world.check(commit, before)
