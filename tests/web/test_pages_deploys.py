"""pages_deploys.py: what is live, what waits for an answer, and deploying again."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest_twisted

from sayci.account import Access
from sayci.build import Cause
from sayci.step import DEPLOY, Result
from tests.factories import commit

pytest_plugins = ["tests.web.page_fixtures"]

PAGE = "/web-shop/deploys"


@pytest_twisted.ensureDeferred
async def test_a_project_without_deploys_says_how_to_have_them(house):
    await house.project()
    seen = await (await house.signed_in()).get(PAGE)
    assert seen.heading == "Nothing has been deployed yet."
    assert "This project has no deploys. Name a deploy branch" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_an_unknown_deploy_is_a_question_whose_answer_is_kept(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True, commit=commit(1))
    asked = await house.build(
        project, Result.UNKNOWN, cause=Cause.DEPLOY, source=1, commit=commit(2), reason="the server restarted"
    )
    reader = await house.signed_in(Access.READ, "robin")
    seen = await reader.get(PAGE)
    assert seen.heading == "Did #2 arrive? Nobody knows."
    assert "the server restarted" in seen.document.text("main")
    assert not [form for form in seen.document.forms if form.action == "/web-shop/2/answer"]
    assert "Say what happened" in (await reader.get("/web-shop")).document.text("main")

    browser = await house.signed_in()
    form = (await browser.get(PAGE)).document.form("/web-shop/2/answer")
    assert (await browser.post(form.action, {**form.fields, "arrived": "perhaps"})).code == 422
    answered = await browser.post(form.action, {**form.fields, "arrived": "yes"})
    assert (answered.code, answered.path) == (303, PAGE)
    build = await house.store.build(project.id, asked.number)
    assert (build.result, build.step(DEPLOY).result) == (Result.SUCCESS, Result.SUCCESS)
    seen = await browser.get(PAGE)
    assert seen.heading.startswith("#2 has been live for")
    assert "ada said on" in seen.document.text("main")
    assert (await browser.post(form.action, {**form.fields, "arrived": "no"})).code == 409


@pytest_twisted.ensureDeferred
async def test_a_deploy_that_did_not_arrive_leaves_the_one_before_live(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True)
    await house.build(project, Result.UNKNOWN, cause=Cause.DEPLOY, source=1)
    browser = await house.signed_in()
    form = (await browser.get(PAGE)).document.form("/web-shop/2/answer")
    await browser.post(form.action, {**form.fields, "arrived": "no"})
    seen = await browser.get(PAGE)
    assert seen.heading.startswith("#2 was not deployed. #1 has been live for")


@pytest_twisted.ensureDeferred
async def test_older_commits_are_deployed_again_and_newer_green_ones_too(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True, commit=commit(1))
    await house.build(project, Result.SUCCESS, deploys=True, commit=commit(2))
    await house.build(project, Result.SUCCESS, commit=commit(3))
    browser = await house.signed_in()
    seen = await browser.get(PAGE)
    assert seen.heading.startswith("#2 has been live for")
    assert "#3 is the newest green build of main" in seen.document.text("main")
    actions = [form.action for form in seen.document.forms if form.action.endswith("/deploy")]
    assert actions == ["/web-shop/3/deploy", "/web-shop/1/deploy"]
    again = await browser.submit(PAGE, "/web-shop/1/deploy")
    build = await house.store.build(project.id, int(again.path.rpartition("/")[2]))
    assert (build.cause, build.source, build.commit) == (Cause.DEPLOY, 1, commit(1))
    reader = await house.signed_in(Access.READ, "robin")
    assert not [form for form in (await reader.get(PAGE)).document.forms if form.action.endswith("/deploy")]
