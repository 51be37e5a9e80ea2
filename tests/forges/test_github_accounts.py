"""github_accounts.py and asking.py: GitHub's web flow and API, whatever the other side does."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import contextlib
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent

from sayci.account import Access
from sayci.errors import ForgeAway, ForgeDenied, ForgeMisconfigured
from sayci.forges.asking import UNSAID_PAUSE, Asking, Reply
from sayci.forges.github_accounts import Client, GitHubAccounts
from sayci.identity import ForgePlace, ForgeToken, Identity, Repository
from tests.github_server import CLIENT_ID, CLIENT_SECRET, GitHubServer

BACK = "https://ci.example/sign-in/github/callback"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
STATE = "s" * 43
SECRETS = Repository("acme", "secrets")


@pytest.fixture
def github():
    with GitHubServer(callback=BACK) as server:
        server.repo("acme/secrets", octocat="pull", hubot="push")
        yield server


@pytest.fixture
def accounts_at(github):
    def make(*, secret=CLIENT_SECRET, scope="repo", time_limit=5.0, url=None, client_id=CLIENT_ID):
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        place = ForgePlace(url or github.url, f"{url or github.url}/api/v3")
        asking = Asking(agent, reactor, time_limit=time_limit)
        return GitHubAccounts(place, Client(client_id, secret, scope), asking, time.time)

    return make


@pytest.fixture
def accounts(accounts_at):
    return accounts_at()


def code_at(github, accounts):
    came = github.walk(accounts.authorize_url(STATE, CHALLENGE, BACK))
    query = dict(parse_qsl(urlsplit(came).query))
    assert query["state"] == STATE
    return query["code"]


def issued(github, login="octocat", scopes=("repo",)):
    return ForgeToken(github.issue(login, frozenset(scopes))["access_token"])


def test_the_way_there_asks_for_no_more_than_it_is_told_to(accounts_at):
    query = dict(parse_qsl(urlsplit(accounts_at(scope="").authorize_url(STATE, CHALLENGE, BACK)).query))
    assert query == {
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "state": STATE,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "allow_signup": "false",
    }
    assert "scope=repo" in accounts_at(scope="repo").authorize_url(STATE, CHALLENGE, BACK)


@pytest_twisted.ensureDeferred
async def test_a_code_becomes_a_token_which_says_who_that_is_and_what_it_may(github, accounts):
    token = await accounts.token_for(code_at(github, accounts), VERIFIER, BACK)
    assert (token.expires_at, token.refresh_token) == (None, "")
    assert await accounts.identity(token) == Identity(583231, "octocat")
    assert await accounts.access(token, SECRETS) is Access.READ
    assert await accounts.access(token, Repository("acme", "nothing")) is Access.NONE
    github.repos["acme/secrets"].levels["octocat"] = "maintain"
    assert await accounts.access(token, SECRETS) is Access.BUILD
    del github.repos["acme/secrets"].levels["octocat"]
    assert await accounts.access(token, SECRETS) is Access.NONE
    assert github.wrong == []


@pytest_twisted.ensureDeferred
async def test_a_code_works_once_with_its_verifier_and_its_address(github, accounts):
    code = code_at(github, accounts)
    with pytest.raises(ForgeDenied, match="bad_verification_code"):
        await accounts.token_for(code, "w" * 43, BACK)
    code = code_at(github, accounts)
    with pytest.raises(ForgeMisconfigured, match="redirect_uri_mismatch"):
        await accounts.token_for(code, VERIFIER, "https://ci.example/elsewhere")
    code = code_at(github, accounts)
    await accounts.token_for(code, VERIFIER, BACK)
    for wrong in (code, "", "x" * 2000, "?"):
        with pytest.raises(ForgeDenied):
            await accounts.token_for(wrong, VERIFIER, BACK)


@pytest.mark.parametrize("wrong", ({"secret": "another"}, {"client_id": "Iv1.another"}))
@pytest_twisted.ensureDeferred
async def test_a_client_that_github_does_not_know_is_not_the_persons_mistake(github, accounts_at, accounts, wrong):
    code = code_at(github, accounts)
    with pytest.raises(ForgeMisconfigured) as caught:
        await accounts_at(**wrong).token_for(code, VERIFIER, BACK)
    assert CLIENT_SECRET not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_the_token_of_an_app_is_renewed_once(github, accounts_at):
    github.is_app = True
    accounts = accounts_at(scope="")
    token = await accounts.token_for(code_at(github, accounts), VERIFIER, BACK)
    assert token.expires_at == pytest.approx(time.time() + 28800, abs=60)
    assert await accounts.access(token, SECRETS) is Access.READ
    renewed = await accounts.renewed(token)
    assert renewed.access_token != token.access_token
    with pytest.raises(ForgeDenied):
        await accounts.renewed(token)
    github.repos["acme/secrets"].installed = False
    assert await accounts.access(renewed, SECRETS) is Access.NONE


@pytest_twisted.ensureDeferred
async def test_an_oauth_app_without_the_scope_sees_no_private_repository(github, accounts):
    assert await accounts.access(issued(github, scopes=()), SECRETS) is Access.NONE
    github.repo("acme/site", private=False, octocat="triage")
    assert await accounts.access(issued(github, scopes=()), Repository("acme", "site")) is Access.READ
    assert await accounts.access(issued(github, "hubot", ()), Repository("acme", "site")) is Access.NONE


@pytest_twisted.ensureDeferred
async def test_a_repository_that_was_renamed_is_found_where_it_is(github, accounts):
    github.moved = {"acme/old": "acme/older", "acme/older": "acme/secrets"}
    assert await accounts.access(issued(github), Repository("acme", "old")) is Access.READ


@pytest_twisted.ensureDeferred
async def test_an_authorization_that_was_revoked_is_told_from_everything_else(github, accounts):
    token = issued(github)
    github.revoke("octocat")
    for asked in (accounts.identity(token), accounts.access(token, SECRETS)):
        with pytest.raises(ForgeDenied):
            await asked


@pytest.mark.parametrize("mood", ("403", "451"))
@pytest_twisted.ensureDeferred
async def test_what_is_kept_from_somebody_is_no_access(github, accounts, mood):
    github.mood = mood
    assert await accounts.access(issued(github), SECRETS) is Access.NONE
    with pytest.raises(ForgeDenied):
        await accounts.identity(issued(github))


MOODS = (
    "500",
    "hang",
    "drip",
    "huge",
    "nonsense",
    "list",
    "html",
    "close",
    "limited",
    "secondary",
    "elsewhere",
    "circle",
)


@pytest.mark.parametrize("mood", MOODS)
@pytest_twisted.ensureDeferred
async def test_whatever_the_forge_does_it_is_away_and_in_time(github, accounts_at, mood):
    accounts = accounts_at(time_limit=0.5)
    token, code = issued(github), code_at(github, accounts)
    github.mood = mood
    asked = [accounts.identity(token), accounts.access(token, SECRETS), accounts.token_for(code, VERIFIER, BACK)]
    for each in asked:
        with pytest.raises(ForgeAway) as caught:
            await each
        told = str(caught.value)
        assert token.access_token not in told
        assert CLIENT_SECRET not in told
        assert (caught.value.retry_after is not None) == (mood in ("limited", "secondary"))


@pytest_twisted.ensureDeferred
async def test_a_forge_that_is_not_there_is_away(accounts_at):
    accounts = accounts_at(url="http://127.0.0.1:9")
    for asked in (accounts.identity(ForgeToken("x")), accounts.token_for("code", VERIFIER, BACK)):
        with pytest.raises(ForgeAway, match="cannot be reached"):
            await asked


@pytest_twisted.ensureDeferred
async def test_a_token_goes_to_no_other_host(github, accounts):
    github.mood = "elsewhere"
    with pytest.raises(ForgeAway, match="another host"):
        await accounts.access(issued(github), SECRETS)


@pytest_twisted.ensureDeferred
async def test_the_limit_of_time_is_for_the_whole_question():
    class Silent:
        def request(self, *_, **__):
            return Deferred()

    clock, agent = Clock(), cast("IAgent", Silent())
    asked = Deferred.fromCoroutine(Asking(agent, clock, time_limit=10.0).get("http://forge.example/user", "t"))
    clock.advance(9.9)
    assert not asked.called
    clock.advance(0.2)
    with pytest.raises(ForgeAway, match="in time"):
        await asked


DATE = "Tue, 01 Dec 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("code", "headers", "body", "pause"),
    (
        (403, {}, b'{"message": "Must have push access"}', None),
        (404, {"retry-after": "5"}, b"", None),
        (403, {"retry-after": "5"}, b"", 5.0),
        (429, {}, b"", UNSAID_PAUSE),
        (503, {}, b"", None),
        (503, {"retry-after": "120"}, b"", 120.0),
        (403, {}, b"You have exceeded a secondary Rate Limit", UNSAID_PAUSE),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796119290", "date": DATE}, b"", 90.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1", "date": DATE}, b"", 1.0),
        (403, {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1796119290", "date": DATE}, b"", None),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon", "date": DATE}, b"", UNSAID_PAUSE),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796119290"}, b"", UNSAID_PAUSE),
        (403, {"retry-after": "Tue, 01 Dec 2026 10:00:30 GMT", "date": DATE}, b"", 30.0),
        (429, {"retry-after": "-5"}, b"", UNSAID_PAUSE),
    ),
)
def test_how_long_the_forge_wants_to_be_left_alone(code, headers, body, pause):
    assert Reply(code, headers, body).pause() == pause


@given(
    st.sampled_from((403, 429, 503, 200)),
    st.dictionaries(st.sampled_from(("retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "date")), st.text()),
    st.binary(max_size=50),
)
def test_no_header_brings_anything_but_a_pause_or_none(code, headers, body):
    pause = Reply(code, headers, body).pause()
    assert pause is None or pause >= 0


@given(st.binary(max_size=100))
def test_no_body_brings_anything_but_an_object_or_a_refusal(body):
    with contextlib.suppress(ForgeAway):
        assert isinstance(Reply(200, {}, body).json(), dict)


@pytest.mark.parametrize(
    "said",
    (
        {},
        {"access_token": ""},
        {"access_token": 1},
        {"access_token": "a\nb"},
        {"access_token": "x" * 5000},
        {"access_token": "x", "refresh_token": None},
        {"access_token": "x", "expires_in": "soon"},
        {"access_token": "x", "expires_in": []},
    ),
)
def test_what_has_no_token_in_it_is_no_answer(accounts, said):
    with pytest.raises(ForgeAway):
        accounts._token_of(said)
