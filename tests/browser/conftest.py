"""Fixtures of the tests in a real browser: Debian's Chromium, driven by Playwright; visitor.py has what they hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.visitor import HEIGHT, TIMEOUT, Guard, program, running_house, sign_in
from tests.slots import passable_directory


def pytest_collection_modifyitems(config, items):
    """Each is slow; and one that waits for its turn on a busy machine is not lost.

    They run by themselves (``pytest tests/browser``): Playwright and pytest-twisted both switch between greenlets, and in
    one process each breaks the other.  Among other tests they are left out; ``make test`` runs both.
    """
    ours = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in ours:
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(300))
    if len(ours) < len(items):
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """A real sayci for all tests of one process: use projects with names that no other test has."""
    with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    """The browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra `dev` has Playwright")
    path = program()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def signed_in(chromium, house):
    """The cookies of the administrator."""
    context = chromium.new_context()
    sign_in(context.new_page(), house)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="session")
def commons():
    """A directory where the builds that tests start may look."""
    with passable_directory() as path:
        yield path


@pytest.fixture
def visit(chromium, house, signed_in):
    """``visit(path, width=1280, theme="light", javascript=True, signed_in=True, tolerated=())`` opens a page in a new window.

    Whatever a page does that none may do fails the test at its end.
    """
    opened: list[tuple[Any, Guard]] = []

    def go(path, *, width=1280, height=HEIGHT, theme="light", javascript=True, signed_in=True, tolerated=()):
        context = chromium.new_context(
            base_url=house.base,
            viewport={"width": width, "height": height},
            color_scheme=theme,
            java_script_enabled=javascript,
            storage_state=state if signed_in else None,
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT)
        guard = Guard(house.base, tolerated)
        context.on("page", guard.watch)
        opened.append((context, guard))
        page = context.new_page()
        page.goto(path)
        return page

    state = signed_in
    yield go
    for context, _ in opened:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")  # what a test held back is not another test's business
        context.close()
    complaints = [complaint for _, guard in opened for complaint in guard.complaints]
    assert not complaints, complaints
