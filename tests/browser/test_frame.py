"""What holds for every page, in a real browser; and that the guard of these tests sees what it is there for."""

from __future__ import annotations

import pytest

from tests.browser.visitor import Guard, accessible


@pytest.mark.parametrize("width", (380, 1280, 1920))
def test_home_and_status_are_accessible_and_as_wide_as_the_window(visit, width):
    for path in ("/", "/status"):
        page = visit(path, width=width)
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_stranger_is_asked_to_sign_in(visit):
    page = visit("/status", signed_in=False)
    assert page.url.endswith("/sign-in?next=%2Fstatus")
    accessible(page)


def test_the_guard_sees_what_no_page_may_do(chromium, house):
    page = chromium.new_context().new_page()
    guard = Guard(house.base)
    guard.watch(page)
    page.goto(f"{house.base}/sign-in")
    assert guard.complaints == []
    page.evaluate(
        'document.body.innerHTML += \'<img src="https://elsewhere.invalid/x.png"><b style="color:red">x</b>\''
    )
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('thrown by the test') })")
    page.context.close()
    told = " ".join(guard.complaints)
    assert "thrown by the test" in told
    assert "Content Security Policy" in told
    assert "elsewhere.invalid" in told


def test_what_is_to_be_copied_is_copied(house, visit):
    house.register("frame-copy", house.repository("frame-copy", {"Makefile": "test:\n"}).url)
    page = visit("/frame-copy/settings")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy Payload URL").click()
    page.get_by_role("button", name="✓").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{house.base}/hooks/frame-copy"
