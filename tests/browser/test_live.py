"""Home and a project as builds come and go: without a reload, with the focus where it was, and without scripts."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.browser.visitor import TIMEOUT, accessible, shoot

expect = pytest.importorskip("playwright.sync_api", reason="the extra `dev` has Playwright").expect
MAKEFILE = ".PHONY: test\ntest:\n\t@echo begins; until test -e {path}; do sleep 0.05; done\n"


@pytest.fixture
def gate(house, tmp_path):
    """A file that a build waits for."""
    path = Path(house.data).parent / "gates"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    return path / tmp_path.name


def test_pages_change_as_builds_do(house, visit, gate):
    house.project("live-one", MAKEFILE.format(path=gate))
    gate.touch()
    first = house.build("live-one")["number"]
    house.wait_for(lambda: house.build("live-one", first)["state"] == "finished")
    gate.unlink()
    home, project = visit("/"), visit("/live-one")
    home.evaluate("window.isTheSame = true")
    project.evaluate("window.isTheSame = true")
    project.get_by_role("searchbox", name="Find").fill("half a word")
    home.get_by_role("link", name="live-one", exact=True).focus()
    number = house.build("live-one")["number"]

    home.get_by_text("testing; passes").wait_for()
    home.get_by_role("link", name=f"live-one #{number}").wait_for()
    assert home.evaluate("document.activeElement.textContent") == "live-one"
    expect(home.locator("p[data-begun]").first).to_have_text(re.compile("^0:0[2-9]"), timeout=TIMEOUT)
    project.locator("td .res.running").wait_for()
    accessible(home)
    accessible(project)

    gate.touch()
    project.get_by_role("heading", level=1, name=f"#{number} succeeded").wait_for()
    expect(project.locator("td .res.success")).to_have_count(2, timeout=TIMEOUT)
    expect(project).to_have_title(re.compile("^✓"), timeout=TIMEOUT)
    expect(project.locator("link[rel=icon]")).to_have_attribute("href", re.compile("favicon-success"), timeout=TIMEOUT)
    assert project.get_by_role("searchbox", name="Find").input_value() == "half a word"
    home.get_by_text("Nothing runs.").wait_for()
    assert home.evaluate("window.isTheSame")
    assert project.evaluate("window.isTheSame")
    shoot(home, "home")
    shoot(project, "project")


def test_a_change_does_not_call_off_where_a_button_leads(house, visit, gate):
    """The first build changes what the page has; its news come while the answer to the button is on its way."""
    house.project("live-leaving", MAKEFILE.format(path=gate))
    page = visit("/live-leaving")

    def late(route):
        answer = route.fetch(max_redirects=0)
        house.step_runs("live-leaving", 1)
        time.sleep(3)  # what must not happen has so long to happen: the page looks again after a second
        route.fulfill(response=answer)

    page.route("**/live-leaving/build", late)
    page.get_by_role("button", name="Build main", exact=True).click()
    page.get_by_role("heading", level=1, name="#1 ").wait_for()
    assert page.url.endswith("/live-leaving/1")
    gate.touch()
    house.finished("live-leaving", 1)


def test_builds_are_found_without_scripts(house, visit, gate):
    gate.touch()
    repository = house.project("live-two", MAKEFILE.format(path=gate))
    first = house.build("live-two")["number"]
    house.wait_for(lambda: house.build("live-two", first)["state"] == "finished")
    repository.commit({"more": "1"}, "Sell gloves")
    last = house.build("live-two")["number"]
    house.wait_for(lambda: house.build("live-two", last)["state"] == "finished")
    page = visit("/live-two", javascript=False)
    page.get_by_role("searchbox", name="Find").fill("gloves")
    page.get_by_role("combobox", name="Branch").select_option("main")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**q=gloves*")
    assert page.locator("tbody tr").count() == 1
    assert f"#{last}" in page.locator("tbody").inner_text()


@pytest.mark.parametrize("width", (380, 1920))
def test_a_project_is_as_wide_as_the_window(house, visit, gate, width):
    gate.touch()
    house.project(f"live-wide-{width}", MAKEFILE.format(path=gate))
    last = house.build(f"live-wide-{width}")["number"]
    house.wait_for(lambda: house.build(f"live-wide-{width}", last)["state"] == "finished")
    page = visit(f"/live-wide-{width}", width=width)
    page.get_by_text("What to write to show it").click()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
