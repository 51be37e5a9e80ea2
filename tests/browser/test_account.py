"""One's own account in real browsers: sessions ended elsewhere, the password, tokens, and what each role sees."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.browser.visitor import accessible, shoot

GOOD = "correct horse battery"
BETTER = "staple correct battery"
MAKEFILE = ".PHONY: test\ntest:\n\t@echo begins; until test -e {path}; do sleep 0.05; done\n"


@pytest.fixture
def gate(house, tmp_path):
    """A file that a build waits for."""
    path = Path(house.data).parent / "gates"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    yield path / tmp_path.name
    (path / tmp_path.name).touch()


@pytest.fixture
def enter(house, visit):
    """``enter(name)`` signs somebody in in a browser of their own; with a `role` somebody new."""

    def go(name, role="", **options):
        if role:
            house.request("DELETE", f"/api/v1/people/{name}")  # whom an earlier try of the test has left
            answer = house.post("/api/v1/people", {"name": name, "role": role})
            assert answer.code == 201, answer.body
            page = visit(answer.json["invitation"], signed_in=False, **options)
            page.get_by_label("Password", exact=True).fill(GOOD)
            page.get_by_label("The same once more").fill(GOOD)
            page.get_by_role("button", name="Set the password and sign in").click()
        else:
            page = visit("/sign-in", signed_in=False, **options)
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(GOOD)
            page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_role("link", name=f"{name}, your account").wait_for()
        return page

    return go


def grant(house, name, project, role):
    answer = house.request("PUT", f"/api/v1/projects/{project}/members/{name}", {"role": role})
    assert answer.code == 200, answer.body


def ask(house, token, path="/api/v1/me", method="GET"):
    """As a program does that has nothing but the token; the code and the JSON."""
    request = urllib.request.Request(f"{house.base}{path}", method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


# -- sessions


@pytest.mark.parametrize("path", ("/status", "/{project}", "/{project}/1"))
def test_one_browser_ends_the_session_of_another_and_what_is_open_there_closes(house, enter, gate, path):
    name = f"two-{path.count('/')}-{len(path)}"
    path = path.format(project=name)
    house.project(name, MAKEFILE.format(path=gate))
    number = house.build(name)["number"]
    house.step_runs(name, number)
    here, there = enter(name, "viewer"), enter(name)
    here.goto("/account")
    there.goto("/account")
    house.wait_for(lambda: feeds(house) == 0)
    there.goto(path)
    house.wait_for(lambda: feeds(house) == 1)
    asked = []
    there.on("request", lambda request: asked.append(request.url))

    here.reload()
    here.get_by_role("heading", name="You are signed in in 2 places.").wait_for()
    here.get_by_role("button", name="End the session: Chrome").click()
    here.get_by_role("heading", name="You are signed in here, and nowhere else.").wait_for()

    there.get_by_text("the session of this browser has ended").wait_for()
    assert there.url == f"{house.base}/sign-in?next={path.replace('/', '%2F')}"
    assert len([url for url in asked if "/static/" not in url]) <= 4, asked


def feeds(house):
    text = house.request("GET", "/metrics", token=False).body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("sayci_feeds "))


def test_a_page_whose_grant_is_withdrawn_shows_no_more_of_it(house, enter, gate):
    house.project("account-granted", MAKEFILE.format(path=gate))
    number = house.build("account-granted")["number"]
    house.step_runs("account-granted", number)
    page = enter("ivy", "member", tolerated=("status of 404",))
    grant(house, "ivy", "account-granted", "viewer")
    page.goto("/account")
    house.wait_for(lambda: feeds(house) == 0)
    page.goto(f"/account-granted/{number}")
    house.wait_for(lambda: feeds(house) == 1)
    assert house.request("DELETE", "/api/v1/projects/account-granted/members/ivy").code == 204
    page.get_by_role("heading", name="There is no project account-granted").wait_for()


@pytest.mark.parametrize("javascript", (True, False))
def test_the_password_is_changed_and_other_browsers_are_signed_out(enter, javascript):
    name = "edith" if javascript else "mary"
    here = enter(name, "viewer", javascript=javascript, tolerated=("status of 422",))
    there = enter(name, javascript=javascript)
    there.goto("/status")
    here.get_by_role("link", name=f"{name}, your account").click()
    here.get_by_label("Your password").fill("not that one")
    here.get_by_label("The new one", exact=True).fill(BETTER)
    here.get_by_label("The new one once more").fill(BETTER)
    here.get_by_role("button", name="Change the password").click()
    here.get_by_text("That is not your password.").wait_for()
    here.get_by_label("Your password").fill(GOOD)
    here.get_by_label("The new one", exact=True).fill(BETTER)
    here.get_by_label("The new one once more").fill(BETTER)
    here.get_by_role("button", name="Change the password").click()
    here.get_by_text("Your password is changed.").wait_for()
    here.get_by_role("heading", name="You are signed in here, and nowhere else.").wait_for()
    if javascript:
        there.get_by_text("the session of this browser has ended").wait_for()
    there.goto("/account")
    there.get_by_label("Name").fill(name)
    there.get_by_label("Password").fill(BETTER)
    there.get_by_role("button", name="Sign in", exact=True).click()
    there.get_by_role("heading", name="You are signed in in 2 places.").wait_for()


# -- tokens


@pytest.mark.parametrize("javascript", (True, False))
def test_a_token_is_made_used_and_removed(house, enter, javascript):
    name = "dorothy" if javascript else "rosalind"
    page = enter(name, "maintainer", javascript=javascript)
    page.goto("/account")
    page.get_by_label("Name").fill("laptop")
    page.get_by_label("Access").select_option("build")
    page.get_by_label("Days that it lasts").fill("30")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("heading", name="laptop is made.").wait_for()
    token = page.get_by_label("Token", exact=True).input_value()
    if javascript:
        accessible(page)
        shoot(page, "account-token")
    code, me = ask(house, token)
    assert (code, me["name"], me["access"], me["is_person"]) == (200, name, "build", True)
    assert house.request("PATCH", f"/api/v1/people/{name}", {"role": "viewer"}).code == 200
    assert ask(house, token)[1]["access"] == "read"
    page.get_by_role("link", name="Your account", exact=True).click()
    page.get_by_text("used just now").wait_for()
    assert token not in page.content()
    page.get_by_role("button", name="Remove laptop").click()
    page.get_by_text("The token is removed.").wait_for()
    assert ask(house, token)[0] == 401


def test_an_admin_makes_a_token_of_the_server_and_removes_it(house, visit):
    page = visit("/settings/people")
    page.get_by_role("link", name="Tokens").click()
    page.get_by_label("Name").fill("robot")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("heading", name="robot is made.").wait_for()
    token = page.get_by_label("Token", exact=True).input_value()
    assert ask(house, token)[1]["is_person"] is False
    page.get_by_role("link", name="All tokens").click()
    page.get_by_role("button", name="Remove robot").click()
    page.get_by_role("button", name="Remove robot").wait_for(state="detached")
    assert ask(house, token)[0] == 401


# -- what everybody sees


@pytest.fixture
def shown(house):
    """One project that is public and one that is not, each with a build."""
    names = ("roles-public", "roles-private")
    if house.get("/api/v1/projects/roles-public").code == 404:
        for name in names:
            house.project(name, ".PHONY: test\ntest:\n\t@true\n")
            number = house.build(name)["number"]
            house.wait_for(lambda name=name, number=number: house.build(name, number)["state"] == "finished")
        answer = house.request("PATCH", "/api/v1/projects/roles-public", {"visibility": "public"})
        assert answer.code == 200, answer.body
    return names


#: Role everywhere, role in the private project -> whether one sees it, builds it, has its settings.
ROLES = {
    "viewer": ("viewer", "", (True, False, False)),
    "maintainer": ("maintainer", "", (True, True, False)),
    "admin": ("admin", "", (True, True, True)),
    "member": ("member", "", (False, False, False)),
    "member-viewing": ("member", "viewer", (True, False, False)),
    "member-maintaining": ("member", "maintainer", (True, True, False)),
}


@pytest.mark.parametrize("name", ROLES)
def test_each_role_sees_what_it_may(house, enter, shown, name):
    role, there, (sees, builds, configures) = ROLES[name]
    page = enter(f"a-{name}", role, tolerated=("status of 404", "status of 403"))
    if there:
        grant(house, f"a-{name}", "roles-private", there)
    page.goto("/")
    assert page.get_by_role("link", name="roles-private", exact=True).count() == (1 if sees else 0)
    assert page.get_by_role("link", name="roles-public", exact=True).count() == 1
    assert page.get_by_role("link", name="People").count() == (1 if role == "admin" else 0)
    answer = page.goto("/roles-private")
    assert answer.status == (200 if sees else 404)
    parts = page.get_by_role("navigation", name="roles-private")
    assert parts.get_by_role("link", name="Deliveries").count() == (1 if builds else 0)
    assert parts.get_by_role("link", name="Settings").count() == (1 if configures else 0)
    answer = page.goto("/roles-private/1")
    assert answer.status == (200 if sees else 404)
    assert page.locator("form[action='/roles-private/1/rebuild']").count() == (1 if builds else 0)
    accessible(page)
    refused = {True: 200, False: 403 if sees else 404}
    assert page.goto("/roles-private/deliveries").status == refused[builds]
    assert page.goto("/roles-private/settings").status == refused[configures]
    assert page.goto("/settings/tokens").status == (200 if role == "admin" else 403)
    for width in (380, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto("/account")
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"account-{name}-{width}")


def test_a_stranger_sees_public_projects_alone(visit, shown):
    page = visit("/", signed_in=False, tolerated=("status of 404",))
    page.get_by_role("link", name="roles-public", exact=True).wait_for()
    assert "roles-private" not in page.content()
    for path in ("/roles-private", "/account", "/settings/tokens"):
        page.goto(path)
        page.get_by_role("heading", name="Sign in to sayci").wait_for()
    page.goto("/roles-public/1")
    page.get_by_role("heading", level=1, name="#1").wait_for()
    assert page.locator("form:not(.theme):not([method=get])").count() <= 1  # finding in the log
    accessible(page)


def test_who_came_by_a_link_is_told_so(visit):
    for width in (380, 1280):
        page = visit("/account", width=width)
        page.get_by_text("You have signed in with a link of the server").wait_for()
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"account-link-{width}")


def test_the_page_of_all_tokens_is_accessible(house, visit):
    for number in range(3):
        answer = house.post("/api/v1/tokens", {"name": f"bot number {number} with a long name", "access": "read"})
        assert answer.code == 201
    page = visit("/settings/tokens", width=380, tolerated=("status of 422",))
    page.get_by_label("Days that it lasts").fill("many")
    page.get_by_label("Name").fill("x")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("heading", name="Nothing was changed.").wait_for()
    for width in (380, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"tokens-{width}")
