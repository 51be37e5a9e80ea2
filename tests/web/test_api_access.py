"""api_access.py: signing in, who one is, tokens."""

from __future__ import annotations

import pytest_twisted

from sayci.account import Access
from sayci.sign_in import DAY
from tests.factories import NOW
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture


@pytest_twisted.ensureDeferred
async def test_one_learns_who_one_is(house):
    for access in (Access.READ, Access.BUILD, Access.ADMIN):
        word = access.name.lower()
        reply = await house.get("/api/v1/me", token=house.tokens[access])
        assert reply.said == {"name": word, "access": word, "version": "1.2.3"}


@pytest_twisted.ensureDeferred
async def test_a_code_is_exchanged_for_a_token_once(house):
    code = await house.sign_in.new_code()
    asked = {"code": code, "name": "ada's laptop"}
    reply = await house.ask("POST", "/api/v1/sign-in", json=asked, token="")
    assert reply.code == 201
    assert set(reply.said) == {"token", "id", "name", "access"}
    assert (reply.said["name"], reply.said["access"]) == ("ada's laptop", "admin")
    assert (await house.get("/api/v1/me", token=reply.said["token"])).said["name"] == "ada's laptop"
    again = await house.ask("POST", "/api/v1/sign-in", json=asked, token="")
    assert (again.code, again.said["error"]) == (401, "unauthenticated")


@pytest_twisted.ensureDeferred
async def test_guessing_codes_is_slowed_down(house):
    asked = {"code": "x", "name": "x"}
    codes = [(await house.ask("POST", "/api/v1/sign-in", json=asked, token="")).code for _ in range(25)]
    assert (codes[0], codes[-1]) == (401, 429)


@pytest_twisted.ensureDeferred
async def test_a_code_survives_a_name_that_cannot_be_one(house):
    code = await house.sign_in.new_code()
    for name in ("", " ", "a\nb", "\u202e", "x" * 101):
        reply = await house.ask("POST", "/api/v1/sign-in", json={"code": code, "name": name}, token="")
        assert (name, reply.code) == (name, 422)
    assert (await house.ask("POST", "/api/v1/sign-in", json={"code": code, "name": "x"}, token="")).code == 201


@pytest_twisted.ensureDeferred
async def test_a_token_is_made_listed_and_removed(house):
    asked = {"name": "deploy-bot", "access": "build", "days": 30}
    made = await house.ask("POST", "/api/v1/tokens", json=asked)
    assert made.code == 201
    said = made.said
    secret = said.pop("token")
    assert said == {
        "id": said["id"],
        "name": "deploy-bot",
        "access": "build",
        "created_at": "2026-11-21T00:00:00Z",
        "expires_at": "2026-12-21T00:00:00Z",
        "last_used_at": None,
    }
    assert (await house.get("/api/v1/me", token=secret)).said["access"] == "build"

    listed = await house.get("/api/v1/tokens")
    assert listed.said["next"] is None
    assert [token["name"] for token in listed.said["items"]] == ["read", "build", "admin", "deploy-bot"]
    assert not any("token" in token for token in listed.said["items"])
    assert secret.encode() not in listed.body

    removed = await house.ask("DELETE", f"/api/v1/tokens/{said['id']}")
    assert (removed.code, removed.body, removed.header("content-type")) == (204, b"", None)
    assert (await house.get("/api/v1/me", token=secret)).code == 401
    again = await house.ask("DELETE", f"/api/v1/tokens/{said['id']}")
    assert (again.code, again.said["error"]) == (404, "unknown_token")


@pytest_twisted.ensureDeferred
async def test_a_token_without_days_lasts_until_it_is_removed(house):
    made = await house.ask("POST", "/api/v1/tokens", json={"name": "x", "access": "read", "days": None})
    assert made.said["expires_at"] is None
    house.sign_in._clock = lambda: NOW + 100 * 365 * DAY
    assert (await house.get("/api/v1/me", token=made.said["token"])).code == 200


@pytest_twisted.ensureDeferred
async def test_a_token_that_makes_no_sense_is_refused(house):
    for asked in (
        {"name": "x", "access": "root"},
        {"name": "x", "access": "read", "days": 0},
        {"name": "x", "access": "read", "days": 10_000},
        {"name": "", "access": "read"},
        {"name": "\u202e", "access": "read"},
        {"name": "x", "access": "read", "secret": "chosen"},
    ):
        assert (asked, (await house.ask("POST", "/api/v1/tokens", json=asked)).code) == (asked, 422)
