"""api_access.py: signing in, who one is, tokens."""

from __future__ import annotations

import pytest_twisted

from sayci.account import Access, Credential, Origin, digest_of
from sayci.sign_in import DAY
from tests.factories import NOW
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture


@pytest_twisted.ensureDeferred
async def test_one_learns_who_one_is(house):
    for access in (Access.READ, Access.BUILD, Access.ADMIN):
        word = access.name.lower()
        reply = await house.get("/api/v1/me", token=house.tokens[access])
        said = reply.said
        token = said.pop("token")
        assert token == {"id": token["id"], "name": word, "access": word, "expires_at": None}
        assert said == {"name": word, "access": word, "is_person": False, "projects": [], "version": "1.2.3"}


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
        "person": None,
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


# -- a person's own


async def held_by(house, name, role, access=Access.BUILD):
    """The secret of a token of a person."""
    _, code = await house.people.invite(name, role)
    secret, actor = await house.people.accept(code, "correct horse battery", Origin())
    _, held = await house.sign_in.new_own_token(actor, Credential(digest_of(secret)), "laptop", access, None)
    return held


@pytest_twisted.ensureDeferred
async def test_a_person_makes_lists_and_removes_tokens_with_one(house):
    held = await held_by(house, "ada", Access.ADMIN)
    asked = {"name": "ci", "access": "build", "days": 30}
    made = await house.ask("POST", "/api/v1/me/tokens", json=asked, token=held)
    assert (made.code, made.said["person"], made.said["access"]) == (201, "ada", "build")
    assert made.said["expires_at"] == "2026-12-21T00:00:00Z"
    listed = await house.get("/api/v1/me/tokens", token=held)
    assert [token["name"] for token in listed.said["items"]] == ["laptop", "ci"]
    assert made.said["token"].encode() not in listed.body
    assert [each["person"] for each in (await house.get("/api/v1/tokens")).said["items"]] == [
        None,
        None,
        None,
        "ada",
        "ada",
    ]
    further = await house.ask("POST", "/api/v1/me/tokens", json=asked | {"access": "admin"}, token=held)
    assert (further.code, further.said["error"]) == (403, "forbidden")
    gone = await house.ask("DELETE", f"/api/v1/me/tokens/{made.said['id']}", token=held)
    assert gone.code == 204
    assert (await house.get("/api/v1/me", token=made.said["token"])).code == 401
    assert (await house.ask("DELETE", f"/api/v1/me/tokens/{made.said['id']}", token=held)).code == 404


@pytest_twisted.ensureDeferred
async def test_a_token_of_the_server_has_nothing_of_its_own(house):
    assert (await house.get("/api/v1/me/tokens")).said["items"] == []
    reply = await house.ask("POST", "/api/v1/me/tokens", json={"name": "x", "access": "read"})
    assert (reply.code, reply.said["error"]) == (403, "forbidden")
    assert (await house.ask("DELETE", "/api/v1/me/tokens/1")).code == 404


@pytest_twisted.ensureDeferred
async def test_a_token_of_a_person_is_what_the_person_is_by_now(house):
    await house.project()
    await house.project("docs")
    held = await held_by(house, "ada", Access.ADMIN)
    assert (await house.get("/api/v1/projects/docs", token=held)).code == 200
    assert (await house.get("/api/v1/people", token=held)).code == 403
    assert (await house.ask("PUT", "/api/v1/projects/web-shop/members/ada", json={"role": "maintainer"})).code == 200
    _, code = await house.people.invite("grace", Access.ADMIN)
    await house.people.accept(code, "correct horse battery", Origin())
    assert (await house.ask("PATCH", "/api/v1/people/ada", json={"role": "member"})).code == 200
    assert (await house.get("/api/v1/projects/docs", token=held)).code == 404
    me = (await house.get("/api/v1/me", token=held)).said
    assert (me["name"], me["access"], me["is_person"]) == ("ada", "none", True)
    assert me["projects"] == [{"project": "web-shop", "access": "build"}]
    started = await house.ask("POST", "/api/v1/projects/web-shop/builds", token=held)
    assert started.code not in (401, 403, 404)
    assert (await house.ask("DELETE", "/api/v1/people/ada")).code == 204
    assert (await house.get("/api/v1/me", token=held)).code == 401
