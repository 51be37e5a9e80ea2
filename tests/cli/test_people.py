"""cli/people.py: accounts by commands; the link is all that goes to the standard output."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Answer

MADE = {
    "name": "grace",
    "role": "maintainer",
    "has_password": False,
    "created_at": "2026-11-21T00:00:00Z",
    "invitation": "https://ci.example/sign-in/invitation?code=secret",
}


def answer(server, method, path, body, code=200):
    server.trouble(method, path.removeprefix("/api/v1/"), Answer(code, body, "application/json"))


def test_somebody_is_invited_with_a_role(signed_in, server):
    answer(server, "POST", "/api/v1/people", MADE, 201)
    done = signed_in("people", "add", "grace", "--role", "maintainer")
    assert done.stdout == f"{MADE['invitation']}\n"
    assert "Give this link to grace alone." in done.stderr
    assert server.bodies("POST", "people") == [{"name": "grace", "role": "maintainer"}]
    answer(server, "POST", "/api/v1/people/grace/invitation", MADE, 201)
    assert signed_in("people", "invite", "grace").stdout == f"{MADE['invitation']}\n"


def test_people_are_listed(signed_in, server):
    answer(server, "GET", "/api/v1/people", {"items": [MADE], "next": None})
    shown = signed_in("people", "list").stdout
    assert shown.splitlines()[0].split() == ["NAME", "ROLE", "PASSWORD", "INVITED"]
    assert "grace" in shown
    assert "not yet" in shown


def test_a_role_is_changed_and_somebody_removed(signed_in, server):
    answer(server, "PATCH", "/api/v1/people/grace", MADE)
    assert "grace is viewer from now on." in signed_in("people", "role", "grace", "viewer").stderr
    answer(server, "DELETE", "/api/v1/people/grace", None, 204)
    assert signed_in("people", "remove", "grace").exit_code == 2  # nobody is there to be asked
    assert "grace is removed." in signed_in("people", "remove", "grace", "--yes").stderr


@pytest.mark.parametrize("role", ("root", "read"))
def test_another_word_than_a_role_is_refused_here(signed_in, server, role):
    assert signed_in("people", "add", "grace", "--role", role).exit_code == 2
    assert server.bodies("POST", "people") == []
