"""The client of authorities: against a real one, and against one that misbehaves."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater

from sayci.acme.ari import certificate_id
from sayci.acme.client import AcmeClient
from sayci.acme.jose import Binding
from sayci.acme.keys import csr_of, new_account_key, new_certificate_key
from sayci.acme.transport import Transport, authority_agent
from sayci.acme.trouble import (
    AcmeError,
    AuthorityRefused,
    AuthorityUnreachable,
    BadAnswer,
    UnknownProfile,
    ValidationFailed,
)
from sayci.errors import CannotStart, Invalid
from tests.pebble import BLOCKED, running_pebble
from tests.tls import self_signed

NAME = "a.example"


def csr(name=NAME):
    return csr_of(name, new_certificate_key())


def names_in(chain):
    leaf = x509.load_pem_x509_certificate(chain)
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


async def refused(kind, awaitable):
    """The AcmeError in which it ends, which has to be of that kind."""
    with pytest.raises(AcmeError) as caught:
        await awaitable
    assert caught.value.kind == kind, str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------ a real authority


@pytest_twisted.ensureDeferred
async def test_a_certificate_by_http_01_for_the_key_and_name_of_the_request(pebble, http_responder, client_of):
    key = new_certificate_key()
    chain = await client_of(pebble, email="ada@example.org").issue(NAME, csr_of(NAME, key), [http_responder])
    leaf, intermediate = x509.load_pem_x509_certificates(chain)
    assert leaf.public_key() == key.public_key()
    assert names_in(chain) == [NAME]
    intermediate.verify_directly_issued_by(x509.load_pem_x509_certificate(pebble.roots()))
    assert http_responder.transcript == [("start", NAME, "http-01"), ("stop", NAME, "http-01")]
    assert http_responder.asked >= 1


def listen_tls(factory, key, certificate, number=0, **options):
    """A listening port; this Twisted takes keys and certificates of cryptography, its types lag behind."""
    everything: Any = reactor
    context = CertificateOptions(privateKey=key, certificate=certificate, **options)
    return everything.listenSSL(number, factory, context, interface="127.0.0.1")


class AlpnResponder(Factory):
    """Answers tls-alpn-01 (RFC 8737) on a port of its own."""

    challenge_type = "tls-alpn-01"
    protocol = Protocol

    def __init__(self, number):
        self._number = number

    def start_responding(self, name, challenge, response):
        key = ec.generate_private_key(ec.SECP256R1())
        digest = hashlib.sha256(response.key_authorization.encode()).digest()
        proof = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), b"\x04\x20" + digest)
        now, nobody = dt.datetime.now(dt.UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proof")])
        made = x509.CertificateBuilder().subject_name(nobody).issuer_name(nobody).public_key(key.public_key())
        made = made.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate = made.add_extension(proof, critical=True).sign(key, hashes.SHA256())
        self._port = listen_tls(self, key, certificate, self._number, acceptableProtocols=[b"acme-tls/1"])
        return succeed(None)

    def stop_responding(self, name, challenge, response):
        return self._port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_certificate_by_tls_alpn_01(pebble, client_of):
    assert names_in(await client_of(pebble).issue(NAME, csr(), [AlpnResponder(pebble.tls_port)])) == [NAME]


@pytest_twisted.ensureDeferred
async def test_a_certificate_while_four_nonces_in_ten_are_refused(tmp_path, responder, client_of, serve_http):
    with running_pebble(tmp_path, nonce_reject=40, strict=True) as pebble:
        await serve_http(responder, pebble.http_port)
        assert names_in(await client_of(pebble).issue(NAME, csr(), [responder])) == [NAME]


@pytest_twisted.ensureDeferred
async def test_an_rsa_account_key_as_txacme_makes_them(pebble, http_responder, client_of):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert names_in(await client_of(pebble, key).issue(NAME, csr(), [http_responder])) == [NAME]


@pytest.mark.parametrize("curve", (ec.SECP384R1(), ec.SECP521R1()))
@pytest_twisted.ensureDeferred
async def test_an_account_key_on_a_longer_curve(curve, pebble, http_responder, client_of):
    client = client_of(pebble, ec.generate_private_key(curve))
    assert names_in(await client.issue(NAME, csr(), [http_responder])) == [NAME]


@pytest_twisted.ensureDeferred
async def test_an_account_that_exists_is_found_by_its_key(pebble, http_responder, client_of):
    key = new_account_key()
    first, second = client_of(pebble, key), client_of(pebble, key)
    await first.issue(NAME, csr(), [http_responder])
    await second.issue(NAME, csr(), [http_responder])
    assert first._session._account == second._session._account != ""


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_believed_already_needs_no_challenge(tmp_path, responder, client_of, serve_http):
    with running_pebble(tmp_path, reuse=100) as pebble:
        await serve_http(responder, pebble.http_port)
        client = client_of(pebble)
        await client.issue(NAME, csr(), [responder])
        assert names_in(await client.issue(NAME, csr(), [])) == [NAME]
    assert len(responder.transcript) == 2


@pytest_twisted.ensureDeferred
async def test_an_authority_that_has_forgotten_the_account_is_told_again(tmp_path, responder, client_of, serve_http):
    key = new_account_key()
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with running_pebble(tmp_path / "first") as first, running_pebble(tmp_path / "second") as second:
        await serve_http(responder, second.http_port)
        client = client_of(second, key)
        client._session._account = second.directory_url.replace("/dir", "/my-account/99")
        assert names_in(await client.issue(NAME, csr(), [responder])) == [NAME]
        assert first.roots() != second.roots()


@pytest_twisted.ensureDeferred
async def test_a_blocked_name_is_said_to_be_so(pebble, http_responder, client_of):
    error = await refused("rejectedIdentifier", client_of(pebble).issue(BLOCKED, csr(BLOCKED), [http_responder]))
    assert BLOCKED in str(error)
    assert http_responder.transcript == []


@pytest_twisted.ensureDeferred
async def test_nobody_listens_where_the_authority_looks(pebble, responder, client_of):
    with pytest.raises(ValidationFailed) as caught:
        await client_of(pebble).issue(NAME, csr(), [responder])
    assert caught.value.kind == "connection"
    assert str(caught.value).startswith("the authority could not reach this server: a.example at port 80, ")
    assert "refused" in str(caught.value)
    assert [what for what, *_ in responder.transcript] == ["start", "stop"]


@pytest_twisted.ensureDeferred
async def test_something_else_answers_there(pebble, http_responder, client_of):
    http_responder.start_responding = lambda *_: succeed(None)
    error = await refused("unauthorized", client_of(pebble).issue(NAME, csr(), [http_responder]))
    assert "did not give the right answer: a.example at port 80" in str(error)
    assert isinstance(error, ValidationFailed)


@pytest_twisted.ensureDeferred
async def test_a_name_that_does_not_resolve(pebble, responder, client_of):
    pebble.do_not_resolve("lost.example")
    # pebble calls it "connection", where others say "dns"; the words are its own in any case.
    error = await refused("connection", client_of(pebble).issue("lost.example", csr("lost.example"), [responder]))
    assert "could not resolve" in str(error)


@pytest_twisted.ensureDeferred
async def test_an_authority_that_wants_an_account_made_elsewhere(tmp_path, responder, client_of, serve_http):
    secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with running_pebble(tmp_path, accounts={"kid-1": secret}) as pebble:
        await serve_http(responder, pebble.http_port)
        error = await refused("externalAccountRequired", client_of(pebble).issue(NAME, csr(), [responder]))
        assert "--acme-eab-kid" in str(error)
        wrong = client_of(pebble, binding=Binding("kid-1", secret.swapcase()))
        await refused("unauthorized", wrong.issue(NAME, csr(), [responder]))
        right = client_of(pebble, binding=Binding("kid-1", secret))
        assert names_in(await right.issue(NAME, csr(), [responder])) == [NAME]


@pytest_twisted.ensureDeferred
async def test_a_validation_that_is_cancelled_stops_the_responder(tmp_path, responder, client_of, serve_http):
    with running_pebble(tmp_path, sleep=9999) as pebble:
        started: Deferred[None] = Deferred()
        start = responder.start_responding
        responder.start_responding = lambda *said: start(*said).addCallback(started.callback)
        issuing = Deferred.fromCoroutine(client_of(pebble).issue(NAME, csr(), [responder]))
        await started
        await deferLater(reactor, 0.1)
        issuing.cancel()
        with pytest.raises(CancelledError):
            await issuing
    assert [what for what, *_ in responder.transcript] == ["start", "stop"]


@pytest_twisted.ensureDeferred
async def test_no_profiles_and_no_renewal_information_where_the_authority_has_none(pebble, http_responder, client_of):
    client = client_of(pebble)
    assert await client.profiles() == {}
    chain = await client.issue(NAME, csr(), [http_responder])
    assert await client.renewal_window(chain) is None


# ------------------------------------------------------------------------------------------------ reaching it


@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_not_trusted(pebble, responder, client_of, tmp_path):
    agent = authority_agent(reactor)
    client = AcmeClient(agent, reactor, pebble.directory_url, new_account_key())
    error = await refused("untrusted", client.issue(NAME, csr(), [responder]))
    assert isinstance(error, AuthorityUnreachable)
    assert "--acme-ca-file" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_trusted_certificate_for_another_name(tmp_path, client_of):
    made = self_signed(tmp_path, "other.example")
    key = load_pem_private_key(made.key.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    port = listen_tls(Factory.forProtocol(Protocol), key, certificate)
    try:
        url = f"https://localhost:{port.getHost().port}/dir"
        client = AcmeClient(authority_agent(reactor, made.certificate), reactor, url, new_account_key())
        error = await refused("untrusted", client.profiles())
        assert "it is for another name" in str(error)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_authority_that_does_not_speak_tls():
    class Plain(Protocol):
        def connectionMade(self):  # noqa: N802 - Twisted's name
            wire: Any = self.transport
            wire.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    everything: Any = reactor
    port = everything.listenTCP(0, Factory.forProtocol(Plain), interface="127.0.0.1")
    try:
        url = f"https://localhost:{port.getHost().port}/dir"
        client = AcmeClient(authority_agent(reactor), reactor, url, new_account_key())
        error = await refused("unreachable", client.profiles())
        assert "TLS: " in str(error)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_not_there(authority, client_of, unused_port):
    authority.base = f"http://127.0.0.1:{unused_port}"
    error = await refused("unreachable", client_of(authority).profiles())
    assert isinstance(error, AuthorityUnreachable)
    assert str(unused_port) in str(error)


@pytest_twisted.ensureDeferred
async def test_an_authority_that_never_answers(authority, client_of):
    authority.instead["/dir"] = [(200, {}, None)]
    error = await refused("timeout", client_of(authority, request_limit=0.3).profiles())
    assert "did not answer in time" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_request_that_is_cancelled_is_broken_off(authority, client_of):
    authority.instead["/dir"] = [(200, {}, None)]
    asking = Deferred.fromCoroutine(client_of(authority).profiles())
    request = await authority.silent
    gone = request.notifyFinish()
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    with pytest.raises(Exception, match=r"[Cc]onnection"):
        await gone


@pytest.mark.parametrize(
    "url", ("http://ca.example/dir", "ftp://127.0.0.1/dir", "https://", "dir", "http://127.0.0.1.example/dir")
)
def test_a_directory_is_at_an_https_address(url):
    with pytest.raises(Invalid):
        AcmeClient(authority_agent(reactor), reactor, url, new_account_key())


@pytest.mark.parametrize("content", (b"", b"junk"))
def test_a_ca_file_without_a_certificate_is_said_at_the_start(content, tmp_path):
    path = tmp_path / "ca.pem"
    with pytest.raises(CannotStart, match="cannot be read"):
        authority_agent(reactor, path)
    path.write_bytes(content)
    with pytest.raises(CannotStart, match="no certificate"):
        authority_agent(reactor, path)


@pytest_twisted.ensureDeferred
async def test_redirects_are_not_followed(authority, client_of):
    authority.instead["/dir"] = [(302, {"Location": f"{authority.base}/elsewhere"}, b"")]
    with pytest.raises(BadAnswer, match="elsewhere"):
        await client_of(authority).profiles()
    assert authority.seen == ["/dir"]


@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_too_long_is_broken_off(authority, client_of):
    authority.instead["/dir"] = [(200, {}, b"x" * 5_000_000)]
    with pytest.raises(BadAnswer, match="too long"):
        await client_of(authority).profiles()


@pytest.mark.parametrize("what", (b"<html>", b"[1]", b"{}", b"[" * 100_000, b'{"newNonce": 1}'))
@pytest_twisted.ensureDeferred
async def test_something_that_is_no_directory(what, authority, client_of):
    authority.instead["/dir"] = [(200, {}, what)]
    with pytest.raises(BadAnswer):
        await client_of(authority).profiles()


@pytest.mark.parametrize("url", ("http://192.0.2.1/a", "file:///etc/passwd", "https://", "ftp://127.0.0.1/a", "a\r\nb"))
@pytest_twisted.ensureDeferred
async def test_an_authority_that_sends_us_to_other_addresses_than_https(url, authority, client_of):
    authority.instead["/order"] = [(201, {"Location": "/order"}, {"authorizations": [url], "status": "pending"})]
    with pytest.raises(BadAnswer, match="not https"):
        await client_of(authority, request_limit=2).issue(NAME, csr(), [])


@pytest_twisted.ensureDeferred
async def test_an_authority_elsewhere_sends_us_to_nothing_on_this_machine():
    transport = Transport(authority_agent(reactor), reactor, "https://ca.example/dir", "test")
    with pytest.raises(BadAnswer, match="not https"):
        await transport.exchange("GET", "http://127.0.0.1:1/")


# ------------------------------------------------------------------------------------------------ what it says


@pytest_twisted.ensureDeferred
async def test_a_certificate_from_the_fake_authority(authority, client_of):
    assert names_in(await client_of(authority).issue(NAME, csr(), [])) == [NAME]
    assert authority.orders() == [{"identifiers": [{"type": "dns", "value": NAME}]}]


@pytest_twisted.ensureDeferred
async def test_the_profile_is_ordered(authority, client_of):
    authority.meta = {"profiles": {"classic": "the usual", "shortlived": "six days"}}
    client = client_of(authority)
    assert await client.profiles() == {"classic": "the usual", "shortlived": "six days"}
    await client.issue(NAME, csr(), [], profile="shortlived")
    assert authority.orders()[0]["profile"] == "shortlived"


@pytest.mark.parametrize(
    ("meta", "words"),
    (({"profiles": {"classic": "", "shortlived": ""}}, "it has classic, shortlived"), ({}, "it has none")),
)
@pytest_twisted.ensureDeferred
async def test_an_unknown_profile_is_refused_before_anything_is_ordered(meta, words, authority, client_of):
    authority.meta = meta
    with pytest.raises(UnknownProfile, match=words):
        await client_of(authority).issue(NAME, csr(), [], profile="long")
    assert authority.seen == ["/dir"]


@pytest_twisted.ensureDeferred
async def test_what_is_replaced_is_said(authority, client_of):
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    await client_of(authority).issue(NAME, csr(), [], replaces="aa.bb")
    assert [order["replaces"] for order in authority.orders()] == ["aa.bb"]


@pytest_twisted.ensureDeferred
async def test_what_is_replaced_is_not_said_to_an_authority_that_does_not_ask(authority, client_of):
    await client_of(authority).issue(NAME, csr(), [], replaces="aa.bb")
    assert "replaces" not in authority.orders()[0]


@pytest.mark.parametrize("kind", ("alreadyReplaced", "malformed"))
@pytest_twisted.ensureDeferred
async def test_a_refused_replacement_is_ordered_once_more_without(kind, authority, client_of):
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    authority.instead["/order"] = [(409, {}, {"type": f"urn:ietf:params:acme:error:{kind}", "detail": "no"})]
    await client_of(authority).issue(NAME, csr(), [], replaces="aa.bb")
    assert ["replaces" in order for order in authority.orders()] == [True, False]


@pytest_twisted.ensureDeferred
async def test_a_rate_limit_is_not_tried_again_and_says_until_when(authority, client_of):
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many\x1b[31m certificates"}
    authority.instead["/order"] = [(429, {"Retry-After": "7200"}, problem)]
    error = await refused("rateLimited", client_of(authority).issue(NAME, csr(), [], replaces="aa.bb"))
    assert error.retry_after == 7200
    assert "not before 20" in str(error)
    assert str(error).isprintable()
    assert len(authority.orders()) == 1


@pytest_twisted.ensureDeferred
async def test_a_date_to_wait_for_counts_from_the_authoritys_clock(authority, client_of):
    when = {"Date": "Sat, 01 Jan 2000 00:00:00 GMT", "Retry-After": "Sat, 01 Jan 2000 01:00:00 GMT"}
    authority.instead["/account"] = [(503, when, b"busy")]
    error = await refused("serverInternal", client_of(authority).issue(NAME, csr(), []))
    assert error.retry_after == 3600


@pytest_twisted.ensureDeferred
async def test_subproblems_say_which_name_they_are_about(authority, client_of):
    kind, identifier = "urn:ietf:params:acme:error:rejectedIdentifier", {"type": "dns", "value": NAME}
    about = {"type": kind, "detail": "forbidden by policy", "identifier": identifier}
    problem = {"type": "urn:ietf:params:acme:error:compound", "detail": "several", "subproblems": [about]}
    authority.instead["/order"] = [(403, {}, problem)]
    error = await refused("rejectedIdentifier", client_of(authority).issue(NAME, csr(), []))
    assert "a.example: forbidden by policy" in str(error)


@pytest_twisted.ensureDeferred
async def test_terms_that_a_person_has_to_read(authority, client_of):
    problem = {"type": "urn:ietf:params:acme:error:userActionRequired", "instance": "https://ca.example/terms"}
    authority.instead["/account"] = [(403, {}, problem)]
    error = await refused("userActionRequired", client_of(authority).issue(NAME, csr(), []))
    assert "https://ca.example/terms" in str(error)


@pytest_twisted.ensureDeferred
async def test_nonces_that_are_never_right_end_at_some_time(authority, client_of):
    problem = {"type": "urn:ietf:params:acme:error:badNonce", "detail": "stale"}
    authority.instead["/account"] = [(400, {}, problem)] * 100
    await refused("badNonce", client_of(authority).issue(NAME, csr(), []))
    assert 10 <= authority.seen.count("/account") <= 30
    assert authority.seen.count("/nonce") == 1


@pytest_twisted.ensureDeferred
async def test_polling_ends_at_some_time(authority, client_of, responder):
    pending(authority)
    error = await refused("timeout", client_of(authority, patience=0.6).issue(NAME, csr(), [responder]))
    assert "has not decided in time" in str(error)
    assert [what for what, *_ in responder.transcript] == ["start", "stop"]


@pytest_twisted.ensureDeferred
async def test_polling_survives_two_hiccups(authority, client_of):
    authority.instead["/order/1"] = [(503, {"Retry-After": "0"}, b"")] * 2
    assert names_in(await client_of(authority).issue(NAME, csr(), [])) == [NAME]
    authority.order["status"] = "ready"
    authority.instead["/order/1"] = [(503, {"Retry-After": "0"}, b"")] * 3
    await refused("serverInternal", client_of(authority).issue(NAME, csr(), []))


@pytest_twisted.ensureDeferred
async def test_a_lost_answer_to_the_final_request_is_not_a_lost_certificate(authority, client_of):
    request = csr()
    authority.chain = authority.issued(request)
    authority.instead["/finalize"] = [(200, {}, None)]
    authority.silent.addCallback(lambda _: authority.order.update(status="valid"))
    assert names_in(await client_of(authority, request_limit=0.5).issue(NAME, request, [])) == [NAME]
    assert len(authority.orders()) == 1


def pending(authority, **more):
    """Let it ask for two challenges, and never decide."""
    challenges = [
        {"type": kind, "token": "token", "url": f"{authority.base}/challenge", "status": "pending"}
        for kind in ("dns-01", "http-01")
    ]
    authority.authorization = {"status": "pending", "challenges": challenges} | more


@pytest_twisted.ensureDeferred
async def test_no_responder_for_what_the_authority_offers(authority, client_of):
    pending(authority)
    error = await refused("challenge", client_of(authority).issue(NAME, csr(), []))
    assert "dns-01, http-01" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_responder_that_cannot_start_is_stopped_and_the_authority_not_told(authority, client_of, responder):
    pending(authority)
    responder.start_responding = lambda *_: fail(ValueError("no port"))
    with pytest.raises(ValueError, match="no port"):
        await client_of(authority).issue(NAME, csr(), [responder])
    assert responder.transcript == [("stop", NAME, "http-01")]
    assert "/challenge" not in authority.seen


@pytest_twisted.ensureDeferred
async def test_a_responder_that_cannot_stop_does_not_hide_how_it_went(authority, client_of, responder):
    pending(authority)
    authority.authorization["challenges"][1]["error"] = {"type": "urn:ietf:params:acme:error:caa", "detail": "no"}
    responder.stop_responding = lambda *_: fail(ValueError("stuck"))
    authority.instead["/challenge"] = [(200, {}, {})]
    asked = authority._usual

    def invalid_once_told(path, payload):
        if path == "/authorization" and "/challenge" in authority.seen:
            authority.authorization["status"] = "invalid"
        return asked(path, payload)

    authority._usual = invalid_once_told
    error = await refused("caa", client_of(authority).issue(NAME, csr(), [responder]))
    assert isinstance(error, ValidationFailed)


@pytest_twisted.ensureDeferred
async def test_an_authorization_that_has_failed_already_says_why(authority, client_of):
    challenge = {"type": "x-01", "error": {"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}}
    authority.authorization = {"status": "invalid", "challenges": [None, {}, challenge]}
    error = await refused("dns", client_of(authority).issue(NAME, csr(), []))
    assert "a.example, no such name" in str(error)


@pytest.mark.parametrize(
    ("path", "answer"),
    (
        ("/account", (201, {}, {})),
        ("/order", (201, {"Location": "/order/1"}, {"authorizations": []})),
        ("/order", (201, {}, {"authorizations": []})),
        ("/order", (201, {"Location": "https://127.0.0.1:1/"}, {})),
        ("/order", (201, {"Location": "https://127.0.0.1:1/"}, {"authorizations": [1]})),
        ("/order", (201, {"Location": "https://127.0.0.1:1/"}, [])),
        ("/order/1", (200, {}, {"status": "ready"})),
        ("/order/1", (200, {}, {"status": "valid"})),
        ("/authorization", (200, {}, b"")),
    ),
)
@pytest_twisted.ensureDeferred
async def test_answers_that_lack_something(path, answer, authority, client_of):
    authority.instead[path] = [answer]
    with pytest.raises(BadAnswer):
        await client_of(authority).issue(NAME, csr(), [])


@pytest_twisted.ensureDeferred
async def test_an_authority_without_nonces(authority, client_of):
    authority.gives_nonces = False
    with pytest.raises(BadAnswer, match="no nonces"):
        await client_of(authority).issue(NAME, csr(), [])


@pytest_twisted.ensureDeferred
async def test_the_directory_is_read_again_after_an_hour(authority):
    clock = Clock()
    client = AcmeClient(authority_agent(reactor), clock, authority.directory_url, new_account_key())
    await client.profiles()
    authority.meta = {"profiles": {"new": ""}}
    assert await client.profiles() == {}
    clock.advance(3601)
    assert await client.profiles() == {"new": ""}


@pytest_twisted.ensureDeferred
async def test_two_names_at_once_make_one_account(authority, client_of):
    client, request = client_of(authority), csr()
    await client.profiles()
    await gatherResults([Deferred.fromCoroutine(client.issue(NAME, request, [])) for _ in range(2)])
    assert authority.seen.count("/account") == 1


@pytest.mark.parametrize("token", ("../../etc/passwd", "", "a b", "x" * 1000, None))
@pytest_twisted.ensureDeferred
async def test_a_token_that_is_none_reaches_no_responder(token, authority, client_of, responder):
    pending(authority)
    authority.authorization["challenges"][1]["token"] = token
    with pytest.raises(BadAnswer):
        await client_of(authority).issue(NAME, csr(), [responder])
    assert responder.transcript == []


@pytest_twisted.ensureDeferred
async def test_an_authorization_for_another_name_reaches_no_responder(authority, client_of, responder):
    pending(authority, identifier={"type": "dns", "value": "other.example"})
    with pytest.raises(BadAnswer, match="not ordered"):
        await client_of(authority).issue(NAME, csr(), [responder])
    assert responder.transcript == []


@pytest_twisted.ensureDeferred
async def test_an_order_that_the_authority_gives_up(authority, client_of):
    problem = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record for a.example prevents issuance"}
    authority.order |= {"status": "invalid", "error": problem}
    error = await refused("caa", client_of(authority).issue(NAME, csr(), []))
    assert "CAA record for a.example" in str(error)
    assert isinstance(error, AuthorityRefused)


@pytest.mark.parametrize("different", ("key", "names", "junk", "empty", "order"))
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_not_what_was_asked_for(different, authority, client_of, tmp_path):
    request = csr()
    others = {
        "key": lambda: authority.issued(request, key=new_certificate_key().public_key()),
        "names": lambda: authority.issued(request, names=x509.SubjectAlternativeName([x509.DNSName("b.example")])),
        "junk": lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "empty": lambda: b"nothing",
        "order": lambda: authority.issued(request) + self_signed(tmp_path, NAME).certificate.read_bytes(),
    }
    authority.chain = others[different]()
    with pytest.raises(BadAnswer):
        await client_of(authority).issue(NAME, request, [])


@pytest_twisted.ensureDeferred
async def test_nothing_but_certificates_comes_out_of_a_chain(authority, client_of):
    request = csr()
    chain = authority.issued(request)
    authority.chain = b"# hello\n" + chain + b"-----BEGIN NOTHING-----\nAAAA\n-----END NOTHING-----\n"
    assert await client_of(authority).issue(NAME, request, []) == chain


# ------------------------------------------------------------------------------------------------ renewal information


@pytest_twisted.ensureDeferred
async def test_the_window_in_which_the_authority_wants_to_renew(authority, client_of):
    certificate = authority.issued(csr())
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    window = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00.5+01:00"}
    where = f"/ari/{certificate_id(certificate)}"
    authority.instead[where] = [(200, {"Retry-After": "3601"}, {"suggestedWindow": window})]
    found = await client_of(authority).renewal_window(certificate)
    assert (found.start, found.end, found.retry_after) == (1767326400.0, 1767409200.5, 3601)


@pytest.mark.parametrize(("said", "meant"), (("1", 60), ("999999", 86400), (None, 21600), ("junk", 21600)))
@pytest_twisted.ensureDeferred
async def test_asking_again_has_bounds(said, meant, authority, client_of):
    certificate = authority.issued(csr())
    authority.more = {"renewalInfo": f"{authority.base}/ari/"}
    window = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00Z"}
    headers = {"Retry-After": said} if said else {}
    authority.instead[f"/ari/{certificate_id(certificate)}"] = [(200, headers, {"suggestedWindow": window})]
    assert (await client_of(authority).renewal_window(certificate)).retry_after == meant


@pytest.mark.parametrize(
    "window",
    (
        None,
        [],
        {"start": "2026-01-03T04:00:00Z"},
        {"start": "2026-01-03T04:00:00Z", "end": "2026-01-02T04:00:00Z"},
        {"start": "2026-01-02T04:00:00", "end": "2026-01-03T04:00:00"},
        {"start": 1, "end": 2},
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_window_that_is_none(window, authority, client_of):
    certificate = authority.issued(csr())
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    authority.instead[f"/ari/{certificate_id(certificate)}"] = [(200, {}, {"suggestedWindow": window})]
    with pytest.raises(BadAnswer):
        await client_of(authority).renewal_window(certificate)


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_the_authority_does_not_know_has_no_window(authority, client_of):
    authority.more = {"renewalInfo": f"{authority.base}/ari"}
    assert await client_of(authority).renewal_window(authority.issued(csr())) is None


def test_the_client_does_without_the_packages_of_certbot():
    check = "import sys, sayci.acme.client; sys.exit(bool({'acme', 'eliot', 'requests'} & set(sys.modules)))"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", check], env=environment, check=False).returncode == 0
