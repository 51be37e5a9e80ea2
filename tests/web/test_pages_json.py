"""pages_json.py: what a page shows, as JSON at its own address; by a session and by a token, and as the API has it."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import base64
import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest
import pytest_twisted

from sayci.account import Access
from sayci.project import Visibility
from sayci.step import Result
from sayci.web import pages_json, wire
from sayci.web.negotiation import JSON
from tests.factories import commit

pytest_plugins = ["tests.web.page_fixtures"]

ASK = {"Accept": JSON}
PROBLEM = "application/problem+json"


def said_of(seen):
    """The JSON of an answer that went well."""
    assert (seen.code, seen.header("content-type")) == (200, JSON), seen.text
    assert seen.header("vary") == "Accept"
    assert seen.header("cache-control") == "no-store"
    return json.loads(seen.body)


async def token_of(house, access):
    """A token's header."""
    _, secret = await house.sign_in.new_token("a program", access, None)
    return {"Authorization": f"Bearer {secret}"}


async def filled(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True, commit=commit(1))
    await house.build(project, Result.FAILURE, branch="try", commit=commit(2))
    await house.running(project, commit=commit(3))
    await house.delivery(project)
    return project


@pytest_twisted.ensureDeferred
async def test_home_lists_the_projects_with_how_they_stand(house):
    await filled(house)
    await house.project("another")
    browser = await house.signed_in(Access.READ)
    said = said_of(await browser.get("/", **ASK))
    listed = msgspec.convert(said, wire.Listing[wire.ProjectState])
    assert [each.project.name for each in listed.items] == ["web-shop", "another"]
    first, second = listed.items
    assert (first.standing.result, first.standing.is_building) == (Result.SUCCESS, True)
    assert first.standing.words == "testing; passes"
    assert first.newest is not None
    assert first.newest.number == 3
    assert (second.standing.result, second.newest) == (None, None)
    assert listed.next is None
    found = said_of(await browser.get("/?q=other", **ASK))
    assert [each["project"]["name"] for each in found["items"]] == ["another"]


@pytest_twisted.ensureDeferred
async def test_a_project_has_its_builds_and_takes_what_the_page_takes(house):
    await filled(house)
    browser = await house.signed_in(Access.READ)
    said = msgspec.convert(said_of(await browser.get("/web-shop", **ASK)), wire.ProjectPage)
    assert [build.number for build in said.builds] == [3, 2, 1]
    assert said.next is None
    for query, numbers in (("branch=try", [2]), ("result=success", [1]), ("before=3", [2, 1]), ("q=nothing", [])):
        part = said_of(await browser.get(f"/web-shop?{query}", **ASK))
        assert [build["number"] for build in part["builds"]] == numbers, query
    assert (await browser.get("/web-shop?result=great", **ASK)).code == 422


@pytest_twisted.ensureDeferred
async def test_builds_deploys_deliveries_and_the_server(house):
    await filled(house)
    browser = await house.signed_in()
    build = msgspec.convert(said_of(await browser.get("/web-shop/2?around=test:1", **ASK)), wire.Build)
    assert (build.number, build.result, build.branch) == (2, Result.FAILURE, "try")
    deploys = said_of(await browser.get("/web-shop/deploys", **ASK))
    assert [each["number"] for each in deploys["items"]] == [1]
    deliveries = said_of(await browser.get("/web-shop/deliveries", **ASK))
    assert [each["verdict"] for each in deliveries["items"]] == ["received"]
    status = msgspec.convert(said_of(await browser.get("/status", **ASK)), wire.ServerStatus)
    assert status.version == "9.8.7"


@pytest.mark.parametrize("path", ("/", "/web-shop", "/web-shop/1", "/web-shop/deploys", "/status"))
@pytest_twisted.ensureDeferred
async def test_a_token_is_as_good_as_a_session(house, path):
    await filled(house)
    stranger = house.stranger()
    token = await token_of(house, Access.READ)
    assert said_of(await stranger.get(path, **ASK, **token)) == said_of(
        await (await house.signed_in(Access.READ)).get(path, **ASK)
    )
    page = await stranger.get(path, **token)  # also for the page itself
    assert (page.code, page.header("content-type")) == (200, "text/html; charset=utf-8")


def documented():
    """The path and the headers of every example in the documentation."""
    text = (Path(__file__).parents[2] / "docs" / "api.rst").read_text()
    section = text.partition("The pages' own addresses\n")[2].partition("\nFeeds, monitors")[0]
    for line in re.findall(r"^    curl (.+)$", section, re.MULTILINE):
        words = shlex.split(line)
        headers = [words[place + 1] for place, word in enumerate(words) if word == "-H"]
        yield words[-1].removeprefix("http://localhost:8080"), dict(header.split(": ", 1) for header in headers)


@pytest.mark.parametrize(("path", "headers"), list(documented()))
@pytest_twisted.ensureDeferred
async def test_the_examples_of_the_documentation_work(house, path, headers):
    project = await house.project("sample", deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True)
    _, token = await house.sign_in.new_token("a program", Access.ADMIN, None)
    assert headers["Authorization"] == "Bearer $TOKEN"
    seen = await house.stranger().get(path, Accept=headers["Accept"], Authorization=f"Bearer {token}")
    assert (seen.code, seen.header("content-type")) == (200, headers["Accept"])


def test_there_is_an_example_for_every_page():
    paths = {path.partition("?")[0].replace("sample", "{project}").replace("1", "{number}") for path, _ in documented()}
    assert paths == {route.path for route in pages_json.table.routes}


@pytest_twisted.ensureDeferred
async def test_what_a_person_gets_has_not_changed(house):
    await filled(house)
    browser = await house.signed_in()
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "text/html,*/*;q=0.8"}):
        seen = await browser.get("/web-shop", **accept)
        assert (seen.code, seen.header("content-type")) == (200, "text/html; charset=utf-8")
        assert seen.header("vary") == "Accept"
    head = await browser.request("HEAD", "/web-shop", **ASK)
    assert (head.code, head.header("content-type"), head.body) == (200, JSON, b"")


@pytest.mark.parametrize("path", ("/", "/web-shop", "/web-shop/1", "/nothing", "/status", "/new"))
@pytest_twisted.ensureDeferred
async def test_a_stranger_is_told_so_in_json(house, path):
    await filled(house)
    for accept in (JSON, "text/event-stream"):
        seen = await house.stranger().get(path, Accept=accept)
        assert (seen.code, seen.header("content-type")) == (401, PROBLEM)
        assert seen.header("www-authenticate") == 'Bearer realm="sayci"'
        assert json.loads(seen.body)["error"] == "unauthenticated"
        assert "web-shop" not in seen.text
    assert (await house.stranger().get(path)).code == 303


@pytest_twisted.ensureDeferred
async def test_a_wrong_token_is_refused_where_everybody_may_look(house):
    await house.project(visibility=Visibility.PUBLIC)
    stranger = house.stranger()
    assert said_of(await stranger.get("/web-shop", **ASK))["project"]["name"] == "web-shop"
    for value in ("Bearer sayci_wrong", "Bearer", "Bearer a b"):
        for headers in (ASK, {}):
            assert (await stranger.get("/web-shop", Authorization=value, **headers)).code == 401, value
    # What browsers send by themselves once they know a password counts for feeds alone.
    basic = base64.b64encode(b"x:sayci_wrong").decode()
    assert (await stranger.get("/web-shop", Authorization=f"Basic {basic}", **ASK)).code == 200


@pytest_twisted.ensureDeferred
async def test_troubles_are_problem_documents(house):
    await filled(house)
    browser = await house.signed_in(Access.READ)
    for path, code, word in (
        ("/web-shop/99", 404, "unknown_build"),
        ("/web-shop/x", 404, "unknown_build"),
        ("/nothing", 404, "unknown_project"),
        ("/web-shop/1/2/3", 404, "not_found"),
        ("/web-shop/settings", 403, "forbidden"),
        ("/web-shop?before=x", 422, "invalid"),
        ("/web-shop/1/cancel", 405, "method_not_allowed"),
    ):
        seen = await browser.get(path, **ASK)
        assert (seen.code, seen.header("content-type")) == (code, PROBLEM), path
        assert json.loads(seen.body)["error"] == word, path
    assert (await browser.get("/web-shop/1/cancel", **ASK)).header("allow") == "POST"


@pytest.mark.parametrize(
    ("path", "accept"),
    (("/web-shop", "image/png"), ("/new", JSON), ("/status", "application/xml"), ("/new", "text/event-stream")),
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_in_such_a_form_is_not_acceptable(house, path, accept):
    await filled(house)
    browser = await house.signed_in()
    seen = await browser.get(path, Accept=accept)
    assert (seen.code, json.loads(seen.body)["error"]) == (406, "not_acceptable")
    assert (await browser.get(path, Accept=f"{accept}, */*;q=0.1")).code == 200


@pytest_twisted.ensureDeferred
async def test_a_page_asks_for_as_much_access_as_is_documented(house):
    declared = {route.path.replace("{", "<").replace("}", ">"): route.access for route in pages_json.table.routes}
    assert set(declared) == set(house.pages._frame._json)
    await house.project("web-shop")
    for access in (Access.READ, Access.BUILD, Access.ADMIN):
        browser = await house.signed_in(access, f"of-{access.name.lower()}")
        for path, needs in declared.items():
            seen = await browser.get(path.replace("<project>", "web-shop").replace("<number>", "1"), **ASK)
            assert (seen.code == 403) == (needs is not None and access < needs), path
