"""Accounts in a real browser: invited, a password set, signed in and out; with scripts and without."""

from __future__ import annotations

import pytest

from tests.browser.visitor import accessible, shoot

GOOD = "correct horse battery"


@pytest.mark.parametrize("javascript", (True, False))
def test_somebody_is_invited_and_signs_in_with_a_password(visit, javascript):
    name = "grace" if javascript else "hedy"
    page = visit("/settings/people", javascript=javascript)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Make a link for it").click()
    page.get_by_role("heading", name=f"{name} is invited.").wait_for()
    link = page.get_by_label("Invitation").input_value()

    guest = visit(link, signed_in=False, javascript=javascript)
    guest.get_by_label("Password", exact=True).fill(GOOD)
    guest.get_by_label("The same once more").fill(GOOD)
    guest.get_by_role("button", name="Set the password and sign in").click()
    guest.get_by_role("button", name=f"{name}, sign out").click()
    guest.get_by_role("heading", name="Sign in to sayci").wait_for()
    guest.get_by_label("Name").fill(name)
    guest.get_by_label("Password").fill(GOOD)
    guest.get_by_role("button", name="Sign in", exact=True).click()
    guest.get_by_role("button", name=f"{name}, sign out").wait_for()
    assert guest.get_by_role("link", name="People").count() == 0


def test_the_pages_of_accounts_are_accessible(visit):
    page = visit("/settings/people", width=380, tolerated=("status of 422",))
    page.get_by_label("Name").fill("x y")
    page.get_by_role("button", name="Make a link for it").click()
    page.get_by_role("heading", name="Nothing was changed.").wait_for()
    accessible(page)
    shoot(page, "people-380")
    page.get_by_label("Name").fill("joan")
    page.get_by_role("button", name="Make a link for it").click()
    page.get_by_role("heading", name="joan is invited.").wait_for()
    accessible(page)
    link = page.get_by_label("Invitation").input_value()
    page.goto("/settings/people")
    page.set_viewport_size({"width": 1280, "height": 900})
    accessible(page)
    shoot(page, "people-1280")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    guest = visit(link, signed_in=False)
    accessible(guest)
    shoot(guest, "invitation")


def test_a_wrong_password_is_told_accessibly(visit):
    page = visit("/sign-in", signed_in=False, width=380, tolerated=("status of 403",))
    page.get_by_label("Name").fill("nobody")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_text("The name or the password is wrong.").wait_for()
    accessible(page)
    shoot(page, "sign-in-380")
