"""From the sign-in link to the first green build: with scripts the steps tick themselves, without by a reload."""

from __future__ import annotations

import pytest

from tests import payloads
from tests.browser.visitor import TIMEOUT, Guard, accessible, running_house, shoot, sign_in

MAKEFILE = ".PHONY: test\ntest:\n\t@true\n"
WIDTHS = (380, 1280, 1920)


@pytest.fixture
def empty(tmp_path):
    """A house that nobody has used yet."""
    with running_house(tmp_path) as house:
        yield house


@pytest.fixture(params=(True, False), ids=("scripts", "no-scripts"))
def begun(request, chromium, empty):
    """Whether there are scripts, and the page that the sign-in link leads to."""
    context = chromium.new_context(
        base_url=empty.base,
        java_script_enabled=request.param,
        reduced_motion="reduce",
        viewport={"width": 1280, "height": 900},
    )
    context.set_default_timeout(TIMEOUT)
    guard = Guard(empty.base)
    context.on("page", guard.watch)
    page = context.new_page()
    sign_in(page, empty)
    yield request.param, page
    context.close()
    assert guard.complaints == []


def looked_at(page, name):
    """Accessible, as wide as its window, and kept as pictures."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            shoot(page, f"{name}-{theme}-{width}")
        if width < 1920:
            accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1280, "height": 900})


def test_from_the_link_to_the_first_green_build(begun, empty):
    has_scripts, page = begun

    def shows(words, path=None):
        """The words come by themselves, or with the next look."""
        if not has_scripts:
            empty.wait_for(lambda: page.goto(path or page.url) and page.get_by_text(words).count())
        page.get_by_text(words).first.wait_for()

    repository = empty.repository("first-shop", {"Makefile": MAKEFILE})
    page.get_by_role("heading", level=1, name="Nothing to build yet. Add the first project.").wait_for()
    if has_scripts:
        looked_at(page, "first-run")
    page.get_by_label("Git address").fill(repository.url)
    page.get_by_role("button", name="Add project").click()

    page.get_by_role("heading", level=1, name="first-shop is added. Now tell the forge.").wait_for()
    empty.secrets["first-shop"] = page.get_by_label("Secret", exact=True).input_value()
    page.get_by_text("Waiting for the first ping").first.wait_for()
    webhook = "/first-shop/settings/webhook"
    shows("sayci has a copy of it.", webhook)
    if has_scripts:
        looked_at(page, "webhook")
    assert empty.deliver("first-shop", payloads.push(), secret="another") == 401
    shows("The signature does not match.", webhook)
    assert empty.deliver("first-shop", payloads.ping(), "ping") == 200
    shows("The forge has said hello", webhook)
    if has_scripts:
        assert page.get_by_label("Secret", exact=True).input_value() == empty.secrets["first-shop"], (
            "it stays on the page"
        )
        looked_at(page, "webhook-green")

    page.goto("/")
    page.get_by_role("heading", level=1, name="first-shop is connected. Push something.").wait_for()
    if has_scripts:
        looked_at(page, "on-the-way")
    assert empty.deliver("first-shop", payloads.push(after=repository.head())) == 202
    shows("first-shop passes.", "/")
    assert page.get_by_text("On the way to the first green build").count() == 0
    if has_scripts:
        shoot(page, "first-green")
