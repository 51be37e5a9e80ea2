"""The server's own state, in a real browser."""

from __future__ import annotations

import pytest

from tests.browser.visitor import accessible, shoot

MAKEFILE = ".PHONY: test\ntest:\n\t@true\n"


def test_it_changes_as_builds_do(house, visit):
    house.project("counted", MAKEFILE)
    page = visit("/status")
    page.evaluate("window.isTheSame = true")
    number = house.build("counted")["number"]
    house.finished("counted", number)
    page.get_by_text("of them green").wait_for()
    page.get_by_text("git ").wait_for()
    assert page.evaluate("window.isTheSame")


@pytest.mark.parametrize("width", (380, 1280, 1920))
def test_it_fits_and_is_accessible(visit, width):
    page = visit("/status", width=width)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        shoot(page, f"status-{theme}-{width}")


def test_without_scripts_it_says_the_same(visit):
    page = visit("/status", javascript=False)
    page.get_by_text("It can be read and written.").wait_for()
    page.get_by_role("button", name="Copy for a bug report").wait_for(state="hidden")
