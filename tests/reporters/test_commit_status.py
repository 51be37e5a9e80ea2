"""reporters/commit_status.py: whose token goes where, and GitHub's own manners (the rest is in the contract)."""

from __future__ import annotations

import datetime as dt
import ssl

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import fail
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseNeverReceived
from twisted.web.iweb import IAgent
from zope.interface import implementer

from sayci.identity import Repository
from sayci.outbox import NotTold
from sayci.report import CommitStatus, DueStatus, StatusState
from sayci.reporters.commit_status import GitHubStatuses, repository_of
from tests.forge_server import ForgeServer

COMMIT = "51c0ffee" * 5
TOKEN = "another-token-of-the-tests"


def due(forge_api="", repository="https://github.com/ada/abacus.git", url="https://ci.example/abacus/3"):
    status = CommitStatus(1, "abacus", 3, COMMIT, "sayci/test", StatusState.PENDING, "#3 waits")
    return DueStatus(1, 1, 0, status, url, forge_api, repository)


@implementer(IAgent)
class Recorder:
    """An agent that reaches nothing and remembers what was asked of it."""

    def __init__(self, error=None):
        self.asked = []
        self.error = error or ConnectionError("nobody is there")

    def request(self, method, uri, headers=None, bodyProducer=None):  # noqa: N803 - IAgent's name
        self.asked.append((method.decode(), uri.decode(), headers))
        return fail(self.error)


async def asked_of(status, token=TOKEN):
    agent = Recorder()
    with pytest.raises(NotTold) as caught:
        await GitHubStatuses(agent, reactor).post(status, token)
    return agent.asked, caught.value


@pytest.fixture
def agent():
    pool = HTTPConnectionPool(reactor)
    yield Agent(reactor, pool=pool)
    pool.closeCachedConnections()


# -- where a repository's statuses go


@pytest.mark.parametrize(
    "url",
    (
        "https://github.com/ada/abacus.git",
        "https://github.com/ada/abacus",
        "https://github.com/ada/abacus/",
        "https://GitHub.com/ada/abacus.git",
        "https://ada@github.com:443/ada/abacus.git",
        "ssh://git@github.com/ada/abacus.git",
        "ssh://git@github.com:22/ada/abacus",
        "git@github.com:ada/abacus.git",
        "git@github.com:ada/abacus",
        "git@github.com:/ada/abacus.git",
        "github.com:ada/abacus.git",
    ),
)
def test_owner_and_name_are_found_in_every_kind_of_address(url):
    assert repository_of(url) == ("github.com", Repository("ada", "abacus"))


def test_a_dot_git_within_a_name_stays():
    assert repository_of("https://github.com/ada/dot.github.io.git") == (
        "github.com",
        Repository("ada", "dot.github.io"),
    )


def test_of_a_repository_on_disk_the_last_two_parts_count():
    assert repository_of("file:///srv/git/ada/abacus.git") == ("", Repository("ada", "abacus"))


@pytest.mark.parametrize(
    "url",
    (
        "https://github.com/abacus.git",
        "https://github.com/group/sub/abacus.git",
        "https://github.com/",
        "https://github.com/ada/..",
        "https://github.com/ada/%2e%2e",
        "https://github.com/ada/a%2fb",
        "https://github.com/ada/aba cus",
        "https://[::1/ada/abacus",
        "git@github.com:abacus.git",
        "",
    ),
)
def test_an_address_without_exactly_owner_and_name_is_refused_for_good(url):
    with pytest.raises(NotTold) as caught:
        repository_of(url)
    assert caught.value.permanent


@given(st.text(max_size=80))
def test_no_address_at_all_brings_anything_but_names_or_a_refusal(url):
    try:
        _, found = repository_of(url)
    except NotTold:
        return
    assert "/" not in found.owner + found.name
    assert not {"..", "."} & {found.owner, found.name}


@pytest_twisted.ensureDeferred
async def test_a_repository_at_github_is_reported_to_github():
    asked, _ = await asked_of(due())
    [(method, uri, headers)] = asked
    assert (method, uri) == ("POST", f"https://api.github.com/repos/ada/abacus/statuses/{COMMIT}")
    assert headers.getRawHeaders("Authorization") == [f"Bearer {TOKEN}"]
    assert headers.getRawHeaders("Accept") == ["application/vnd.github+json"]
    assert headers.getRawHeaders("X-GitHub-Api-Version") == ["2022-11-28"]
    assert headers.getRawHeaders("User-Agent")[0].startswith("sayci/")


@pytest_twisted.ensureDeferred
async def test_a_stated_api_is_taken_with_its_path():
    asked, _ = await asked_of(due("https://git.example/api/v1/", "ssh://git@git.example/ada/abacus.git"))
    assert asked[0][1] == f"https://git.example/api/v1/repos/ada/abacus/statuses/{COMMIT}"


@pytest_twisted.ensureDeferred
async def test_the_token_of_another_forge_never_goes_to_github():
    asked, error = await asked_of(due(repository="https://git.example/ada/abacus.git"))
    assert asked == []
    assert error.permanent
    assert "forge_api" in str(error)


@pytest_twisted.ensureDeferred
async def test_another_default_is_for_all_repositories_that_state_none():
    for repository in ("https://github.com/ada/abacus", "https://git.example/ada/abacus"):
        agent = Recorder()
        with pytest.raises(NotTold):
            await GitHubStatuses(agent, reactor, "https://git.example/api/v3/").post(due(repository=repository), TOKEN)
        assert agent.asked[0][1] == f"https://git.example/api/v3/repos/ada/abacus/statuses/{COMMIT}"


@pytest.mark.parametrize("token", ("", "two\r\nlines: x", "tøken", "a\0b"))
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_a_token_is_not_sent(token):
    asked, error = await asked_of(due(), token)
    assert asked == []
    assert error.permanent
    assert not token or token not in str(error)


@pytest_twisted.ensureDeferred
async def test_a_status_without_a_page_has_no_target(agent):
    with ForgeServer() as forge:
        await GitHubStatuses(agent, reactor).post(due(forge.url, url=""), TOKEN)
    assert "target_url" not in forge.posts[0].body


# -- what the forge answers


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed_and_names_the_place(agent):
    with ForgeServer() as other, ForgeServer(mood="redirect") as forge:
        forge.elsewhere = f"{other.url}/repos/ada/abacus/statuses/{COMMIT}"
        with pytest.raises(NotTold) as caught:
            await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)
        assert other.arrived == []
    assert other.url in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_forge_that_repeats_the_token_does_not_get_it_into_the_error(agent):
    with ForgeServer(mood="401") as forge, pytest.raises(NotTold) as caught:
        await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)
    assert "Bad credentials: Bearer ***" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(("value", "seconds"), (("0", 0), ("3600", 3600), ("soon", 60), ("-5", 60), ("9" * 40, 60)))
@pytest_twisted.ensureDeferred
async def test_a_retry_after_that_cannot_be_read_means_a_minute(agent, value, seconds):
    with ForgeServer(mood="429") as forge:
        forge.retry_after = value
        with pytest.raises(NotTold) as caught:
            await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)
    assert caught.value.retry_after == seconds


@pytest_twisted.ensureDeferred
async def test_a_retry_after_may_be_a_date(agent):
    then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=120)
    with ForgeServer(mood="429") as forge:
        forge.retry_after = then.strftime("%a, %d %b %Y %H:%M:%S GMT")
        with pytest.raises(NotTold) as caught:
            await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)
    assert 110 <= (caught.value.retry_after or 0) <= 125


# -- the network


@pytest_twisted.ensureDeferred
async def test_a_reason_that_twisted_has_wrapped_is_told():
    agent = Recorder(ResponseNeverReceived([Failure(ResponseNeverReceived([Failure(OSError("no route to it"))]))]))
    with pytest.raises(NotTold, match="no route to it"):
        await GitHubStatuses(agent, reactor).post(due(), TOKEN)


@pytest.fixture(scope="module")
def strange_certificate(tmp_path_factory):
    """A server's TLS context with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest_twisted.ensureDeferred
async def test_a_forge_whose_certificate_nobody_signed_is_told_nothing(agent, strange_certificate):
    with ForgeServer(tls=strange_certificate) as forge:
        with pytest.raises(NotTold, match="certificate verify failed") as caught:
            await GitHubStatuses(agent, reactor).post(due(forge.url.replace("127.0.0.1", "localhost")), TOKEN)
        assert forge.arrived == []
    assert not caught.value.permanent


@pytest_twisted.ensureDeferred
async def test_connections_are_used_again(agent):
    with ForgeServer() as forge:
        for _ in range(3):
            await GitHubStatuses(agent, reactor).post(due(forge.url), TOKEN)
        assert len(forge.posts) == 3
        assert len({post.client for post in forge.posts}) == 1
