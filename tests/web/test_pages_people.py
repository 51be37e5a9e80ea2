"""pages_access.py and pages_people.py: passwords, invitations, roles, by forms alone."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import pytest_twisted

from sayci.account import Access, Origin
from sayci.person import ROLES
from sayci.web.browsers import browser_of

pytest_plugins = ["tests.web.page_fixtures"]

GOOD = "correct horse battery"


async def account(house, name="grace", role=Access.READ):
    """Somebody with a password."""
    _, code = await house.people.invite(name, role)
    await house.people.accept(code, GOOD, Origin())


@pytest_twisted.ensureDeferred
async def test_an_admin_invites_somebody_who_sets_a_password_and_is_in(house):
    admin = await house.signed_in()
    assert (await admin.get("/settings/people")).heading == "Nobody has an account yet."
    seen = await admin.submit("/settings/people", "/settings/people", name="grace", role="maintainer")
    assert seen.heading == "grace is invited."
    (link,) = [value for value in seen.document.attributes("value") if "/sign-in/invitation?code=" in value]
    parts = urlsplit(link)
    path = f"{parts.path}?{parts.query}"

    browser = house.stranger()
    assert (await browser.get(path)).heading == "Welcome, grace"
    assert (await browser.get(path)).code == 200  # looking does not use it up
    seen = await browser.submit(path, "/sign-in/invitation", password=GOOD, again=GOOD + "x")
    assert (seen.code, "differ" in seen.text) == (422, True)
    seen = await browser.submit(path, "/sign-in/invitation", password="short", again="short")
    assert (seen.code, "10 to 200 characters" in seen.text) == (422, True)
    seen = await browser.submit(path, "/sign-in/invitation", password=GOOD, again=GOOD)
    assert (seen.code, seen.path) == (303, "/")
    assert "grace" in (await browser.get("/")).text
    seen = await house.stranger().get(path)
    assert (seen.code, seen.heading) == (403, "This link does not work")
    assert (await admin.get("/settings/people")).heading == "One person has an account."


@pytest_twisted.ensureDeferred
async def test_name_and_password_sign_in_and_the_cookie_is_a_new_one(house):
    await account(house)
    browser = house.stranger()
    browser.cookies["sayci_session"] = "planted-by-somebody-else-long-enough"
    seen = await browser.submit("/sign-in?next=%2Fstatus", "/sign-in", name="grace", password=GOOD)
    assert (seen.code, seen.path) == (303, "/status")
    assert browser.cookies["sayci_session"] != "planted-by-somebody-else-long-enough"
    assert (await browser.get("/status")).code == 200


@pytest_twisted.ensureDeferred
async def test_an_unknown_name_and_a_wrong_password_are_answered_with_the_same_bytes(house):
    await account(house)
    answers = []
    for name in ("grace", "nobody"):
        browser = house.stranger()
        seen = await browser.submit("/sign-in", "/sign-in", name=name, password="wrong password")
        token = browser.cookies["sayci_visitor"]
        assert token
        answers.append((seen.code, seen.text.replace(name, "NAME")))
        assert "wrong password" not in seen.text
    (code, first), (_, second) = answers
    assert code == 403
    assert "The name or the password is wrong." in first
    strip = [line for line in first.splitlines() if "form_token" not in line]
    assert strip == [line for line in second.splitlines() if "form_token" not in line]


@pytest_twisted.ensureDeferred
async def test_too_many_wrong_passwords_are_answered_429(house):
    await account(house)
    browser = house.stranger()
    for _ in range(20):
        assert (await browser.submit("/sign-in", "/sign-in", name="grace", password="wrong")).code == 403
    seen = await browser.submit("/sign-in", "/sign-in", name="grace", password=GOOD)
    assert (seen.code, seen.heading) == (429, "Too many wrong tries")
    assert int(seen.header("retry-after")) > 0


@pytest_twisted.ensureDeferred
async def test_signing_in_takes_a_form_of_ours(house):
    await account(house)
    fields = {"name": "grace", "password": GOOD, "next": "/"}
    assert (await house.stranger().post("/sign-in", fields)).code == 403
    browser = house.stranger()
    form = (await browser.get("/sign-in")).document.form("/sign-in")
    elsewhere = await browser.post("/sign-in", {**form.fields, **fields}, Origin="https://evil.example")
    assert elsewhere.code == 403
    assert "sayci_session" not in browser.cookies


@pytest_twisted.ensureDeferred
async def test_roles_are_changed_and_people_removed_by_admins_alone(house):
    await account(house, "ada", Access.ADMIN)
    await account(house, "grace")
    admin = house.stranger()
    await admin.submit("/sign-in", "/sign-in", name="ada", password=GOOD)
    grace = house.stranger()
    await grace.submit("/sign-in", "/sign-in", name="grace", password=GOOD)
    token = (await grace.get("/status")).document.form("/sign-out").fields["form_token"]
    for path in ("", "/grace/role", "/grace/invitation", "/ada/remove", "/ada/role"):
        fields = {"form_token": token, "role": "admin", "name": "eve"}
        assert (path, (await grace.post(f"/settings/people{path}", fields)).code) == (path, 403)
    assert (await grace.get("/settings/people")).code == 403
    assert [(each.name, each.role) for each in await house.people.all()] == [
        ("ada", Access.ADMIN),
        ("grace", Access.READ),
    ]

    seen = await admin.submit("/settings/people", "/settings/people/grace/role", role="maintainer")
    assert seen.path == "/settings/people"
    assert (await house.store.person("grace")).role is Access.BUILD
    for action, fields in (("remove", {}), ("role", {"role": "viewer"})):
        seen = await admin.submit("/settings/people", f"/settings/people/ada/{action}", **fields)
        assert (seen.code, seen.heading) == (422, "Nothing was changed.")
        assert "Nobody else with a password is an admin" in seen.text
    assert (
        await admin.submit("/settings/people", "/settings/people/grace/invitation")
    ).heading == "grace may set a new password."
    assert (await admin.submit("/settings/people", "/settings/people/grace/remove")).path == "/settings/people"
    assert (await grace.get("/status")).code == 303
    assert (await admin.submit("/settings/people", "/settings/people", name="a b", role="viewer")).code == 422


def test_roles_on_the_page_are_those_that_there_are():
    from sayci.web.pages_people import MEANINGS

    assert list(MEANINGS) == list(ROLES)


@pytest.mark.parametrize(
    ("agent", "words"),
    (
        ("Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36 Edg/120",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Version/17 Safari/604",
            "Safari on iPhone",
        ),
        ("curl/8", "another browser"),
        ("", "another browser"),
    ),
)
def test_browsers_in_words(agent, words):
    assert browser_of(agent) == words
