"""plain.py: challenges and redirects on a plain port."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sayci.errors import Invalid
from sayci.web.plain import CHALLENGES_LIMIT, WELL_KNOWN, Challenges, HttpResponder, Plain, _name_asked_for, _target
from sayci.web.root import Root

PLACE = "/.well-known/acme-challenge/"
TOKEN, KEY = "the-token_0", "the-token_0.thumb-print_0"


def challenge(token=TOKEN):
    return SimpleNamespace(token=token)


def response(key=KEY):
    return SimpleNamespace(key_authorization=key)


@pytest.fixture
def responder():
    return HttpResponder()


@pytest.fixture
def public():
    """The server's public address; tests may change it."""
    return ["https://ci.example"]


@pytest.fixture
def plain(responder, public):
    return Plain(responder, {"ci.example", "git.example"}.__contains__, lambda: public[0])


async def ask(served, dial, head):
    """The answer to a request whose lines are `head`."""
    wire = await dial(served)
    wire.send("\r\n".join([*head, "", ""]).encode("latin-1"))
    return await wire.answer()


async def get(served, dial, path="/", host="ci.example", method="GET"):
    return await ask(served, dial, [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"])


# -- the responder


def test_it_is_a_responder_in_txacme_s_sense(responder):
    wanted = import_module("txacme.interfaces").IResponder

    @implementer(wanted)
    class Declared(HttpResponder):
        """The same, and says so: the original needs no txacme."""

    assert verifyObject(wanted, Declared())
    assert responder.challenge_type == "http-01"


def test_what_was_begun_is_answered_until_it_is_stopped(responder):
    began = responder.start_responding("ci.example", challenge(), response())
    assert began.called
    assert responder.answer(TOKEN) == KEY.encode()
    assert responder.answer("another") is None
    responder.stop_responding("ci.example", challenge(), response())
    assert responder.answer(TOKEN) is None
    responder.stop_responding("ci.example", challenge(), response())  # nothing by then


@pytest.mark.parametrize(
    ("token", "key"),
    (
        ("", KEY),
        ("a/b", KEY),
        ("..", KEY),
        ("a\n", KEY),
        (TOKEN, ""),
        (TOKEN, "a\r\nb"),
        (TOKEN, "<b>"),
        ("x" * 501, KEY),
    ),
)
def test_what_is_no_challenge_is_refused(responder, token, key):
    with pytest.raises(Invalid):
        responder.start_responding("ci.example", challenge(token), response(key))
    assert responder.answer(token) is None


def test_tokens_that_nobody_takes_back_do_not_pile_up(responder):
    for number in range(CHALLENGES_LIMIT + 1):
        responder.start_responding("ci.example", challenge(f"t{number}"), response())
    assert responder.answer("t0") is None
    assert responder.answer("t1") is not None
    assert responder.answer(f"t{CHALLENGES_LIMIT}") is not None


# -- challenges


@pytest.mark.parametrize("host", ("ci.example", "another.example", "203.0.113.7", "[::1]:80"))
@pytest_twisted.ensureDeferred
async def test_a_challenge_is_answered_whatever_name_it_is_asked_by(serve, dial, plain, responder, host):
    responder.start_responding("ci.example", challenge(), response())
    served = await serve(plain)
    answer = await get(served, dial, PLACE + TOKEN, host)
    assert (answer.code, answer.body) == (200, KEY.encode())
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    assert "location" not in answer.headers


@pytest_twisted.ensureDeferred
async def test_head_has_the_headers_alone(serve, http, plain, responder):
    responder.start_responding("ci.example", challenge(), response())
    answer = await http.head((await serve(plain)).url(PLACE + TOKEN))
    assert (answer.code, answer.headers.getRawHeaders("content-length")) == (200, [str(len(KEY))])


@pytest.mark.parametrize(
    "path", (PLACE, PLACE + "another", PLACE + TOKEN + "/", PLACE + TOKEN + "/x", PLACE + "%ff", PLACE + "../" + TOKEN)
)
@pytest_twisted.ensureDeferred
async def test_other_tokens_are_not_there_and_lead_nowhere(serve, dial, plain, responder, path):
    responder.start_responding("ci.example", challenge(), response())
    answer = await get(await serve(plain), dial, path)
    assert (answer.code, "location" in answer.headers) == (404, False)


@pytest_twisted.ensureDeferred
async def test_a_challenge_is_not_written_to(serve, dial, plain, responder):
    responder.start_responding("ci.example", challenge(), response())
    answer = await get(await serve(plain), dial, PLACE + TOKEN, method="POST")
    assert (answer.code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest_twisted.ensureDeferred
async def test_behind_a_proxy_the_whole_tree_answers_them_too(serve, http, responder, plain):
    served = await serve(Root(plain, {WELL_KNOWN: Challenges(responder)}, plain))
    responder.start_responding("ci.example", challenge(), response())
    assert await (await http.get(served.url(PLACE + TOKEN))).content() == KEY.encode()
    for path in (PLACE + "another", "/.well-known/", "/.well-known", "/.well-known/security.txt"):
        assert (await http.get(served.url(path), allow_redirects=False)).code == 404
    assert (await http.get(served.url("/other"), allow_redirects=False)).code == 301


# -- redirects


@pytest.mark.parametrize(
    ("method", "code"), (("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("OPTIONS", 308))
)
@pytest_twisted.ensureDeferred
async def test_everything_else_is_at_the_same_place_by_https(serve, http, plain, method, code):
    served = await serve(plain)
    answer = await http.request(
        method, served.url("/web-shop/12?x=1&y=%20"), headers={"Host": "ci.example"}, allow_redirects=False
    )
    assert answer.code == code
    assert answer.headers.getRawHeaders("location") == ["https://ci.example/web-shop/12?x=1&y=%20"]
    assert answer.headers.getRawHeaders("strict-transport-security") is None
    await answer.content()


@pytest.mark.parametrize(
    ("host", "authority"),
    (
        ("ci.example", "ci.example"),
        ("git.example", "git.example"),
        ("CI.Example:80", "ci.example"),
        ("git.example.:8080", "git.example"),
        ("evil.example", "ci.example"),
        ("ci.example.evil.example", "ci.example"),
        ("127.0.0.1:8080", "ci.example"),
        ("[::1]", "ci.example"),
        ("_ci.example", "ci.example"),
        ("localhost", "ci.example"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_only_a_name_of_ours_is_led_to(serve, dial, plain, host, authority):
    answer = await get(await serve(plain), dial, "/x", host)
    assert (answer.code, answer.headers["location"]) == (301, f"https://{authority}/x")


@pytest_twisted.ensureDeferred
async def test_without_a_host_the_public_address_is_led_to(serve, dial, plain):
    answer = await ask(await serve(plain), dial, ["GET /x HTTP/1.0"])
    assert answer.headers["location"] == "https://ci.example/x"


@pytest.mark.parametrize(
    ("address", "ours", "others"),
    (
        ("https://ci.example:8443", "https://git.example:8443/x", "https://ci.example:8443/x"),
        ("https://ci.example:443", "https://git.example/x", "https://ci.example:443/x"),
        ("http://ci.example:8080", "https://git.example/x", None),
        ("http://localhost", "https://git.example/x", None),
    ),
)
@pytest_twisted.ensureDeferred
async def test_the_public_port_is_kept_and_nobody_is_sent_in_circles(serve, dial, plain, public, address, ours, others):
    public[0] = address
    served = await serve(plain)
    assert (await get(served, dial, "/x", "git.example")).headers["location"] == ours
    answer = await get(served, dial, "/x", "another.example")
    assert answer.headers.get("location") == others
    assert answer.code == (301 if others else 404)


@pytest.mark.parametrize(
    ("target", "location"),
    (
        ("//evil.example/x", "https://ci.example//evil.example/x"),
        ("/\\evil.example", "https://ci.example/\\evil.example"),
        ("/@evil.example", "https://ci.example/@evil.example"),
        ("/%0d%0aSet-Cookie:%20x=y", "https://ci.example/%0d%0aSet-Cookie:%20x=y"),
        ("http://git.example/x", "https://git.example/x"),
        ("http://evil.example/x", "https://ci.example/x"),
        ("/.well-known/security.txt", "https://ci.example/.well-known/security.txt"),
        ("/.well-known", "https://ci.example/.well-known"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_path_leads_to_a_path_and_into_no_header(serve, dial, plain, target, location):
    answer = await get(await serve(plain), dial, target)
    assert (answer.code, answer.headers["location"]) == (301, location)
    assert "set-cookie" not in answer.headers


def test_what_does_not_belong_into_a_header_is_encoded():
    assert _target(Asked(uri=b"/a\x0bb\x00\xff\r\nX: y")) == b"/a%0Bb%00%FF%0D%0AX:%20y"  # type: ignore[arg-type]  # a stand-in
    assert _target(Asked(uri=b"*")) == b"/"  # type: ignore[arg-type]  # a stand-in


class Asked:
    """As much of a request as the functions below look at."""

    def __init__(self, host="", uri=b"/"):
        self.uri = uri
        self.requestHeaders = self
        self._host = host

    def getRawHeaders(self, name, default):  # noqa: N802 - Twisted's name
        return [self._host]


@given(st.text(max_size=40) | st.text("abc-.:@/\\\r\n [%A", max_size=40))
def test_no_host_makes_more_than_a_name(host):
    name = _name_asked_for(Asked(host))  # type: ignore[arg-type]  # a stand-in
    parts = urlsplit(f"https://{name}/")
    assert (parts.netloc, parts.path) == (name, "/")
    assert name.isascii()
    assert name == name.lower()
    assert ":" not in name


@given(st.binary(max_size=60))
def test_no_target_makes_more_than_a_path(uri):
    target = _target(Asked(uri=uri)).decode("ascii")  # type: ignore[arg-type]  # a stand-in
    assert target.startswith("/")
    assert target.isprintable()
    assert " " not in target
    assert urlsplit("https://ci.example" + target).netloc == "ci.example"
