"""web/hooks.py: deliveries over real sockets, into a real store."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel
from twisted.web.resource import Resource

from sayci.delivery import BODY_LIMIT, Accepted, Verdict
from sayci.errors import TooOften, Unavailable, UnknownProject, WrongSignature
from sayci.forges.github import GitHub
from sayci.project import Settings
from sayci.refusals import Why
from sayci.web.hooks import (
    IN_THREAD_FROM,
    KEPT_VALUE_LIMIT,
    LOG_PERIOD,
    NEWS_PERIOD,
    SECONDS_PER_TRY,
    WRONG_TRIES,
    Hooks,
    RefusalLog,
    RefusalNews,
    client_of,
)
from sayci.web.root import Root
from tests.factories import a_delivery, a_project
from tests.payloads import (
    AFTER,
    SECRET,
    body_of,
    created,
    deletion,
    form_of,
    headers_of,
    many_valued,
    padded,
    ping,
    pull_request,
    push,
    signature,
    tag,
)

BODY = body_of(push())
FORM = "application/x-www-form-urlencoded"


class Spy:
    """Hooks with a transcript: what was put into the inbox, and what was done in a thread."""

    def __init__(self, store, clock=None):
        self.put: list[Any] = []
        self.threads = 0
        self.hooks = Hooks(
            store,
            GitHub(),
            lambda delivery, change: self.put.append((delivery, change)),
            clock or Clock(),
            wall=lambda: 1_800_000_000.0,
            in_thread=self.in_thread,
        )
        self.resource = Root(self.hooks.resource, {}, Resource())

    def in_thread(self, function):
        self.threads += 1
        return deferToThread(function)


def last_of(spy, project):
    """The last refusal of a project, of which there is one."""
    refusal = spy.hooks.refusals.last(project.id)
    assert refusal is not None
    return refusal


@pytest_twisted.async_yield_fixture
async def flour(store):
    """A registered project."""
    yield await store.add_project(Settings("flour", "https://git.example/windmill/flour.git"), SECRET, "", 0.0)


@pytest.fixture
def spy(store, flour):
    return Spy(store)


@pytest_twisted.async_yield_fixture
async def served(serve, spy):
    yield await serve(spy.resource)


@pytest.fixture
def send(served, http):
    """Post a body to a hook; the answer's code and its JSON."""

    async def post(body=BODY, headers=None, path="/hooks/flour", **how):
        answer = await http.post(served.url(path), data=body, headers=headers or headers_of(body, **how))
        return answer.code, await answer.json()

    return post


async def kept(store, project):
    return (await store.deliveries(project.id)).items


def raw(body: bytes = BODY, path: bytes = b"/hooks/flour", headers=None, *more: bytes) -> bytes:
    """The bytes of a request."""
    lines = [b"%s: %s" % (name.encode(), value.encode()) for name, value in (headers or headers_of(body)).items()]
    lines += [b"Content-Length: %d" % len(body), b"Host: ci.example", *more]
    return b"POST %s HTTP/1.1\r\n%s\r\n\r\n%s" % (path, b"\r\n".join(lines), body)


# ------------------------------------------------------------------------------------------------ authentic


@pytest_twisted.ensureDeferred
async def test_a_push_is_kept_byte_for_byte_before_it_is_answered_and_then_put_into_the_inbox(send, spy, store, flour):
    code, receipt = await send(delivery="d-1")
    (delivery,) = await kept(store, flour)
    assert (code, receipt) == (202, {"delivery": delivery.id, "verdict": "received", "explanation": "", "build": None})
    assert (delivery.forge_id, delivery.event, delivery.size) == ("d-1", "push", len(BODY))
    assert (await store.delivery(flour.id, delivery.id))[1].body == BODY
    ((put, change),) = spy.put
    assert put == delivery
    assert (change.ref, change.commit, change.author) == ("refs/heads/main", AFTER, "Ada Quill")


@pytest_twisted.ensureDeferred
async def test_the_headers_that_help_are_kept_and_no_others(send, store, flour):
    headers = headers_of(BODY) | {
        "Cookie": "session=hidden",
        "Authorization": "Bearer hidden",
        "X-Request-Id": "r" * 5000,
        "X-Forwarded-For": "1.2.3.4",
    }
    _, receipt = await send(headers=headers)
    _, stored = await store.delivery(flour.id, receipt["delivery"])
    names = dict(stored.headers)
    assert sorted(names) == [
        "content-type",
        "user-agent",
        "x-github-delivery",
        "x-github-event",
        "x-github-hook-id",
        "x-github-hook-installation-target-id",
        "x-github-hook-installation-target-type",
        "x-request-id",
    ]
    assert len(names["x-request-id"]) == KEPT_VALUE_LIMIT
    assert names["x-github-event"] == "push"


@pytest_twisted.ensureDeferred
async def test_what_is_kept_can_be_read_again_as_it_was(send, store, flour):
    body = form_of(push(message="äöü & %"))
    _, receipt = await send(body, content_type=FORM)
    _, stored = await store.delivery(flour.id, receipt["delivery"])
    again = GitHub().parse({name: [value] for name, value in stored.headers}, stored.body)
    assert again.change is not None
    assert again.change.message == "äöü & %"


@pytest_twisted.ensureDeferred
async def test_the_projects_name_may_be_spelt_in_any_case(send, store, flour):
    assert (await send(path="/hooks/FLOUR"))[0] == 202
    assert len(await kept(store, flour)) == 1


IGNORED = {
    "ping": ("ping", ping(), "Hello"),
    "a tag": ("push", tag(), "refs/tags/v1.0"),
    "a tag's other event": ("create", created(), "push"),
    "a removed branch": ("push", deletion(), "deleted"),
    "the removed deploy branch": ("push", deletion("refs/heads/main"), "deleted"),
    "a test delivery with zeros": ("push", push(after="0" * 40), "deleted"),
    "a message that asks for it": ("push", push(message="typo [skip ci]"), "skip"),
    "a pull request": ("pull_request", pull_request(), "Pull requests"),
    "a pull request of a removed fork": ("pull_request", pull_request(fork=None), "Pull requests"),
    "an unknown event": ("sponsorship", {}, "sponsorship"),
}


@pytest.mark.parametrize("name", sorted(IGNORED))
@pytest_twisted.ensureDeferred
async def test_what_makes_no_build_is_kept_and_explained_and_never_put(send, spy, store, flour, name):
    event, payload, word = IGNORED[name]
    code, receipt = await send(body_of(payload), event=event)
    assert (code, receipt["verdict"], receipt["build"]) == (200, "ignored", None)
    assert word in receipt["explanation"]
    (delivery,) = await kept(store, flour)
    assert (delivery.verdict, delivery.explanation) == (Verdict.IGNORED, receipt["explanation"])
    assert spy.put == []


@pytest_twisted.ensureDeferred
async def test_the_same_delivery_again_is_the_same_one(send, spy, store, flour):
    code, first = await send(delivery="d-1")
    assert code == 202
    assert await send(delivery="d-1") == (200, first)
    assert await send(body_of(push("refs/heads/other")), delivery="d-1") == (200, first)
    assert len(await kept(store, flour)) == 1
    assert len(spy.put) == 1


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_has_made_its_build_tells_the_number_when_it_comes_again(send, store, flour):
    _, receipt = await send(delivery="d-1")
    from sayci.trigger import build_of_push

    change = GitHub().parse(many_valued(headers_of(BODY)), BODY).change
    assert change is not None
    await store.settle(receipt["delivery"], Verdict.BUILT, "", build_of_push(flour, change, receipt["delivery"]))
    code, again = await send(delivery="d-1")
    assert (code, again["verdict"], again["build"]) == (200, "built", 1)


@pytest_twisted.ensureDeferred
async def test_the_same_delivery_many_times_at_once_is_put_once(served, dial, spy, store, flour):
    wires = [await dial(served) for _ in range(30)]
    request = raw(headers=headers_of(BODY, delivery="d-1"))
    for wire in wires:
        wire.send(request)
    answers = [await wire.answer() for wire in wires]
    assert sorted(answer.code for answer in answers) == [200] * 29 + [202]
    assert len({answer.body for answer in answers}) == 1
    assert len(spy.put) == 1
    assert len(await kept(store, flour)) == 1


@pytest_twisted.ensureDeferred
async def test_the_same_identity_at_another_project_is_another_delivery(send, spy, store, flour):
    await store.add_project(Settings("bread", "https://git.example/bread.git"), "other secret", "", 0.0)
    assert (await send(delivery="d-1"))[0] == 202
    assert (await send(path="/hooks/bread", delivery="d-1", secret="other secret"))[0] == 202
    assert len(spy.put) == 2


@pytest_twisted.ensureDeferred
async def test_five_hundred_deliveries_at_once_are_all_taken(served, dial, spy, store, flour):
    wires = [await dial(served) for _ in range(25)]
    requests = [raw(padded(push(f"refs/heads/b{number}"), 10_000)) for number in range(500)]
    started = time.monotonic()

    async def talk(wire, mine):
        codes = []
        for request in mine:
            wire.send(request)
            codes.append((await wire.answer()).code)
        return codes

    talks = [Deferred.fromCoroutine(talk(wire, requests[first::25])) for first, wire in enumerate(wires)]
    codes: list[list[int]] = await gatherResults(talks, consumeErrors=True)
    assert [code for some in codes for code in some] == [202] * 500
    assert len(spy.put) == 500
    assert time.monotonic() - started < 30


@pytest_twisted.ensureDeferred
async def test_a_form_is_verified_as_it_came_and_read(send, spy):
    code, _ = await send(form_of(push()), content_type=FORM)
    assert code == 202
    assert spy.put[0][1].commit == AFTER


@pytest_twisted.ensureDeferred
async def test_a_chunked_delivery_is_verified_over_its_bytes(served, dial, spy):
    wire = await dial(served)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers_of(BODY).items()).encode()
    wire.send(b"POST /hooks/flour HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n")
    for start in range(0, len(BODY), 1000):
        part = BODY[start : start + 1000]
        wire.send(b"%x\r\n%s\r\n" % (len(part), part))
    wire.send(b"0\r\n\r\n")
    assert (await wire.answer()).code == 202
    assert len(spy.put) == 1


@pytest_twisted.ensureDeferred
async def test_a_big_delivery_is_read_in_a_thread_and_a_usual_one_is_not(send, spy):
    assert (await send(padded(push(), 10_000)))[0] == 202
    assert spy.threads == 0
    payload = push(message="m" * IN_THREAD_FROM)
    assert (await send(body_of(payload)))[0] == 202
    assert spy.threads == 1
    assert (await send(body_of(payload), secret="wrong"))[0] == 401
    assert spy.threads == 2


@pytest_twisted.ensureDeferred
async def test_githubs_largest_body_is_taken_and_one_byte_more_is_not(served, dial, spy, store, flour):
    body = BODY[:-1] + b" " * (BODY_LIMIT - len(BODY)) + b"}"
    wire = await dial(served)
    wire.send(raw(body))
    assert (await wire.answer()).code == 202
    (delivery,) = await kept(store, flour)
    assert delivery.size == BODY_LIMIT
    wire.send(b"POST /hooks/flour HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1))
    assert (await wire.answer()).code == 413


@pytest_twisted.ensureDeferred
async def test_ten_thousand_commits_with_strange_texts_are_taken(send, spy):
    payload = push(message="\u202e" + "m" * 1_000_000, author="<script>alert(1)</script>")
    payload["commits"] = [{"message": "x"}] * 10_000
    assert (await send(body_of(payload)))[0] == 202
    assert spy.put[0][1].author == "<script>alert(1)</script>"


# ------------------------------------------------------------------------------------------------ not authentic


RIGHT = signature(SECRET, BODY)
WRONG = {
    "missing": None,
    "empty": "",
    "no digits": "sha256=",
    "sha1 alone": "sha1=" + "0" * 40,
    "too short": RIGHT[:-1],
    "too long": RIGHT + "0",
    "not hexadecimal": RIGHT[:-1] + "g",
    "of another secret": signature("another", BODY),
    "of another body": signature(SECRET, BODY + b"\n"),
    "twice in one": f"{RIGHT},{RIGHT}",
    "of the empty secret": signature("", BODY),
}


@pytest.mark.parametrize("name", sorted(WRONG))
@pytest_twisted.ensureDeferred
async def test_a_wrong_signature_is_refused_and_nothing_is_kept(send, spy, store, flour, name):
    headers = headers_of(BODY)
    value = WRONG[name]
    if value is None:
        del headers["X-Hub-Signature-256"]
    else:
        headers["X-Hub-Signature-256"] = value
    code, problem = await send(headers=headers)
    assert (code, problem["status"]) == (401, 401)
    assert RIGHT[7:] not in json.dumps(problem)
    assert await kept(store, flour) == []
    assert spy.put == []
    assert last_of(spy, flour).count == 1


@pytest_twisted.ensureDeferred
async def test_upper_case_digits_are_taken(send):
    assert (await send(headers=headers_of(BODY) | {"X-Hub-Signature-256": "sha256=" + RIGHT[7:].upper()}))[0] == 202


@pytest_twisted.ensureDeferred
async def test_two_signatures_are_refused(served, dial):
    wire = await dial(served)
    wire.send(raw(BODY, b"/hooks/flour", None, b"x-hub-signature-256: " + RIGHT.encode()))
    assert (await wire.answer()).code == 401


@pytest.mark.parametrize(
    "altered",
    (
        BODY[:-1] + b" }",
        json.dumps(json.loads(BODY)).encode(),
        BODY.replace(b",", b",\r\n"),
        BODY + b"\n",
        BODY[:-1],
        b"",
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_body_that_was_altered_on_its_way_is_refused(send, altered):
    assert (await send(altered, headers=headers_of(BODY)))[0] == 401


@pytest_twisted.ensureDeferred
async def test_another_forges_headers_are_no_signature(send):
    headers = {"Content-Type": "application/json", "X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET}
    assert (await send(headers=headers))[0] == 401


NOBODY = (
    "/hooks/nobody",
    "/hooks/flour.git",
    "/hooks/flour%2e",
    "/hooks/%00",
    "/hooks/..",
    "/hooks/fl%C3%B6ur",
    "/hooks/x%2Fy",
)


@pytest.mark.parametrize("path", (*NOBODY, "/hooks/" + "x" * 5000, "/hooks/' OR 1=1--", "/hooks/%20flour"))
@pytest_twisted.ensureDeferred
async def test_an_unknown_project_and_a_wrong_signature_get_the_same_answer_to_the_byte(served, dial, path):
    path = path.replace(" ", "%20")
    answers = []
    for address, secret in ((path, SECRET), ("/hooks/flour", "wrong")):
        wire = await dial(served)
        wire.send(raw(BODY, address.encode(), headers_of(BODY, secret=secret)))
        answers.append(await wire.answer())
    unknown, wrong = answers
    assert unknown.code == wrong.code == 401
    assert unknown.body == wrong.body
    assert "no such project, or the signature" in json.loads(wrong.body)["detail"]
    for answer in answers:
        answer.headers.pop("date")
    assert unknown.headers == wrong.headers


class Counting(GitHub):
    """Counts the signatures that are verified, and remembers with which secrets."""

    def __init__(self):
        self.secrets = []

    def verify(self, secret, headers, body):
        self.secrets.append(secret)
        super().verify(secret, headers, body)


@pytest_twisted.ensureDeferred
async def test_for_an_unknown_project_the_same_work_is_done_with_a_secret_that_nobody_has(store, flour):
    forge = Counting()
    hooks = Hooks(store, forge, lambda delivery, change: None, Clock(), in_thread=deferToThread)
    for _ in range(2):
        with pytest.raises(WrongSignature):
            await hooks.take("nobody", many_valued(headers_of(BODY)), BODY, None)
    first, second = forge.secrets
    assert first == second
    assert len(first) > 30
    other = Hooks(store, forge, lambda delivery, change: None, Clock(), in_thread=deferToThread)
    with pytest.raises(WrongSignature):
        await other.take("nobody", many_valued(headers_of(BODY, secret=first)), BODY, None)
    assert forge.secrets[-1] != first


@pytest_twisted.ensureDeferred
async def test_only_the_authentic_are_told_what_is_wrong_with_their_payload(send):
    for body, event, content_type, code in (
        (b"null", "push", "application/json", 400),
        (BODY, "push", "text/plain", 415),
        (BODY, "PUSH", "application/json", 400),
    ):
        assert (await send(body, event=event, content_type=content_type))[0] == code
        assert (await send(body, event=event, content_type=content_type, secret="wrong"))[0] == 401


# ------------------------------------------------------------------------------------------------ authentic nonsense


NONSENSE = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"x"',
    "half": BODY[: len(BODY) // 2],
    "deep": b"[" * 100_000,
    "deep in a field": b'{"ref":' * 100_000,
    "not a number": b'{"ref": NaN}',
    "no ref": body_of({"after": AFTER}),
    "a number as ref": body_of(push(5)),
    "an endless ref": body_of(push("refs/heads/" + "x" * 1_000_000)),
    "an option as ref": body_of(push("--upload-pack=touch /tmp/p")),
    "an option as branch": body_of(push("refs/heads/-x")),
    "a shell as branch": body_of(push("refs/heads/a b;id")),
    "a line in the branch": body_of(push("refs/heads/a\nb")),
    "NUL in the branch": body_of(push("refs/heads/a\0b")),
    "an option as commit": body_of(push(after="--help")),
    "a short commit": body_of(push(after="a" * 39)),
    "a symbolic commit": body_of(push(after="HEAD")),
    "an upper-case commit": body_of(push(after=AFTER.upper())),
}


@pytest.mark.parametrize("name", sorted(NONSENSE))
@pytest_twisted.ensureDeferred
async def test_what_no_forge_sends_is_refused_and_not_kept(send, spy, store, flour, name, logged):
    code, problem = await send(NONSENSE[name])
    assert (code, problem["status"]) == (400, 400)
    assert await kept(store, flour) == []
    assert last_of(spy, flour).reason == problem["detail"]
    assert not logged.at_least(LogLevel.error)
    assert (await send())[0] == 202


@pytest_twisted.ensureDeferred
async def test_two_payloads_in_a_form_are_refused(send):
    assert (await send(form_of(push()) + b"&" + form_of(push()), content_type=FORM))[0] == 400


@pytest.mark.parametrize(
    "header",
    (
        b"X-GitHub-Event: push",
        b"X-GitHub-Delivery: another",
        b"Content-Type: application/json",
        "X-GitHub-Extra: ☃".encode(),
        b"X-GitHub-Extra: \xff",
        b"X-GitHub-Extra: folded\r\n into two lines",
    ),
)
@pytest_twisted.ensureDeferred
async def test_headers_that_come_twice_or_are_not_ascii_are_refused(served, dial, spy, header):
    wire = await dial(served)
    wire.send(raw(BODY, b"/hooks/flour", None, header))
    assert (await wire.answer()).code == 400
    assert spy.put == []
    if b"\r\n" not in header:
        wire = await dial(served)
        wire.send(raw(BODY, b"/hooks/flour", headers_of(BODY, secret="wrong"), header))
        assert (await wire.answer()).code == 401


@pytest_twisted.ensureDeferred
async def test_a_header_of_100_kb_is_refused(served, dial, spy):
    wire = await dial(served)
    wire.send(raw(BODY, b"/hooks/flour", None, b"X-GitHub-Extra: " + b"x" * 100_000))
    assert (await wire.answer()).code == 431
    assert spy.put == []


@pytest_twisted.ensureDeferred
async def test_a_compressed_delivery_is_refused(served, dial, spy):
    wire = await dial(served)
    wire.send(raw(BODY, b"/hooks/flour", None, b"Content-Encoding: gzip"))
    assert (await wire.answer()).code == 415
    assert spy.put == []


@pytest.mark.parametrize("method", ("GET", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"))
@pytest_twisted.ensureDeferred
async def test_deliveries_are_posted_and_nothing_else(served, dial, method):
    wire = await dial(served)
    wire.send(b"%s /hooks/flour HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % method.encode())
    received = await wire.closed()
    assert received.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST\r\n" in received
    if method == "HEAD":
        assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ("/hooks", "/hooks/", "/hooks/flour/", "/hooks/flour/x", "/hooks//flour"))
@pytest_twisted.ensureDeferred
async def test_other_addresses_below_hooks_are_not_there(send, path, store, flour):
    assert (await send(path=path))[0] == 404
    assert await kept(store, flour) == []


# ------------------------------------------------------------------------------------------------ floods


@pytest_twisted.ensureDeferred
async def test_who_is_wrong_too_often_waits_and_right_signatures_from_there_pass(serve, dial, store, flour):
    clock = Clock()
    served = await serve(Spy(store, clock).resource)
    wire = await dial(served)

    async def codes(count, secret):
        found = []
        for _ in range(count):
            wire.send(raw(headers=headers_of(BODY, secret=secret)))
            found.append(await wire.answer())
        return [answer.code for answer in found], found[-1]

    assert (await codes(WRONG_TRIES, "wrong"))[0] == [401] * WRONG_TRIES
    told, last = await codes(5, "wrong")
    assert told == [429] * 5
    assert 1 <= int(last.headers["retry-after"]) <= SECONDS_PER_TRY
    assert last.headers["content-type"] == "application/problem+json"
    assert (await codes(3, SECRET))[0] == [202] * 3
    clock.advance(SECONDS_PER_TRY)
    assert (await codes(2, "wrong"))[0] == [401, 429]


@pytest_twisted.ensureDeferred
async def test_a_flood_of_wrong_signatures_leaves_few_lines_in_the_log_and_no_trace_in_the_store(
    serve, dial, store, flour, logged
):
    clock = Clock()
    served = await serve(Spy(store, clock).resource)
    wire = await dial(served)
    request = raw(headers=headers_of(BODY, secret="wrong"))
    for _ in range(300):
        wire.send(request)
    for _ in range(300):
        assert (await wire.answer()).code in (401, 429)
    clock.advance(LOG_PERIOD)
    lines = [event for event in logged.at_least(LogLevel.info) if event["log_namespace"].startswith("sayci")]
    assert [event["count"] for event in lines] == [1, 299]
    assert await kept(store, flour) == []


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    (
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ),
)
def test_a_customer_of_ipv6_counts_as_one(one, other, are_one):
    first, second = (client_of((IPv6Address if ":" in host else IPv4Address)("TCP", host, 1)) for host in (one, other))
    assert (first == second) is are_one


def test_an_address_that_is_none_of_the_internets_counts_too():
    assert client_of(UNIXAddress("/run/x")) == client_of(None) == "local"
    assert client_of(IPv4Address("TCP", "nonsense", 1)) == "nonsense"


def test_refusals_are_logged_at_once_and_then_one_line_for_each_period(logged):
    clock = Clock()
    refused = RefusalLog(clock)
    refused.add("one")
    assert [event["count"] for event in logged] == [1]
    refused.add("two")
    refused.add("three")
    assert len(logged) == 1
    clock.advance(LOG_PERIOD)
    assert [(event["count"], event["line"]) for event in logged] == [(1, "one"), (2, "three")]
    clock.advance(LOG_PERIOD)
    assert not clock.getDelayedCalls()
    refused.add("four")
    assert [event["count"] for event in logged] == [1, 2, 1]


# ------------------------------------------------------------------------------------------------ refusals


@pytest_twisted.ensureDeferred
async def test_the_last_refusal_of_a_project_says_when_and_why(store, flour):
    spy = Spy(store)
    with pytest.raises(WrongSignature):
        await spy.hooks.take("flour", many_valued(headers_of(BODY, secret="wrong")), BODY, None)
    refusal = last_of(spy, flour)
    assert refusal.at == 1_800_000_000.0
    assert "does not match" in refusal.reason
    headers = many_valued(headers_of(BODY))
    del headers["x-hub-signature-256"]
    with pytest.raises(WrongSignature):
        await spy.hooks.take("flour", headers, BODY, None)
    assert "does not match" not in last_of(spy, flour).reason
    with pytest.raises(WrongSignature):
        await spy.hooks.take("nobody", headers, BODY, None)
    assert spy.hooks.refusals.projects() == (flour.id,)


class Shelf:
    """An in-memory Intake that does what it is told."""

    def __init__(self, *projects, error=None):
        self.projects = {project.name: project for project in projects}
        self.error = error
        self.accepted: list[Any] = []
        self.slowly: Deferred[None] | None = None

    async def webhook_secret(self, name):
        if name not in self.projects:
            raise UnknownProject("no such project", name)
        return self.projects[name], SECRET

    async def accept(self, delivery):
        self.accepted.append(delivery)
        if self.slowly is not None:
            await self.slowly
        if self.error is not None:
            raise self.error
        return Accepted(a_delivery(id=len(self.accepted), verdict=delivery.verdict), fresh=True)


@pytest_twisted.ensureDeferred
async def test_a_refusal_says_what_it_called_itself_and_where_it_came_from(store, flour):
    spy = Spy(store)
    headers = many_valued(headers_of(BODY, secret="wrong"))
    for number in (1, 2, 3):
        with pytest.raises((WrongSignature, TooOften)):
            await spy.hooks.take("flour", headers, BODY, IPv4Address("TCP", f"192.0.2.{number % 2}", 1))
    last, first = spy.hooks.refusals.of(flour.id)
    assert (last.sender, last.count, first.sender, first.count) == ("192.0.2.1", 2, "192.0.2.0", 1)
    assert (last.why, last.event, last.size) == (Why.SIGNATURE, "push", len(BODY))
    assert last.forge_id == headers["x-github-delivery"][0]
    odd = {"x-github-event": ["<b>"], "x-github-delivery": ["x" * 5000]}
    with pytest.raises((WrongSignature, TooOften)):
        await spy.hooks.take("flour", odd, BODY, None)
    last = last_of(spy, flour)
    assert (last.why, last.event, last.forge_id, last.sender) == (Why.UNSIGNED, "", "", "local")


def test_news_of_refusals_comes_at_once_and_then_once_for_each_period():
    clock, told = Clock(), list[int]()
    news = RefusalNews(clock, told.append)
    for project in (1, 1, 1, 2):
        news.add(project)
    assert told == [1, 2]
    clock.advance(NEWS_PERIOD)
    assert told == [1, 2, 1]
    clock.advance(NEWS_PERIOD)
    assert (told, clock.getDelayedCalls()) == ([1, 2, 1], [])


# ------------------------------------------------------------------------------------------------ trouble of ours


@pytest_twisted.ensureDeferred
async def test_a_store_that_cannot_write_is_told_so_that_the_forge_tries_again(serve, http):
    spy = Spy(Shelf(a_project("flour"), error=Unavailable("the disk is full")))
    answer = await http.post((await serve(spy.resource)).url("/hooks/flour"), data=BODY, headers=headers_of(BODY))
    problem = await answer.json()
    assert (answer.code, problem["status"]) == (503, 503)
    assert int(answer.headers.getRawHeaders("retry-after")[0]) > 0
    assert spy.put == []
    assert not spy.hooks.refusals.projects(), "it is not the sender's fault"


@pytest_twisted.ensureDeferred
async def test_a_defect_of_the_store_is_a_problem_with_an_id(serve, http, logged):
    spy = Spy(Shelf(a_project("flour"), error=RuntimeError("swordfish")))
    answer = await http.post((await serve(spy.resource)).url("/hooks/flour"), data=BODY, headers=headers_of(BODY))
    problem = await answer.json()
    assert (answer.code, problem["status"]) == (500, 500)
    assert "swordfish" not in json.dumps(problem)
    assert logged.at_least(LogLevel.error)


@pytest_twisted.ensureDeferred
async def test_a_delivery_whose_sender_has_gone_is_put_all_the_same(serve, dial, until):
    shelf = Shelf(a_project("flour"))
    shelf.slowly = Deferred()
    spy = Spy(shelf)
    served = await serve(spy.resource)
    wire = await dial(served)
    wire.send(raw())
    await until(lambda: shelf.accepted)
    wire.transport.abortConnection()
    await wire.closed()
    other = await dial(served)
    other.send(b"GET /hooks/flour HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await other.answer()).code == 405  # by now the server knows that the first one has gone
    shelf.slowly.callback(None)
    assert len(spy.put) == 1


@pytest_twisted.ensureDeferred
async def test_an_inbox_that_fails_does_not_unsay_what_is_on_disk(serve, http, logged):
    shelf = Shelf(a_project("flour"))

    def put(delivery, change):
        raise RuntimeError("full")

    hooks = Hooks(shelf, GitHub(), put, Clock(), in_thread=deferToThread)
    served = await serve(Root(hooks.resource, {}, Resource()))
    answer = await http.post(served.url("/hooks/flour"), data=BODY, headers=headers_of(BODY))
    assert (answer.code, (await answer.json())["verdict"]) == (202, "received")
    assert logged.at_least(LogLevel.error)
