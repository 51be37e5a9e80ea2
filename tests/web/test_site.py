"""web/site.py: what a request may cost, over real sockets, and what every answer has."""

# ruff: noqa: N815 - names of attributes are Twisted's

from __future__ import annotations

import datetime as dt
import json
from io import BytesIO
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sayci.delivery import BODY_LIMIT
from sayci.errors import UnknownProject
from sayci.web.site import (
    ARRIVAL_LIMIT,
    IDLE_LIMIT,
    IN_MEMORY,
    LINGER,
    LINGER_BYTES,
    SMALL_BODY,
    SPOOLED_LIMIT,
    make_site,
)

HEAD = b"POST /x HTTP/1.1\r\nHost: ci.example\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: ci.example\r\n\r\n"


class Echo(Resource):
    """Answers what it understood of a request, and remembers it."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []

    def render(self, request):
        body = request.content.read()
        self.requests.append(request)
        request.setHeader("content-type", "application/json")
        return json.dumps(
            {
                "method": request.method.decode(),
                "path": request.path.decode("latin-1"),
                "host": request.getRequestHostname().decode("latin-1"),
                "size": len(body),
                "sum": sum(body),
                "form": {name.decode(): [v.decode() for v in values] for name, values in request.args.items()},
            }
        ).encode()


class Slow(Resource):
    """Answers when it is told to."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.asked: Deferred[Any] = Deferred()
        self.request: Any = None

    def render(self, request):
        self.request = request
        self.asked.callback(request)
        return NOT_DONE_YET


class Broken(Resource):
    """Has a defect; where `begun`, one that shows when half of the answer is sent."""

    isLeaf = True

    def __init__(self, error=None, *, begun=False):
        super().__init__()
        self.error = error or RuntimeError("the secret is swordfish")
        self.begun = begun

    def render(self, request):
        if self.begun:
            request.write(b"half of ")
        raise self.error


@pytest.fixture
def echo():
    return Echo()


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


# ------------------------------------------------------------------------------------------------ bodies


@pytest_twisted.ensureDeferred
async def test_a_body_within_the_limit_arrives_byte_for_byte(serve, http, echo):
    served = await serve(echo)
    body = bytes(range(256)) * 1024
    answer = await http.post(served.url("/x"), data=BytesIO(body))
    told = await answer.json()
    assert (told["size"], told["sum"]) == (len(body), sum(body))


@pytest.mark.parametrize("size", (0, 1, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, SMALL_BODY))
@pytest.mark.parametrize("is_chunked", (True, False))
@pytest_twisted.ensureDeferred
async def test_bodies_of_every_size_up_to_the_limit_are_read_in_memory_or_from_a_file(
    serve, dial, echo, size, is_chunked
):
    served = await serve(echo)
    wire = await dial(served)
    body = b"\x07" * size
    if is_chunked:
        parts = chunked(*([body[:70_000], body[70_000:]] if size > 70_000 else [body] if body else []))
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
    else:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % size + body)
    answer = await wire.answer()
    told = json.loads(answer.body)
    assert (answer.code, told["size"], told["sum"]) == (200, size, 7 * size)
    assert served.site.in_files == 0


@pytest_twisted.ensureDeferred
async def test_a_body_declared_too_large_is_refused_before_any_of_it_is_sent(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n")
    answer = await wire.answer()
    assert answer.code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == 413
    assert answer.headers["connection"] == "close"
    assert await wire.closed() == b""
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_all_of_a_too_large_body_can_still_read_the_answer(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Content-Length: 8000000\r\n\r\n" + b"x" * 8_000_000)
    assert (await wire.answer()).code == 413
    await wire.closed()
    assert wire.why is not None
    assert wire.why.__name__ == "ConnectionDone", "the connection was reset, which may destroy the answer"


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_stop_sending_is_cut_off(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = chunked(b"x" * 1_000_000)
    for _ in range(2 * LINGER_BYTES // 1_000_000):
        wire.send(chunk)
    await wire.closed()
    assert b" 413 " in wire.received.partition(b"\r\n")[0]
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_an_endless_chunked_body_is_refused_while_it_streams(serve, dial, echo):
    served = await serve(echo)
    wire = await dial(served)
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(SMALL_BODY // 65536):
        wire.send(chunked(b"x" * 65536))
    wire.send(chunked(b"one too many"))
    answer = await wire.answer()
    assert answer.code == 413
    await wire.closed()
    assert served.site.in_files == 0
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_a_refused_body_that_goes_on_with_nonsense_is_refused_once(serve, dial, echo):
    wire = await dial(await serve(echo, body_limit=lambda path: 10))
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 11) + b"nonsense\r\n")
    assert (await wire.answer()).code == 413
    assert await wire.closed() == b""


@pytest.fixture(scope="module")
def certificate():
    """A server's options with a certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ci.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    return PrivateCertificate.loadPEM(pem).options()


@pytest_twisted.ensureDeferred
async def test_the_refusal_reaches_a_client_of_tls_too(serve, dial, echo, certificate):
    trusting = CertificateOptions(verify=False)
    wire = await dial(await serve(echo, tls=certificate), tls=trusting)
    wire.send(GET)
    assert (await wire.answer()).code == 200
    wire.send(HEAD + b"Content-Length: 8000000\r\n\r\n" + b"x" * 8_000_000)
    assert (await wire.answer()).code == 413
    assert await wire.closed() == b""
    assert len(echo.requests) == 1


def strict(answer):
    """What an answer says of coming back by TLS."""
    return [text for name, text in answer.pairs if name == "strict-transport-security"]


@pytest_twisted.ensureDeferred
async def test_every_answer_over_tls_asks_for_tls_the_next_time(serve, dial, echo, certificate):
    served = await serve(echo, tls=certificate)
    wire = await dial(served, tls=CertificateOptions(verify=False))
    for _ in range(2):
        wire.send(GET)
        assert strict(await wire.answer()) == ["max-age=31536000"]
    wire.send(HEAD + b"Content-Length: 8000000\r\n\r\n")
    refused = await wire.answer()
    assert (refused.code, strict(refused)) == (413, ["max-age=31536000"])


@pytest_twisted.ensureDeferred
async def test_what_is_asked_for_over_tls_may_be_chosen(serve, dial, echo, certificate):
    for given, said in ((b"max-age=60; includeSubDomains", ["max-age=60; includeSubDomains"]), (b"", [])):
        wire = await dial(
            await serve(echo, tls=certificate, strict_transport=given), tls=CertificateOptions(verify=False)
        )
        wire.send(GET)
        assert strict(await wire.answer()) == said


@pytest_twisted.ensureDeferred
async def test_over_a_plain_connection_nothing_is_said_of_tls(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"X-Forwarded-Proto: https\r\n\r\n")
    assert strict(await wire.answer()) == []
    wire.send(HEAD + b"Content-Length: 8000000\r\n\r\n")
    assert strict(await wire.answer()) == []


@pytest_twisted.ensureDeferred
async def test_a_refused_body_that_ends_in_the_same_packet_is_refused_once(serve, dial, echo):
    wire = await dial(await serve(echo, body_limit=lambda path: 10))
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 8, b"y" * 8, b"z" * 8) + b"0\r\n\r\n" + GET)
    assert (await wire.answer()).code == 413
    assert await wire.closed() == b""
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_only_hooks_take_large_bodies(serve, dial, echo):
    served = await serve(echo)
    codes = {}
    for path in (
        b"/hooks/flour",
        b"/hooks",
        b"/api/v1/hooks/flour",
        b"/%68ooks/flour",
        b"/x?/hooks/",
        b"//hooks/flour",
    ):
        wire = await dial(served)
        wire.send(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (path, BODY_LIMIT)
        )
        while b"\r\n" not in wire.received:
            await wire._more()
        codes[path] = int(wire.received.split()[1])
    assert codes.pop(b"/hooks/flour") == 100
    assert set(codes.values()) == {413}


@pytest_twisted.ensureDeferred
async def test_the_limit_is_asked_for_by_the_path_without_its_query(serve, http, echo):
    asked = []

    def limit(path):
        asked.append(path)
        return 10

    await (await http.get((await serve(echo, body_limit=limit)).url("/a%20b?c=/d"))).content()
    assert asked == [b"/a%20b"]


@pytest_twisted.ensureDeferred
async def test_a_hook_takes_no_more_than_githubs_largest_body(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1))
    assert (await wire.answer()).code == 413


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_leaves_no_file_behind(serve, dial, echo, until):
    served = await serve(echo)
    wire = await dial(served)
    wire.send(b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * (IN_MEMORY + 1))
    await until(lambda: served.site.in_files == 1)
    wire.transport.abortConnection()
    await until(lambda: served.site.in_files == 0)


@pytest_twisted.ensureDeferred
async def test_only_so_many_large_bodies_wait_in_files_and_small_ones_always_pass(serve, dial, echo):
    served = await serve(echo)
    served.site.in_files = SPOOLED_LIMIT
    wire = await dial(served)
    wire.send(HEAD + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000)
    answer = await wire.answer()
    assert answer.code == 503
    assert int(answer.headers["retry-after"]) > 0
    small = await dial(served)
    small.send(HEAD + b"Content-Length: 5\r\n\r\nsmall")
    assert (await small.answer()).code == 200


@pytest.mark.parametrize("coding", ("gzip", "deflate", "br", "x", "gzip, identity"))
@pytest_twisted.ensureDeferred
async def test_an_encoded_body_is_refused_unread(serve, dial, echo, coding):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Content-Encoding: %s\r\nContent-Length: 100\r\n\r\n" % coding.encode())
    assert (await wire.answer()).code == 415
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_an_encoding_without_a_body_is_refused_too_and_nothing_after_it_is_read(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n" + GET)
    assert (await wire.answer()).code == 415
    assert await wire.closed() == b""
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_identity_is_no_encoding(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Content-Encoding: Identity\r\nContent-Length: 2\r\n\r\nhi")
    assert (await wire.answer()).code == 200


# ------------------------------------------------------------------------------------------------ forms


FORMS = {
    b"application/x-www-form-urlencoded": b"name=flour",
    b"multipart/form-data; boundary=b": b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nflour\r\n--b--\r\n',
    b"multipart/form-data": b"--\r\n",
}


@pytest.mark.parametrize("kind", FORMS)
@pytest_twisted.ensureDeferred
async def test_forms_are_left_to_those_who_want_them(serve, dial, echo, kind):
    wire = await dial(await serve(echo))
    body = FORMS[kind]
    wire.send(HEAD + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body)
    told = json.loads((await wire.answer()).body)
    assert (told["form"], told["size"]) == ({}, len(body))


# ------------------------------------------------------------------------------------------------ heads


BAD_HEADS = {
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two different lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "length and chunks": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "a length that Python will not read": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "broken chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
    "a folded header": HEAD + b"X-Long: begins\r\n and goes on\r\n\r\n",
    "a folded header with a tab": HEAD + b"X-Long: begins\r\n\tand goes on\r\n\r\n",
    "a header without colon": HEAD + b"Nonsense\r\n\r\n",
    "a space before the colon": HEAD + b"X-Name : x\r\n\r\n",
    "a header name beyond ASCII": HEAD + b"X-N\xc3\xa4me: x\r\n\r\n",
    "NUL in a header": HEAD + b"X-Name: a\0b\r\n\r\n",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "an empty host": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a path": b"GET /x HTTP/1.1\r\nHost: evil.example/x\r\n\r\n",
    "a host with a user": b"GET /x HTTP/1.1\r\nHost: ci.example@evil.example\r\n\r\n",
    "a host that IDNA stumbles over": b"GET /x HTTP/1.1\r\nHost: a..b\r\n\r\n",
    "a host with a long label": b"GET /x HTTP/1.1\r\nHost: " + b"a" * 64 + b"\r\n\r\n",
    "a host beyond ASCII": b"GET /x HTTP/1.1\r\nHost: \xff\r\n\r\n",
    "markup as a host": b'GET /x HTTP/1.1\r\nHost: "><script>\r\n\r\n',
    "a target that is no path": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target of another scheme": b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target with a user": b"GET http://u:p@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "a newer version": b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
    "no version": b"GET /x\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "too many headers": HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(101)) + b"\r\n",
    "too large a head": HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(20)) + b"\r\n",
}


@pytest.mark.parametrize("name", sorted(BAD_HEADS))
@pytest_twisted.ensureDeferred
async def test_a_head_that_is_not_well_formed_or_ambiguous_is_refused_and_the_connection_ends(
    serve, dial, echo, logged, name
):
    wire = await dial(await serve(echo))
    wire.send(BAD_HEADS[name] + GET)
    answer = await wire.answer()
    assert answer.code == 400
    assert json.loads(answer.body)["title"] == "Bad Request"
    assert await wire.closed() == b"", "what follows a refused head must not be read as a request"
    assert not echo.requests
    assert not logged.at_least(LogLevel.warn)


@pytest.mark.parametrize("head", (HEAD + b"X-Long: ", b"GET /"))
@pytest_twisted.ensureDeferred
async def test_a_header_or_an_address_of_100_kb_is_told_that_it_is_too_long(serve, dial, echo, head):
    wire = await dial(await serve(echo))
    wire.send(head + b"x" * 100_000 + b"\r\n\r\n")
    assert (await wire.answer()).code == 431
    await wire.closed()
    assert not echo.requests


@pytest_twisted.ensureDeferred
async def test_an_absolute_target_is_the_path_in_it_and_its_host_counts(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"GET http://ci.example:8080/a/b?c=d HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    told = json.loads((await wire.answer()).body)
    assert (told["path"], told["host"], told["form"]) == ("/a/b", "ci.example", {"c": ["d"]})
    wire.send(b"GET HTTPS://ci.example?c=d HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    told = json.loads((await wire.answer()).body)
    assert (told["path"], told["host"], told["form"]) == ("/", "ci.example", {"c": ["d"]})


@pytest_twisted.ensureDeferred
async def test_the_limit_of_an_absolute_target_is_that_of_its_path(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"POST http://x/hooks/y HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
    assert (await wire.answer()).code == 200


@pytest.mark.parametrize("host", ("ci.example", "CI.example:8080", "127.0.0.1:1", "[::1]:8080", "localhost", "a_b."))
@pytest_twisted.ensureDeferred
async def test_ordinary_hosts_pass(serve, dial, echo, host):
    wire = await dial(await serve(echo))
    wire.send(b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
    assert (await wire.answer()).code == 200


@pytest_twisted.ensureDeferred
async def test_http_1_0_needs_no_host_and_ends_with_the_answer(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"GET /x HTTP/1.0\r\n\r\n")
    assert (await wire.answer()).code == 200
    await wire.closed()


@pytest_twisted.ensureDeferred
async def test_requests_follow_each_other_on_a_connection_and_may_be_sent_ahead(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(HEAD + b"Content-Length: 3\r\n\r\nabc" + b"\r\n" + GET + GET)
    assert [(await wire.answer()).code for _ in range(3)] == [200] * 3
    assert len(echo.requests) == 3


@pytest.mark.parametrize("method", ("TRACE", "BREW", "PROPFIND"))
@pytest_twisted.ensureDeferred
async def test_unusual_methods_reach_the_resource_which_has_the_say(serve, dial, echo, method):
    wire = await dial(await serve(echo))
    wire.send(b"%s /x HTTP/1.1\r\nHost: x\r\n\r\n" % method.encode())
    assert json.loads((await wire.answer()).body)["method"] == method


@pytest_twisted.ensureDeferred
async def test_the_star_is_answered_without_a_resource(serve, dial, echo):
    wire = await dial(await serve(echo))
    wire.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.answer()).code == 200
    assert not echo.requests


# ------------------------------------------------------------------------------------------------ answers


@pytest_twisted.ensureDeferred
async def test_every_answer_has_the_headers_that_protect_and_tells_no_version(serve, dial, echo):
    top = Resource()
    top.putChild(b"fine", echo)
    top.putChild(b"broken", Broken())
    served = await serve(top)
    for request, code in (
        (b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n", 500),
        (b"POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"GET /fine HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000, 431),
    ):
        wire = await dial(served)
        wire.send(request)
        answer = await wire.answer()
        assert answer.code == code
        assert answer.headers["server"] == "sayci"
        assert answer.headers["date"].endswith(" GMT")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        names = [name for name, _ in answer.pairs]
        assert len(names) == len(set(names)), "a header is there twice"


@pytest_twisted.ensureDeferred
async def test_a_page_may_be_stricter_about_what_it_tells_other_sites(serve, dial):
    slow = Slow()
    wire = await dial(await serve(slow))
    wire.send(GET)
    request = await slow.asked
    request.setHeader("referrer-policy", "no-referrer")
    request.end(b"")
    answer = await wire.answer()
    assert [value for name, value in answer.pairs if name == "referrer-policy"] == ["no-referrer"]


@pytest_twisted.ensureDeferred
async def test_a_defect_is_told_by_an_id_that_the_log_has_too(serve, http, logged):
    served = await serve(Broken())
    answer = await http.get(served.url("/x?code=hidden"))
    text = await answer.text()
    problem = json.loads(text)
    assert (answer.code, problem["status"]) == (500, 500)
    assert answer.headers.getRawHeaders("content-type") == ["application/problem+json"]
    assert "swordfish" not in text
    assert "Traceback" not in text
    (event,) = logged.at_least(LogLevel.error)
    assert problem["id"] in event.values()
    assert "swordfish" in event["log_failure"].getErrorMessage()


@pytest_twisted.ensureDeferred
async def test_an_error_of_sayci_that_nobody_caught_keeps_its_meaning(serve, http, logged):
    served = await serve(Broken(UnknownProject("no such project", "flour")))
    answer = await http.get(served.url())
    await answer.content()
    assert answer.code == 404
    assert not logged.at_least(LogLevel.error)


@pytest_twisted.ensureDeferred
async def test_a_defect_in_a_klein_handler_is_told_in_the_same_way(serve, http, logged):
    app = Klein()

    @app.route("/x")
    async def x(request):
        raise ValueError("swordfish")

    answer = await http.get((await serve(app.resource())).url("/x"))
    problem = await answer.json()
    assert (answer.code, problem["status"]) == (500, 500)
    assert "swordfish" not in json.dumps(problem)


@pytest_twisted.ensureDeferred
async def test_half_an_answer_never_looks_like_a_whole_one(serve, dial, logged):
    wire = await dial(await serve(Broken(begun=True)))
    wire.send(GET)
    received = await wire.closed()
    assert b"half of" not in received or not received.endswith(b"0\r\n\r\n")
    assert wire.why is not None
    assert wire.why.__name__ == "ConnectionLost"


@pytest_twisted.ensureDeferred
async def test_nobody_is_answered_who_has_gone(serve, dial, logged):
    slow = Slow()
    wire = await dial(await serve(slow))
    wire.send(GET)
    request = await slow.asked
    gone = request.notifyFinish()
    wire.transport.abortConnection()
    with pytest.raises(Exception, match=r"[Cc]onnection"):
        await gone
    assert request.gone
    request.end(b"too late")
    request.processingFailed(failure_of(RuntimeError("later still")))


@pytest_twisted.ensureDeferred
async def test_only_one_answer_is_sent(serve, dial, logged):
    slow = Slow()
    wire = await dial(await serve(slow))
    wire.send(GET)
    request = await slow.asked
    request.end(b"the first")
    request.end(b"the second")
    request.processingFailed(failure_of(RuntimeError("the third")))
    assert (await wire.answer()).body == b"the first"
    wire.send(b"NONSENSE\r\n\r\n")
    assert (await wire.answer()).code == 400


@pytest_twisted.ensureDeferred
async def test_a_head_request_has_the_length_and_no_body(serve, dial):
    slow = Slow()
    wire = await dial(await serve(slow))
    wire.send(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
    request = await slow.asked
    request.end(b"0123456789")
    wire.send(b"NONSENSE\r\n\r\n")
    received = await wire.closed()
    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert rest.startswith(b"HTTP/1.1 400 ")


@pytest_twisted.ensureDeferred
async def test_an_access_log_is_kept_only_where_it_is_wanted_without_queries(serve, http, echo, logged):
    quiet, talking = await serve(echo), await serve(echo, access_log=True)
    for served in (quiet, talking):
        await (await http.get(served.url("/x?token=swordfish"))).content()
    lines = [event for event in logged if event.get("code") == 200]
    assert [(event["log_level"], event["path"]) for event in lines] == [(LogLevel.debug, b"/x")]
    assert "swordfish" not in str([event for event in logged if event["log_namespace"].startswith("sayci")])


def test_only_http_1_1_is_offered_where_tls_chooses():
    assert make_site(Resource(), clock=reactor).acceptableProtocols() == [b"http/1.1"]


# ------------------------------------------------------------------------------------------------ time


class FakeConnection(StringTransport):
    """A transport that says what became of it; time is the test's."""

    gone = False

    def loseConnection(self):  # noqa: N802 - Twisted's name
        self.disconnecting = True

    def loseWriteConnection(self):  # noqa: N802 - Twisted's name
        self.disconnecting = True

    def abortConnection(self):  # noqa: N802 - Twisted's name
        self.gone = True


@pytest.fixture
def connect(clock, echo):
    """Open a connection in the test's own time, to a resource if not to an echo."""

    def open_one(resource=None):
        channel = make_site(resource or echo, clock=clock).buildProtocol(None)
        transport = FakeConnection()
        channel.makeConnection(transport)
        return channel, transport

    return open_one


def test_a_silent_client_is_given_up_after_the_idle_limit(clock, connect):
    _, transport = connect()
    clock.advance(IDLE_LIMIT - 1)
    assert not transport.disconnecting
    clock.advance(2)
    assert transport.disconnecting
    assert transport.value() == b""
    clock.advance(LINGER)
    assert transport.gone


@pytest.mark.parametrize("begun", (b"GET /x HTT", HEAD, HEAD + b"X-Slow: x\r\n", HEAD + b"Content-Length: 900\r\n\r\n"))
def test_a_request_that_trickles_in_is_given_up_though_it_never_pauses(clock, connect, echo, begun):
    channel, transport = connect()
    channel.dataReceived(begun)
    for _ in range(int(ARRIVAL_LIMIT) // 10):
        clock.advance(10)
        channel.dataReceived(b"x")
    assert not transport.disconnecting
    clock.advance(10)
    channel.dataReceived(b"x")
    assert transport.disconnecting
    if begun.startswith(HEAD):
        assert transport.value().startswith(b"HTTP/1.1 408 ")
    channel.dataReceived(b"x" * 1000)
    clock.advance(LINGER)
    assert transport.gone
    assert not echo.requests


def test_a_later_request_of_a_connection_has_no_more_time_than_the_first(clock, connect, echo):
    channel, transport = connect()
    channel.dataReceived(GET + HEAD)
    for _ in range(int(ARRIVAL_LIMIT) // 10 + 2):
        clock.advance(10)
        channel.dataReceived(b"x")
    assert transport.disconnecting
    assert len(echo.requests) == 1


def test_a_refused_client_is_listened_to_for_so_many_bytes_and_no_more(clock, connect):
    channel, transport = connect()
    channel.dataReceived(HEAD + b"Content-Length: 10000000000\r\n\r\n")
    channel.dataReceived(b"x" * LINGER_BYTES)
    assert not transport.gone
    channel.dataReceived(b"x")
    assert transport.gone


def test_a_request_that_stops_half_way_is_told_that_it_came_too_late(clock, connect):
    channel, transport = connect()
    channel.dataReceived(HEAD + b"Content-Length: 900\r\n\r\nbut")
    clock.advance(IDLE_LIMIT + 1)
    assert transport.value().startswith(b"HTTP/1.1 408 ")


def test_an_answer_may_take_as_long_as_it_takes(clock, connect):
    slow = Slow()
    channel, transport = connect(slow)
    channel.dataReceived(GET)
    for part in (b"GET", b" /x", b" HTTP/1.1"):  # sent ahead while the answer is awaited
        clock.advance(24 * 3600)
        channel.dataReceived(part)
    assert not transport.disconnecting
    slow.request.end(b"done")
    assert transport.value().endswith(b"done")


def test_the_time_for_a_request_begins_with_its_first_byte_not_with_the_connection(clock, connect, echo):
    channel, transport = connect()
    for _ in range(10):
        clock.advance(IDLE_LIMIT - 1)
        channel.dataReceived(GET)
    assert len(echo.requests) == 10
    assert not transport.disconnecting


def test_the_time_for_a_request_sent_ahead_begins_when_its_turn_comes(clock, connect, echo):
    slow = Slow()
    channel, transport = connect(slow)
    channel.dataReceived(GET + HEAD + b"Content-Length: 3\r\n")
    clock.advance(ARRIVAL_LIMIT * 2)
    slow.asked = Deferred()
    slow.request.end(b"first")
    clock.advance(IDLE_LIMIT - 1)
    channel.dataReceived(b"\r\nabc")
    slow.request.end(b"second")
    assert transport.value().endswith(b"second")


def test_a_client_that_ends_the_connection_itself_leaves_no_timer(clock, connect):
    channel, _ = connect()
    channel.dataReceived(b"NONSENSE\r\n\r\n")
    assert clock.getDelayedCalls()
    channel.connectionLost(failure_of(ConnectionError()))
    assert not clock.getDelayedCalls()


def failure_of(error):
    return Failure(error)
