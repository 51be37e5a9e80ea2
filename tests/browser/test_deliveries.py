"""What arrived, in a real browser: live, sifted, unfolded, replayed; and without scripts."""

from __future__ import annotations

import pytest

from tests import payloads
from tests.browser.visitor import accessible, shoot

MAKEFILE = ".PHONY: test\ntest:\n\t@true\n"


def wait_for_heading(page, words):
    page.get_by_role("heading", level=1, name=words).wait_for()


def test_deliveries_appear_as_they_come(house, visit):
    repository = house.project("arriving", MAKEFILE)
    page = visit("/arriving/deliveries")
    page.evaluate("window.isTheSame = true")
    wait_for_heading(page, "No delivery has arrived yet.")
    assert house.deliver("arriving", payloads.push(), secret="another") == 401
    wait_for_heading(page, "The last delivery was refused: the signature does not match.")
    shoot(page, "deliveries-refused")
    assert house.deliver("arriving", payloads.ping(), "ping") == 200
    wait_for_heading(page, "The last delivery was the forge's hello.")
    house.deliver("arriving", payloads.push(after=repository.head()))
    wait_for_heading(page, "The last delivery was built as #1.")
    assert house.deliver("arriving", payloads.tag()) == 200
    wait_for_heading(page, "The last delivery was ignored.")
    assert page.locator("tbody tr").count() == 3
    assert page.evaluate("window.isTheSame")
    page.get_by_role("link", name="Refused 1").click()
    page.get_by_text("127.0.0.1").wait_for()
    accessible(page)


@pytest.mark.parametrize("javascript", (True, False))
def test_one_is_looked_at_and_replayed(house, visit, javascript):
    name = f"replaying-{'with' if javascript else 'without'}"
    repository = house.project(name, MAKEFILE)
    payload = payloads.push(after=repository.head(), message="Sell boots [skip ci]")
    assert house.deliver(name, payload) == 200
    page = visit(f"/{name}/deliveries", javascript=javascript)
    page.get_by_role("button", name="Replay the delivery").click()
    wait_for_heading(page, "was ignored. The head commit's message asks to skip CI.")
    page.get_by_text("Body,").click()
    page.get_by_text('"after": "').wait_for()
    assert house.secrets[name] not in page.content()
    if javascript:
        accessible(page)
        shoot(page, "delivery")


@pytest.mark.parametrize("width", (380, 1280, 1920))
def test_they_fit_and_are_accessible(house, visit, width):
    name = f"arrived-{width}"
    repository = house.project(name, MAKEFILE)
    house.deliver(name, payloads.ping(), "ping")
    house.deliver(name, payloads.push(after=repository.head()))
    house.deliver(name, payloads.tag())
    house.deliver(name, {**payloads.push("refs/heads/wip/utf8", payloads.ZEROS), "deleted": True})
    for _ in range(3):
        house.deliver(name, payloads.push(), secret="another")
    page = visit(f"/{name}/deliveries", width=width)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        shoot(page, f"deliveries-{theme}-{width}")
