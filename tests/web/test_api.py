"""api.py: who may ask, what is no address, and what becomes of errors, over real HTTP."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.web.resource import Resource

from sayci.account import Access
from sayci.errors import RepositoryRefused, RepositoryUnreachable, Unavailable
from sayci.sign_in import DAY
from sayci.web.api import routes
from sayci.web.openapi import problems_of
from tests.factories import NOW, new_delivery
from tests.web.api_fixtures import house, reactor

__all__ = ["house"]  # a fixture

GUARDED = [route for route in routes() if route.access is not None]


def an_address(route):
    """An address of the route, of things that may not be there."""
    values = {"project": "web-shop", "number": 1, "step": "test", "id": 1, "variable": "LEVEL", "commit": "a" * 40}
    values["person"] = "grace"
    return route.path.format(**values)


def lesser(access):
    return Access(access - 1)


# -- who may ask


@pytest_twisted.ensureDeferred
async def test_every_route_but_signing_in_takes_a_credential(house):
    assert {route.name for route in routes() if route.access is None} == {"sign_in"}
    for route in GUARDED:
        reply = await house.ask(route.method, an_address(route), token="")
        assert (route.name, reply.code) == (route.name, 401)
        assert reply.header("content-type") == "application/problem+json"
        assert reply.header("www-authenticate") == 'Bearer realm="sayci"'
        assert reply.said["error"] == "unauthenticated"


@pytest_twisted.ensureDeferred
async def test_every_route_refuses_a_credential_that_does_not_reach_so_far(house):
    beyond_reading = [route for route in GUARDED if route.access not in (None, Access.NONE, Access.READ)]
    assert len(beyond_reading) > 10
    for route in beyond_reading:
        reply = await house.ask(route.method, an_address(route), token=house.tokens[lesser(route.access)])
        assert (route.name, reply.code, reply.said["error"]) == (route.name, 403, "forbidden")


@pytest_twisted.ensureDeferred
async def test_who_may_not_is_not_told_what_is_there(house):
    await house.project()
    there = await house.ask("DELETE", "/api/v1/projects/web-shop", token=house.tokens[Access.BUILD])
    nowhere = await house.ask("DELETE", "/api/v1/projects/nothing", token=house.tokens[Access.BUILD])
    assert (there.code, there.body) == (nowhere.code, nowhere.body)


@pytest_twisted.ensureDeferred
async def test_a_wrong_token_is_refused(house):
    for token in ("sayci_wrong", "x", "sayci_" + "x" * 3000, "' OR 1=1--"):
        assert (await house.get("/api/v1/me", token=token)).code == 401


@pytest_twisted.ensureDeferred
async def test_a_token_of_a_megabyte_is_refused_and_the_server_goes_on(house, dial):
    wire = await dial(house.served)
    wire.send(b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"x" * 1_000_000 + b"\r\n\r\n")
    assert (await wire.answer()).code in (400, 431)
    assert (await house.get("/api/v1/me")).code == 200


@pytest_twisted.ensureDeferred
async def test_a_removed_token_is_refused_at_once(house):
    token, secret = await house.sign_in.new_token("ada", Access.READ, None)
    assert (await house.get("/api/v1/me", token=secret)).code == 200
    await house.store.remove_token(token.id)
    assert (await house.get("/api/v1/me", token=secret)).code == 401


@pytest_twisted.ensureDeferred
async def test_an_expired_token_is_refused(house):
    _, secret = await house.sign_in.new_token("ada", Access.READ, 1)
    house.sign_in._clock = lambda: NOW + DAY + 1
    assert (await house.get("/api/v1/me", token=secret)).code == 401


@pytest_twisted.ensureDeferred
async def test_a_token_in_the_query_is_none(house):
    for name in ("token", "access_token", "authorization"):
        assert (await house.get(f"/api/v1/me?{name}={house.tokens[Access.ADMIN]}", token="")).code == 401


@pytest_twisted.ensureDeferred
async def test_a_cookie_is_no_credential_here(house):
    secret = house.tokens[Access.ADMIN]
    headers = {"Cookie": f"session={secret}; token={secret}"}
    assert (await house.get("/api/v1/me", token="", headers=headers)).code == 401


@pytest_twisted.ensureDeferred
async def test_guessing_tokens_is_slowed_down(house):
    codes = [(await house.get("/api/v1/me", token=f"sayci_{number}")).code for number in range(25)]
    assert codes[0] == 401
    assert codes[-1] == 429
    reply = await house.get("/api/v1/me", token="sayci_x")
    assert int(reply.header("retry-after")) > 0
    assert reply.said["error"] == "too_often"


@pytest_twisted.ensureDeferred
async def test_a_credential_is_looked_at_before_anything_else_of_the_request(house):
    reply = await house.ask("POST", "/api/v1/tokens?x=1", data=b"{", headers={"Content-Type": "text/x"}, token="")
    assert reply.code == 401


# -- addresses and methods


NOWHERE = (
    "/api",
    "/api/",
    "/api/v1",
    "/api/v2/me",
    "/api/v1/me/",
    "/api//v1/me",
    "/api/v1//me",
    "/API/v1/me",
    "/api/v1/projects/",
    "/api/v1/projects//builds",
    "/api/v1/../v1/nothing",
    "/api/v1/%2e%2e/%2e%2e/etc/passwd",
    "/api/v1/projects/..%2f..%2fetc",
    "/api/v1/projects/..%5c..%5cetc",
    "/api/v1/projects/%00",
    "/api/v1/projects/web-shop%00",
    "/api/v1/projects/%ff%fe",
    "/api/v1/projects/' OR 1=1--".replace(" ", "%20"),
    "/api/v1/projects/web-shop/builds/-1",
    "/api/v1/projects/web-shop/builds/0",
    "/api/v1/projects/web-shop/builds/01",
    "/api/v1/projects/web-shop/builds/1e9",
    "/api/v1/projects/web-shop/builds/%EF%BC%91",
    "/api/v1/projects/web-shop/builds/" + str(2**63),
    "/api/v1/projects/web-shop/builds/" + str(2**63 - 1),
    "/api/v1/projects/web-shop/builds/1" + "0" * 400,
    "/api/v1/projects/web-shop/builds/1/steps/nothing",
    "/api/v1/projects/web-shop/builds/1/steps/..%2ftest/log",
    "/api/v1/projects/web-shop/builds/1/steps/%00/log",
    "/api/v1/projects/web-shop/deliveries/9",
    "/api/v1/projects/web-shop/commits/HEAD/statuses",
    "/api/v1/projects/web-shop/commits/--help/statuses",
    "/api/v1/projects/nothing/builds",
    "/api/v1/projects/" + "x" * 300,
)


@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_a_404_problem(house):
    project = await house.project()
    await house.build(project)
    for path in NOWHERE:
        reply = await house.get(path)
        assert (path, reply.code, reply.header("content-type")) == (path, 404, "application/problem+json")
        assert reply.header("location") is None


@pytest_twisted.ensureDeferred
async def test_a_project_is_found_in_any_case(house):
    await house.project("Web-Shop")
    assert (await house.get("/api/v1/projects/web-SHOP")).said["name"] == "Web-Shop"


@pytest_twisted.ensureDeferred
async def test_another_method_is_405_and_the_right_ones_are_told(house, dial):
    wire = await dial(house.served)
    for method in ("PUT", "PATCH", "DELETE", "POST", "TRACE", "OPTIONS", "CONNECT", "BREW"):
        wire.send(f"{method} /api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await wire.answer()
        assert (method, answer.code, answer.headers["allow"]) == (method, 405, "GET, HEAD")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest_twisted.ensureDeferred
async def test_a_header_does_not_change_the_method(house):
    await house.project()
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    reply = await house.get("/api/v1/projects/web-shop", headers=headers)
    assert (reply.code, reply.said["name"]) == (200, "web-shop")


@pytest_twisted.ensureDeferred
async def test_other_sites_are_granted_nothing(house):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for method in ("OPTIONS", "GET"):
        reply = await house.ask(method, "/api/v1/me", headers=headers)
        assert not any(name.lower().startswith(b"access-control") for name, _ in reply.headers.getAllRawHeaders())


@pytest_twisted.ensureDeferred
async def test_head_answers_the_headers_of_get(house, dial):
    await house.project()
    for path in ("/api/v1/me", "/api/v1/projects", "/api/v1/projects/nothing"):
        wire = await dial(house.served)
        bearer = f"Authorization: Bearer {house.tokens[Access.READ]}\r\n"
        wire.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n{bearer}Connection: close\r\n\r\n".encode())
        head, _, body = (await wire.closed()).partition(b"\r\n\r\n")
        got = await house.get(path, token=house.tokens[Access.READ])
        assert f"Content-Length: {len(got.body)}".encode() in head
        assert body == b""


@pytest_twisted.ensureDeferred
async def test_links_are_made_of_the_public_address_whatever_the_host_header_says(house, dial):
    await house.project()
    for target in ("/api/v1/projects/web-shop", "http://evil.example/api/v1/projects/web-shop"):
        wire = await dial(house.served)
        bearer = f"Authorization: Bearer {house.tokens[Access.READ]}"
        wire.send(
            f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n{bearer}\r\n\r\n".encode()
        )
        answer = await wire.answer()
        assert answer.code == 200
        assert json.loads(answer.body)["page"] == "https://ci.example/web-shop"
        assert b"evil" not in answer.body


@pytest_twisted.ensureDeferred
async def test_parameters_that_are_not_there_or_are_there_twice_are_refused(house):
    for query in ("?limit=1&limit=2", "?x=1", "?limit=0", "?limit=201", "?limit=-1", "?limit=%31e1", "?cursor=%00"):
        assert (query, (await house.get("/api/v1/projects" + query)).code) == (query, 422)


@pytest_twisted.ensureDeferred
async def test_it_may_stand_below_a_parent_that_takes_a_part_of_the_path(house, serve, http):
    root = Resource()
    root.putChild(b"api", house.make_api().resource())
    served = await serve(root)
    response = await http.get(served.url("/api/openapi.json"))
    assert response.code == 200


# -- answers and errors


@pytest_twisted.ensureDeferred
async def test_nothing_of_the_api_is_kept_by_caches_or_taken_for_a_page(house):
    for path in ("/api/v1/me", "/api/openapi.json", "/api/v1/nothing"):
        reply = await house.get(path)
        assert reply.header("cache-control") == "no-store"
        assert reply.header("x-content-type-options") == "nosniff"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("error", "code", "word"),
    (
        (RepositoryRefused("the repository answers no", "not found"), 422, "repository_refused"),
        (RepositoryUnreachable("the repository does not answer", "timed out"), 502, "repository_unreachable"),
        (Unavailable("the disk is full"), 503, "unavailable"),
    ),
)
async def test_what_the_domain_raises_is_a_problem(house, error, code, word):
    house.sources.problems.append(error)
    body = {"name": "web-shop", "url": "https://git.example/web-shop.git"}
    reply = await house.ask("POST", "/api/v1/projects", json=body)
    assert (reply.code, reply.said["error"], reply.said["detail"]) == (code, word, str(error))


@pytest_twisted.ensureDeferred
async def test_our_own_mistake_is_a_500_without_a_word_of_what_it_was(house):
    project = await house.project()
    delivery = (await house.store.accept(new_delivery(project.id))).delivery
    house.inbox.error = ZeroDivisionError("hook-secret")
    with capturedLogs() as logged:
        reply = await house.ask("POST", f"/api/v1/projects/web-shop/deliveries/{delivery.id}/replay")
    assert (reply.code, reply.said["error"]) == (500, "mistake")
    assert b"hook-secret" not in reply.body
    assert b"Zero" not in reply.body
    assert reply.said["id"] in [event.get("mistake") for event in logged]
    assert (await house.get("/api/v1/me")).code == 200


class Watched(Resource):
    """A resource, and the ends of the requests to it."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, inner):
        super().__init__()
        self._inner = inner
        self.ends = []

    def render(self, request):
        self.ends.append(request.notifyFinish())
        return self._inner.render(request)


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_does_not_break_off_what_it_asked_for(house, dial, serve):
    """Between the store and the bus nothing may be cut: the build would be on disk, and nobody would start it."""
    project = await house.project()
    asked: Deferred[None] = Deferred()
    answer: Deferred[dict[str, str]] = Deferred()

    def heads(remote):
        asked.callback(None)
        return answer

    house.sources.heads = heads
    watched = Watched(house.api.resource())
    wire = await dial(await serve(watched))
    bearer = f"Authorization: Bearer {house.tokens[Access.BUILD]}\r\nContent-Type: application/json\r\n"
    head = f"POST /api/v1/projects/web-shop/builds HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: 2\r\n\r\n"
    wire.send(head.encode() + b"{}")
    await asked
    wire.transport.abortConnection()
    with pytest.raises((ConnectionDone, ConnectionLost)):
        await watched.ends[0]
    await deferLater(reactor, 0)
    heard: Deferred[object] = Deferred()
    house.bus.subscribe(heard.callback, project_id=project.id)
    answer.callback({"main": "a" * 40})
    await heard
    assert [build.commit for build in (await house.store.builds(project.id)).items] == ["a" * 40]


@pytest_twisted.ensureDeferred
async def test_every_code_that_was_answered_in_these_tests_is_documented(house):
    """A sample: each route, asked for things that are not there, answers a problem that its documentation has."""
    for route in routes():
        data = b"{}" if route.body is not None else None
        reply = await house.ask(route.method, an_address(route), data=data)
        assert reply.code in {route.code, *route.more, *problems_of(route)}, (route.name, reply)
