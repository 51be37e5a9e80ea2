"""Pushes of which nobody told the server, because it was not there."""

from __future__ import annotations

import pytest

from tests import payloads
from tests.gitserver import Repository

pytestmark = pytest.mark.timeout(300)
MAKEFILE = ".PHONY: test deploy\ntest deploy:\n\t@echo $@ of $$SAYCI_BRANCH\n"


def test_what_was_pushed_while_no_server_was_there_is_built_once(server_of, tmp_path):
    repository = Repository(tmp_path / "shop.git")
    repository.commit({"Makefile": MAKEFILE})
    repository.commit({"Makefile": MAKEFILE}, branch="old")
    server = server_of("--allow-url", "file")
    answer = server.post("/api/v1/projects", {"name": "shop", "url": repository.url, "deploy_branch": "main"})
    assert answer.code == 201, answer.body
    server.stop()

    repository.commit({"grain": "oats"}, "of which nobody hears, and it is not the newest")
    missed = repository.commit({"grain": "wheat"}, "Grind wheat")
    server.start()
    build = server.finished("shop", 1)
    assert (build["cause"], build["commit"], build["result"], build["message"]) == (
        "catch-up",
        missed,
        "success",
        "Grind wheat",
    )
    assert server.log_of("shop", 1, "deploy") == b"deploy of main\n"

    body = payloads.body_of(payloads.push(after=missed))
    headers = payloads.headers_of(body, secret=answer.json["webhook_secret"])
    assert server.request("POST", "/hooks/shop", body, headers, token=False).code == 202

    def told():
        (delivery,) = server.get("/api/v1/projects/shop/deliveries").json["items"]
        return delivery["explanation"]

    assert "#1" in server.wait_for(told)
    server.stop()
    server.start()  # looks again, and finds nothing new; nor did it find the branches of old
    server.wait_for(lambda: server.get("/healthz").code == 200)
    assert [found["number"] for found in server.get("/api/v1/projects/shop/builds").json["items"]] == [1]
