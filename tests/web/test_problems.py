"""problems.py: errors as RFC 9457 problem documents over HTTP."""

from __future__ import annotations

import inspect
import json

import pytest
import pytest_twisted
from twisted.logger import capturedLogs
from twisted.web.resource import Resource

from sayci import errors
from sayci.errors import (
    CannotStart,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Malformed,
    Missing,
    NameTaken,
    RepositoryRefused,
    RepositoryUnreachable,
    SayciError,
    TooLarge,
    TooOften,
    Unauthenticated,
    Unavailable,
    UnknownProject,
    Unsupported,
    WrongSignature,
)
from sayci.web.problems import DETAIL_LIMIT, code_of, problem, problem_of, retry_after, word_of


class Failing(Resource):
    """Answers every request with the problem of one error."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, error):
        super().__init__()
        self._error = error

    def render(self, request):
        return problem_of(request, self._error)


@pytest.fixture
def ask(serve, http):
    async def asked(error, method="GET"):
        served = await serve(Failing(error))
        response = await http.request(method, served.url("/"))
        return response, await response.content()

    return asked


@pytest.mark.parametrize(
    ("error", "code"),
    (
        (Malformed("x"), 400),
        (Unauthenticated("x"), 401),
        (WrongSignature("x"), 401),
        (Forbidden("x"), 403),
        (Missing("x"), 404),
        (UnknownProject("x"), 404),
        (Gone("x"), 410),
        (Conflict("x"), 409),
        (NameTaken("x"), 409),
        (TooLarge("x"), 413),
        (Unsupported("x"), 415),
        (Invalid("x"), 422),
        (RepositoryRefused("x"), 422),
        (TooOften("x", 3), 429),
        (RepositoryUnreachable("x"), 502),
        (Unavailable("x"), 503),
        (CannotStart("x"), 500),
        (ZeroDivisionError("x"), 500),
    ),
)
def test_each_error_has_its_code(error, code):
    assert code_of(error) == code


def test_every_error_that_callers_are_to_see_has_a_code_of_its_own():
    family = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SayciError)]
    untold = {kind.__name__ for kind in family if code_of(kind("x")) == 500}
    assert untold == {"SayciError", "Refused", "RepositoryError", "CannotStart", "LauncherError"}


@pytest_twisted.ensureDeferred
async def test_a_problem_says_what_is_wrong_to_programs_and_to_people(ask):
    response, body = await ask(UnknownProject("no such project", "web-shop"))
    assert response.code == 404
    assert response.headers.getRawHeaders("content-type") == ["application/problem+json"]
    assert response.headers.getRawHeaders("cache-control") == ["no-store"]
    assert response.headers.getRawHeaders("x-content-type-options") == ["nosniff"]
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such project: web-shop",
        "error": "unknown_project",
    }


@pytest_twisted.ensureDeferred
async def test_a_head_request_learns_the_length_of_a_problem(ask):
    response, body = await ask(Missing("nothing"), "HEAD")
    assert response.code == 404
    assert body == b""
    assert int(response.headers.getRawHeaders("content-length")[0]) > 50


@pytest_twisted.ensureDeferred
async def test_who_is_not_known_is_told_how_to_authenticate(ask):
    response, _ = await ask(Unauthenticated("no credential"))
    assert response.headers.getRawHeaders("www-authenticate") == ['Bearer realm="sayci"']


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("error", (TooOften("too many wrong tries", 7), Unavailable("the disk is full")))
async def test_who_should_come_back_is_told_when(ask, error):
    response, _ = await ask(error)
    assert response.headers.getRawHeaders("retry-after") == [str(retry_after(error))]


@pytest.mark.parametrize(
    ("error", "seconds"),
    (
        (TooOften("x", 6.2), 7),
        (TooOften("x", 0), 1),
        (TooOften("x", 10**9), 86_400),
        (TooOften("x", float("inf")), 10),
        (TooOften("x", "soon"), 10),
        (TooOften("x"), 10),
        (Unavailable("x", "y"), 10),
        (Conflict("x", 5), None),
    ),
)
def test_the_time_to_wait_is_a_whole_number_within_reason(error, seconds):
    assert retry_after(error) == seconds


@pytest_twisted.ensureDeferred
async def test_our_own_mistake_tells_an_id_which_the_log_has_and_nothing_else(ask):
    with capturedLogs() as logged:
        response, body = await ask(KeyError("the secret of web-shop"))
    said = json.loads(body)
    assert response.code == 500
    assert b"secret" not in body
    assert b"Traceback" not in body
    assert [event["log_failure"].type for event in logged if event.get("mistake") == said["id"]] == [KeyError]


@pytest_twisted.ensureDeferred
async def test_what_an_error_quotes_is_cut_and_cannot_leave_the_document(ask):
    _, body = await ask(Invalid("bad", '"}\r\n\ud800' + "x" * 5000))
    said = json.loads(body)
    assert len(said["detail"]) == DETAIL_LIMIT
    assert said["detail"].startswith('bad: "}\r\n?xxx')


@pytest.mark.parametrize(
    ("kind", "word"),
    ((NameTaken, "name_taken"), (TooOften, "too_often"), (Missing, "missing"), (UnknownProject, "unknown_project")),
)
def test_an_error_has_a_word_for_programs(kind, word):
    assert word_of(kind) == word


@pytest_twisted.ensureDeferred
async def test_a_problem_may_have_members_of_its_own(serve, http):
    class Full(Resource):
        isLeaf = True  # noqa: N815 - Twisted's name

        def render(self, request):
            return problem(request, 413, "Request Entity Too Large", "at most 5 bytes", limit=5)

    response = await http.get((await serve(Full())).url("/"))
    said = await response.json()
    assert (said["limit"], said["error"]) == (5, "request_entity_too_large")
