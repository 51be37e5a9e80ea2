"""pages_project.py, plot.py and badge.py: how a project stands, its figures, and its builds, sifted."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import re

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from sayci.build import BuildState, Cause
from sayci.outlook import Outlook
from sayci.project import MirrorState, Visibility
from sayci.step import Result
from sayci.web.badge import badge, markup
from sayci.web.bars import Bar
from sayci.web.pages_project import BUILDS_SHOWN, figures_of
from sayci.web.plot import plot
from sayci.web.sayings import MARKS
from tests.factories import a_build, a_project
from tests.web.page_fixtures import Document

pytest_plugins = ["tests.web.page_fixtures"]


async def main_text(browser, path):
    seen = await browser.get(path)
    assert seen.code == 200
    return seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_project_without_builds(house):
    await house.project()
    seen = await (await house.signed_in()).get("/web-shop")
    assert seen.heading == "main has not been built yet."
    text = seen.document.text("main")
    assert "Push to main , or build it by hand." in text
    assert "https://git.example/team/web-shop.git" in text
    assert "This project has no deploys." in text


@pytest_twisted.ensureDeferred
async def test_a_project_is_found_in_any_case_and_with_a_slash(house):
    await house.project()
    browser = await house.signed_in()
    for path in ("/Web-Shop", "/web-shop/", "/WEB-SHOP/deliveries"):
        assert (await browser.get(path)).code == 200


@pytest_twisted.ensureDeferred
async def test_a_project_that_is_being_cloned_says_so(house):
    project = await house.project()
    await house.store.set_mirror(project.id, MirrorState.CLONING)
    seen = await (await house.signed_in()).get("/web-shop")
    assert seen.heading == "web-shop is being cloned."
    assert seen.document.attributes("http-equiv") == ["refresh"]


@pytest_twisted.ensureDeferred
async def test_a_project_whose_repository_cannot_be_read_says_why(house):
    project = await house.project()
    await house.store.set_mirror(project.id, MirrorState.FAILED, "the repository wants a password")
    seen = await (await house.signed_in()).get("/web-shop")
    assert seen.heading == "web-shop cannot be built: its repository cannot be read"
    assert "the repository wants a password . Correct the address" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_project_whose_access_was_revoked_says_what_became_of_its_clone(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    await house.store.set_mirror(project.id, MirrorState.REVOKED, "set a new token")
    browser = await house.signed_in()
    seen = await browser.get("/web-shop")
    assert seen.heading == "web-shop cannot be built: its repository lets sayci in no more"
    assert "The clone was removed from this server; builds and logs are kept." in seen.document.text("main")
    assert 'href="/web-shop/settings"' in seen.text
    assert (await browser.get("/web-shop/1")).code == 200
    assert "set a new token Look at its settings" in (await browser.get("/")).document.text("main")


@pytest_twisted.ensureDeferred
async def test_older_builds_are_on_further_pages(house):
    project = await house.project()
    for number in range(BUILDS_SHOWN + 2):
        await house.build(project, Result.SUCCESS, message=f"change number {number + 1};")
    browser = await house.signed_in()
    first = (await browser.get("/web-shop")).document
    assert f"#{BUILDS_SHOWN + 2}" in first.text("table")
    assert "change number 2;" not in first.text("table")
    (older,) = [link for link in first.attributes("href") if link.startswith("/web-shop?before=")]
    second = (await browser.get(older)).document
    assert "change number 2;" in second.text("table")
    assert "change number 1;" in second.text("table")
    assert "change number 3;" not in second.text("table")
    assert second.text("h1") == first.text("h1")
    assert "/web-shop" in second.attributes("href")
    assert not [link for link in second.attributes("href") if link.startswith("/web-shop?before=")]
    assert "No older builds." in await main_text(browser, "/web-shop?before=1")


@pytest_twisted.ensureDeferred
async def test_what_is_live_and_what_came_of_the_last_deploy(house):
    project = await house.project(deploy_branch="main")
    browser = await house.signed_in()
    assert "Nothing yet. A push to main whose tests succeed is deployed." in await main_text(browser, "/web-shop")
    await house.build(project, Result.SUCCESS, deploys=True)
    await house.build(project, Result.FAILURE, deploys=True)
    text = await main_text(browser, "/web-shop")
    assert "Deployed All deploys #1 is live" in text
    assert "from main , by a push" in text
    last = await house.build(project, Result.UNKNOWN, cause=Cause.DEPLOY, source=1, reason="interrupted")
    text = await main_text(browser, "/web-shop")
    assert "#1 is live" in text
    assert f"#{last.number} " in text
    assert "Nobody knows whether it is live." in text


@pytest_twisted.ensureDeferred
async def test_builds_are_sifted_by_result_branch_cause_and_words(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, message="Sell shoes", deploys=True)
    await house.build(project, Result.FAILURE, message="Sell hats", branch="feature/<b>")
    await house.build(project, Result.ERROR, message="Sell more hats", cause=Cause.MANUAL)
    await house.build(project, message="Sell gloves")
    browser = await house.signed_in()

    async def found(query):
        document = (await browser.get("/web-shop?" + query)).document
        return [int(number) for number in re.findall(r"#(\d+)", document.text("td"))]

    assert await found("") == [4, 3, 2, 1]
    assert await found("result=bad") == [3, 2]
    assert await found("result=error") == [3]
    assert await found("result=deployed") == [1]
    assert await found("branch=feature%2F%3Cb%3E") == [2]
    assert await found("cause=manual&q=hats") == [3]
    assert await found("q=HATS+sell") == [3, 2]
    assert await found("q=4f1c9aa") == [4, 3, 2, 1]
    assert await found("branch=gone") == []
    assert "No builds like these." in await main_text(browser, "/web-shop?q=socks")
    document = (await browser.get("/web-shop?branch=feature%2F%3Cb%3E&q=%22hats")).document
    assert {"value": '"hats', "name": "q"}.items() <= next(
        given for tag, given in document.elements if given.get("id") == "q"
    ).items()
    assert ("option", {"value": "feature/<b>", "selected": ""}) in document.elements
    assert "/web-shop?branch=feature%2F%3Cb%3E" in document.attributes("href")
    for query in ("result=x", "cause=x", "branch=..", "before=x"):
        assert (await browser.get("/web-shop?" + query)).code == 422, query


@pytest_twisted.ensureDeferred
async def test_a_search_that_has_not_looked_at_everything_says_so(house, monkeypatch):
    monkeypatch.setattr("sayci.store.builds.LOOKED_AT", 2)
    project = await house.project()
    for word in ("shoes", "hats", "hats", "hats"):
        await house.build(project, message=word, supersedes=False)
    browser = await house.signed_in()
    seen = await browser.get("/web-shop?q=shoes")
    assert "None among the builds from #3 on." in seen.document.text("main")
    assert "/web-shop?q=shoes&before=3" in seen.document.attributes("href")
    assert "#1" in (await browser.get("/web-shop?q=shoes&before=3")).document.text("td")


@pytest_twisted.ensureDeferred
async def test_the_figures_the_plot_and_the_branches(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    await house.build(project, Result.SUCCESS, branch="other")
    await house.build(project, Result.FAILURE)
    browser = await house.signed_in()
    document = (await browser.get("/web-shop")).document
    text = document.text("main")
    assert "Success, last 3 66 % Usual time 1:00 Usual wait 0:01" in text
    assert "Last success: #1 , 2 minutes ago ." in text
    assert "Branches main #3 failure other #2 success" in text
    (label,) = [label for label in document.attributes("aria-label") if label.startswith("How long")]
    assert label.startswith("How long the last 3 builds took. Usual 1:00. Longest 1:00. 2 success, 1 failure.")
    assert "#3 failure, 1:00" in document.text("title")


def test_figures_of_nothing():
    figures = figures_of(Outlook(a_project()))
    assert (figures.told, figures.usual, figures.waited) == (0, None, None)
    running = figures_of(Outlook(a_project()).with_build(a_build(BuildState.RUNNING)))
    assert (running.told, running.usual, running.waited) == (0, None, 1.0)


@given(
    st.lists(st.builds(Bar, st.integers(1, 10**6), st.sampled_from(sorted(MARKS)), st.floats(0, 1e6)), max_size=40),
    st.none() | st.floats(0.1, 1e6),
)
def test_any_plot_is_well_formed_and_within_its_frame(bars, usual):
    drawn = plot(bars, usual)
    elements = Document(drawn).elements
    assert [tag for tag, _ in elements].count("title") == len(bars)
    assert len([tag for tag, given in elements if given.get("class") == "grid"]) <= 14
    for tag, given_ in elements:
        if tag in ("line", "text"):
            assert 0 <= float(given_.get("y1") or given_["y"]) <= 188
    for x, y in re.findall(r"[\" ]M([\d.]+) ([\d.]+)", drawn):
        assert 0 <= float(x) <= 800
        assert 0 <= float(y) <= 188


# -- the badge


@pytest_twisted.ensureDeferred
async def test_the_badge_says_how_the_default_branch_stands(house):
    project = await house.project()
    browser = await house.signed_in()
    assert "not built" in (await browser.get("/web-shop/badge.svg")).text
    await house.build(project, Result.FAILURE)
    seen = await browser.get("/web-shop/badge.svg")
    assert seen.header("content-type") == "image/svg+xml"
    assert seen.header("cache-control") == "private, no-cache"
    assert "<title>web-shop: ✗ fails</title>" in seen.text
    assert (await house.stranger().get("/web-shop/badge.svg")).code == 303
    text = await main_text(browser, "/web-shop")
    assert f"[![build]({house.served.url('')}/web-shop/badge.svg)]({house.served.url('')}/web-shop)" in text


@pytest_twisted.ensureDeferred
async def test_everybody_sees_the_badge_of_what_is_public_and_of_nothing_else(house):
    project = await house.project(visibility=Visibility.PUBLIC)
    await house.project("hidden")
    await house.build(project, Result.FAILURE)
    await house.build(project, Result.SUCCESS, branch="try")
    await house.running(project, branch="try")
    stranger = house.stranger()
    image = {"Accept": "image/avif,image/*;q=0.8"}
    seen = await stranger.get("/web-shop/badge.svg", **image)
    assert (seen.code, seen.header("cache-control")) == (200, "no-cache")
    assert (await stranger.get("/web-shop/badge.svg", If_None_Match=seen.header("etag"), **image)).code == 304
    for branch, said in (("main", "fails"), ("try", "passes"), ("nothing", "not built")):
        told = await stranger.get(f"/web-shop/badge.svg?branch={branch}", **image)
        assert said in told.text, branch
        assert told.code == 200
    assert (await stranger.get("/web-shop/badge.svg?branch=..", **image)).code == 422
    hidden, nothing = [await stranger.get(f"/{name}/badge.svg", **image) for name in ("hidden", "nothing")]
    assert (hidden.code, hidden.body) == (nothing.code, nothing.body) == (401, nothing.body)


@pytest.mark.parametrize("mark", sorted(MARKS))
def test_every_mark_has_a_badge(mark):
    drawn = badge("a" * 64, mark).decode()
    assert Document(drawn).elements[0][0] == "svg"


def test_the_badge_can_be_shown_in_three_markups():
    shown = markup("https://ci.example/x", "https://ci.example/x/badge.svg")
    assert (
        shown["HTML"]
        == '<a href="https://ci.example/x"><img src="https://ci.example/x/badge.svg" alt="build" height="20"></a>'
    )
    assert shown["reStructuredText"].splitlines()[2] == "   :target: https://ci.example/x"
