"""The way to GitHub and back, through a GitHub of one's own that is as strict as the real one."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from sayci.account import Access, Origin
from sayci.web.pages_github import BACK, BEGIN, REASONS, REFUSED
from tests.github_server import GitHubServer

pytest_plugins = ["tests.web.page_fixtures"]

GOOD = "correct horse battery"


@pytest.fixture
def github():
    with GitHubServer() as server:
        yield server


@pytest_twisted.async_fixture
async def shop(house, github):
    github.callback = house.served.url(BACK)
    github.repo("acme/shop", octocat="pull")
    return await house.project("shop", url=f"{github.url}/acme/shop.git")


async def leaves(browser, where="/shop"):
    """Where the button leads."""
    seen = await browser.submit(f"/sign-in?{urlencode({'next': where})}", BEGIN)
    assert seen.code == 200, seen.text
    (content,) = [attrs["content"] for tag, attrs in seen.document.elements if attrs.get("http-equiv") == "refresh"]
    delay, _, url = content.partition(";url=")
    assert delay == "0"
    assert url in seen.document.attributes("href")
    return url


async def comes_back(browser, github, url):
    came = await deferToThread(github.walk, url)
    return await browser.get(came.removeprefix(browser.origin))


async def signs_in(browser, github, where="/shop"):
    return await comes_back(browser, github, await leaves(browser, where))


def why(seen):
    assert seen.code == 303
    assert urlsplit(seen.path).path == REFUSED
    return dict(parse_qsl(urlsplit(seen.path).query))["why"]


@pytest_twisted.ensureDeferred
async def test_the_button_leads_to_github_and_back_to_the_page_that_one_wanted(house, shop, github):
    browser = house.stranger()
    asked = await browser.get("/shop")
    assert asked.path == "/sign-in?next=%2Fshop"
    seen = await signs_in(browser, github)
    assert (seen.code, seen.path) == (303, "/shop")
    page = await browser.get("/shop")
    assert (page.code, "octocat" in page.text) == (200, True)
    assert set(browser.cookies) == {"sayci_session"}
    assert github.wrong == []


@pytest_twisted.ensureDeferred
async def test_the_cookie_of_a_visit_is_for_this_browser_alone_and_not_for_scripts(house, shop):
    browser = house.stranger()
    seen = await browser.submit("/sign-in", BEGIN)
    (line,) = [line for line in seen.headers["set-cookie"] if line.startswith("sayci_errand=")]
    assert "httponly" in line.lower()
    assert "samesite=lax" in line.lower()
    assert "max-age=600" in line.lower()


@pytest_twisted.ensureDeferred
async def test_no_secret_stays_in_an_address_or_on_a_page(house, shop, github, logged):
    browser = house.stranger()
    url = await leaves(browser)
    came = await deferToThread(github.walk, url)
    code = dict(parse_qsl(urlsplit(came).query))["code"]
    seen = await browser.get(came.removeprefix(browser.origin))
    assert (seen.body, code in seen.path) == (b"", False)
    again = await browser.get(came.removeprefix(browser.origin))
    assert why(again) == "stale"
    assert code not in again.path
    token = next(iter(github.tokens))
    for event in logged:
        assert not any(secret in str(event) for secret in (code, token, "the-client-secret"))


@pytest.mark.parametrize(
    ("word", "change"),
    (
        ("cancelled", lambda github: setattr(github, "visitor", None)),
        ("nobody", lambda github: github.repos.clear()),
        ("nobody", lambda github: github.repo("acme/shop", private=False)),
        ("code", lambda github: github.codes.clear()),
        *[
            ("away", lambda github, mood=mood: setattr(github, "mood", mood))
            for mood in ("500", "huge", "html", "close")
        ],
        ("away", lambda github: github.moods.extend(["ok", "hang"])),
        ("away", lambda github: github.moods.extend(["ok", "ok", "limited"])),
    ),
)
@pytest_twisted.ensureDeferred
async def test_whatever_goes_wrong_is_said_in_words(house, shop, github, word, change):
    browser = house.stranger()
    url = await leaves(browser)
    came = await deferToThread(github.walk, url) if word != "cancelled" else ""
    change(github)
    came = came or await deferToThread(github.walk, url)
    seen = await browser.get(came.removeprefix(browser.origin))
    assert why(seen) == word
    assert "sayci_session" not in browser.cookies
    page = await browser.get(seen.path)
    assert (page.code, page.heading) == REASONS[word][:2]
    assert "/sign-in" in page.document.attributes("href")
    assert await house.store.people() == []


@pytest.mark.parametrize("error", ("redirect_uri_mismatch", "application_suspended", "x" * 3000, "<b>"))
@pytest_twisted.ensureDeferred
async def test_what_github_says_of_the_server_is_for_its_log(house, shop, github, error, logged):
    browser = house.stranger()
    state = dict(parse_qsl(urlsplit(await leaves(browser)).query))["state"]
    answer = await browser.get(f"{BACK}?{urlencode({'error': error[:500], 'state': state})}")
    assert why(answer) == "setup"
    assert any("GitHub failed" in str(event.get("log_format")) for event in logged)


@pytest_twisted.ensureDeferred
async def test_another_browser_cannot_end_what_this_one_began(house, shop, github):
    url = await leaves(house.stranger())
    other = house.stranger()
    await leaves(other)
    assert why(await comes_back(other, github, url)) == "stale"
    assert why(await comes_back(house.stranger(), github, url)) == "stale"


@pytest.mark.parametrize("query", ("", "?code=x", "?state=x", "?code=x&state=y", "?error=access_denied&state="))
@pytest_twisted.ensureDeferred
async def test_who_was_never_sent_there_does_not_come_back(house, shop, query):
    assert why(await house.stranger().get(BACK + query)) == "stale"


@pytest.mark.parametrize(
    "where", ("https://evil.example/", "//evil.example", "/\\evil.example", "/sign-in", "javascript:x")
)
@pytest_twisted.ensureDeferred
async def test_the_way_back_leads_nowhere_else(house, shop, github, where):
    browser = house.stranger()
    form = (await browser.get("/sign-in")).document.form(BEGIN)
    seen = await browser.post(BEGIN, {**form.fields, "next": where})
    url = seen.document.attributes("href")[-1]
    assert (await comes_back(browser, github, url)).path == "/"


@pytest_twisted.ensureDeferred
async def test_the_button_is_a_form_of_ours(house, shop):
    browser = house.stranger()
    form = (await browser.get("/sign-in")).document.form(BEGIN)
    for fields, headers in (
        ({"form_token": "x"}, {}),
        ({}, {}),
        (form.fields, {"Origin": "https://evil.example"}),
        (form.fields, {"Sec_Fetch_Site": "cross-site"}),
    ):
        assert (await browser.post(BEGIN, fields, **headers)).code == 403
    assert "sayci_errand" not in browser.cookies


@pytest.mark.parametrize("why_not", ("", "nonsense", "<script>"))
@pytest_twisted.ensureDeferred
async def test_a_reason_that_is_none_is_the_usual_one(house, shop, why_not):
    seen = await house.stranger().get(f"{REFUSED}?{urlencode({'why': why_not})}")
    assert (seen.code, seen.heading) == REASONS["stale"][:2]


async def ada_of(house, role=Access.READ):
    _, code = await house.people.invite("ada", role)
    secret, _ = await house.people.accept(code, GOOD, Origin())
    browser = house.stranger()
    browser.cookies["sayci_session"] = secret
    return browser


async def links(browser, github):
    token = (await browser.get("/status")).document.form("/sign-out").fields["form_token"]
    seen = await browser.post("/account/github", {"form_token": token, "next": "/status"})
    (url,) = [href for href in seen.document.attributes("href") if href.startswith(github.url)]
    return await comes_back(browser, github, url)


@pytest_twisted.ensureDeferred
async def test_an_account_is_linked_and_unlinked(house, shop, github):
    browser = await ada_of(house)
    seen = await links(browser, github)
    assert (seen.code, seen.path) == (303, "/status")
    ada = await house.store.person("ada")
    assert await house.forge_people._identities.access(ada.id) == {shop.id: Access.READ}
    other = house.stranger()
    await signs_in(other, github)
    assert "ada, " in (await other.get("/")).text
    token = (await browser.get("/status")).document.form("/sign-out").fields["form_token"]
    assert (await browser.post("/account/github/remove", {"form_token": token})).path == "/"
    assert await house.forge_people._identities.linked(ada.id) is None


@pytest_twisted.ensureDeferred
async def test_an_account_that_is_somebody_elses_is_not_linked(house, shop, github):
    await signs_in(house.stranger(), github)
    browser = await ada_of(house)
    assert why(await links(browser, github)) == "taken"
    page = await browser.get(f"{REFUSED}?why=taken")
    assert (page.code, "All projects" in page.text) == (409, True)


@pytest_twisted.ensureDeferred
async def test_who_has_no_account_here_has_none_to_link(house, shop):
    browser = await house.signed_in()
    token = (await browser.get("/status")).document.form("/sign-out").fields["form_token"]
    for path in ("/account/github", "/account/github/remove"):
        assert (await browser.post(path, {"form_token": token})).code == 403


@pytest.mark.parametrize("github", (None,), ids=("none",))
@pytest_twisted.ensureDeferred
async def test_where_nobody_signs_in_that_way_there_is_no_way(house, github):
    browser = house.stranger()
    page = (await browser.get("/sign-in")).document
    assert BEGIN not in [form.action for form in page.forms]
    fields = page.form("/sign-in").fields
    assert (await browser.post(BEGIN, fields)).code == 404
    for path in (f"{BACK}?code=x&state=y", REFUSED):
        assert (await browser.get(path)).code == 404


@pytest.mark.parametrize("public_url", ("https://ci.example",))
@pytest_twisted.ensureDeferred
async def test_over_https_the_cookie_is_for_this_host_alone(house, github, public_url):
    seen = await house.stranger().submit("/sign-in", BEGIN)
    (line,) = [line for line in seen.headers["set-cookie"] if "errand" in line]
    assert line.startswith("__Host-sayci_errand=")
    assert "secure" in line.lower()
    assert "redirect_uri=https%3A%2F%2Fci.example%2Fsign-in%2Fgithub%2Fcallback" in seen.document.attributes("href")[-1]


@pytest_twisted.ensureDeferred
async def test_an_admin_sees_who_comes_by_github(house, shop, github):
    admin = await house.signed_in()
    assert "GitHub" not in (await admin.get("/shop/settings/people")).text
    github.repos["acme/shop"].levels["octocat"] = "maintain"
    await house.store.add_person("octocat", Access.READ, 0.0)
    await signs_in(house.stranger(), github)
    tables = (await admin.get("/shop/settings/people")).document.text("table")
    assert tables == "Name Role by GitHub octocat-2 maintainer"
    people = (await admin.get("/settings/people")).document.text("tbody")
    assert "octocat-2 at GitHub octocat" in people
    assert people.count("has no password yet") == 1


@pytest_twisted.ensureDeferred
async def test_the_page_of_the_account_links_it_and_takes_it_back(house, shop, github):
    browser = await ada_of(house)
    seen = await browser.submit("/account", "/account/github")
    (url,) = [href for href in seen.document.attributes("href") if href.startswith(github.url)]
    assert (await comes_back(browser, github, url)).path == "/account"
    assert "You sign in as octocat at GitHub, too." in (await browser.get("/account")).document.text("main")
    assert (await browser.submit("/account", "/account/github/remove")).path == "/account"
    assert "Link GitHub" in (await browser.get("/account")).document.text("main")
    other = house.stranger()
    await signs_in(other, github)
    page = (await other.get("/account")).document
    assert "set a password before you unlink it" in page.text("main")
    assert "/account/github/remove" not in [form.action for form in page.forms]


@pytest.mark.parametrize("github", (None,), ids=("none",))
@pytest_twisted.ensureDeferred
async def test_the_page_of_the_account_says_nothing_of_it_where_there_is_no_way(house, github):
    assert "GitHub" not in (await (await ada_of(house)).get("/account")).text
