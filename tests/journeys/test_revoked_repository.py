"""Access to a repository that the forge takes back, and gives again."""

from __future__ import annotations

import pytest

from tests.gitserver import GitServer, a_repository

pytestmark = pytest.mark.timeout(300)


def test_the_clone_goes_with_the_access_and_comes_back(server_of, tmp_path):
    a_repository(tmp_path / "git" / "shop.git")
    with GitServer(tmp_path / "git", token="the-first-token") as forge:
        server = server_of("--allow-url", "http", "--catch-up", "1")
        body = {"name": "shop", "url": forge.url("shop.git"), "access_token": "the-first-token"}
        assert server.post("/api/v1/projects", body).code == 201
        place = "/api/v1/projects/shop"

        def is_now(state):
            return server.wait_for(lambda: (found := server.get(place).json)["mirror"] == state and found)

        is_now("ready")
        assert server.post(f"{place}/builds").code == 201
        assert server.finished("shop", 1)["result"] == "success"
        (clone,) = (server.data / "mirrors").glob("*.git")

        forge.token = "another-token"
        assert "set a new one" in is_now("revoked")["mirror_error"]
        server.wait_for(lambda: not clone.exists())
        refused = server.post(f"{place}/builds")
        assert refused.code == 422
        assert "access token" in refused.json["detail"]
        assert server.log_of("shop", 1, "test") == b"tested\n"

        forge.token = "the-first-token"
        is_now("ready")
        assert clone.exists()
        forge.token = "another-token"
        is_now("revoked")
        assert server.request("PATCH", place, {"access_token": "another-token"}).code == 200
        is_now("ready")
        assert server.post(f"{place}/builds").code == 201
        assert server.finished("shop", 2)["result"] == "success"
