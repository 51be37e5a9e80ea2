"""What is told while nobody reloads: that a build has ended, what is deployed, and how public projects stand."""

from __future__ import annotations

import re

import pytest

from tests.browser.test_live import MAKEFILE, gate
from tests.browser.visitor import TIMEOUT, accessible, shoot, until

__all__ = ["gate"]  # a fixture

expect = pytest.importorskip("playwright.sync_api", reason="the extra `dev` has Playwright").expect

#: Stands for the browser's notifications, which nobody sees here; and a reader who looks at another tab.
STAND_IN = """
window.asked = 0; window.notes = []; window.isAway = false;
window.Notification = class extends EventTarget {
  static permission = "default";
  static async requestPermission() { window.asked += 1; return (this.permission = "granted"); }
  constructor(title, options) { super(); window.notes.push({ title, ...options }); }
};
Object.defineProperty(Document.prototype, "hidden", { get: () => window.isAway });
"""


@pytest.fixture
def watcher(visit):
    """``watcher(path)`` is a page whose notifications are kept in ``notes``."""

    def open_one(path):
        page = visit("/status")
        page.context.add_init_script(STAND_IN)
        page.goto(path)
        return page

    return open_one


def test_a_reader_is_told_when_a_build_ends(house, watcher, gate):
    house.project("told-one", MAKEFILE.format(path=gate) + "\t@false\n")
    number = house.build("told-one")["number"]
    page = watcher(f"/told-one/{number}")
    button = page.get_by_role("button", name="Tell me when it ends")
    assert page.evaluate("window.asked") == 0
    button.click()
    page.get_by_text("Will be said here when it ends, and in a notification.").wait_for()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("window.asked") == 1
    accessible(page)
    page.evaluate("window.isAway = true")
    gate.touch()
    until(page, "window.notes.length === 1")
    heading = f"#{number} failed in test:"
    (note,) = page.evaluate("window.notes")
    assert note["title"].startswith(f"told-one {heading}")
    assert (note["body"], note["tag"]) == ("Sell more shoes", f"/told-one/{number}")
    assert page.locator("#tell-said").inner_text().startswith(heading)
    expect(page).to_have_title(re.compile(f"^✗ {heading}"), timeout=TIMEOUT)
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("favicon-failure"), timeout=TIMEOUT)
    expect(button).to_be_hidden()


def test_a_reader_is_told_of_the_next_build_of_a_project(house, watcher, gate):
    house.project("told-two", MAKEFILE.format(path=gate))
    gate.touch()
    first = house.build("told-two")["number"]
    house.wait_for(lambda: house.build("told-two", first)["state"] == "finished")
    gate.unlink()
    page = watcher("/told-two")
    page.get_by_role("button", name="Tell me when the next build ends").click()
    page.get_by_text("Will be said here when a build ends, and in a notification.").wait_for()
    page.reload()  # it is not forgotten
    page.get_by_text("Will be said here when a build ends").wait_for()
    page.evaluate("window.isAway = true; Notification.permission = 'granted'")
    second = house.build("told-two")["number"]
    page.locator("td .res.running").wait_for()
    assert page.evaluate("window.notes") == []
    gate.touch()
    until(page, "window.notes.length === 1")
    assert page.evaluate("window.notes[0].title").startswith(f"told-two #{second} succeeded")
    page.get_by_role("status").get_by_role("link", name=f"#{second} succeeded").wait_for()
    # The tab shows it although the page was drawn again meanwhile, until the reader is back.
    page.locator("td .res.success").nth(1).wait_for()
    expect(page).to_have_title(re.compile(f"^✓ #{second} succeeded"), timeout=TIMEOUT)
    shoot(page, "told")
    page.evaluate("window.isAway = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title(re.compile("^✓ main passes"), timeout=TIMEOUT)


def test_without_scripts_nothing_is_promised(house, visit, gate):
    house.project("told-three", MAKEFILE.format(path=gate))
    number = house.build("told-three")["number"]
    page = visit(f"/told-three/{number}", javascript=False)
    assert page.locator("[data-tell]").count() == 1
    expect(page.locator("[data-tell]")).to_be_hidden()
    gate.touch()


def test_what_is_green_is_deployed_and_then_what_was_live_before(house, visit, gate):
    makefile = MAKEFILE.format(path=gate) + "deploy:\n\t@echo there\n"
    gate.touch()
    repository = house.project("live-where", makefile, deploy_branch="main")

    def tested():
        number = house.build("live-where")["number"]
        house.wait_for(lambda: house.build("live-where", number)["state"] == "finished")
        return number

    first = tested()
    page = visit("/deploys")
    page.evaluate("window.isTheSame = true")
    row = page.locator("li.env", has_text="live-where")
    row.get_by_text("Nothing is live yet").wait_for()
    row.get_by_role("button", name=f"Deploy #{first}").click()
    page.wait_for_url("**/live-where/*")
    page.get_by_role("heading", level=1, name="was deployed").wait_for()

    page = visit("/deploys")
    page.evaluate("window.isTheSame = true")
    row = page.locator("li.env", has_text="live-where")
    row.get_by_text("from main").wait_for()
    repository.commit({"more": "1"}, "Sell gloves")
    second = tested()
    row.get_by_text(f"#{second} is green and newer").wait_for()
    assert page.evaluate("window.isTheSame")
    accessible(page)
    row.get_by_role("button", name=f"Deploy #{second}").click()
    page.get_by_role("heading", level=1, name="was deployed").wait_for()

    page.goto("/live-where/deploys")
    page.get_by_role("button", name="Deploy again").first.click()
    page.get_by_role("heading", level=1, name="was deployed").wait_for()
    page.goto("/deploys")
    page.locator("li.env", has_text="live-where").get_by_text("Sell more shoes").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_home_is_live_for_a_stranger(house, visit, gate):
    house.project("shown-to-all", MAKEFILE.format(path=gate), visibility="public")
    house.project("shown-to-us", MAKEFILE.format(path=gate))
    page = visit("/", signed_in=False)
    page.evaluate("window.isTheSame = true")
    page.get_by_text("has not been built yet").wait_for()
    hidden = house.build("shown-to-us")["number"]
    number = house.build("shown-to-all")["number"]
    page.get_by_role("link", name=f"shown-to-all #{number}").wait_for()
    gate.touch()
    page.locator("li.proj", has_text="shown-to-all").get_by_text("passes").wait_for()
    house.wait_for(lambda: house.build("shown-to-us", hidden)["state"] == "finished")
    assert page.evaluate("window.isTheSame")
    assert "shown-to-us" not in page.content()


def test_a_feed_that_the_server_had_no_room_for_is_asked_for_again(house, visit, gate):
    house.project("no-room", MAKEFILE.format(path=gate), visibility="public")
    page = visit("/status", tolerated=("status of 503",))
    refused: list[str] = []

    def answer(route):
        if route.request.headers.get("accept") == "text/event-stream" and not refused:
            refused.append(route.request.url)
            route.fulfill(status=503, body="too many feeds are open")
        else:
            route.continue_()

    page.route("**/no-room", answer)
    page.goto("/no-room")
    page.get_by_text("Not live since").wait_for()
    expect(page.get_by_text("Not live since")).to_be_hidden(timeout=TIMEOUT)
    assert refused
    number = house.build("no-room")["number"]
    page.locator("td").get_by_text(f"#{number}").wait_for()
    gate.touch()
