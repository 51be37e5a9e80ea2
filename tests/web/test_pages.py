"""pages.py and frame.py: home, signing in and out, and what every page has around it."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import gzip
import re
import urllib.request

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from sayci.account import Access, Origin
from sayci.errors import Unavailable
from sayci.interfaces import Isolation
from sayci.project import MirrorState, Visibility
from sayci.sign_in import CODE_LIFETIME
from sayci.step import Result
from sayci.web.assets import packaged
from sayci.web.frame import POLICY
from sayci.web.pages_home import PROJECTS_SHOWN, TRAFFIC_SHOWN

pytest_plugins = ["tests.web.page_fixtures"]

#: Every page that there is when `furnish` has filled the house.
PAGES = (
    "/",
    "/new",
    "/status",
    "/web-shop",
    "/web-shop/1",
    "/web-shop/2",
    "/web-shop/3",
    "/web-shop/deploys",
    "/web-shop/deliveries",
    "/web-shop/settings",
)
#: Every address that takes a form, and the access that it takes.
FORMS = (
    ("/new", Access.ADMIN),
    ("/web-shop/build", Access.BUILD),
    ("/web-shop/1/cancel", Access.BUILD),
    ("/web-shop/1/rebuild", Access.BUILD),
    ("/web-shop/1/deploy", Access.BUILD),
    ("/web-shop/1/answer", Access.BUILD),
    ("/web-shop/deliveries/1/replay", Access.BUILD),
    ("/web-shop/settings", Access.ADMIN),
    ("/web-shop/settings/environment", Access.ADMIN),
    ("/web-shop/settings/environment/remove", Access.ADMIN),
    ("/web-shop/settings/access-token", Access.ADMIN),
    ("/web-shop/settings/webhook-secret", Access.ADMIN),
    ("/web-shop/settings/remove", Access.ADMIN),
)


async def furnish(house):
    """A project with an ended build, one that runs, one that waits, and a delivery."""
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.FAILURE, deploys=True, logs={"test": b"assertion failed\n"})
    await house.running(project, logs={"test": b"so far so good\n"})
    await house.build(project)
    await house.delivery(project)
    return project


# -- strangers


@pytest.mark.parametrize("path", (*PAGES, "/web-shop/1/test.log", "/web-shop?before=3", "/nobody-knows"))
@pytest_twisted.ensureDeferred
async def test_a_stranger_is_asked_to_sign_in_first_and_learns_nothing(house, path):
    await furnish(house)
    seen = await house.stranger().get(path)
    assert seen.code == 303
    assert seen.path == "/sign-in?next=" + path.replace("/", "%2F").replace("?", "%3F").replace("=", "%3D")
    assert seen.body == b""


@pytest.mark.parametrize(("path", "access"), FORMS)
@pytest_twisted.ensureDeferred
async def test_a_stranger_s_form_changes_nothing(house, path, access):
    await furnish(house)
    browser = house.stranger()
    token = (await browser.get("/sign-in")).document.form("/sign-in").fields["form_token"]
    assert (await browser.post(path, {"form_token": token})).path == "/sign-in"
    assert len((await house.store.builds(1)).items) == 3


# -- signing in


@pytest_twisted.ensureDeferred
async def test_a_code_signs_in_and_leads_to_the_page_that_was_wanted(house):
    browser = house.stranger()
    asked = await browser.get("/new")
    seen = await browser.submit(asked.path, "/sign-in", code=f"  {await house.sign_in.new_code()}\n")
    assert (seen.code, seen.path) == (303, "/new")
    assert (await browser.get("/new")).heading == "Add a project"


@pytest_twisted.ensureDeferred
async def test_looking_at_the_link_does_not_use_up_its_code(house):
    code = await house.sign_in.new_code()
    for _ in range(3):  # whatever shows previews of links in messages
        assert (await house.stranger().get(f"/sign-in?code={code}")).code == 200
        assert (await house.stranger().request("HEAD", f"/sign-in?code={code}")).code == 200
    browser = house.stranger()
    assert (await browser.submit(f"/sign-in?code={code}", "/sign-in")).path == "/"
    assert (await browser.get("/")).code == 200


@pytest_twisted.ensureDeferred
async def test_a_code_that_was_used_is_refused(house):
    code = await house.sign_in.new_code()
    await house.stranger().submit(f"/sign-in?code={code}", "/sign-in")
    browser = house.stranger()
    seen = await browser.submit(f"/sign-in?code={code}", "/sign-in")
    assert seen.code == 403
    assert "The code is wrong, has expired, or was used before." in seen.document.text("form")
    assert code not in seen.text
    assert (await browser.get("/")).code == 303


@pytest_twisted.ensureDeferred
async def test_a_code_that_has_expired_is_refused(house):
    code = await house.sign_in.new_code()
    house.now[0] += CODE_LIFETIME
    assert (await house.stranger().submit("/sign-in", "/sign-in", code=code)).code == 403


@pytest_twisted.ensureDeferred
async def test_too_many_wrong_codes_have_to_wait(house):
    browser = house.stranger()
    for _ in range(20):
        assert (await browser.submit("/sign-in", "/sign-in", code="wrong")).code == 403
    seen = await browser.submit("/sign-in", "/sign-in", code=await house.sign_in.new_code())
    assert seen.code == 429
    assert seen.header("retry-after") == "6"
    assert seen.document.text("main") == "Too many wrong tries Try again in 6 seconds. Sign in Error 429"
    house.now[0] += 6
    assert (await browser.submit("/sign-in", "/sign-in", code=await house.sign_in.new_code())).code == 303


@pytest.mark.parametrize("where", ("//evil.example", "https://evil.example", "/\\evil.example", "%2F%2Fevil.example"))
@pytest_twisted.ensureDeferred
async def test_signing_in_leads_to_no_other_site(house, where):
    browser = house.stranger()
    page = f"/sign-in?next={where}"
    assert (await browser.get(page)).document.form("/sign-in").fields["next"] == "/"
    seen = await browser.submit(page, "/sign-in", code=await house.sign_in.new_code(), next=where)
    assert seen.path == "/"
    assert (await browser.get(page)).path == "/"


@pytest_twisted.ensureDeferred
async def test_whoever_has_signed_in_is_sent_on(house):
    browser = await house.signed_in()
    assert (await browser.get("/sign-in?next=%2Fnew")).path == "/new"


# -- what every page has


@pytest.mark.parametrize("path", PAGES)
@pytest_twisted.ensureDeferred
async def test_pages_are_whole_and_their_forms_have_tokens(house, path):
    await furnish(house)
    document = (await (await house.signed_in()).get(path)).document
    assert document.text("h1")
    assert document.text("head").endswith("· sayci")
    assert document.forms
    assert all(len(form.fields["form_token"]) == 64 for form in document.forms if form.method == "post")
    assert not [form for form in document.forms if form.method != "post" and "form_token" in form.fields]
    ids = document.attributes("id")
    assert len(ids) == len(set(ids))
    linked = {link.removeprefix("#") for link in document.attributes("href") if link.startswith("#")}
    assert linked <= set(ids)
    assert set(document.attributes("for")) <= set(ids)
    described = {name for names in document.attributes("aria-describedby") for name in names.split()}
    assert described | set(document.attributes("aria-labelledby")) <= set(ids)


@pytest.mark.parametrize("path", (*PAGES, "/sign-in", "/no-such-page/at/all", "/web-shop/99"))
@pytest_twisted.ensureDeferred
async def test_nothing_in_a_page_is_inline_or_from_elsewhere(house, path):
    await furnish(house)
    seen = await (await house.signed_in()).get(path)
    for tag, given in seen.document.elements if seen.body else ():
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        assert tag not in ("style", "iframe", "object", "embed", "base")
        if tag == "script":
            assert given["src"].startswith("/static/")
        for name in ("src", "action"):
            assert given.get(name, "/").startswith("/")
        assert given.get("href", "/")[0] in "/#"
    assert "<script>" not in seen.text


@pytest.mark.parametrize(
    "path", (*PAGES, "/sign-in", "/nope", "/static/nope", "/web-shop/1/test.log", "/%ff", "//", "/theme")
)
@pytest_twisted.ensureDeferred
async def test_every_answer_has_the_security_headers(house, path):
    await furnish(house)
    for browser in (house.stranger(), await house.signed_in()):
        seen = await browser.get(path)
        assert seen.header("x-content-type-options") == "nosniff"
        assert seen.header("referrer-policy") == "same-origin"
        assert seen.header("cache-control") == "no-store"
        assert seen.header("cross-origin-opener-policy") == "same-origin"
        assert seen.header("content-security-policy") in (POLICY, "default-src 'none'; sandbox")
        assert seen.header("server") == "sayci"


@pytest.mark.parametrize("isolation", (Isolation(False, "Builds are not isolated: <why>"), Isolation(True, "A wall")))
@pytest_twisted.ensureDeferred
async def test_the_foot_says_how_builds_are_kept_apart(house, isolation):
    page = await (await house.signed_in()).get("/")
    foot = page.document.text("footer")
    assert isolation.words in foot
    assert ('<span class="error">' in page.text) is not isolation.holds
    assert "sayci 9.8.7" in foot
    assert "9.8.7" not in (await house.stranger().get("/sign-in")).text


@pytest_twisted.ensureDeferred
async def test_the_theme_that_was_chosen_is_kept(house):
    browser = await house.signed_in()
    assert "data-theme" not in (await browser.get("/")).text
    form = (await browser.get("/new")).document.form("/theme")
    seen = await browser.post("/theme", {**form.fields, "theme": "dark"})
    assert (seen.code, seen.path) == (303, "/new")
    assert '<html lang="en" data-theme="dark">' in (await browser.get("/new")).text
    await browser.post("/theme", {**form.fields, "theme": '"><script>'})
    assert "data-theme" not in (await browser.get("/")).text


# -- rights


@pytest.mark.parametrize(("path", "access"), FORMS)
@pytest_twisted.ensureDeferred
async def test_a_form_takes_enough_access(house, path, access):
    await furnish(house)
    browser = await house.signed_in(Access(access - 1), "robin")
    token = (await browser.get("/")).document.form("/theme").fields["form_token"]
    seen = await browser.post(path, {"form_token": token, "branch": "main", "name": "web-shop"})
    assert seen.code == 403
    assert seen.heading.startswith("You may not do that" if path == "/new" else "You may read web-shop, but not ")
    assert len((await house.store.builds(1)).items) == 3


@pytest.mark.parametrize(("path", "access"), FORMS)
@pytest_twisted.ensureDeferred
async def test_no_form_is_taken_without_its_token(house, path, access):
    await furnish(house)
    browser = await house.signed_in()
    seen = await browser.post(path, {"branch": "main", "name": "web-shop", "url": "https://git.example/x.git"})
    assert (seen.code, seen.heading) == (403, "The form is older than your sign-in")
    assert len((await house.store.builds(1)).items) == 3
    assert len((await house.store.projects()).items) == 1


@pytest_twisted.ensureDeferred
async def test_whoever_may_only_look_sees_no_buttons_and_no_settings(house):
    await furnish(house)
    browser = await house.signed_in(Access.READ, "robin")
    for path in ("/", "/web-shop", "/web-shop/1", "/web-shop/2"):
        document = (await browser.get(path)).document
        assert {form.action for form in document.forms if form.method == "post"} == {"/sign-out", "/theme"}
        assert not [link for link in document.attributes("href") if link.endswith(("/settings", "/deliveries", "/new"))]
    for path in ("/new", "/web-shop/settings", "/web-shop/deliveries"):
        assert (await browser.get(path)).code == 403


# -- home


@pytest_twisted.ensureDeferred
async def test_an_empty_house_says_how_to_begin(house):
    seen = await (await house.signed_in()).get("/")
    assert seen.heading == "Nothing to build yet. Add the first project."
    assert "/new" in seen.document.attributes("href")
    assert "The whole contract" in seen.document.text("main")
    reader = await (await house.signed_in(Access.READ, "robin")).get("/")
    assert reader.heading == "There is no project yet."
    assert "An admin of this server adds the first one." in reader.document.text("main")
    assert "/new" not in reader.document.attributes("href")


@pytest_twisted.ensureDeferred
async def test_the_only_project_is_seen_on_its_way_to_its_first_green_build(house):
    project = await house.project()
    browser = await house.signed_in()
    seen = await browser.get("/")
    assert seen.heading == "web-shop is added. Now tell the forge."
    text = seen.document.text("main")
    for words in (
        "On the way to the first green build",
        "Waiting for the first ping",
        "Push to main, or build it now.",
    ):
        assert words in text
    assert "/web-shop/build" in {form.action for form in seen.document.forms}
    for name, access in (("robin", Access.READ), ("bob", Access.BUILD)):
        other = await (await house.signed_in(access, name)).get("/")
        assert "On the way" not in other.text
    await house.build(project, Result.FAILURE)
    assert (await browser.get("/")).heading == "web-shop is built, and not green yet."
    await house.build(project, Result.SUCCESS)
    seen = await browser.get("/")
    assert seen.heading == "web-shop passes."
    assert "On the way" not in seen.text
    await house.build(project, Result.FAILURE)
    assert "On the way" not in (await browser.get("/")).text


@pytest_twisted.ensureDeferred
async def test_home_says_how_everything_stands_what_runs_and_what_waits(house):
    await furnish(house)
    other = await house.project("janet")
    await house.build(other, Result.SUCCESS)
    seen = await (await house.signed_in()).get("/")
    assert seen.heading == "web-shop is failing. The other one passes."
    text = seen.document.text("main")
    assert "web-shop building; failing for" in text
    assert "web-shop #2 testing 1:59 so far" in text
    assert "For web-shop #2: one build of a branch at a time." in text
    assert "janet passes main" in text
    assert "Last 2 builds: 1 failure, 1 running. Latest: #2 running." in seen.document.attributes("aria-label")
    assert "1 running, 1 waiting" in seen.document.text("header")
    assert seen.document.attributes("content")[-1] == "10"  # it looks again by itself without scripts


@pytest_twisted.ensureDeferred
async def test_home_says_why_a_repository_cannot_be_read(house):
    project = await house.project()
    await house.store.set_mirror(project.id, MirrorState.FAILED, "it wants a password: <b>git</b>")
    seen = await (await house.signed_in()).get("/")
    assert seen.heading == "web-shop cannot be read."
    assert "it wants a password: <b>git</b>" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_many_projects_are_on_several_pages(house):
    for number in range(PROJECTS_SHOWN + 1):
        await house.project(f"p{number:03}")
    failing = await house.project("zebra")
    await house.build(failing, Result.FAILURE)
    await house.running(await house.project("yak"))
    browser = await house.signed_in()

    async def listed(path):
        document = (await browser.get(path)).document
        return re.findall(r"\b(?:p\d{3}|zebra|yak)\b", document.text("h3"))

    assert (await listed("/"))[:2] == ["zebra", "yak"]
    assert len(await listed("/")) == PROJECTS_SHOWN
    assert len(await listed("/?page=2")) == 3
    assert (await listed("/?sort=name"))[:2] == ["p000", "p001"]
    assert await listed("/?sort=name&page=2") == ["p040", "yak", "zebra"]
    assert await listed("/?q=ZEB") == ["zebra"]
    assert await listed("/?q=team%2Fp01") == [f"p01{number}" for number in range(10)]
    assert await listed("/?show=attention") == ["zebra"]
    assert await listed("/?show=running") == ["yak"]
    assert await listed("/?q=nowhere") == []
    document = (await browser.get("/?q=p&sort=name&page=1")).document
    assert "/?q=p&sort=name&page=2" in document.attributes("href")
    assert "All 43 Need somebody 1 Building 1" in document.text("main")
    for query in ("page=0", "page=-1", "page=" + "9" * 400, "show=x", "sort=x"):
        assert (await browser.get("/?" + query)).code == 422, query


@pytest_twisted.ensureDeferred
async def test_a_long_queue_is_cut_and_counted(house):
    project = await house.project()
    for number in range(TRAFFIC_SHOWN + 2):
        await house.build(project, branch=f"b{number}", supersedes=False)
    seen = await (await house.signed_in()).get("/")
    assert "And 2 more." in seen.document.text("main")


def new_settings(name):
    from tests.factories import settings

    return settings(name)


# -- static files


@pytest_twisted.ensureDeferred
async def test_static_files_are_kept_by_browsers_until_they_change(house):
    stranger = house.stranger()
    document = (await stranger.get("/sign-in")).document
    links = [link for name in ("href", "src") for link in document.attributes(name) if link.startswith("/static/")]
    assert sorted(re.sub(r"\?v=[0-9a-f]{16}$", "", link) for link in links) == [
        "/static/favicon-idle.svg",
        "/static/live.js",
        "/static/sayci.css",
        "/static/sayci.js",
    ]
    for link in links:
        seen = await stranger.get(link)
        assert seen.code == 200
        assert seen.header("cache-control") == "public, max-age=31536000, immutable"
        assert seen.header("content-type").partition(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
        assert seen.header("set-cookie") == ""
        again = await stranger.get(link, If_None_Match=seen.header("etag"))
        assert (again.code, again.body) == (304, b"")
        assert (await stranger.get(link.partition("?")[0])).header("cache-control") == "no-cache"
        assert (await stranger.get(link[:-1] + "x")).header("cache-control") == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "is_squeezed"),
    (("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip;q=0.00", False), ("br", False), ("", False)),
)
@pytest_twisted.ensureDeferred
async def test_static_files_are_squeezed_for_those_who_can_read_that(house, accepted, is_squeezed):
    def ask(**headers):  # with a client that takes nothing apart by itself
        asked = urllib.request.Request(house.served.url("/static/sayci.css"), headers=headers)
        with urllib.request.urlopen(asked) as seen:
            return seen.headers, seen.read()

    headers, body = await deferToThread(ask, **{"Accept-Encoding": accepted})
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Content-Encoding"] == ("gzip" if is_squeezed else None)
    assert (gzip.decompress(body) if is_squeezed else body) == packaged("sayci.css")


@pytest.mark.parametrize(
    "path",
    (
        "/static/",
        "/static/icons.svg",
        "/static/nope.css",
        "/static/../session.py",
        "/static/..%2Fsession.py",
        "/static/%2e%2e/session.py",
        "/static/..%5Csession.py",
        "/static//etc/passwd",
        "/static/sayci.css%00.svg",
    ),
)
@pytest_twisted.ensureDeferred
async def test_nothing_else_is_served(house, path):
    seen = await (await house.signed_in()).get(path)
    assert seen.code == 404


@pytest_twisted.ensureDeferred
async def test_the_style_sheet_and_the_script_load_nothing(house):
    for name in ("sayci.css", "sayci.js", "live.js"):
        text = (await house.stranger().get(f"/static/{name}")).text
        assert "url(" not in text
        assert "@import" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text


# -- errors


@pytest.mark.parametrize(
    ("path", "code", "heading"),
    (
        ("/nope", 404, "There is no project nope"),
        ("/' OR 1=1--".replace(" ", "%20"), 404, "There is no project ' OR 1=1--"),
        ("/a%00b", 404, "There is no project a\u2400b"),
        ("/%E2%80%AEevil", 404, "There is no project <U+202E>evil"),
        ("/web-shop/99", 404, "There is no build #99 in web-shop"),
        ("/web-shop/0", 404, "There is no build #0 in web-shop"),
        ("/web-shop/-1", 404, "There is no such page"),
        ("/web-shop/" + "9" * 400, 404, "There is no build #" + "9" * 20 + " in web-shop"),
        ("/web-shop/1e9", 404, "There is no such page"),
        ("/web-shop/%EF%BC%91", 404, "There is no such page"),
        ("/web-shop/build", 404, "There is no such page"),
        ("/web-shop/1/nope.log", 404, "There is no such page"),
        ("/web-shop/1/2/3", 404, "There is no such page"),
        ("/web-shop/1/cancel", 405, "That cannot be asked of this page"),
        ("/web-shop?before=x", 422, "sayci cannot use that"),
        ("/web-shop?before=1&before=2", 422, "sayci cannot use that"),
        ("/web-shop?%ff=1", 422, "sayci cannot use that"),
        ("/?page=1e9", 422, "sayci cannot use that"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_errors_say_what_happened_in_the_same_look(house, path, code, heading):
    await furnish(house)
    browser = await house.signed_in()
    seen = await browser.get(path)
    assert (seen.code, seen.heading) == (code, heading)
    assert f"Error {code}" in seen.document.text("main")
    assert "/" in seen.document.attributes("href")
    if path.startswith("/web-shop"):
        assert "Back to web-shop" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_an_unknown_build_says_which_is_the_newest(house):
    await furnish(house)
    browser = await house.signed_in()
    assert "The newest is #3. What is old is removed, but no number is used twice." in (
        await browser.get("/web-shop/99")
    ).document.text("main")
    await house.project("janet")
    assert "It has none yet." in (await browser.get("/janet/1")).document.text("main")


@pytest.mark.parametrize("method", ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"))
@pytest_twisted.ensureDeferred
async def test_other_methods_are_refused(house, method):
    seen = await (await house.signed_in()).request(method, "/")
    assert seen.code == 405
    assert seen.header("allow") == "GET, HEAD"


@pytest_twisted.ensureDeferred
async def test_a_form_that_is_none_is_refused(house):
    await furnish(house)
    browser = await house.signed_in()
    form = (await browser.get("/")).document.form("/theme").fields
    kind = {"Content_Type": "text/plain", "Origin": browser.origin}
    assert (await browser.request("POST", "/theme", body=b"theme=dark", **kind)).code == 415
    kind["Content_Type"] = "application/json"
    assert (await browser.request("POST", "/theme", body=b"{}", **kind)).code == 415
    kind["Content_Type"] = "application/x-www-form-urlencoded"
    for body in (b"a=1&a=2", b"&".join(b"f%d=1" % number for number in range(60)), b"\xff=1", b"a=%ff"):
        assert (await browser.request("POST", "/theme", body=body, **kind)).code == 400
    assert (await browser.post("/theme", {**form, "big": "x" * 600_000})).code == 413


@pytest_twisted.ensureDeferred
async def test_a_mistake_of_ours_is_told_by_an_id_and_logged_under_it(house, logged):
    browser = await house.signed_in()

    async def broken(*_):
        raise RuntimeError("the password is hunter2")

    house.store.project = broken
    seen = await browser.get("/web-shop")
    assert (seen.code, seen.heading) == (500, "sayci made a mistake")
    (mistake,) = set(re.findall(r"e-[0-9a-f]{8}", seen.text))
    assert ("Try again" in seen.document.text("main"), "/status" in seen.document.attributes("href")) == (True, True)
    assert "hunter2" not in seen.text
    assert [event for event in logged if event.get("mistake") == mistake]


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_away_is_told_even_if_nobody_can_be_known(house):
    browser = await house.signed_in()

    async def away(*_):
        raise Unavailable("the database is locked")

    house.store.actor_of_session = away
    seen = await browser.get("/")
    assert (seen.code, seen.heading) == (503, "sayci cannot do that now")
    assert seen.header("retry-after") == "10"
    assert ("10" in seen.document.attributes("content"), "reloads by itself" in seen.document.text("main")) == (
        True,
        True,
    )
    posted = await browser.post("/theme", {})
    assert (posted.code, "reloads by itself" in posted.text) != (503, True), "a form is not sent again by itself"


@pytest_twisted.ensureDeferred
async def test_who_may_read_a_project_alone_is_told_who_may_more(house):
    project = await furnish(house)
    for name, role in (("ada", Access.ADMIN), ("max", Access.BUILD), ("vera", Access.READ), ("grace", Access.NONE)):
        _, code = await house.people.invite(name, role)
        await house.people.accept(code, "correct horse battery", Origin())
    await house.people.invite("hedy", Access.ADMIN)  # who has not come yet
    await house.store.set_member(project.id, "grace", Access.BUILD)
    browser = await house.signed_in(Access.READ, "robin")
    seen = await browser.get("/web-shop/deliveries")
    assert (seen.code, seen.heading) == (403, "You may read web-shop, but not build or deploy it")
    told = "The people who may: ada, grace, max. Your name here is robin. Nothing was changed."
    assert told in seen.document.text("main")
    seen = await browser.get("/web-shop/settings")
    assert seen.heading == "You may read web-shop, but not configure it"
    assert "The people who may: ada. Your name here is robin." in seen.document.text("main")
    assert (await browser.get("/no-such-thing/settings")).heading == "You may not do that"


@pytest_twisted.ensureDeferred
async def test_who_was_given_nothing_is_told_no_names(house):
    await house.project("shown", visibility=Visibility.PUBLIC)
    _, code = await house.people.invite("ada", Access.ADMIN)
    await house.people.accept(code, "correct horse battery", Origin())
    seen = await (await house.signed_in(Access.NONE, "grace")).get("/shown/deliveries")
    assert (seen.code, seen.heading) == (403, "You may read shown, but not build or deploy it")
    text = seen.document.text("main")
    assert "Whoever runs this server may. Your name here is grace." in text
    assert "ada" not in text


@pytest_twisted.ensureDeferred
async def test_the_host_that_a_request_names_leads_nowhere(house):
    await furnish(house)
    browser = await house.signed_in()
    for path in ("/", "/web-shop", "/web-shop/", "//web-shop", "/web-shop//1"):
        seen = await browser.get(path, Host="evil.example")
        assert "evil.example" not in seen.text + seen.path


@pytest_twisted.ensureDeferred
async def test_every_page_has_a_title_of_its_own_and_shows_in_its_tab_how_it_stands(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS, deploys=True)
    await house.build(project, Result.FAILURE)
    await house.delivery(project)
    browser = await house.signed_in()
    titles = {}
    for path, favicon in (
        ("/", "failure"),
        ("/web-shop", "failure"),
        ("/web-shop/1", "success"),
        ("/web-shop/2", "failure"),
        ("/deploys", "success"),
        ("/web-shop/deploys", "success"),
        ("/deliveries", "idle"),
        ("/web-shop/deliveries", "idle"),
        ("/status", ""),
        ("/web-shop/settings", ""),
        ("/web-shop/settings/people", ""),
        ("/settings/people", ""),
        ("/new", ""),
    ):
        document = (await browser.get(path)).document
        titles[path] = document.texts["title"][0]  # those after it are of pictures
        assert titles[path].endswith(" · sayci")
        (icon,) = [given["href"] for tag, given in document.elements if tag == "link" and given["rel"] == "icon"]
        assert f"/favicon-{favicon}" in icon, path
    assert len(set(titles.values())) == len(titles), titles
