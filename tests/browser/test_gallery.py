"""Every page, as everybody sees it: accessible in both themes, no wider than its window, and a picture of it.

The pictures go to ``.screenshots/gallery``, for people to look at.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.town import PAGES, Town
from tests.browser.visitor import HEIGHT, SCREENSHOTS, TIMEOUT, Guard, accessible, running_house, sign_in
from tests.slots import passable_directory

PASSWORD = "correct horse battery"
WIDTHS = (380, 1280, 1920)
#: Bytes of a page with its style sheets, scripts and icons, before they are compressed on the way.
LARGEST = 100_000


@pytest.fixture(scope="session")
def town(tmp_path_factory):
    """A house of its own, since others would be among its projects."""
    with running_house(tmp_path_factory.mktemp("town")) as house, passable_directory() as place:
        made = Town(house, place)
        made.fill()
        yield made
        made.end()


@pytest.fixture(scope="session")
def cookies(chromium, town):
    """Who looks -> what the browser has of them."""
    states = {"stranger": None}
    for name, enter in (("admin", lambda page: sign_in(page, town.house)), ("member", lambda page: accept(page, town))):
        context = chromium.new_context(base_url=town.house.base)
        enter(context.new_page())
        states[name] = context.storage_state()
        context.close()
    return states


def accept(page, town):
    """As somebody who was invited."""
    page.goto(town.invitations["grace"])
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same once more").fill(PASSWORD)
    page.get_by_role("button", name="Set the password and sign in").click()
    page.wait_for_url(f"{town.house.base}/")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_window_and_everybody(chromium, town, cookies, name):
    view = PAGES[name]
    guard = Guard(town.house.base, () if view.code == 200 else (f"status of {view.code}",))
    context = chromium.new_context(
        base_url=town.house.base, storage_state=cookies[view.by], reduced_motion="reduce", color_scheme="light"
    )
    context.set_default_timeout(TIMEOUT)
    context.on("page", guard.watch)
    page = context.new_page()
    came: dict[str, Any] = {}
    page.on("requestfinished", lambda request: came.setdefault(request.url, request))
    answer = page.goto(view.path.format(invitation=town.invitations["hedy"]))
    assert answer.status == view.code
    assert page.locator("h1").count() == 1
    assert (
        sum(len(request.response().body()) for request in list(came.values()) if request.resource_type != "eventsource")
        < LARGEST
    )
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            picture(page, f"{name}-{theme}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
    for width in WIDTHS[:2]:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{width}, unfolded"
    assert unseen_when_focused(page) == []
    context.close()
    assert guard.complaints == []


def unseen_when_focused(page):
    """What can be reached by keyboard and does not show that it was."""
    page.keyboard.press("Tab")  # from now on the focus is somebody's who uses the keyboard
    return page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
            .filter((each) => each.checkVisibility() && each.type !== "hidden")
            .filter((each) => { each.focus(); return getComputedStyle(each).outlineStyle === "none"; })
            .map((each) => each.outerHTML.slice(0, 200))"""
    )


def picture(page, name):
    """As it is when it is opened, whole."""
    directory = SCREENSHOTS / "gallery"
    directory.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=directory / f"{name}.png", full_page=True)
