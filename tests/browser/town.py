"""A sayci with much going on, for tests that look at its pages: passing, failing, running, waiting, unknown.

Every page has its address in `PAGES`; ``tests/web/test_gate.py`` says that none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser.visitor import House
from tests.gitserver import Repository
from tests.payloads import body_of, deletion, headers_of, ping, push

#: What the test of a commit does: a file of the repository says so.
MAKEFILE = (
    ".PHONY: test deploy\ntest:\n\t@sh ./how\n"
    "deploy:\n\t@echo 'rsync -a public/ www@example.net:/srv/www/'\n\t@sh ./where\n"
)
PASSES = (
    "for n in $(seq 1 24); do echo \"cc -std=c99 -Wall -c src/part$n.c -o build/part$n.o\"; done\necho '1..3'\n"
    "echo 'ok 1 - counts shoes'\necho 'ok 2 - counts pairs'\necho 'ok 3 - adds up'\n"
)
FAILS = (
    'for n in $(seq 1 24); do echo "cc -std=c99 -Wall -c src/part$n.c -o build/part$n.o"; done\n'
    "echo \"src/shop.c:12:5: error: 'price' undeclared (first use in this function)\"\n"
    "echo '   12 |     price += 1;'\necho '      |     ^~~~~'\nexit 2\n"
)
ARRIVES = "echo 'sent 48,211 bytes'\n"


@dataclass(frozen=True)
class View:
    """A page as it is looked at: by ``admin``, ``member`` or ``stranger``."""

    path: str
    by: str = "admin"
    code: int = 200


#: Name of a picture -> where it is; in the order of a visit.
PAGES = {
    "home": View("/"),
    "home-member": View("/", "member"),
    "home-stranger": View("/", "stranger"),
    "home-searched": View("/?q=nothing-like-it"),
    "project-failing": View("/web-shop"),
    "project-passing": View("/printer"),
    "project-running": View("/compiler"),
    "project-never-built": View("/notes"),
    "project-stranger": View("/printer", "stranger"),
    "build-failed": View("/web-shop/2"),
    "build-passed": View("/printer/2"),
    "build-running": View("/compiler/1"),
    "build-waiting": View("/compiler/2"),
    "build-cancelled": View("/library/1"),
    "build-unknown": View("/ferry/2"),
    "build-stranger": View("/printer/2", "stranger"),
    "all-deploys": View("/deploys"),
    "all-deploys-stranger": View("/deploys", "stranger"),
    "deploys": View("/printer/deploys"),
    "deploys-unknown": View("/ferry/deploys"),
    "deploys-none": View("/notes/deploys"),
    "all-deliveries": View("/deliveries"),
    "deliveries": View("/web-shop/deliveries"),
    "deliveries-refused": View("/web-shop/deliveries?v=refused"),
    "delivery-hello": View("/web-shop/deliveries/1"),
    "delivery": View("/web-shop/deliveries/2"),
    "deliveries-none": View("/notes/deliveries"),
    "settings": View("/web-shop/settings"),
    "settings-not-connected": View("/notes/settings"),
    "webhook": View("/notes/settings/webhook"),
    "members": View("/web-shop/settings/people"),
    "new": View("/new"),
    "people": View("/settings/people"),
    "tokens": View("/settings/tokens"),
    "account-link": View("/account"),
    "account-member": View("/account", "member"),
    "status": View("/status"),
    "status-member": View("/status", "member"),
    "sign-in": View("/sign-in", "stranger"),
    "github-refused": View("/sign-in/github/refused?why=nobody", "stranger", code=403),
    "invitation": View("{invitation}", "stranger"),
    "no-such-build": View("/web-shop/1999", code=404),
    "no-such-project": View("/nowhere", code=404),
    "forbidden-here": View("/web-shop/settings", "member", code=403),
    "forbidden": View("/new", "member", code=403),
}


class Town:
    """Fills a house.  Who is a member has `password`; running builds wait until `end`; `place` is where builds may look."""

    def __init__(self, house: House, place: Path) -> None:
        self.house = house
        self.invitations: dict[str, str] = {}
        self.repositories: dict[str, Repository] = {}
        self._gate = place / "gate"
        self._waits = f"echo 'Waiting for the tide.'\nuntil test -e {self._gate}; do sleep 0.05; done\n"

    def fill(self) -> None:
        """Make everything that `PAGES` shows."""
        self._ferry()  # first: the server is killed on the way
        self._printer()
        self._web_shop()
        self._library()
        self._compiler()
        self._people()

    def end(self) -> None:
        """Let what runs come to its end."""
        self._gate.touch()

    # -- projects

    def _project(self, name: str, how: str = PASSES, where: str = ARRIVES, **fields: Any) -> None:
        files = {"Makefile": MAKEFILE, "how": how, "where": where}
        self.repositories[name] = self.house.repository(name, files)
        self.house.register(name, self.repositories[name].url, **fields)

    def _built(self, name: str, how: str | None = None, message: str = "") -> None:
        if how is not None:
            self.repositories[name].commit({"how": how}, message)
        self.house.finished(name, self.house.build(name)["number"])

    def _deploy(self, name: str, number: int) -> int:
        answer = self.house.post(f"/api/v1/projects/{name}/deploys", {"build": number})
        assert answer.code == 201, answer.body
        return int(answer.json["number"])

    def _deliver(self, name: str, secret: str, payload: Any, event: str = "push") -> None:
        body = body_of(payload)
        headers = headers_of(body, secret=secret, event=event)
        self.house.request("POST", f"/hooks/{name}", body, headers, token=False)

    def _ferry(self) -> None:
        """The server and all of the deploy were killed on the way."""
        self._project("ferry", where=self._waits, deploy_branch="main")
        self._built("ferry")
        number = self._deploy("ferry", 1)
        self.house.step_runs("ferry", number, "deploy")
        self.house.crash()
        self.house.start_again()
        self.house.finished("ferry", number)

    def _printer(self) -> None:
        """Everybody may look at it; it passes, and is deployed."""
        self._project("printer", deploy_branch="main", visibility="public")
        self._built("printer")
        self._built("printer", PASSES + "echo 'ok 4 - prints'\n", "Print on both sides\n\nWhich saves paper.")
        for number in (1, 2):
            self.house.finished("printer", self._deploy("printer", number))

    def _web_shop(self) -> None:
        """It passed, and fails; its forge has said this and that."""
        self._project("web-shop")
        secret = self.house.post("/api/v1/projects/web-shop/webhook-secret").json["webhook_secret"]
        self._deliver("web-shop", secret, ping(), "ping")
        self._built("web-shop")
        commit = self.repositories["web-shop"].commit({"how": FAILS}, "Reckon the price in one place")
        self._deliver("web-shop", secret, push(after=commit, message="Reckon the price in one place"))
        self._deliver("web-shop", secret, deletion())
        self._deliver("web-shop", "another secret", push(after=commit))
        self.house.finished("web-shop", 2)
        for name, value, is_secret in (("LEVEL", "3", False), ("COVERALLS_TOKEN", "not to be seen", True)):
            variable = {"value": value, "secret": is_secret, "scope": "both"}
            answer = self.house.request("PUT", f"/api/v1/projects/web-shop/environment/{name}", variable)
            assert answer.code < 300, answer.body

    def _library(self) -> None:
        """One that nothing was built of, and one of which a build was cancelled."""
        self._project("notes")
        self._project("library", self._waits)
        self.house.build("library")
        self.house.step_runs("library", 1)
        self.house.post("/api/v1/projects/library/builds/1/cancel")
        self.house.finished("library", 1)

    def _compiler(self) -> None:
        """One build runs, another of the same branch waits for it."""
        self._project("compiler", self._waits)
        self.house.build("compiler")
        self.house.step_runs("compiler", 1)
        self.repositories["compiler"].commit({"how": PASSES}, "Fold constants")
        self.house.build("compiler")

    # -- people

    def _people(self) -> None:
        """An admin, a member of one project, and somebody who has not come yet; the two have `invitations`."""
        for name, role in (("ada", "admin"), ("grace", "member"), ("hedy", "viewer")):
            answer = self.house.post("/api/v1/people", {"name": name, "role": role})
            assert answer.code == 201, answer.body
            self.invitations[name] = answer.json["invitation"]
        answer = self.house.post("/api/v1/tokens", {"name": "release-bot", "access": "build", "days": 90})
        assert answer.code == 201, answer.body
        answer = self.house.request("PUT", "/api/v1/projects/web-shop/members/grace", {"role": "viewer"})
        assert answer.code < 300, answer.body
