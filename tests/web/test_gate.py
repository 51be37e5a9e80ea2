"""gate.py and account.decide: every route of the pages and of the API, for every kind of visitor, against one table.

A route that is not in the table fails: whoever adds one has to say who may ask it.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import Access, Actor, Decision, Ground, Origin, decide
from sayci.project import Visibility
from sayci.web import api as web_api
from tests.browser import town
from tests.web.api_fixtures import House as ApiHouse

pytest_plugins = ["tests.web.page_fixtures"]

GOOD = "correct horse battery"
#: What each page takes: who may ask for it.
PAGES = {
    "GET /": "home",
    "GET /deploys": "home",
    "GET /deliveries": "admin",
    "GET /feed.atom": "home",
    "GET /cc.xml": "home",
    "GET /sign-in": "open",
    "POST /sign-in": "open",
    "GET /sign-in/invitation": "open",
    "POST /sign-in/invitation": "open",
    "POST /sign-in/github": "open",
    "GET /sign-in/github/callback": "open",
    "GET /sign-in/github/refused": "open",
    "POST /account/github": "anybody",
    "POST /account/github/remove": "anybody",
    "POST /sign-out": "open",  # leads everybody to the form for signing in
    "POST /theme": "open",
    "GET /static/<name>": "open",
    "GET /status": "anybody",
    "GET /new": "admin",
    "POST /new": "admin",
    "GET /account": "anybody",
    "POST /account/password": "anybody",
    "POST /account/sessions/end-others": "anybody",
    "POST /account/sessions/<session>/end": "anybody",
    "POST /account/tokens": "anybody",
    "POST /account/tokens/<token>/remove": "anybody",
    "GET /settings/tokens": "admin",
    "POST /settings/tokens": "admin",
    "POST /settings/tokens/<token>/remove": "admin",
    "GET /settings/people": "admin",
    "POST /settings/people": "admin",
    "POST /settings/people/<person>/role": "admin",
    "POST /settings/people/<person>/invitation": "admin",
    "POST /settings/people/<person>/remove": "admin",
    "GET /<project>": "look",
    "GET /<project>/badge.svg": "look",
    "GET /<project>/feed.atom": "look",
    "GET /<project>/cc.xml": "look",
    "GET /<project>/<number>": "look",
    "GET /<project>/<number>/<step>.log": "look",
    "GET /<project>/<number>/<step>/lines": "look",
    "GET /<project>/<number>/find": "look",
    "POST /<project>/build": "maintain",
    "POST /<project>/<number>/cancel": "maintain",
    "POST /<project>/<number>/rebuild": "maintain",
    "POST /<project>/<number>/deploy": "maintain",
    "GET /<project>/deploys": "look",
    "POST /<project>/<number>/answer": "maintain",
    "GET /<project>/deliveries": "maintain",
    "GET /<project>/deliveries/<delivery>": "maintain",
    "POST /<project>/deliveries/<delivery>/replay": "maintain",
    "GET /<project>/settings": "configure",
    "POST /<project>/settings": "configure",
    "POST /<project>/settings/environment": "configure",
    "POST /<project>/settings/environment/remove": "configure",
    "POST /<project>/settings/access-token": "configure",
    "GET /<project>/settings/webhook": "configure",
    "POST /<project>/settings/webhook-secret": "configure",
    "POST /<project>/settings/remove": "configure",
    "GET /<project>/settings/people": "configure",
    "POST /<project>/settings/people": "configure",
    "POST /<project>/settings/people/visibility": "configure",
    "POST /<project>/settings/people/<person>/remove": "configure",
}
#: The same of the API's operations.
OPERATIONS = {
    "sign_in": "open",
    "me": "anybody",
    "status": "anybody",
    "list_projects": "anybody",
    "list_tokens": "admin",
    "make_token": "admin",
    "remove_token": "admin",
    "list_own_tokens": "anybody",
    "make_own_token": "anybody",
    "remove_own_token": "anybody",
    "list_people": "admin",
    "invite_person": "admin",
    "change_person": "admin",
    "remove_person": "admin",
    "invite_again": "admin",
    "register_project": "admin",
    "show_project": "look",
    "list_builds": "look",
    "show_build": "look",
    "show_step": "look",
    "read_log": "look",
    "list_deploys": "look",
    "show_deploy": "look",
    "list_statuses": "look",
    "start_build": "maintain",
    "cancel_build": "maintain",
    "rebuild": "maintain",
    "start_deploy": "maintain",
    "list_deliveries": "maintain",
    "show_delivery": "maintain",
    "replay_delivery": "maintain",
    "change_project": "configure",
    "remove_project": "configure",
    "replace_webhook_secret": "configure",
    "list_variables": "configure",
    "set_variable": "configure",
    "remove_variable": "configure",
    "list_members": "configure",
    "set_member": "configure",
    "remove_member": "configure",
}
VISITORS = ("stranger", "member elsewhere", "viewer here", "maintainer here", "viewer", "maintainer", "admin")
YES, IN, NO, HIDDEN = Decision.ALLOWED, Decision.SIGN_IN, Decision.FORBIDDEN, Decision.HIDDEN
#: For each visitor, in that order, what becomes of the request; of a project for a private one.
EXPECTED = {
    "open": (YES, YES, YES, YES, YES, YES, YES),
    "home": (IN, YES, YES, YES, YES, YES, YES),  # strangers see it where something is public: see below
    "anybody": (IN, YES, YES, YES, YES, YES, YES),
    "admin": (IN, NO, NO, NO, NO, NO, YES),
    "look": (IN, HIDDEN, YES, YES, YES, YES, YES),
    "maintain": (IN, HIDDEN, NO, YES, NO, YES, YES),
    "configure": (IN, HIDDEN, NO, NO, NO, NO, YES),
}
#: The same where the project is public.
OF_PUBLIC = {
    "look": (YES, YES, YES, YES, YES, YES, YES),
    "maintain": (IN, NO, NO, YES, NO, YES, YES),
    "configure": (IN, NO, NO, NO, NO, NO, YES),
}
ACCESS = {"viewer": Access.READ, "maintainer": Access.BUILD, "admin": Access.ADMIN}


async def project_of(house, visibility):
    project = await house.project("secret-plans", visibility=visibility)
    await house.build(project)
    return project


async def person_for(house, kind, project):
    """Signs somebody in; answers the session's secret, None for a stranger."""
    if kind == "stranger":
        return None
    name = "the-" + kind.replace(" ", "-")
    role, _, here = kind.partition(" ")
    _, code = await house.people.invite(name, Access.NONE if here else ACCESS[role])
    if here == "here":
        await house.store.set_member(project.id, name, ACCESS[role])
    if here == "elsewhere":
        other = await house.project("other")
        await house.store.set_member(other.id, name, Access.BUILD)
    secret, _ = await house.people.accept(code, GOOD, Origin())
    return secret


def decision_of(seen):
    """What the answer of a page says; whatever else is wrong with the request was looked at later."""
    if seen.code == 303 and seen.path.startswith("/sign-in"):
        return IN
    if seen.code == 403:
        return NO
    if seen.code == 404 and "There is no project" in seen.text:
        return HIDDEN
    if "json" in seen.header("content-type"):
        return told_decision_of(seen)
    return YES


def told_decision_of(seen):
    """The same of an answer to a program."""
    if seen.code == 404 and seen.header("content-type").endswith("json"):
        return HIDDEN if json.loads(seen.body)["error"] == "unknown_project" else YES
    return {401: IN, 403: NO}.get(seen.code, YES)


def address_of(rule):
    parts = {
        "project": "secret-plans",
        "number": "1",
        "step": "test",
        "delivery": "999",
        "person": "nobody",
        "session": "0" * 24,
        "token": "999",
        "name": "none.css",
    }
    return re.sub(r"<(\w+)>", lambda match: parts[match[1]], rule)


def routes_of(pages):
    return {rule.endpoint for rule in pages._frame._app.url_map.iter_rules()}


#: What is not a page for eyes, or is looked at by tests of its own.
NOT_IN_THE_GALLERY = {
    "/static/<name>",
    "/feed.atom",
    "/cc.xml",
    "/<project>/feed.atom",
    "/<project>/cc.xml",
    "/<project>/badge.svg",
    "/sign-in/github/callback",
    "/<project>/<number>/<step>.log",
    "/<project>/<number>/<step>/lines",
    "/<project>/<number>/find",
}


def test_every_page_is_in_the_gallery():
    pages = {endpoint.removeprefix("GET ") for endpoint in PAGES if endpoint.startswith("GET ")}
    seen = {view.path.partition("?")[0].replace("{invitation}", "/sign-in/invitation") for view in town.PAGES.values()}
    patterns = {
        page: re.sub(r"<(number|delivery)>", r"[0-9]+", re.sub(r"<project>", r"[a-z-]+", page)) for page in pages
    }
    missing = {page for page, pattern in patterns.items() if not any(re.fullmatch(pattern, path) for path in seen)}
    assert missing == NOT_IN_THE_GALLERY


def test_the_tables_have_every_route_and_no_other():
    assert {route.name for route in web_api.routes()} == set(OPERATIONS)


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize("kind", VISITORS)
@pytest_twisted.ensureDeferred
async def test_every_page_for_every_visitor(house, kind, visibility):
    assert routes_of(house.pages) == set(PAGES)
    project = await project_of(house, visibility)
    secret = await person_for(house, kind, project)
    browser = house.stranger()
    if secret is not None:
        browser.cookies["sayci_session"] = secret
    token = ""
    if secret is not None:
        token = (await browser.get("/status")).document.form("/sign-out").fields["form_token"]
    wrong: list[object] = []
    # Those that end something come last.
    for endpoint, needs in sorted(
        PAGES.items(), key=lambda item: ("sign-out" in item[0], "settings/remove" in item[0])
    ):
        if needs == "open":
            continue
        method, _, rule = endpoint.partition(" ")
        address = address_of(rule)
        seen = await (browser.get(address) if method == "GET" else browser.post(address, {"form_token": token}))
        expected = EXPECTED[needs][VISITORS.index(kind)]
        if visibility is Visibility.PUBLIC:
            expected = OF_PUBLIC.get(needs, EXPECTED[needs])[VISITORS.index(kind)]
            if needs == "home":
                expected = YES
        if decision_of(seen) is not expected:
            wrong.append((endpoint, expected, seen.code, seen.path))
        if method == "GET":
            told = await browser.get(address, Accept="application/json")
            if told_decision_of(told) is not expected:
                wrong.append((endpoint, "as JSON", expected, told.code))
            assert "Sell more shoes" not in told.text or expected is YES, endpoint
        # Whoever may not look learns neither that there is something nor what.
        if visibility is Visibility.PRIVATE and expected in (IN, HIDDEN):
            assert "Sell more shoes" not in seen.text, endpoint
            assert "team/" not in seen.text, endpoint
        if endpoint.endswith("settings/people/visibility"):
            assert (await house.store.project("secret-plans")).settings.visibility is visibility
    assert wrong == []


@pytest.mark.parametrize("kind", ("stranger", "member elsewhere"))
@pytest_twisted.ensureDeferred
async def test_a_hidden_project_is_answered_as_one_that_is_not_there(house, kind):
    project = await project_of(house, Visibility.PRIVATE)
    browser = house.stranger()
    secret = await person_for(house, kind, project)
    if secret is not None:
        browser.cookies["sayci_session"] = secret
    for rest in (
        "",
        "/1",
        "/99",
        "/1/test.log",
        "/badge.svg",
        "/deliveries",
        "/settings",
        "/settings/people",
        "?page=x",
        "/x/y/z",
    ):
        for accept in ("*/*", "text/event-stream", "application/json"):
            answers = []
            for name in ("secret-plans", "no-such-thing"):
                seen = await browser.get(f"/{name}{rest}", Accept=accept)
                text = re.sub(r'value="[0-9a-f]{64}"', "", seen.text)
                answers.append((seen.code, seen.path.replace(name, "NAME"), text.replace(name, "NAME")))
            assert answers[0] == answers[1], (rest, accept)


@pytest_twisted.ensureDeferred
async def test_home_and_its_counts_show_what_one_may_see(house):
    secret_plans = await house.project("secret-plans")
    own = await house.project("own")
    shown = await house.project("shown", visibility=Visibility.PUBLIC)
    for project in (secret_plans, own, shown):
        await house.running(project)
    _, code = await house.people.invite("grace", Access.NONE)
    secret, _ = await house.people.accept(code, GOOD, Origin())
    browser = house.stranger()
    browser.cookies["sayci_session"] = secret
    seen = await browser.get("/")
    assert ("secret-plans" in seen.text, "own" in seen.text.split(), "shown" in seen.text) == (False, False, True)
    await house.store.set_member(own.id, "grace", Access.READ)
    seen = await browser.get("/")
    assert "secret-plans" not in seen.text
    assert 'href="/own"' in seen.text
    assert "1 running, 0 waiting" in seen.text
    seen = await house.stranger().get("/?show=running&sort=name&q=")
    assert ("secret-plans" in seen.text, 'href="/own"' in seen.text, 'href="/shown"' in seen.text) == (
        False,
        False,
        True,
    )
    everything = await (await house.signed_in()).get("/")
    assert "3 running, 0 waiting" in everything.text
    await house.store.set_member(own.id, "grace", None)
    assert 'href="/own"' not in (await browser.get("/")).text


@pytest_twisted.ensureDeferred
async def test_a_grant_reaches_in_its_project_and_the_page_offers_what_it_allows(house):
    project = await project_of(house, Visibility.PRIVATE)
    other = await house.project("other")
    browser = house.stranger()
    browser.cookies["sayci_session"] = await person_for(house, "maintainer here", project)
    await house.store.set_member(other.id, "the-maintainer-here", Access.READ)
    assert [form.action for form in (await browser.get("/secret-plans/1")).document.forms].count(
        "/secret-plans/1/cancel"
    ) == 1
    assert 'href="/other/deliveries"' not in (await browser.get("/other")).text
    assert (await browser.get("/new")).code == 403


@pytest_twisted.ensureDeferred
async def test_visibility_and_members_are_set_on_their_page(house):
    await house.project("web-shop")
    admin = await house.signed_in()
    await house.people.invite("grace", Access.NONE)
    page, action = "/web-shop/settings/people", "/web-shop/settings/people"
    assert (await admin.get(page)).heading == "web-shop is private."
    assert (await admin.submit(page, f"{action}/visibility")).path == page
    assert (await admin.get(page)).heading == "Everybody can look at web-shop."
    form = (await admin.get(page)).document.form(action)
    fields = {"form_token": form.fields["form_token"], "name": "grace", "role": "maintainer"}
    assert (await admin.post(action, fields)).path == page
    assert [(each.name, each.role) for each in await house.store.members(1)] == [("grace", Access.BUILD)]
    for changes in ({"role": "admin"}, {"name": "nobody"}, {"role": ""}):
        assert (await admin.post(action, {**fields, **changes})).code == 422
    assert (await admin.submit(page, f"{action}/grace/remove")).path == page
    assert await house.store.members(1) == []


# -- the API


@pytest_twisted.async_yield_fixture
async def api(store, ledger, bus, sources, http, serve, logs):
    opened = ApiHouse(store, ledger, bus, sources, logs, http)
    await opened.open(serve)
    yield opened
    await opened.close()


TOKENS = {"read": "viewer", "build": "maintainer", "admin": "admin", "": "stranger"}


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize("word", TOKENS)
@pytest_twisted.ensureDeferred
async def test_every_operation_for_every_token_and_for_none(api, word, visibility):
    project = await api.project("secret-plans", visibility=visibility)
    await api.build(project)
    token = api.tokens[Access[word.upper()]] if word else ""
    parts = {"project": "secret-plans", "number": "1", "step": "test", "id": "999", "person": "nobody", "variable": "X"}
    parts["commit"] = "0" * 40
    wrong = []
    for route in sorted(web_api.routes(), key=lambda route: route.name == "remove_project"):
        needs = OPERATIONS[route.name]
        if needs == "open":
            continue
        address = re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], route.path)
        reply = await api.ask(route.method, address, token=token)
        got = {401: IN, 403: NO}.get(reply.code, YES)
        if reply.code == 404 and reply.said["error"] == "unknown_project":
            got = HIDDEN
        table = OF_PUBLIC if visibility is Visibility.PUBLIC and needs in OF_PUBLIC else EXPECTED
        expected = table[needs][VISITORS.index(TOKENS[word])]
        if got is not expected:
            wrong.append((route.name, expected, reply.code))
        if expected is IN:
            assert b"shoes" not in reply.body
    assert wrong == []


@pytest_twisted.ensureDeferred
async def test_a_stranger_to_the_api_cannot_tell_private_from_absent(api):
    await api.project("secret-plans")
    for rest in ("", "/builds", "/builds/1", "/environment", "?x=1"):
        replies = [
            await api.ask("GET", f"/api/v1/projects/{name}{rest}", token="") for name in ("secret-plans", "nothing")
        ]
        assert {reply.code for reply in replies} == {401}, rest
        assert replies[0].body == replies[1].body


@pytest_twisted.ensureDeferred
async def test_members_are_granted_by_the_api(api):
    project = await api.project("web-shop")
    await api.people.invite("grace", Access.NONE)
    place = "/api/v1/projects/web-shop/members"
    granted = await api.ask("PUT", f"{place}/Grace", json={"role": "maintainer"})
    assert (granted.code, granted.said) == (200, {"name": "grace", "role": "maintainer"})
    assert (await api.get(place)).said["items"] == [granted.said]
    assert (await api.ask("PUT", f"{place}/grace", json={"role": "admin"})).code == 422
    assert (await api.ask("PUT", f"{place}/nobody", json={"role": "viewer"})).code == 404
    assert (await api.ask("DELETE", f"{place}/grace")).code == 204
    assert (await api.ask("DELETE", f"{place}/grace")).code == 404
    assert await api.store.members(project.id) == []
    changed = await api.ask("PATCH", "/api/v1/projects/web-shop", json={"visibility": "public"})
    assert changed.said["visibility"] == "public"
    assert (await api.ask("GET", "/api/v1/projects/web-shop/builds", token="")).code == 200


# -- the decision itself

ACTORS = st.none() | st.builds(
    Actor,
    st.just("ada"),
    st.sampled_from(Access),
    st.just(1),
    st.dictionaries(st.integers(1, 2), st.sampled_from(Access)),
)
GROUNDS = st.none() | st.builds(Ground, st.integers(1, 2), st.booleans())


@given(ACTORS, st.sampled_from(Access), GROUNDS)
def test_more_access_never_allows_less_and_a_grant_never_reaches_elsewhere(actor, need, ground):
    decision = decide(actor, need, ground)
    assert (decision is Decision.SIGN_IN) <= (actor is None)
    if ground is None:
        assert decision is not Decision.HIDDEN
        assert actor is None or decide(Actor("ada", actor.access), need) is decision  # grants do not count
    if actor is not None and ground is not None:
        assert decide(Actor("ada", Access.ADMIN), need, ground) is Decision.ALLOWED
        if ground.project_id not in actor.grants:
            assert decide(Actor("ada", actor.access), need, ground) is decision
        if need > Access.READ and decision is Decision.ALLOWED:
            assert actor.on(ground.project_id) >= need
