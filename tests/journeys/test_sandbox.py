"""Builds in sandboxes, by a real server: an attacking build gets nothing."""

from __future__ import annotations

import re

import pytest

from sayci.launchers import bubblewrap
from tests import payloads

MAKEFILE = "test:\n\t@echo fine\n"

ATTACK = r"""
test:
	@echo begun
	@cd DATA; for path in . sayci.sqlite key address lock mirrors builds builds/* ssh workspaces/2 /root /home /srv \
		/proc/SERVER /proc/1/root/DATA/key /run /var/lib; do \
		if head -c 1 $$path >/dev/null 2>&1; then echo "READ $$path"; fi; \
		if [ -n "$$(ls -A $$path 2>/dev/null | grep -v '^workspaces$$\|^1$$')" ]; then echo "LISTED $$path"; fi; \
		if [ -w $$path ]; then echo "MAY WRITE $$path"; fi; \
	done
	@cat /proc/[0-9]*/environ | tr '\0' '\n' | grep -e topsecret -e SAYCI_DATABASE || echo no secrets
	@chmod 777 .git/objects/pack/*.pack 2>/dev/null && echo "CHANGED a pack" || :
	@mkdir ../other 2>/dev/null && echo "WROTE beside the tree" || :
	@mv ../tree ../elsewhere 2>/dev/null && echo "MOVED the tree" || :
	@kill -0 SERVER 2>/dev/null && echo "MAY KILL the server" || :
	@for path in /api/v1/projects /api/v1/tokens /flour/settings; do \
		bash -c "exec 3<>/dev/tcp/127.0.0.1/PORT; printf 'GET $$path HTTP/1.0\r\n\r\n' >&3; head -1 <&3"; \
	done
	@grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status
	@echo over
	@kill -9 -1
"""


@pytest.fixture
def server(server_of, tmp_path):
    wrapper, obstacle = bubblewrap.found([tmp_path])
    if wrapper is None:
        pytest.skip(obstacle)
    options = ("--isolation", "bubblewrap", "--allow-url", "http", "--allow-url", "file", "--grace", "1")
    return server_of(*options, environment={"HIDDEN": "topsecret"})


def push(server, name, repository, files):
    body = {"name": name, "url": f"file://{repository.path}"}
    answer = server.post("/api/v1/projects", body)
    assert answer.code == 201, answer.body
    commit = repository.commit(files, "Push")
    pushed = payloads.body_of(payloads.push(after=commit))
    headers = payloads.headers_of(pushed, secret=answer.json["webhook_secret"])
    assert server.request("POST", f"/hooks/{name}", pushed, headers, token=False).code == 202


def log_of(server, project):
    return server.log_of(project, 1, "test").decode()


def test_an_attacking_build_reads_nothing_ends_nobody_and_is_nobody_to_the_api(server, origin):
    assert "sandbox" in server.log()
    place = {"DATA": str(server.data), "SERVER": str(server.pid), "PORT": server.base.rpartition(":")[2]}
    attack = ATTACK
    for word, value in place.items():
        attack = attack.replace(word, value)
    push(server, "flour", origin[0], {"Makefile": attack})
    build = server.finished("flour", 1)
    log = log_of(server, "flour")
    refused = r"HTTP/1\.\d 401 .*\r?\n" * 2 + r"HTTP/1\.\d (?:303|401|403) .*\r?\n"
    nothing = "".join(f"{name}:\t{0:016x}\n" for name in ("CapPrm", "CapEff", "CapAmb"))
    assert re.fullmatch(rf"begun\nno secrets\n{refused}{nothing}NoNewPrivs:\t1\nover\n(make.*\n)*", log), log
    assert build["result"] == "failure"
    assert server.get("/healthz").code == 200
