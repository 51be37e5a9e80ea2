"""The settings in a real browser: what is connected, live; secrets that are never seen again; without scripts, too."""

from __future__ import annotations

import pytest

from tests import payloads
from tests.browser.visitor import accessible, shoot

MAKEFILE = ".PHONY: test\ntest:\n\t@true\n"


def test_the_light_turns_green_while_somebody_writes(house, visit):
    house.project("lit", MAKEFILE)
    page = visit("/lit/settings")
    page.evaluate("window.isTheSame = true")
    page.get_by_role("heading", level=1, name="lit waits for its first ping.").wait_for()
    page.get_by_label("Value").fill("half a value")
    assert house.deliver("lit", payloads.ping(), "ping") == 200
    page.get_by_role("heading", level=1, name="lit is connected.").wait_for()
    page.get_by_text("The forge has said hello").first.wait_for()
    assert page.get_by_label("Value").input_value() == "half a value"
    assert page.evaluate("window.isTheSame")
    assert page.locator("link[rel=icon]").get_attribute("href").find("favicon-success") > 0


def test_what_comes_before_the_feed_begins_is_seen(house, visit):
    house.project("early", MAKEFILE)
    page = visit("/early")
    codes: list[int] = []

    def deliver_first(route):
        if "event-stream" in route.request.headers.get("accept", "") and not codes:
            codes.append(house.deliver("early", payloads.ping(), "ping"))
        route.continue_()

    page.route("**/settings/webhook", deliver_first)
    page.goto("/early/settings/webhook")
    page.get_by_text("The forge has said hello").first.wait_for()
    assert codes == [200]


@pytest.mark.parametrize("javascript", (True, False))
def test_a_secret_is_set_and_never_seen_again(house, visit, javascript):
    name = f"hushed-{'with' if javascript else 'without'}"
    house.project(name, MAKEFILE)
    page = visit(f"/{name}/settings", javascript=javascript)
    page.get_by_label("Name", exact=True).fill("DEPLOY_KEY")
    page.get_by_label("Value").fill("swordfish-swordfish")
    page.get_by_role("button", name="Set it").click()
    page.get_by_text("secret, set").wait_for()
    assert "swordfish" not in page.content()
    page.get_by_role("button", name="Remove DEPLOY_KEY").click()
    page.get_by_text("secret, set").wait_for(state="detached")


def test_a_build_is_begun_from_the_settings(house, visit):
    house.project("tried", MAKEFILE)
    page = visit("/tried/settings")
    page.get_by_role("button", name="Build main now").click()
    page.get_by_role("heading", level=1, name="#1").wait_for()


@pytest.mark.parametrize("width", (380, 1280, 1920))
def test_they_fit_and_are_accessible(house, visit, width):
    name = f"settled-{width}"
    house.project(name, MAKEFILE)
    house.deliver(name, payloads.push(), secret="another")
    page = visit(f"/{name}/settings", width=width)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        shoot(page, f"settings-{theme}-{width}")
