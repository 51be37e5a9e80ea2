"""HUP and a rotated log do nothing to a server and its builds."""

from __future__ import annotations

import os
import signal

import pytest

from tests.gitserver import Repository

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy


def test_a_hangup_and_a_log_that_is_cut_end_nothing(sayci_server, tmp_path, commons):
    server = sayci_server
    repository = Repository(tmp_path / "slow.git")
    wait = f"while [ ! -e {commons}/go ]; do sleep 0.05; done"
    repository.commit({"Makefile": f".PHONY: test\ntest:\n\t@echo before; {wait}; echo after\n"})
    assert server.post("/api/v1/projects", {"name": "slow", "url": repository.url}).code == 201
    assert server.post("/api/v1/projects/slow/builds").code == 201
    server.step_runs("slow", 1)
    assert server.log()
    os.truncate(server._log, 0)  # as logrotate does with copytruncate
    for _ in range(3):
        os.kill(server.pid, signal.SIGHUP)
        assert server.get("/healthz").code == 200
    (commons / "go").touch()
    assert server.finished("slow", 1)["result"] == "success"
    assert server.log_of("slow", 1, "test") == b"before\nafter\n"
    server.stop()
    assert server.log().startswith("20")  # the log goes on at its beginning, without a hole
