"""A visitor: a real browser at a real sayci, that takes note of everything a page must never do.

What tests use (see conftest.py for the fixtures)::

    page = visit("/web-shop", width=380, theme="dark")     # a playwright Page, signed in as the administrator
    page = visit("/", signed_in=False, javascript=False)   # a stranger without scripts
    page = visit("/none", tolerated=("status of 404",))    # what the browser may complain about in this test
    accessible(page)                                       # axe: no violation, in the light and in the dark
    shoot(page, "home")                                    # .screenshots/home.png, to be looked at

At the end of a test it fails if a page has written an error to the console, thrown an exception, broken its
Content-Security-Policy, or asked another host for anything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import payloads
from tests.github_server import CLIENT_ID, CLIENT_SECRET, GitHubServer
from tests.gitserver import Repository
from tests.server import PATIENCE, ROOT, Server
from tests.slots import passable_directory, some_numbers

SCREENSHOTS = ROOT / ".screenshots"
#: Milliseconds that the browser waits for anything; as patient as everything else.
TIMEOUT = PATIENCE * 1000
#: What a person of average sight has on a laptop.
HEIGHT = 900
#: Where browsers are that distributions install.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: The rules that pages are held to.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def program() -> str:
    """The path of a Chromium; without one the test is skipped, but in continuous integration it fails."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        why = "no Chromium is installed (on Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found


class House(Server):
    """A running sayci with a token for its API, a link for the browser, and repositories of its own.

    `github` is where people have accounts.  It is shared by many tests: each makes projects of its own, with names that
    nobody else has.
    """

    def __init__(self, place: Path, github: GitHubServer, *options: str) -> None:
        forge = ("--github-url", github.url, "--github-client-id", CLIENT_ID, "--github-scope", "repo")
        environment = {"SAYCI_GITHUB_CLIENT_SECRET": CLIENT_SECRET}
        options = ("--allow-url", "file", "--sign-in-link", *forge, *options)
        super().__init__(place / "data", *options, environment=environment)
        self.github = github
        self._place = place
        self.secrets: dict[str, str] = {}

    def open(self) -> House:
        """Start it twice, since each start has one link: the first is for the API, the second for a browser."""
        self.start()
        self.sign_in()
        self.stop()
        self.start_again()
        return self

    def start_again(self) -> None:
        """After an end: the token stays, and there is a new link."""
        token, self.token = self.token, ""  # without one, the link is waited for
        self.start()
        self.token = token

    def repository(self, name: str, files: dict[str, str]) -> Repository:
        """A repository that builds can read, with one commit."""
        repository = Repository(self._place / "repositories" / f"{name}.git")
        repository.commit(files, "Sell more shoes")
        return repository

    def project(self, name: str, makefile: str, **fields: Any) -> Repository:
        """A registered project whose Makefile that is, once its mirror is there."""
        repository = self.repository(name, {"Makefile": makefile})
        self.register(name, repository.url, **fields)
        return repository

    def register(self, name: str, url: str, **fields: Any) -> None:
        """Register a project, and wait until its mirror is there; one that an earlier try of the test has left goes."""
        self.request("DELETE", f"/api/v1/projects/{name}")
        answer = self.post("/api/v1/projects", {"name": name, "url": url, **fields})
        assert answer.code == 201, answer.body
        self.secrets[name] = answer.json["webhook_secret"]
        self.wait_for(lambda: self.get(f"/api/v1/projects/{name}").json["mirror"] == "ready")

    def deliver(self, project: str, payload: Any, event: str = "push", *, secret: str = "") -> Any:
        """Have a forge send a delivery, signed with the project's secret unless another is given; the answer's code."""
        body = payloads.body_of(payload)
        headers = payloads.headers_of(body, secret=secret or self.secrets[project], event=event)
        return self.request("POST", f"/hooks/{project}", body, headers, token=False).code

    def build(self, project: str, number: int | None = None) -> Any:
        """Start a build of a project's default branch, as JSON; with a number: that build as it is now."""
        if number is not None:
            return super().build(project, number)
        answer = self.post(f"/api/v1/projects/{project}/builds")
        assert answer.code == 201, answer.body
        return answer.json


@contextmanager
def running_house(directory: Path) -> Iterator[House]:
    """A sayci for the block; as root it gives each build a user of its own, as it does for people."""
    with ExitStack() as stack:
        users: tuple[str, ...] = ()
        if os.geteuid() == 0:
            directory = stack.enter_context(passable_directory())
            users = ("--slot-uid", str(some_numbers().first))
        github = stack.enter_context(GitHubServer())
        house = House(directory, github, *users)
        stack.callback(house.stop)
        house.open()
        github.callback = f"{house.base}/sign-in/github/callback"
        yield house


class Guard:
    """What must not happen on any page: it is noted as it does."""

    def __init__(self, base: str, tolerated: Sequence[str] = ()) -> None:
        self.complaints: list[str] = []
        self._host = urlsplit(base).netloc
        self._tolerated = tolerated

    def watch(self, page: Any) -> None:
        """Listen to a page."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # A broken Content-Security-Policy is told as an error, too.
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != self._host:
            self._note(f"another host was asked: {request.url}")

    def _note(self, complaint: str) -> None:
        if not any(words in complaint for words in self._tolerated):
            self.complaints.append(complaint)


def sign_in(page: Any, house: House) -> None:
    """Use the link as a person does: look at the form, and send it."""
    page.goto(house.link)
    page.locator("form[action='/sign-in'] button").click()
    page.wait_for_url(f"{house.base}/")


def until(page: Any, condition: str) -> None:
    """Wait until an expression of JavaScript is true."""
    page.wait_for_function(f"() => {condition}")  # a bare expression would be evaluated, which the policy forbids


def accessible(page: Any) -> None:
    """Fails unless axe finds nothing to complain about, in the light and in the dark, with everything unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.evaluate("document.getAnimations().forEach(each => each.cancel())")
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": list(RULES)}}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        found = Axe().run(page, options=options)
        assert not found.violations_count, f"{theme}, {page.url}: {found.generate_report()}"


def shoot(page: Any, name: str, *, full: bool = True) -> Path:
    """Keep a picture of the page for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=full)
    return path
