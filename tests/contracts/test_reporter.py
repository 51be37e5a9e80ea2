"""The contract of Reporter, held by every reporter against a real server that answers in every mood."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool

from sayci.outbox import NotTold
from sayci.report import CommitStatus, DueStatus, StatusState
from sayci.reporters.commit_status import GitHubStatuses
from tests.forge_server import ForgeServer

COMMIT = "9b1e04d2" * 5
TOKEN = "token-of-the-tests-0123456789"


def due(forge_api, **fields):
    """A status of the project ada/abacus."""
    status = CommitStatus(1, "abacus", 12, COMMIT, "sayci/test", StatusState.SUCCESS, "#12 test succeeded")
    defaults = {
        "id": 1,
        "version": 1,
        "attempts": 0,
        "status": status,
        "url": "https://ci.example/abacus/12",
        "forge_api": forge_api,
        "repository": "https://forge.example/ada/abacus.git",
    }
    return DueStatus(**defaults | fields)


@pytest.fixture
def forge():
    with ForgeServer(token=TOKEN) as server:
        yield server


@pytest.fixture
def agent():
    pool = HTTPConnectionPool(reactor)
    yield Agent(reactor, pool=pool)
    pool.closeCachedConnections()


@pytest.fixture(params=(GitHubStatuses,))
def reporter(request, agent):
    return request.param(agent, reactor, time_limit=5)


async def refusal_of(reporter, status, token=TOKEN):
    with pytest.raises(NotTold) as caught:
        await reporter.post(status, token)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value)
    return caught.value


@pytest_twisted.ensureDeferred
async def test_what_was_posted_is_what_the_forge_shows(reporter, forge):
    await reporter.post(due(forge.url), TOKEN)
    assert forge.statuses() == {(COMMIT, "sayci/test"): "success"}
    assert forge.posts[0].repository == "ada/abacus"
    assert forge.posts[0].body["target_url"] == "https://ci.example/abacus/12"
    assert forge.posts[0].body["description"] == "#12 test succeeded"


@pytest_twisted.ensureDeferred
async def test_a_second_post_replaces_the_first(reporter, forge):
    first = due(forge.url)
    await reporter.post(first, TOKEN)
    changed = CommitStatus(1, "abacus", 13, COMMIT, "sayci/test", StatusState.FAILURE, "#13 test failed")
    await reporter.post(due(forge.url, status=changed, version=2), TOKEN)
    assert forge.statuses() == {(COMMIT, "sayci/test"): "failure"}


@pytest.mark.parametrize("mood", ("500", "502", "503", "408", "close", "nonsense"))
@pytest_twisted.ensureDeferred
async def test_what_may_pass_is_worth_another_try(reporter, forge, mood):
    forge.mood = mood
    error = await refusal_of(reporter, due(forge.url))
    assert not error.permanent
    assert error.retry_after is None
    forge.mood = "ok"
    await reporter.post(due(forge.url), TOKEN)


@pytest.mark.parametrize(
    ("mood", "words"),
    (
        ("401", "access token"),
        ("403", "may not write"),
        ("404", "no such repository"),
        ("422", "refuses"),
        ("redirect", "forge_api"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_get_better_by_itself_is_permanent_and_says_why(reporter, forge, mood, words):
    forge.mood = mood
    error = await refusal_of(reporter, due(forge.url))
    assert error.permanent
    assert words in str(error)


@pytest.mark.parametrize(("mood", "shortest", "longest"), (("429", 7, 7), ("limited", 80, 95), ("secondary", 60, 60)))
@pytest_twisted.ensureDeferred
async def test_a_rate_limit_says_how_long_to_wait(reporter, forge, mood, shortest, longest):
    forge.mood = mood
    error = await refusal_of(reporter, due(forge.url))
    assert not error.permanent
    assert shortest <= error.retry_after <= longest


@pytest.mark.parametrize("mood", ("hang", "headers"))
@pytest_twisted.ensureDeferred
async def test_a_forge_that_does_not_get_to_its_answer_is_left_in_time(agent, forge, mood):
    forge.mood = mood
    error = await refusal_of(GitHubStatuses(agent, reactor, time_limit=0.3), due(forge.url))
    assert not error.permanent
    assert "did not answer" in str(error)


@pytest_twisted.ensureDeferred
async def test_an_accepted_post_is_told_however_slowly_the_rest_of_the_answer_comes(agent, forge):
    forge.mood = "drip"
    await GitHubStatuses(agent, reactor, time_limit=0.3).post(due(forge.url), TOKEN)
    forge.mood = "ok"
    await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)


@pytest_twisted.ensureDeferred
async def test_of_a_huge_answer_only_the_beginning_is_waited_for(agent, forge):
    forge.mood = "huge"
    before = reactor.seconds()
    await GitHubStatuses(agent, reactor, time_limit=30).post(due(forge.url), TOKEN)
    assert reactor.seconds() - before < 15


@pytest_twisted.ensureDeferred
async def test_a_forge_that_cannot_be_reached_is_worth_another_try(reporter):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    error = await refusal_of(reporter, due(f"http://127.0.0.1:{port}"))
    assert not error.permanent
    assert "cannot be reached" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_post_under_way_can_be_broken_off(agent, forge):
    forge.mood = "hang"
    post = Deferred.fromCoroutine(GitHubStatuses(agent, reactor, time_limit=60).post(due(forge.url), TOKEN))
    assert await deferToThread(forge.wait, lambda: forge.arrived)
    post.cancel()
    with pytest.raises((NotTold, CancelledError)):
        await post
