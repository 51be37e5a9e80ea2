"""session.py: cookies, and forms that are ours."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

from sayci.account import Access
from sayci.sign_in import SESSION_LIFETIME
from sayci.web.frame import POLICY
from sayci.web.session import local_path
from tests.factories import NOW
from tests.tls import self_signed

pytest_plugins = ["tests.web.page_fixtures"]

TRUSTING = CertificateOptions(verify=False)


@pytest.mark.parametrize(
    "path", ("/", "/janet", "/janet/12?x=1#test-3", "/sign-inbox", "/a%2F%2Fb", "/..//evil.example")
)
def test_paths_of_ours(path):
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    (
        "",
        "janet",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\u2044evil",
        "/a\r\nSet-Cookie: x=y",
        "/sign-in",
        "/sign-in?next=/sign-in",
        "/sign-out",
        "/" + "x" * 1000,
    ),
)
def test_what_might_lead_elsewhere_or_in_circles_leads_home(path):
    assert local_path(path) == "/"


@given(st.text(alphabet=st.sampled_from("/\\ab.:@?#\t\n%2Fhtps"), max_size=20).map("/".__add__))
def test_no_path_leaves_the_site(path):
    passed = local_path(path)
    cleaned = passed.replace("\\", "/").translate(dict.fromkeys(map(ord, "\t\r\n")))  # as browsers read it
    assert urlsplit(urljoin("https://ci.example/deep/page", cleaned)).netloc == "ci.example"
    assert passed.isprintable()


# -- cookies


async def sign_in(house, browser):
    """Sign in with a fresh code; answers the POST."""
    return await browser.submit("/sign-in", "/sign-in", code=await house.sign_in.new_code())


def cookie_line(seen, name):
    (line,) = [line for line in seen.headers["set-cookie"] if line.startswith(f"{name}=")]
    return line


@pytest_twisted.ensureDeferred
async def test_the_session_s_cookie_is_for_this_site_s_requests_alone(house):
    line = cookie_line(await sign_in(house, house.stranger()), "sayci_session")
    value, *attributes = line.split("; ")
    assert len(value) > len("sayci_session=") + 40
    assert sorted(attribute.lower() for attribute in attributes) == [
        "httponly",
        f"max-age={int(SESSION_LIFETIME)}",
        "path=/",
        "samesite=lax",
    ]


@pytest.mark.parametrize("public_url", ("https://ci.example",))
@pytest_twisted.ensureDeferred
async def test_over_https_the_cookie_is_bound_to_the_host(house):
    browser = house.stranger()
    await browser.get("/sign-in")
    assert list(browser.cookies) == ["__Host-sayci_visitor"]
    attributes = cookie_line(await sign_in(house, browser), "__Host-sayci_session").lower().split("; ")
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(attributes)
    assert not any(attribute.startswith("domain") for attribute in attributes)


@pytest.mark.parametrize("public_url", ("https://ci.example",))
@pytest_twisted.ensureDeferred
async def test_over_https_a_cookie_without_the_prefix_is_none(house):
    browser = await house.signed_in()
    assert (await browser.get("/")).code == 303
    browser.cookies["__Host-sayci_session"] = browser.cookies.pop("sayci_session")
    assert (await browser.get("/")).code == 200


async def cookies_of(served, dial, path, tls=None, cookie=""):
    """The lines that set cookies in the answer to a GET, and its code."""
    wire = await dial(served, tls=tls)
    wire.send(f"GET {path} HTTP/1.1\r\nHost: ci.example\r\nCookie: {cookie}\r\n\r\n".encode())
    answer = await wire.answer()
    return [value for name, value in answer.pairs if name == "set-cookie"], answer


@pytest.fixture
def certificate(tmp_path):
    made = self_signed(tmp_path, "ci.example")
    return PrivateCertificate.loadPEM(made.key.read_bytes() + made.certificate.read_bytes()).options()


@pytest_twisted.ensureDeferred
async def test_a_request_by_tls_has_cookies_for_tls_whatever_the_public_address_says(house, serve, dial, certificate):
    served = await serve(house.pages.resource(), tls=certificate)
    [line], answer = await cookies_of(served, dial, "/sign-in", TRUSTING)
    assert line.startswith("__Host-sayci_visitor=")
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(line.lower().split("; "))
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest_twisted.ensureDeferred
async def test_sessions_by_tls_and_without_it_are_kept_apart(house, serve, dial, certificate):
    browser = await house.signed_in()
    planted = f"sayci_session={browser.cookies['sayci_session']}"
    served = await serve(house.pages.resource(), tls=certificate)
    assert (await cookies_of(served, dial, "/", TRUSTING, planted))[1].code == 303
    assert (await cookies_of(served, dial, "/", TRUSTING, f"__Host-{planted}"))[1].code == 200
    assert (await cookies_of(house.served, dial, "/", None, planted))[1].code == 200
    assert (await cookies_of(house.served, dial, "/", None, f"__Host-{planted}"))[1].code == 303


@pytest_twisted.ensureDeferred
async def test_a_header_does_not_make_a_plain_request_a_secure_one(house):
    browser = house.stranger()
    await browser.get("/sign-in", X_Forwarded_Proto="https", Forwarded="proto=https")
    assert list(browser.cookies) == ["sayci_visitor"]


@pytest_twisted.ensureDeferred
async def test_a_session_ends_after_its_time(house):
    browser = house.stranger()
    await sign_in(house, browser)
    assert (await browser.get("/")).code == 200
    house.now[0] += SESSION_LIFETIME
    assert (await browser.get("/")).path == "/sign-in?next=%2F"


@pytest_twisted.ensureDeferred
async def test_signing_out_ends_the_session_and_not_only_the_cookie(house):
    browser = house.stranger()
    await sign_in(house, browser)
    kept = dict(browser.cookies)
    assert (await browser.submit("/", "/sign-out")).path == "/sign-in"
    assert "sayci_session" not in browser.cookies
    browser.cookies = kept
    assert (await browser.get("/")).code == 303


@pytest_twisted.ensureDeferred
async def test_signing_in_makes_a_new_session_and_ends_the_one_before(house):
    browser = house.stranger()
    await sign_in(house, browser)
    first = dict(browser.cookies)
    code = await house.sign_in.new_code()
    await browser.submit(f"/sign-in?code={code}", "/sign-in")
    assert browser.cookies["sayci_session"] != first["sayci_session"]
    browser.cookies = first
    assert (await browser.get("/")).code == 303


@pytest_twisted.ensureDeferred
async def test_a_session_that_somebody_planted_is_not_taken_up(house):
    browser = house.stranger()
    browser.cookies["sayci_session"] = "planted-by-somebody-else-long-enough"
    await sign_in(house, browser)
    assert browser.cookies["sayci_session"] != "planted-by-somebody-else-long-enough"


@pytest.mark.parametrize("value", ("", "x", "x" * 5000, "\u00e9" * 40, "a b" * 20, "'; DROP TABLE sessions; --" * 2))
@pytest_twisted.ensureDeferred
async def test_other_cookies_are_nobody(house, value):
    browser = house.stranger()
    seen = await browser.get("/", Cookie=f"sayci_session={value}".encode().decode("latin-1"))
    assert seen.code == 303


# -- forms


@pytest.fixture
def theme_form():
    """A form that changes something which can be seen in a cookie."""
    return {"theme": "dark", "next": "/"}


async def token(browser, page="/"):
    return (await browser.get(page)).document.form("/theme").fields["form_token"]


@pytest_twisted.ensureDeferred
async def test_a_form_with_its_token_is_taken(house, theme_form):
    browser = await house.signed_in()
    seen = await browser.post("/theme", {**theme_form, "form_token": await token(browser)})
    assert seen.code == 303
    assert browser.cookies["sayci_theme"] == "dark"


@pytest.mark.parametrize("wrong", ("", "x", "0" * 64, "\u00e9", "0" * 100_000))
@pytest_twisted.ensureDeferred
async def test_a_wrong_token_changes_nothing(house, theme_form, wrong):
    browser = await house.signed_in()
    seen = await browser.post("/theme", {**theme_form, "form_token": wrong})
    assert seen.code == 403
    assert seen.heading == "The form is older than your sign-in"
    assert "sayci_theme" not in browser.cookies


@pytest_twisted.ensureDeferred
async def test_a_missing_token_changes_nothing(house, theme_form):
    browser = await house.signed_in()
    assert (await browser.post("/theme", theme_form)).code == 403


@pytest_twisted.ensureDeferred
async def test_the_token_of_another_session_changes_nothing(house, theme_form):
    ada, eve = await house.signed_in(), await house.signed_in(Access.READ, "eve")
    seen = await ada.post("/theme", {**theme_form, "form_token": await token(eve)})
    assert seen.code == 403


@pytest_twisted.ensureDeferred
async def test_a_stranger_s_token_is_worth_nothing_once_signed_in(house, theme_form):
    browser = house.stranger()
    before = await token(browser, "/sign-in")
    await sign_in(house, browser)
    assert (await browser.post("/theme", {**theme_form, "form_token": before})).code == 403


@pytest_twisted.ensureDeferred
async def test_without_any_cookie_no_form_is_ours(house, theme_form):
    browser = house.stranger()
    fields = {**theme_form, "form_token": await token(browser, "/sign-in")}
    browser.cookies.clear()
    assert (await browser.post("/theme", fields)).code == 403


@pytest.mark.parametrize(
    "headers",
    (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_form_of_another_site_changes_nothing_although_its_token_is_right(house, theme_form, headers):
    browser = await house.signed_in()
    fields = {**theme_form, "form_token": await token(browser)}
    seen = await browser.post("/theme", fields, **headers)
    assert seen.code == 403
    assert seen.heading == "The form was sent by another site"
    assert "sayci_theme" not in browser.cookies


@pytest.mark.parametrize("headers", ({"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {}))
@pytest_twisted.ensureDeferred
async def test_a_form_of_this_site_is_taken(house, theme_form, headers):
    browser = await house.signed_in()
    fields = {**theme_form, "form_token": await token(browser)}
    assert (await browser.post("/theme", fields, **headers)).code == 303


@pytest.mark.parametrize("public_url", ("https://ci.example", "https://CI.example:443", "https://ci.example/"))
@pytest_twisted.ensureDeferred
async def test_the_public_address_is_ours_whatever_stands_before_the_server(house, theme_form):
    browser = house.stranger()
    fields = {**theme_form, "form_token": await token(browser, "/sign-in")}
    assert (await browser.post("/theme", fields, Origin="https://ci.example")).code == 303
    assert (await browser.post("/theme", fields, Origin="http://ci.example")).code == 403
    assert (await browser.post("/theme", fields, Origin="https://ci.example:8443")).code == 403


@pytest_twisted.ensureDeferred
async def test_a_form_of_the_same_name_over_another_scheme_is_another_site_s(house, theme_form):
    browser = await house.signed_in()
    fields = {**theme_form, "form_token": await token(browser)}
    secure = browser.origin.replace("http://", "https://")
    assert (await browser.post("/theme", fields, Origin=secure)).code == 403


@pytest_twisted.ensureDeferred
async def test_what_is_asked_by_a_stranger_of_another_site_is_refused_before_signing_in(house):
    await house.project()
    seen = await house.stranger().post("/web-shop/build", {}, Origin="https://evil.example")
    assert seen.code == 403


@pytest_twisted.ensureDeferred
async def test_the_store_keeps_no_cookie(house):
    browser = house.stranger()
    await sign_in(house, browser)
    assert await house.store.actor_of_session(browser.cookies["sayci_session"].encode(), NOW) is None
