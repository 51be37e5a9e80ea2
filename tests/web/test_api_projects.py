"""api_projects.py: register, configure and remove projects; their environment."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from sayci.account import Access
from sayci.project import Scope, Variable
from sayci.step import Result
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture

REGISTERED = {"name": "web-shop", "url": "https://git.example/team/web-shop.git"}


async def register(house, **fields):
    return await house.ask("POST", "/api/v1/projects", json=REGISTERED | fields)


# -- projects


@pytest_twisted.ensureDeferred
async def test_a_project_is_registered_with_its_usual_settings(house):
    reply = await register(house)
    assert reply.code == 201
    said = reply.said
    assert (await house.store.webhook_secret("web-shop"))[1] == said.pop("webhook_secret")
    assert said == {
        **REGISTERED,
        "default_branch": "main",
        "deploy_branch": None,
        "test_target": "test",
        "deploy_target": "deploy",
        "time_limit": 3600.0,
        "silence_limit": 0.0,
        "output_limit": 0,
        "ends_at_output_limit": False,
        "process_limit": 0,
        "memory_limit": 0,
        "workspace_limit": 0,
        "open_files_limit": 0,
        "forge_api": "",
        "image": "",
        "visibility": "private",
        "mirror": "cloning",
        "mirror_error": "",
        "has_access_token": False,
        "webhook_url": "https://ci.example/hooks/web-shop",
        "created_at": "2026-11-21T00:00:00Z",
        "page": "https://ci.example/web-shop",
    }


@pytest_twisted.ensureDeferred
async def test_a_project_is_registered_with_settings_of_its_own(house):
    house.sources.branches = {"trunk": "1" * 40}
    fields = {
        "default_branch": "trunk",
        "deploy_branch": "live/x",
        "test_target": "check",
        "deploy_target": "ship",
        "time_limit": 60,
        "silence_limit": 30,
        "output_limit": 1 << 20,
        "ends_at_output_limit": True,
        "process_limit": 100,
        "memory_limit": 1 << 30,
        "workspace_limit": 1 << 31,
        "open_files_limit": 1000,
        "forge_api": "https://git.example/api/v3",
        "image": "registry.example:5000/ci:1",
    }
    reply = await register(house, **fields, access_token="forge-secret")
    assert reply.code == 201
    assert {name: reply.said[name] for name in fields} == fields
    assert reply.said["has_access_token"] is True
    assert b"forge-secret" not in reply.body
    assert ("heads", REGISTERED["url"], "forge-secret") in house.sources.transcript


@pytest_twisted.ensureDeferred
async def test_a_name_is_taken_in_any_case(house):
    await register(house)
    reply = await register(house, name="WEB-shop")
    assert (reply.code, reply.said["error"]) == (409, "name_taken")


IMPOSSIBLE: tuple[dict[str, Any], ...] = (
    {"name": ".."},
    {"name": "api"},
    {"name": "web-shop\n"},
    {"name": "a/b"},
    {"name": "\u202eshop"},
    {"name": None},
    {"url": ""},
    {"url": "ext::sh -c id"},
    {"url": "file:///etc"},
    {"url": "--upload-pack=touch /tmp/x"},
    {"url": "http://git.example/x"},
    {"url": "https://git.example/x\n"},
    {"url": "https://u:p@git.example/x"},
    {"default_branch": "-x"},
    {"default_branch": "a b;id"},
    {"default_branch": None},
    {"deploy_branch": ""},
    {"test_target": "-C/"},
    {"test_target": "A=B"},
    {"deploy_target": "a b"},
    {"time_limit": 0},
    {"process_limit": 1},
    {"memory_limit": -1},
    {"memory_limit": 10**16},
    {"workspace_limit": "1G"},
    {"silence_limit": 0.5},
    {"ends_at_output_limit": 1},
    {"time_limit": 10**9},
    {"time_limit": "60"},
    {"time_limit": True},
    {"forge_api": "ftp://x"},
    {"image": "--privileged"},
    {"image": "a b"},
    {"image": None},
    {"forge_api": "https://user@git.example"},
    {"access_token": ""},
    {"access_token": "two words"},
    {"access_token": "a\r\nb"},
    {"access_token": "x" * 1001},
    {"webhook_secret": "mine"},
    {"id": 1},
)


@pytest_twisted.ensureDeferred
async def test_settings_that_cannot_be_are_refused_and_nothing_is_registered(house):
    for fields in IMPOSSIBLE:
        assert (fields, (await register(house, **fields)).code) == (fields, 422)
    assert not (await house.get("/api/v1/projects")).said["items"]


@pytest_twisted.ensureDeferred
async def test_projects_are_listed_in_parts(house):
    names = [f"project-{number}" for number in range(5)]
    for name in names:
        await house.project(name)
    found, path = [], "/api/v1/projects?limit=2"
    while True:
        part = (await house.get(path, token=house.tokens[Access.READ])).said
        found.append([project["name"] for project in part["items"]])
        if part["next"] is None:
            break
        path = f"/api/v1/projects?limit=2&cursor={part['next']}"
    assert found == [names[0:2], names[2:4], names[4:5]]


@pytest_twisted.ensureDeferred
async def test_what_is_absent_stays_and_what_is_null_goes(house):
    await register(house, deploy_branch="live", access_token="forge-secret", test_target="check")
    reply = await house.ask("PATCH", "/api/v1/projects/web-shop", json={"time_limit": 5})
    assert reply.code == 200
    assert (reply.said["time_limit"], reply.said["deploy_branch"], reply.said["has_access_token"]) == (
        5.0,
        "live",
        True,
    )
    change = {"deploy_branch": None, "access_token": None}
    said = (await house.ask("PATCH", "/api/v1/projects/web-shop", json=change)).said
    assert (said["deploy_branch"], said["has_access_token"], said["test_target"]) == (None, False, "check")
    assert (await house.get("/api/v1/projects/web-shop")).said == said | {"mirror": "ready"}


@pytest_twisted.ensureDeferred
async def test_an_empty_change_changes_nothing(house):
    await house.project()
    before = (await house.get("/api/v1/projects/web-shop")).said
    reply = await house.ask("PATCH", "/api/v1/projects/web-shop", json={})
    assert (reply.code, reply.said) == (200, before)


@pytest_twisted.ensureDeferred
async def test_a_change_is_all_right_or_is_not_made_at_all(house):
    await house.project()
    before = (await house.get("/api/v1/projects/web-shop")).said
    wrong = {"access_token": "forge-secret", "test_target": "check", "default_branch": "a..b"}
    reply = await house.ask("PATCH", "/api/v1/projects/web-shop", json=wrong)
    assert (reply.code, reply.said["detail"]) == (422, "not a branch name: a..b")
    assert (await house.get("/api/v1/projects/web-shop")).said == before
    for change in ({"time_limit": None}, {"name": None}, {"url": None}, {"mirror": "ready"}, {"access_token": ""}):
        assert (await house.ask("PATCH", "/api/v1/projects/web-shop", json=change)).code == 422


@pytest_twisted.ensureDeferred
async def test_a_new_address_is_asked_with_the_token_that_comes_with_it(house):
    await house.project()
    change = {"url": "https://git.example/new.git", "access_token": "new-secret"}
    reply = await house.ask("PATCH", "/api/v1/projects/web-shop", json=change)
    assert reply.code == 200
    assert ("heads", "https://git.example/new.git", "new-secret") in house.sources.transcript


@pytest_twisted.ensureDeferred
async def test_a_project_gets_another_name_unless_it_is_taken(house):
    await house.project()
    await house.project("other")
    taken = await house.ask("PATCH", "/api/v1/projects/web-shop", json={"name": "Other"})
    assert (taken.code, taken.said["error"]) == (409, "name_taken")
    renamed = await house.ask("PATCH", "/api/v1/projects/web-shop", json={"name": "shop"})
    assert (renamed.said["name"], renamed.said["page"]) == ("shop", "https://ci.example/shop")
    assert (await house.get("/api/v1/projects/web-shop")).code == 404


@pytest_twisted.ensureDeferred
async def test_a_project_is_removed_once_nothing_of_it_runs(house):
    project = await house.project()
    build = await house.build(project)
    waiting = await house.ask("DELETE", "/api/v1/projects/web-shop")
    assert (waiting.code, waiting.header("content-type")) == (409, "application/problem+json")
    assert (await house.get("/api/v1/projects/web-shop/builds/1")).code == 200
    await house.finish(build, Result.FAILURE)
    removed = await house.ask("DELETE", "/api/v1/projects/web-shop")
    assert (removed.code, removed.body) == (204, b"")
    for path in ("", "/builds", "/builds/1", "/builds/1/steps/test/log"):
        assert (await house.get("/api/v1/projects/web-shop" + path)).code == 404
    assert (await house.ask("POST", "/api/v1/projects/web-shop/builds/1/rebuild")).code == 404


@pytest_twisted.ensureDeferred
async def test_the_webhook_secret_is_replaced(house):
    await house.project()
    reply = await house.ask("POST", "/api/v1/projects/WEB-SHOP/webhook-secret")
    assert reply.code == 201
    secret = (await house.store.webhook_secret("web-shop"))[1]
    assert reply.said == {"webhook_url": "https://ci.example/hooks/web-shop", "webhook_secret": secret}
    assert secret != "hook-secret"


# -- environment


@pytest_twisted.ensureDeferred
async def test_variables_are_set_listed_and_removed(house):
    project = await house.project()
    path = "/api/v1/projects/web-shop/environment"
    plain = await house.ask("PUT", f"{path}/LEVEL", json={"value": "debug"})
    assert (plain.code, plain.said) == (200, {"name": "LEVEL", "value": "debug", "secret": False, "scope": "both"})
    secret = await house.ask("PUT", f"{path}/KEY", json={"value": "s3cret-value", "secret": True, "scope": "deploy"})
    assert secret.said == {"name": "KEY", "value": None, "secret": True, "scope": "deploy"}
    listed = await house.get(path)
    assert listed.said == {"items": [secret.said, plain.said], "next": None}
    assert b"s3cret-value" not in listed.body
    revealed = await house.store.variables(project.id, revealed=True)
    assert revealed[0] == Variable("KEY", "s3cret-value", Scope.DEPLOY, secret=True)
    removed = await house.ask("DELETE", f"{path}/KEY")
    assert (removed.code, removed.body) == (204, b"")
    again = await house.ask("DELETE", f"{path}/KEY")
    assert (again.code, again.said["error"]) == (404, "missing")


@pytest_twisted.ensureDeferred
async def test_a_secret_stays_one_when_it_only_gets_another_value(house):
    await house.project()
    path = "/api/v1/projects/web-shop/environment/KEY"
    await house.ask("PUT", path, json={"value": "first-secret", "secret": True, "scope": "test"})
    again = await house.ask("PUT", path, json={"value": "second-secret"})
    assert again.said == {"name": "KEY", "value": None, "secret": True, "scope": "test"}
    shown = await house.ask("PUT", path, json={"value": "plain", "secret": False, "scope": "both"})
    assert shown.said == {"name": "KEY", "value": "plain", "secret": False, "scope": "both"}


@pytest_twisted.ensureDeferred
async def test_variables_that_cannot_be_are_refused(house):
    await house.project()
    path = "/api/v1/projects/web-shop/environment"
    for name in ("9X", "A-B", "A%3DB", "PATH%00", "MAKEFLAGS", "SAYCI_X", "GIT_DIR", "X" * 101):
        assert (name, (await house.ask("PUT", f"{path}/{name}", json={"value": "x"})).code) == (name, 422)
        assert (name, (await house.ask("DELETE", f"{path}/{name}")).code) == (name, 404)
    for body in (
        {},
        {"value": None},
        {"value": 1},
        {"value": "a\0b"},
        {"value": "x" * 32_769},
        {"value": "x", "secret": 1},
        {"value": "x", "secret": None},
        {"value": "x", "scope": "all"},
        {"value": "x", "name": "Y"},
    ):
        assert (await house.ask("PUT", f"{path}/LEVEL", json=body)).code == 422
    assert not (await house.get(path)).said["items"]
