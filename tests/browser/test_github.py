"""Signing in with GitHub in a real browser: the button, GitHub's page, and back; with scripts and without."""

from __future__ import annotations

import pytest

from tests.browser.visitor import accessible


@pytest.mark.parametrize("javascript", (True, False))
def test_the_button_leads_to_github_and_back(house, visit, javascript):
    github = house.github
    name = f"by-github-{javascript}".lower()
    house.project(name, "test:\n\t@true\n", forge_api=github.api)
    github.repo(f"repositories/{name}", octocat="pull")
    github.asks = True

    page = visit(
        f"/{name}", signed_in=False, javascript=javascript, tolerated=("another host was asked: " + github.url,)
    )
    page.get_by_role("button", name="Sign in with GitHub").click()
    page.get_by_role("heading", name="Authorize sayci?").wait_for()
    assert page.url.startswith(github.url)
    page.get_by_role("button", name="Authorize").click()
    page.get_by_role("button", name="octocat, sign out").wait_for()
    assert page.url == f"{house.base}/{name}"
    assert github.wrong == []


def test_who_has_no_access_is_told_so(house, visit):
    house.github.visitor, house.github.asks = "hubot", False
    page = visit("/sign-in", signed_in=False, tolerated=("another host was asked", "status of 403"))
    page.get_by_role("button", name="Sign in with GitHub").click()
    page.get_by_role("heading", name="Your GitHub account has no access here").wait_for()
    house.github.visitor = "octocat"
    accessible(page)
    page.get_by_role("link", name="Sign in").last.click()
    page.get_by_role("heading", name="Sign in to sayci").wait_for()
