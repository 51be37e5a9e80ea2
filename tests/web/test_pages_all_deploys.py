"""pages_all_deploys.py: what waits for a person, and what is live where, for everybody what is theirs."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json

import msgspec
import pytest_twisted

from sayci.account import Access, Origin
from sayci.build import Cause
from sayci.project import Visibility
from sayci.step import Result
from sayci.web import wire
from sayci.web.pages_all_deploys import PROJECTS_SHOWN
from tests.factories import commit

pytest_plugins = ["tests.web.page_fixtures"]

PAGE = "/deploys"


async def person_with(house, project, role):
    """The browser of a member of one project."""
    _, code = await house.people.invite("grace", Access.NONE)
    await house.people.set_member(project.id, "grace", role)
    browser = house.stranger()
    browser.cookies["sayci_session"], _ = await house.people.accept(code, "correct horse battery", Origin())
    return browser


@pytest_twisted.ensureDeferred
async def test_nothing_is_deployed_yet(house):
    await house.project()
    seen = await (await house.signed_in()).get(PAGE)
    assert seen.heading == "Nothing has been deployed yet."
    assert "No project here has deploys." in seen.document.text("main")
    assert "favicon-idle" in seen.text


@pytest_twisted.ensureDeferred
async def test_what_is_live_and_what_could_be_is_told_of_each_project(house):
    shop = await house.project("shop", deploy_branch="main")
    await house.project("library", deploy_branch="main")
    await house.project("notes")
    await house.build(shop, Result.SUCCESS, deploys=True, commit=commit(1))
    browser = await house.signed_in()
    seen = await browser.get(PAGE)
    assert seen.heading == "1 project is live."
    text = seen.document.text("main")
    assert "#1 from main" in text
    assert "notes" not in text
    assert not [form for form in seen.document.forms if form.action.endswith("/deploy")]
    await house.build(shop, Result.SUCCESS, commit=commit(2))
    seen = await browser.get(PAGE)
    assert "#2 is green and newer" in seen.document.text("main")
    deployed = await browser.submit(PAGE, "/shop/2/deploy")
    build = await house.store.build(shop.id, int(deployed.path.rpartition("/")[2]))
    assert (build.cause, build.commit) == (Cause.DEPLOY, commit(2))
    seen = await browser.get(PAGE)
    assert seen.heading == "One deploy is on the way."
    assert "Deploy #2" not in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_question_is_answered_here_and_leads_back_here(house):
    shop = await house.project("shop", deploy_branch="main")
    await house.build(shop, Result.SUCCESS, deploys=True)
    await house.build(shop, Result.UNKNOWN, cause=Cause.DEPLOY, source=1, reason="the server <restarted>")
    reader = await house.signed_in(Access.READ, "robin")
    seen = await reader.get(PAGE)
    assert seen.heading == "One deploy waits for an answer."
    assert "Did shop #2 arrive?" in seen.document.text("h2")
    assert "the server <restarted> . It was to deploy" in seen.document.text("main")
    assert "Before it #1 was live." in seen.document.text("main")
    assert "favicon-attention" in seen.text
    assert not [form for form in seen.document.forms if form.action.endswith("/answer")]
    browser = await house.signed_in()
    answered = await browser.submit(PAGE, "/shop/2/answer", back="all", arrived="yes")
    assert (answered.code, answered.path) == (303, PAGE)
    assert (await browser.get(PAGE)).heading == "1 project is live."


@pytest_twisted.ensureDeferred
async def test_those_come_first_that_need_somebody(house):
    for name, results in (
        ("a-live", [Result.SUCCESS]),
        ("b-failed", [Result.SUCCESS, Result.FAILURE]),
        ("c-lost", [Result.SUCCESS, Result.UNKNOWN]),
        ("d-never", []),
    ):
        project = await house.project(name, deploy_branch="main")
        for result in results:
            await house.build(project, result, deploys=True, cause=Cause.DEPLOY, source=1)
    seen = await (await house.signed_in()).get(PAGE)
    names = seen.document.text("h3").split()
    assert names == ["c-lost", "b-failed", "a-live", "d-never"]
    assert "#2 was not deployed" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_everybody_sees_what_is_theirs_and_may_do_what_is_granted(house):
    projects = [
        await house.project(name, deploy_branch="main", visibility=visibility)
        for name, visibility in (
            ("hidden", Visibility.PRIVATE),
            ("own", Visibility.PRIVATE),
            ("shown", Visibility.PUBLIC),
        )
    ]
    for project in projects:
        await house.build(project, Result.UNKNOWN, deploys=True)
    stranger = await house.stranger().get(PAGE)
    assert stranger.document.text("h3") == "shown"
    assert "hidden" not in stranger.document.text("body")
    member = await (await person_with(house, projects[1], Access.BUILD)).get(PAGE)
    assert sorted(member.document.text("h3").split()) == ["own", "shown"]
    assert [form.action for form in member.document.forms if form.action.endswith("answer")] == ["/own/1/answer"]


@pytest_twisted.ensureDeferred
async def test_a_stranger_where_nothing_is_public_is_asked_to_sign_in(house):
    await house.project("hidden", deploy_branch="main")
    assert (await house.stranger().get(PAGE)).path == "/sign-in?next=%2Fdeploys"
    for accept in ("application/json", "text/event-stream"):
        assert (await house.stranger().get(PAGE, Accept=accept)).code == 401


@pytest_twisted.ensureDeferred
async def test_it_is_json_too_and_comes_in_parts(house):
    shop = await house.project("shop", deploy_branch="main")
    live = await house.build(shop, Result.SUCCESS, deploys=True, commit=commit(1))
    green = await house.build(shop, Result.SUCCESS, commit=commit(2))
    for number in range(PROJECTS_SHOWN):
        await house.project(f"p{number}", deploy_branch="main")
    browser = await house.signed_in(Access.READ)
    said = json.loads((await browser.get(PAGE, Accept="application/json")).body)
    listed = msgspec.convert(said, wire.Listing[wire.Deploying])
    assert (len(listed.items), listed.next) == (PROJECTS_SHOWN, "2")
    first = listed.items[0]
    assert first.live is not None
    assert first.next is not None
    assert (first.project, first.live.number, first.next.number) == ("shop", live.number, green.number)
    rest = json.loads((await browser.get(f"{PAGE}?page=2", Accept="application/json")).body)
    assert (len(rest["items"]), rest["next"]) == (1, None)
    assert "/deploys?page=2" in (await browser.get(PAGE)).document.attributes("href")
    assert (await browser.get(f"{PAGE}?page=0")).code == 422


@pytest_twisted.ensureDeferred
async def test_only_what_has_moved_is_asked_for_again(house):
    shop = await house.project("shop", deploy_branch="main")
    await house.project("other", deploy_branch="main")
    asked = []
    deploying = house.store.deploying

    async def counted(project_ids):
        asked.append(list(project_ids))
        return await deploying(project_ids)

    house.store.deploying = counted
    browser = await house.signed_in()
    await browser.get(PAGE)
    await browser.get(PAGE)
    assert [len(ids) for ids in asked] == [2]
    await house.build(shop, Result.SUCCESS, deploys=True)
    assert (await browser.get(PAGE)).heading == "1 project is live."
    assert asked[1:] == [[shop.id]]
