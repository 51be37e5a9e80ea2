"""From a signed push to a green commit with every step in a container, and a server that is killed meanwhile."""

from __future__ import annotations

import pytest

from tests import engine, payloads

pytestmark = engine.MARKS

MAKEFILE = """\
.PHONY: test deploy
test:
\t@echo testing $$SAYCI_COMMIT as $$(id -u) with $$TOKEN
\t@git log -1 --format=%s
\t@while [ ! -e go ]; do sleep 0.02; done
\t@touch built-by-test
deploy: built-by-test
\t@echo deploying from $$(hostname)
"""


@pytest.fixture
def server(server_of, forge):
    options = ("--launcher", "docker", "--docker-network", "none", "--docker-image", engine.base())
    return server_of("--allow-url", "http", "--github-api", forge.url, *options)


def test_a_push_is_built_in_containers_and_a_killed_server_changes_nothing(server, origin, forge):
    given = {"name": "flour", "url": origin[1], "deploy_branch": "main", "forge_api": forge.url}
    secret = server.post("/api/v1/projects", {**given, "access_token": "the-forge-token"}).json["webhook_secret"]
    token = {"value": "opens-the-door", "secret": True}
    assert server.request("PUT", "/api/v1/projects/flour/environment/TOKEN", token).code == 200
    commit = origin[0].commit({"grain": "wheat"}, "Grind wheat")
    body = payloads.body_of(payloads.push(after=commit))
    assert (
        server.request("POST", "/hooks/flour", body, payloads.headers_of(body, secret=secret), token=False).code == 202
    )
    server.step_runs("flour", 1)
    server.stop(number=9)
    server.start()
    (workspace,) = (server.data / "workspaces").glob("[0-9]*")
    (workspace / "tree" / "go").touch()

    build = server.finished("flour", 1)
    assert build["result"] == "success", (build, server.log_of("flour", 1, "test"))
    test = server.log_of("flour", 1, "test").decode()
    assert test.startswith(f"testing {commit} as ")
    assert test.endswith(" with ***\nGrind wheat\n")
    assert server.log_of("flour", 1, "deploy").startswith(b"deploying from ")
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/deploy")) == "success")
    assert "in a container of its own, by Docker" in server.get("/api/v1/status").json["isolation"]["words"]

    answer = server.request("PATCH", "/api/v1/projects/flour", {"image": "127.0.0.1:1/no-such-image"})
    assert answer.json["image"] == "127.0.0.1:1/no-such-image"
    server.post("/api/v1/projects/flour/builds/1/rebuild")
    build = server.finished("flour", 2)
    assert build["result"] == "error"
    assert "the image 127.0.0.1:1/no-such-image:latest could not be pulled" in build["reason"]
