"""pages_feeds.py, atom.py, cctray.py, conditional.py: what programs of people read, and who may."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import base64
import re
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import Access
from sayci.project import MirrorState, Visibility
from sayci.step import Result
from sayci.web import xml
from tests.factories import commit

pytest_plugins = ["tests.web.page_fixtures"]

ATOM = "{http://www.w3.org/2005/Atom}"
FEEDS = ("/feed.atom", "/web-shop/feed.atom")
TRAYS = ("/cc.xml", "/web-shop/cc.xml")


def tree_of(document):
    return ET.fromstring(document)  # noqa: S314 - our own


def basic(secret, name="feeds"):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def parsed(seen):
    """A feed, once it is what RFC 4287 says that a feed must be."""
    assert (seen.code, seen.header("content-type")) == (200, "application/atom+xml; charset=utf-8")
    root = tree_of(seen.body)
    assert root.tag == f"{ATOM}feed"
    for of in (root, *root.iter(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):  # 4.1.1, 4.1.2: exactly one of each
            (one,) = of.findall(f"{ATOM}{name}")
            assert one.text
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", text_in(of, "id"))
        assert datetime.fromisoformat(text_in(of, "updated")).tzinfo is not None  # 3.3: a date-time of RFC 3339
        links = [(link.get("rel"), link.get("type")) for link in of.findall(f"{ATOM}link")]
        assert links.count(("alternate", "text/html")) == 1
        assert len(links) == len(set(links))
    assert sum(link.get("rel") == "self" for link in root.findall(f"{ATOM}link")) == 1
    entries = root.findall(f"{ATOM}entry")
    for entry in entries:  # 4.1.2: the feed has no author, so that each entry has one
        (author,) = entry.findall(f"{ATOM}author/{ATOM}name")
        assert author.text
        assert entry.find(f"{ATOM}summary") is not None
    ids = [text_in(of, "id") for of in (root, *entries)]
    assert len(ids) == len(set(ids))
    return SimpleFeed(root, entries)


class SimpleFeed:
    def __init__(self, root, entries):
        self.root = root
        self.titles = [text_in(entry, "title") for entry in entries]
        self.ids = [text_in(entry, "id") for entry in entries]
        self.summaries = [text_in(entry, "summary") for entry in entries]
        self.pages = [entry.find(f"{ATOM}link").get("href") for entry in entries]


def text_in(element, name):
    return element.find(f"{ATOM}{name}").text


async def token_of(house, access=Access.READ):
    _, secret = await house.sign_in.new_token("a reader", access, None)
    return secret


@pytest_twisted.ensureDeferred
async def test_builds_that_have_ended_are_entries_the_newest_first(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS, message="Sell <shoes> & more\n\nof them", author="Ada")
    await house.build(project, Result.FAILURE, branch="try")
    await house.running(project)
    browser = await house.signed_in(Access.READ)
    feed = parsed(await browser.get("/web-shop/feed.atom"))
    assert feed.titles == ["web-shop #2 failed in test: make test, exit 2", "web-shop #1 succeeded in 1:00."]
    assert feed.summaries[1].startswith("#1 succeeded in 1:00.\nmain, ")
    assert feed.summaries[1].endswith(": Sell <shoes> & more")
    assert feed.pages == [house.served.url(f"/web-shop/{number}") for number in (2, 1)]
    everything = parsed(await browser.get("/feed.atom"))
    assert set(everything.ids) == set(feed.ids)
    for query, count in (("branch=try", 1), ("result=success", 1), ("result=bad&branch=main", 0)):
        part = parsed(await browser.get(f"/web-shop/feed.atom?{query}"))
        assert set(part.ids) < set(feed.ids)
        assert len(part.ids) == count
        assert text_in(part.root, "id") != text_in(feed.root, "id")
    assert (await browser.get("/web-shop/feed.atom?result=great")).code == 422


@pytest_twisted.ensureDeferred
async def test_ids_stay_when_a_project_is_renamed(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    browser = await house.signed_in()
    before = parsed(await browser.get("/web-shop/feed.atom"))
    await house.registry.change("web-shop", lambda settings: settings.__class__("web-store", settings.url))
    after = parsed(await browser.get("/web-store/feed.atom"))
    assert (after.ids, text_in(after.root, "id")) == (before.ids, text_in(before.root, "id"))
    assert after.pages == [house.served.url("/web-store/1")]


@pytest.mark.parametrize("path", (*FEEDS, *TRAYS))
@pytest_twisted.ensureDeferred
async def test_who_has_it_already_is_told_so(house, path):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    browser = await house.signed_in(Access.READ)
    seen = await browser.get(path)
    tag = seen.header("etag")
    assert seen.header("cache-control") == "private, no-cache"
    for given_tag in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        again = await browser.get(path, If_None_Match=given_tag)
        assert (again.code, again.body, again.header("etag")) == (304, b"", tag)
    assert (await browser.get(path, If_None_Match='W/"other"')).code == 200
    await house.build(project, Result.FAILURE)
    assert (await browser.get(path, If_None_Match=tag)).code == 200


@pytest.mark.parametrize("path", FEEDS)
@pytest_twisted.ensureDeferred
async def test_a_feed_without_entries_is_a_feed(house, path):
    await house.project()
    feed = parsed(await (await house.signed_in(Access.READ)).get(path))
    assert feed.titles == []


@pytest_twisted.ensureDeferred
async def test_at_most_fifty_and_only_what_is_there(house):
    project = await house.project()
    other = await house.project("other")
    for number in range(30):
        await house.build(project, Result.SUCCESS, commit=commit(number + 1))
        await house.build(other, Result.SUCCESS, commit=commit(number + 1))
    browser = await house.signed_in(Access.READ)
    assert len(parsed(await browser.get("/feed.atom")).ids) == 50
    assert len(parsed(await browser.get("/other/feed.atom")).ids) == 30


@pytest.mark.parametrize("path", (*FEEDS, *TRAYS))
@pytest_twisted.ensureDeferred
async def test_a_token_is_a_password_and_a_stranger_is_asked_for_one(house, path):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    secret = await token_of(house)
    stranger = house.stranger()
    for headers in (basic(secret), basic(secret, ""), basic(secret, "näme"), {"Authorization": f"Bearer {secret}"}):
        assert (await stranger.get(path, **headers)).code == 200
    assert (await (await house.signed_in(Access.READ)).get(path)).code == 200
    for headers in ({}, basic("sayci_wrong"), basic(""), basic(secret + "x"), {"Authorization": "Basic ====x"}):
        seen = await stranger.get(path, **headers)
        assert (seen.code, seen.header("content-type")) == (401, "application/problem+json"), headers
        assert seen.headers["www-authenticate"] == [
            'Basic realm="sayci", charset="UTF-8"',
            'Bearer realm="sayci"',
        ]
        assert "web-shop" not in seen.text
    assert (await stranger.get(f"{path}?token={secret}")).code == 401


@pytest_twisted.ensureDeferred
async def test_the_example_of_the_documentation_works(house):
    text = (Path(__file__).parents[2] / "docs" / "api.rst").read_text()
    (credential, path) = re.findall(r'^    curl -u "([^"]+)" http://localhost:8080(\S+)$', text, re.MULTILINE)[0]
    await house.project()
    name, _, password = credential.replace("$TOKEN", await token_of(house)).partition(":")
    assert (await house.stranger().get(path, **basic(password, name))).code == 200


@pytest_twisted.ensureDeferred
async def test_strangers_and_members_have_what_is_theirs(house):
    for name, visibility in (("hidden", Visibility.PRIVATE), ("shown", Visibility.PUBLIC)):
        project = await house.project(name, visibility=visibility)
        await house.build(project, Result.SUCCESS)
    stranger = house.stranger()
    assert parsed(await stranger.get("/feed.atom")).titles == ["shown #1 succeeded in 1:00."]
    assert [each.get("name") for each in tree_of((await stranger.get("/cc.xml")).body)] == ["shown"]
    for rest in ("feed.atom", "cc.xml"):
        answers = [await stranger.get(f"/{name}/{rest}") for name in ("hidden", "nothing")]
        assert [seen.code for seen in answers] == [401, 401]
        assert answers[0].body == answers[1].body
        assert (await stranger.get(f"/shown/{rest}")).code == 200
    nobody = await house.signed_in(Access.NONE, "grace")
    for rest in ("feed.atom", "cc.xml"):
        answers = [await nobody.get(f"/{name}/{rest}") for name in ("hidden", "nothing")]
        assert [seen.code for seen in answers] == [404, 404]


@pytest_twisted.ensureDeferred
async def test_pages_say_where_their_feeds_are(house):
    await house.project()
    browser = await house.signed_in()
    for page, feed in (
        ("/", "/feed.atom"),
        ("/web-shop", "/web-shop/feed.atom"),
        ("/web-shop?branch=try&result=bad", "/web-shop/feed.atom?result=bad&branch=try"),
    ):
        elements = (await browser.get(page)).document.elements
        (link,) = [given for tag, given in elements if tag == "link" and given["rel"] == "alternate"]
        assert (link["type"], link["href"]) == ("application/atom+xml", feed)
        assert (await browser.get(link["href"])).code == 200


# -- cctray


@pytest_twisted.ensureDeferred
async def test_the_tray_has_the_state_of_each_project(house):
    for name, result in (
        ("a-good", Result.SUCCESS),
        ("B-bad", Result.FAILURE),
        ("c-slow", Result.TIMED_OUT),
        ("d-ours", Result.ERROR),
        ("e-lost", Result.UNKNOWN),
        ("f-new", None),
    ):
        project = await house.project(name)
        if result is not None:
            await house.build(project, result)
    await house.build(await house.store.project("a-good"), Result.FAILURE, branch="another")
    await house.running(await house.store.project("B-bad"))
    await house.build(await house.store.project("c-slow"))  # one that waits is not building
    broken = await house.project("g-broken")
    await house.store.set_mirror(broken.id, MirrorState.FAILED, "no")
    seen = await (await house.signed_in(Access.READ)).get("/cc.xml")
    assert seen.header("content-type") == "application/xml; charset=utf-8"
    root = tree_of(seen.body)
    assert root.tag == "Projects"
    assert {each.tag for each in root} == {"Project"}
    told = [(each.get("name"), each.get("activity"), each.get("lastBuildStatus")) for each in root]
    assert told == [
        ("a-good", "Sleeping", "Success"),
        ("B-bad", "Building", "Failure"),
        ("c-slow", "Sleeping", "Failure"),
        ("d-ours", "Sleeping", "Exception"),
        ("e-lost", "Sleeping", "Unknown"),
        ("f-new", "Sleeping", "Unknown"),
        ("g-broken", "Sleeping", "Exception"),
    ]
    for each in root:
        assert datetime.fromisoformat(each.attrib["lastBuildTime"]).tzinfo is not None
        assert each.attrib["webUrl"] == house.served.url(f"/{each.attrib['name']}")
    assert [each.get("lastBuildLabel") for each in root] == ["1", "1", "1", "1", "1", None, None]


# -- XML


@given(st.text())
def test_any_text_is_text_in_xml(text):
    made = xml.document(xml.element("a", text, b=text))
    root = tree_of(made)
    assert root.tag == "a"
    assert (root.text or "").replace("\r", "\n") == re.sub("\r\n?", "\n", xml.text_of(text)).replace("\r", "\n")


def test_what_is_forbidden_is_made_visible():
    assert xml.text_of("a\x00\x1b[31m\ufffe\ud800b\u202ec") == "a␀␛[31m\ufffd<U+D800>b<U+202E>c"
