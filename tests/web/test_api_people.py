"""api_people.py: accounts by the API."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest_twisted

from sayci.account import Access, Origin
from tests.web.api_fixtures import PUBLIC, house

__all__ = ["house"]  # a fixture


def code_of(reply):
    return parse_qs(urlsplit(reply.said["invitation"]).query)["code"][0]


@pytest_twisted.ensureDeferred
async def test_somebody_is_invited_listed_promoted_and_removed(house):
    made = await house.ask("POST", "/api/v1/people", json={"name": "grace", "role": "maintainer"})
    assert made.code == 201
    assert made.said["invitation"].startswith(f"{PUBLIC}/sign-in/invitation?code=")
    assert (made.said["name"], made.said["role"], made.said["has_password"]) == ("grace", "maintainer", False)
    await house.people.accept(code_of(made), "correct horse battery", Origin())
    listed = await house.get("/api/v1/people")
    assert [(each["name"], each["role"], each["has_password"]) for each in listed.said["items"]] == [
        ("grace", "maintainer", True)
    ]
    assert "invitation" not in listed.said["items"][0]
    changed = await house.ask("PATCH", "/api/v1/people/Grace", json={"role": "viewer"})
    assert changed.said["role"] == "viewer"
    again = await house.ask("POST", "/api/v1/people/grace/invitation")
    assert (again.code, again.said["has_password"]) == (201, True)
    assert code_of(again) != code_of(made)
    assert (await house.ask("DELETE", "/api/v1/people/grace")).code == 204
    gone = await house.ask("DELETE", "/api/v1/people/grace")
    assert (gone.code, gone.said["error"]) == (404, "unknown_person")


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_is_refused(house):
    for body, code in (
        ({"name": "admin"}, 422),
        ({"name": "a b"}, 422),
        ({"name": "ada", "role": "root"}, 422),
        ({"name": "ada", "password": "chosen by another"}, 422),
        ({"name": "ada"}, 201),
        ({"name": "ADA"}, 409),
    ):
        assert (body, (await house.ask("POST", "/api/v1/people", json=body)).code) == (body, code)


@pytest_twisted.ensureDeferred
async def test_the_last_admin_stays(house):
    _, code = await house.people.invite("ada", Access.ADMIN)
    await house.people.accept(code, "correct horse battery", Origin())
    for reply in (
        await house.ask("DELETE", "/api/v1/people/ada"),
        await house.ask("PATCH", "/api/v1/people/ada", json={"role": "viewer"}),
    ):
        assert (reply.code, reply.said["error"]) == (409, "last_admin")


@pytest_twisted.ensureDeferred
async def test_only_admins_may(house):
    for access in (Access.READ, Access.BUILD):
        token = house.tokens[access]
        for method, path, body in (
            ("GET", "/api/v1/people", None),
            ("POST", "/api/v1/people", {"name": "eve", "role": "admin"}),
            ("PATCH", "/api/v1/people/eve", {"role": "admin"}),
            ("DELETE", "/api/v1/people/eve", None),
            ("POST", "/api/v1/people/eve/invitation", None),
        ):
            reply = await house.ask(method, path, token=token, json=body)
            assert (method, path, reply.code) == (method, path, 403)
    assert await house.people.all() == []
