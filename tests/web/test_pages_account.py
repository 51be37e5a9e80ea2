"""pages_account.py and pages_tokens.py: one's sessions, password and tokens, and all tokens, by forms alone."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import re

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import Access, Actor, Origin, Session, Token, access_of
from sayci.errors import Invalid
from sayci.person import check_password
from sayci.sign_in import LONGEST_DAYS
from sayci.web.pages_account import choices_of, heading_of, places_of
from sayci.web.pages_tokens import heading_of as heading_of_tokens
from sayci.web.tokenforms import days_of
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]

GOOD = "correct horse battery"
BETTER = "staple correct battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def account(house, name="grace", role=Access.READ):
    """Somebody with a password; answers the browser that set it."""
    _, code = await house.people.invite(name, role)
    browser = house.stranger()
    secret, _ = await house.people.accept(code, GOOD, Origin("192.0.2.7", "Chrome on Android"))
    browser.cookies["sayci_session"] = secret
    return browser


async def another(house, name="grace"):
    """The same person in another browser."""
    browser = house.stranger()
    seen = await browser.submit("/sign-in", "/sign-in", name=name, password=GOOD)
    assert seen.code == 303
    return browser


# -- words


def sessions(*digests):
    return [Session(digest, NOW, NOW, Origin("192.0.2.1", "Firefox on Linux")) for digest in digests]


@pytest.mark.parametrize(
    ("digests", "here", "heading"),
    (
        ((b"1",), b"1", "You are signed in here, and nowhere else."),
        ((b"1", b"2"), b"2", "You are signed in in 2 places."),
        ((b"1",), b"token", "You are signed in in 1 place."),
    ),
)
def test_the_heading_says_where_one_is_signed_in(digests, here, heading):
    assert heading_of(places_of(sessions(*digests), here)) == heading


def test_this_session_comes_first():
    places = places_of(sessions(b"1", b"2", b"3"), b"2")
    assert [place.session.digest for place in places] == [b"2", b"1", b"3"]
    assert [place.where for place in places_of([Session(b"1", None, None, Origin())], b"")] == ["An unknown browser"]


@given(st.sampled_from(Access), st.dictionaries(st.integers(1, 3), st.sampled_from(Access)))
def test_nothing_is_offered_that_the_person_may_not(role, grants):
    actor = Actor("ada", role, 7, grants)
    offered = [access_of(word) for word in choices_of(actor)]
    assert offered[0] is Access.READ
    assert all(access <= max(actor.furthest, Access.READ) for access in offered)


def tokens(*owners):
    return [Token(number, "bot", Access.READ, NOW, person=owner) for number, owner in enumerate(owners)]


@pytest.mark.parametrize(
    ("owners", "heading"),
    (
        ((), "There are no tokens."),
        ((None,), "The server has 1 token."),
        (("ada", "ada"), "People have 2 tokens, the server none."),
        ((None, None, "ada"), "The server has 2 tokens, people have 1."),
    ),
)
def test_the_heading_says_whose_tokens_there_are(owners, heading):
    assert heading_of_tokens(tokens(*owners)) == heading


def test_days_are_a_number_or_nothing():
    assert (days_of(" 30 "), days_of("")) == (30, None)
    for text in ("0", "-1", "1.5", "x", "٣", str(LONGEST_DAYS + 1), "9" * 1000):
        with pytest.raises(Invalid):
            days_of(text)


# -- sessions


@pytest_twisted.ensureDeferred
async def test_sessions_are_listed_and_ended_each_by_whose_it_is(house):
    first = await account(house)
    second = await another(house)
    other = await account(house, "joan")
    page = await second.get("/account", User_Agent=FIREFOX)
    assert page.heading == "You are signed in in 2 places."
    assert "Chrome on Android" in page.text
    assert "192.0.2.7" in page.text
    (end,) = [form.action for form in page.document.forms if form.action.endswith("/end")]
    assert first.cookies["sayci_session"] not in page.text
    token = (await other.get("/account")).document.form("/sign-out").fields["form_token"]
    assert (await other.post(end, {"form_token": token})).code == 404
    assert (await first.get("/account")).code == 200
    done = await second.submit("/account", end)
    assert (done.code, done.path) == (303, "/account?done=ended")
    page = await second.get(done.path)
    assert page.heading == "You are signed in here, and nowhere else."
    assert "That session has ended." in page.text
    assert (await first.get("/account")).path == "/sign-in?next=%2Faccount"
    assert "the session of this browser has ended" in (await first.get("/sign-in")).text
    assert "the session of this browser has ended" not in (await house.stranger().get("/sign-in")).text


@pytest_twisted.ensureDeferred
async def test_all_others_are_ended_at_once(house):
    browsers = [await account(house), await another(house), await another(house)]
    other = await account(house, "joan")
    done = await browsers[1].submit("/account", "/account/sessions/end-others")
    assert done.path == "/account?done=others"
    assert [(await browser.get("/account")).code for browser in (*browsers, other)] == [303, 200, 303, 200]
    forms = [form.action for form in (await browsers[1].get("/account")).document.forms]
    assert "/account/sessions/end-others" not in forms


@pytest_twisted.ensureDeferred
async def test_who_has_signed_in_with_a_link_has_sessions_and_nothing_else(house):
    admins = []
    for _ in range(2):
        browser = house.stranger()
        code = await house.sign_in.new_code()
        assert (await browser.submit(f"/sign-in?code={code}", "/sign-in")).code == 303
        admins.append(browser)
    await account(house)
    page = await admins[0].get("/account")
    assert page.heading == "You are signed in in 2 places."
    assert "You have signed in with a link of the server" in page.text
    actions = [form.action for form in page.document.forms]
    assert ("/account/password" in actions, "/account/tokens" in actions) == (False, False)
    token = page.document.form("/sign-out").fields["form_token"]
    fields = {
        "form_token": token,
        "old": GOOD,
        "new": BETTER,
        "again": BETTER,
        "name": "x",
        "access": "read",
        "days": "",
    }
    assert (await admins[0].post("/account/password", fields)).code == 403
    assert (await admins[0].post("/account/tokens", fields)).code == 422
    assert await house.store.tokens() == []


# -- the password


@pytest_twisted.ensureDeferred
async def test_the_password_is_changed_by_who_knows_the_old_one(house):
    first = await account(house)
    second = await another(house)
    before = second.cookies["sayci_session"]
    wrong = (
        ({"old": "wrong", "new": BETTER, "again": BETTER}, "That is not your password."),
        ({"old": GOOD, "new": BETTER, "again": BETTER + "x"}, "differ"),
        ({"old": GOOD, "new": "short", "again": "short"}, "10 to 200 characters"),
    )
    for fields, words in wrong:
        seen = await second.submit("/account", "/account/password", **fields)
        assert (seen.code, words in seen.text) == (422, True), fields
        assert not any(value in seen.text for value in (BETTER, GOOD))
    seen = await second.submit("/account", "/account/password", old=GOOD, new=BETTER, again=BETTER)
    assert (seen.code, seen.path) == (303, "/account?done=password")
    assert second.cookies["sayci_session"] != before
    assert "Your password is changed." in (await second.get(seen.path)).text
    assert (await first.get("/account")).code == 303
    assert (await house.stranger().submit("/sign-in", "/sign-in", name="grace", password=GOOD)).code == 403
    assert (await house.stranger().submit("/sign-in", "/sign-in", name="grace", password=BETTER)).code == 303


@pytest_twisted.ensureDeferred
async def test_guessing_the_old_password_is_slowed_down(house):
    browser = await account(house)
    codes = []
    for _ in range(25):
        page = await browser.submit("/account", "/account/password", old="wrong", new=BETTER, again=BETTER)
        codes.append(page.code)
    assert (codes[0], codes[-1]) == (422, 429)
    assert page.heading == "Too many wrong tries"


def test_the_passwords_of_these_tests_are_good_ones():
    assert check_password(GOOD, "grace") != check_password(BETTER, "grace")


# -- tokens


@pytest_twisted.ensureDeferred
async def test_a_token_is_made_shown_once_and_removed(house):
    browser = await account(house, role=Access.BUILD)
    made = await browser.submit("/account", "/account/tokens", name="laptop", access="build", days="30")
    assert (made.code, made.heading) == (200, "laptop is made.")
    assert made.header("cache-control") == "no-store"
    (secret,) = [value for value in made.document.attributes("value") if value.startswith("sayci_")]
    assert made.text.count(secret) == 1
    actor = await house.sign_in.actor_of_token(secret)
    assert (actor.name, actor.access) == ("grace", Access.BUILD)
    page = await browser.get("/account")
    assert secret not in page.text
    assert "laptop" in page.text
    (token,) = await house.store.tokens()
    done = await browser.submit("/account", f"/account/tokens/{token.id}/remove")
    assert done.path == "/account?done=token"
    assert await house.store.tokens() == []


@pytest_twisted.ensureDeferred
async def test_a_token_that_cannot_be_is_refused_beside_the_form(house):
    browser = await account(house)
    wrong = (
        {"name": "", "access": "read", "days": "1"},
        {"name": "x", "access": "admin", "days": "1"},
        {"name": "x", "access": "root", "days": "1"},
        {"name": "x", "access": "read", "days": "0"},
    )
    for fields in wrong:
        seen = await browser.submit("/account", "/account/tokens", **fields)
        assert (seen.code, seen.heading) == (422, "Nothing was changed."), fields
    assert await house.store.tokens() == []
    other = await account(house, "joan")
    await other.submit("/account", "/account/tokens", name="hers", access="read", days="")
    (token,) = await house.store.tokens()
    form_token = (await browser.get("/account")).document.form("/sign-out").fields["form_token"]
    assert (await browser.post(f"/account/tokens/{token.id}/remove", {"form_token": form_token})).code == 404
    assert await house.store.tokens() == [token]


@pytest_twisted.ensureDeferred
async def test_a_member_sees_the_projects_that_are_granted(house):
    browser = await account(house, role=Access.NONE)
    assert "No project has granted you a role yet." in (await browser.get("/account")).text
    project = await house.project("web-shop")
    await house.people.set_member(project.id, "grace", Access.BUILD)
    page = await browser.get("/account")
    assert 'href="/web-shop"' in page.text
    assert "maintainer" in page.document.text("table")
    assert re.findall(r'<option value="(\w+)"', page.text) == ["read", "build"]


# -- all tokens


@pytest_twisted.ensureDeferred
async def test_an_admin_sees_all_tokens_makes_those_of_the_server_and_removes_any(house):
    admin = await house.signed_in()
    grace = await account(house)
    assert (await admin.get("/settings/tokens")).heading == "There are no tokens."
    await grace.submit("/account", "/account/tokens", name="laptop", access="read", days="")
    seen = await admin.submit("/settings/tokens", "/settings/tokens", name="", access="build", days="")
    assert seen.code == 422
    seen = await admin.submit("/settings/tokens", "/settings/tokens", name="release-bot", access="build", days="")
    (secret,) = [value for value in seen.document.attributes("value") if value.startswith("sayci_")]
    assert await house.sign_in.actor_of_token(secret) == Actor("release-bot", Access.BUILD)
    page = await admin.get("/settings/tokens")
    assert page.heading == "The server has 1 token, people have 1."
    assert ("grace" in page.document.text("table"), secret in page.text) == (True, False)
    for token in await house.store.tokens():
        assert (await admin.submit("/settings/tokens", f"/settings/tokens/{token.id}/remove")).code == 303
    assert await house.store.tokens() == []
    assert 'href="/settings/tokens"' in (await admin.get("/settings/people")).text
