"""A day of somebody who maintains a project, in a real browser: build, watch, cancel, build again, deploy, go back."""

from __future__ import annotations

import re
from itertools import count

import pytest

from tests.browser.visitor import TIMEOUT, accessible, running_house, sign_in

NUMBERS = count()
MAKEFILE = (
    ".PHONY: test deploy\ntest:\n\t@echo 'testing {version}'\n\t@until test -e {gate}; do sleep 0.05; done\n"
    "deploy:\n\t@echo 'sending {version}'\n"
)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def comes(page, words, *, javascript):
    """Wait until a heading has these words: with scripts it changes by itself, without them the page is loaded again."""
    heading = page.locator("h1", has_text=words)
    if javascript:
        heading.wait_for()
        return
    for _ in range(300):
        if heading.count():
            return
        page.wait_for_timeout(100)  # nothing tells a page without scripts: its reader looks again
        page.reload()
    raise AssertionError(page.locator("h1").inner_text())


@pytest.mark.parametrize("javascript", (True, False), ids=("with scripts", "without scripts"))
def test_build_cancel_rebuild_deploy_and_deploy_again(house, visit, commons, javascript):
    name = f"day-{'live' if javascript else 'plain'}-{next(NUMBERS)}"
    gate = commons / name
    repository = house.project(name, MAKEFILE.format(version="one", gate=gate), deploy_branch="main")
    page = visit(f"/{name}", javascript=javascript)

    press(page, "Build main")
    comes(page, "#1 is testing", javascript=javascript)
    if javascript:
        page.get_by_text("testing one").wait_for()
        accessible(page)
    press(page, "Cancel")
    comes(page, "#1 was cancelled by admin", javascript=javascript)

    press(page, "Rebuild")
    comes(page, "#2 is testing", javascript=javascript)
    gate.touch()
    comes(page, "#2 succeeded", javascript=javascript)
    press(page, "Deploy this commit")
    comes(page, "#3 was deployed", javascript=javascript)

    second = repository.commit({"Makefile": MAKEFILE.format(version="two", gate=gate)}, "The second version")
    house.finished(name, house.build(name)["number"])
    page.goto(f"/{name}/deploys")
    page.get_by_role("heading", name="#3 has been live").wait_for()
    press(page, "Deploy #4")
    comes(page, "#5 was deployed", javascript=javascript)
    page.get_by_role("navigation", name=name).get_by_role("link", name="Deploys").click()
    page.get_by_role("heading", name="#5 has been live").wait_for()
    if javascript:
        accessible(page)
    press(page, "Deploy again the commit of #3")
    comes(page, "#6 was deployed", javascript=javascript)

    assert [house.log_of(name, number, "deploy") for number in (3, 5, 6)] == [
        b"sending one\n",
        b"sending two\n",
        b"sending one\n",
    ]
    assert house.build(name, 5)["commit"] == second


def test_whether_a_deploy_arrived_is_asked_and_the_answer_kept(chromium, tmp_path, commons):
    """The server and the deploy were killed: nobody but a person knows."""
    with running_house(tmp_path) as house:
        gate = commons / "lost"
        makefile = f"test:\n\t@echo tested\ndeploy:\n\t@echo begins; until test -e {gate}; do sleep 0.05; done\n"
        house.project("ferry", makefile, deploy_branch="main")
        assert house.finished("ferry", house.build("ferry")["number"])["result"] == "success"
        answer = house.post("/api/v1/projects/ferry/deploys", {"build": 1})
        assert answer.code == 201, answer.body
        house.step_runs("ferry", 2, "deploy")
        house.crash()
        house.start_again()
        assert house.finished("ferry", 2)["result"] == "unknown"
        page = chromium.new_page(reduced_motion="reduce")
        page.set_default_timeout(TIMEOUT)
        sign_in(page, house)
        page.get_by_role("heading", name="ferry needs a person.").wait_for()
        page.get_by_role("link", name="Say what happened").click()
        page.get_by_role("heading", name="Did #2 arrive? Nobody knows.").wait_for()
        press(page, "It arrived")
        page.get_by_role("heading", name="#2 has been live").wait_for()
        assert re.search("admin said on .* that it arrived", page.locator("main").inner_text())
        assert page.get_by_role("button", name="It arrived").count() == 0
        page.context.close()
