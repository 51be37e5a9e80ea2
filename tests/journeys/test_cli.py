"""The command-line client against a real server, as a person would use it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import payloads
from tests.gitserver import Repository

MAKEFILE = """\
.PHONY: test deploy
test:
\t@echo level $$LEVEL, token $$TOKEN
deploy:
\t@echo deployed
"""


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "demo.git")
    made.commit({"Makefile": MAKEFILE})
    return made


class Client:
    """Runs the client against a server, with a configuration of its own."""

    def __init__(self, server, home):
        self.server = server
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "src", "HOME": str(home)}

    def __call__(self, *arguments, code=0, typed=""):
        """What it prints; it ends with this exit code."""
        end = subprocess.run(
            (sys.executable, "-m", "sayci.cli.main", *arguments),
            env=self._environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert end.returncode == code, (arguments, end.stdout, end.stderr)
        return end.stdout


@pytest.fixture
def sayci(server_of, tmp_path):
    """A client that has signed in with the printed link."""
    server = server_of("--allow-url", "file", sign_in=False)
    client = Client(server, tmp_path)
    client("login", server.link)
    return client


def test_from_login_to_a_deployed_commit(sayci, repository, tmp_path):
    said = sayci("add", "demo", repository.url, "--deploy-branch", "main")
    assert f"{sayci.server.base}/hooks/demo" in said
    sayci("env", "set", "demo", "LEVEL=high")
    sayci("env", "set", "demo", "TOKEN", "--secret", typed="opens-everything\n")
    listed = sayci("env", "list", "demo")
    assert "LEVEL" in listed
    assert "high" in listed
    assert "opens-everything" not in listed
    sayci("build", "demo", "--wait")
    assert "level high, token ***" in sayci("log", "demo", "1")
    assert "success" in sayci("builds", "demo")
    assert "deployed" in sayci("deploy", "demo", "1", "--follow")
    assert "#2" in sayci("deploys", "demo")
    assert "demo" in sayci("projects")
    sayci("rebuild", "demo", "1", "--wait")
    sayci("cancel", "demo", "1", code=4)


def test_a_failing_build_is_exit_code_1_and_its_log_is_followed_to_the_end(sayci, repository):
    repository.commit({"Makefile": "test:\n\t@for n in 1 2 3; do echo line $$n; sleep 0.2; done; exit 3\n"})
    sayci("add", "demo", repository.url)
    said = sayci("build", "demo", "--follow", code=1)
    assert "line 1\nline 2\nline 3\n" in said


def test_deliveries_are_listed_and_replayed(sayci, repository):
    said = sayci("add", "demo", repository.url)
    secret = next(word for line in said.splitlines() if "ecret" in line for word in line.split() if len(word) > 40)
    body = payloads.body_of(payloads.push(after=repository.head(), message="Later [skip ci]"))
    headers = payloads.headers_of(body, secret=secret)
    assert sayci.server.request("POST", "/hooks/demo", body, headers, token=False).code == 200
    assert "skip" in sayci("deliveries", "demo").lower()
    sayci("replay", "demo", "1")


def test_tokens_reach_as_far_as_they_say(sayci, repository, tmp_path):
    sayci("add", "demo", repository.url)
    token = sayci("tokens", "new", "reader", "--access", "read").split()[-1]
    sayci.server.token = token
    assert sayci.server.get("/api/v1/projects").code == 200
    assert sayci.server.post("/api/v1/projects/demo/builds").code == 403
    assert sayci.server.get("/api/v1/projects/demo/environment").code == 403
    sayci("tokens", "revoke", "2")
    assert sayci.server.get("/api/v1/projects").code == 401
