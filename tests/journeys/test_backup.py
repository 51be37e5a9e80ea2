"""A server is backed up while a deploy runs in it; what is taken back from that has everything, and deploys nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.server import PATIENCE, ROOT

MAKEFILE = """\
.PHONY: test deploy
test:
\t@echo tested
deploy:
\t@echo deploying once
\t@until [ -e $(END) ]; do sleep 0.1; done
"""


def sayci(*arguments):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-m", "sayci", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_backup_of_a_running_server_is_taken_back_and_deploys_nothing_twice(origin, server_of, tmp_path, commons):
    repository, url = origin
    repository.commit({"Makefile": MAKEFILE.replace("$(END)", str(commons / "end"))})
    server = server_of("--allow-url", "http")
    settings = {"name": "flour", "url": url, "deploy_branch": "main", "access_token": "the-forge-token"}
    assert server.post("/api/v1/projects", settings).code == 201
    assert server.post("/api/v1/projects/flour/builds", {}).code == 201
    assert server.finished("flour", 1)["result"] == "success"
    assert server.post("/api/v1/projects/flour/deploys", {"build": 1}).code == 201
    server.step_runs("flour", 2, "deploy")

    made = sayci("backup", tmp_path / "backup", "--data", server.data)
    assert made.returncode == 0, made.stderr
    refused = sayci("restore", tmp_path / "backup", "--data", server.data)
    assert "another sayci is using" in refused.stderr
    examined = sayci("doctor", "--data", server.data, "--keep-free", "0")
    assert "well at http://127.0.0.1:" in examined.stdout, examined.stdout

    again = server.data.with_name("again")
    taken = sayci("restore", tmp_path / "backup", "--data", again)
    assert taken.returncode == 0, taken.stderr
    (commons / "end").touch()
    assert server.finished("flour", 2)["result"] == "success"

    other = server_of("--allow-url", "http", "--sign-in-link", name="again", sign_in=False)
    other.token = server.token  # it was handed out before the backup was made
    build = other.build("flour", 2)
    assert (build["state"], build["result"]) == ("finished", "unknown")
    assert other.log_of("flour", 1, "test") == server.log_of("flour", 1, "test")
    assert other.log_of("flour", 2, "deploy").count(b"deploying once") == 1
    rebuilt = other.post("/api/v1/projects/flour/builds/1/rebuild")
    assert rebuilt.code == 201, rebuilt.body
    assert other.finished("flour", 3)["result"] == "success"
