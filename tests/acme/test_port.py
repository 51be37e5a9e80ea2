"""Real clients on real sockets: those of the ssl module run in threads, beside the reactor."""

# Names of Twisted's methods are Twisted's, and pytest_twisted has no types.
# ruff: noqa: N802, N815
# mypy: allow-untyped-decorators

from __future__ import annotations

import datetime as dt
import hashlib
import json
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sayci.acme.bridge import IResponder
from sayci.acme.challenge import Challenge, Response
from sayci.acme.port import TICKET_KEYS, TlsFront, UnusableCertificate
from sayci.acme.selfsigned import ACME_IDENTIFIER, challenge_pem
from sayci.errors import SayciError
from sayci.web.site import make_site

reactor: Any = global_reactor
GENEROUS = 30.0
ACME = "acme-tls/1"
BIG = 20 * 1024 * 1024
PIECE = bytes(range(256)) * 64
V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


# -- certificates


def a_key(kind: str = "ec") -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def certified(name: str, key: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )


def pem_of(key: Any, *certificates: x509.Certificate, password: bytes = b"") -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return private + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def a_pem(name: str, kind: str = "ec") -> bytes:
    key = a_key(kind)
    return pem_of(key, certified(name, key))


def leaf_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(serialization.Encoding.DER)


# -- what is served


@implementer(IPullProducer)
class Pieces:
    """Writes BIG bytes, a piece whenever it is asked."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.written = 0
        self.is_stopped = False
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self.written < BIG:
            self.written += len(PIECE)
            self.request.write(PIECE)
        else:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        self.is_stopped = True


class Root(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.downloads: list[Pieces] = []
        self.streams: list[Any] = []
        self.lost: Deferred[None] = Deferred()

    def render_GET(self, request: Any) -> Any:
        if request.path == b"/big":
            request.setHeader(b"Content-Length", b"%d" % BIG)
            request.notifyFinish().addErrback(lambda _: self.lost.callback(None))
            self.downloads.append(Pieces(request))
            return NOT_DONE_YET
        if request.path == b"/stream":
            self.streams.append(request)
            request.write(b"begin\n")
            return NOT_DONE_YET
        return json.dumps({"secure": request.isSecure(), "from": request.getClientAddress().host}).encode()

    def render_POST(self, request: Any) -> bytes:
        return hashlib.sha256(request.content.read()).hexdigest().encode()


class LaterClock:
    """The reactor's time, some of which can be skipped."""

    skipped = 0.0

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.skipped

    def callLater(self, *arguments: Any, **named: Any) -> Any:
        return reactor.callLater(*arguments, **named)


class Server:
    def __init__(self, front: TlsFront, root: Root, port: int) -> None:
        self.front = front
        self.root = root
        self.port = port


@pytest_twisted.async_yield_fixture
async def serving():
    ports = []

    async def start(endpoint: str = "tcp:0:interface=127.0.0.1", clock: Any = reactor, **limits: Any) -> Server:
        root = Root()
        front = TlsFront(make_site(root, clock=reactor), clock, **limits)
        port = await serverFromString(reactor, endpoint).listen(front)
        ports.append(port)
        return Server(front, root, port.getHost().port)

    yield start
    for port in ports:
        await port.stopListening()


@pytest_twisted.async_yield_fixture
async def server(serving):
    yield await serving()


# -- clients; they block, so they run in threads


def context_of(
    protocols: list[str] | None = None, version: ssl.TLSVersion | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols is not None:
        context.set_alpn_protocols(protocols)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), GENEROUS)


def tls(port: int, name: str | None = "a.example", context: ssl.SSLContext | None = None, **more: Any) -> ssl.SSLSocket:
    raw = tcp(port)
    try:
        return (context or context_of()).wrap_socket(raw, server_hostname=name, **more)
    except BaseException:
        raw.close()
        raise


def leaf_at(port: int, name: str | None = "a.example", context: Any = None) -> bytes:
    with tls(port, name, context) as connection:
        return connection.getpeercert(binary_form=True) or b""


def ask(connection: socket.socket, path: str = "/") -> bytes:
    """The body of an answer; the connection stays open."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += some(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += some(connection)
    return body


def some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection has ended too early"
    return data


def rest(connection: socket.socket) -> bytes:
    """Everything until the end, be it a good one or a reset."""
    data = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def said_to(port: int, *pieces: bytes) -> bytes:
    """What comes back over a bare connection until its end."""
    with tcp(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.002)  # so that the pieces arrive as pieces
        return rest(connection)


def hello_of(name: str = "a.example", context: Any = None) -> bytes:
    said = ssl.MemoryBIO()
    client = (context or context_of()).wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + GENEROUS
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        await deferLater(reactor, 0.01, lambda: None)


# -- certificates by name


@pytest_twisted.ensureDeferred
async def test_a_port_serves_at_once_with_a_self_signed_certificate(server):
    leaf = x509.load_der_x509_certificate(await deferToThread(leaf_at, server.port))
    assert leaf.issuer == leaf.subject
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert leaf.not_valid_before_utc < dt.datetime.now(dt.UTC) < leaf.not_valid_after_utc


@pytest_twisted.ensureDeferred
async def test_each_name_has_its_certificate_and_other_names_that_of_the_first(server):
    first, second = a_pem("a.example"), a_pem("b.example")
    server.front.serve("A.Example", a_pem("a.example"))
    server.front.serve("b.example", second)
    server.front.serve("a.example", first)  # the first name stays the first when it gets another certificate
    names = ["a.example", "b.example", "B.EXAMPLE", "c.example", "127.0.0.1", None]
    leaves = [await deferToThread(leaf_at, server.port, name) for name in names]
    assert leaves == [leaf_of(pem) for pem in (first, second, second, first, first, first)]


@pytest_twisted.ensureDeferred
async def test_a_withdrawn_name_is_any_name(server):
    first, second = a_pem("a.example"), a_pem("b.example")
    server.front.serve("a.example", first)
    server.front.serve("b.example", second)
    server.front.withdraw("A.example")
    server.front.withdraw("never.served")
    assert not server.front.is_served("a.example")
    assert server.front.is_served("B.example")
    assert await deferToThread(leaf_at, server.port, "a.example") == leaf_of(second)


@pytest_twisted.ensureDeferred
async def test_the_whole_chain_is_sent(server):
    key = a_key()
    chain = [certified(name, key) for name in ("a.example", "between", "root")]
    server.front.serve("a.example", pem_of(key, *chain))
    assert await deferToThread(_chain_at, server.port) == chain


def _chain_at(port: int) -> list[x509.Certificate]:
    with tcp(port) as raw:
        raw.settimeout(None)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), raw)
        client.set_tlsext_host_name(b"a.example")
        client.set_connect_state()
        client.do_handshake()
        return list(client.get_peer_cert_chain(as_cryptography=True) or ())


def unusable() -> Iterator[Any]:
    key, other = a_key(), a_key()
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is to be refused
    yield pytest.param(b"", id="nothing")
    yield pytest.param(pem_of(key), id="a key alone")
    yield pytest.param(pem_of(key, certified("a.example", key)).split(b"KEY-----\n")[2], id="a certificate alone")
    yield pytest.param(pem_of(key, certified("a.example", other)), id="the key of another")
    yield pytest.param(pem_of(key, certified("a.example", other), certified("a", key)), id="the wrong order")
    yield pytest.param(pem_of(key, certified("a.example", key), password=b"secret"), id="an encrypted key")
    yield pytest.param(pem_of(key, certified("a.example", key)).replace(b"MI", b"IM"), id="damaged")
    yield pytest.param(pem_of(small, certified("a.example", small)), id="a key that is too small")


@pytest.mark.parametrize("pem", tuple(unusable()))
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_served_is_refused_and_the_old_one_is_kept(server, pem):
    good = a_pem("a.example")
    server.front.serve("a.example", good)
    with pytest.raises(UnusableCertificate) as refused:
        server.front.serve("a.example", pem)
    assert isinstance(refused.value, SayciError)
    assert b"PRIVATE" not in str(refused.value).encode()
    assert await deferToThread(leaf_at, server.port) == leaf_of(good)


def test_a_key_that_is_not_the_certificates_is_called_that():
    key, other = a_key(), a_key()
    front = TlsFront(make_site(Root(), clock=reactor), reactor)
    with pytest.raises(UnusableCertificate, match="not that of the first certificate"):
        front.serve("a.example", pem_of(key, certified("a.example", other), certified("a.example", key)))
    assert not front.is_served("a.example")


@pytest_twisted.ensureDeferred
async def test_certificates_are_swapped_under_load_without_a_failure(server):
    pems = [a_pem("a.example", kind) for kind in ("ec", "rsa", "ec", "ec")]
    server.front.serve("a.example", pems[0])
    stop = threading.Event()
    clients = [deferToThread(_hammer, server.port, stop, version) for version in (V2, V3, None)]
    for turn in range(60):
        await deferLater(reactor, 0.02, lambda: None)
        server.front.serve("a.example", pems[turn % len(pems)])
    stop.set()
    seen = [await client for client in clients]
    assert set().union(*seen) == {leaf_of(pem) for pem in pems}


def _hammer(port: int, stop: threading.Event, version: Any) -> set[bytes]:
    seen = set()
    context = context_of(["http/1.1"], version)
    while not stop.is_set():
        with tls(port, "a.example", context) as connection:
            seen.add(connection.getpeercert(binary_form=True) or b"")
            assert json.loads(ask(connection))["secure"] is True
    return seen


@pytest_twisted.ensureDeferred
async def test_a_connection_outlives_the_certificate_it_began_with(server):
    server.front.serve("a.example", a_pem("a.example"))
    connection = await deferToThread(tls, server.port)
    before = await deferToThread(ask, connection)
    server.front.serve("a.example", a_pem("a.example"))
    server.front.withdraw("a.example")
    assert await deferToThread(ask, connection) == before
    connection.close()


# -- sessions


def resumed(port: int, context: Any, session: Any = None) -> tuple[bool | None, Any]:
    """Whether a session was resumed, and the session for the next time."""
    with tls(port, "a.example", context, session=session) as connection:
        ask(connection)  # with TLS 1.3 the ticket comes after the handshake
        return connection.session_reused, connection.session


@pytest.mark.parametrize("version", (V2, V3))
@pytest_twisted.ensureDeferred
async def test_sessions_are_resumed_and_begin_anew_after_a_swap(server, version):
    server.front.serve("a.example", a_pem("a.example"))
    context = context_of(version=version)
    _, session = await deferToThread(resumed, server.port, context)
    assert (await deferToThread(resumed, server.port, context, session))[0] is True
    server.front.serve("a.example", a_pem("a.example"))
    again, session = await deferToThread(resumed, server.port, context, session)
    assert again is False
    assert (await deferToThread(resumed, server.port, context, session))[0] is True


@pytest.mark.parametrize("version", (V2, V3))
@pytest_twisted.ensureDeferred
async def test_the_keys_of_tickets_are_never_old(serving, version):
    clock = LaterClock()
    server = await serving(clock=clock)
    context = context_of(version=version)
    _, session = await deferToThread(resumed, server.port, context)
    clock.skipped += TICKET_KEYS + 1
    assert (await deferToThread(resumed, server.port, context, session))[0] is False


# -- versions, ciphers, protocols


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))
@pytest_twisted.ensureDeferred
async def test_old_versions_are_refused(server, version):
    server.front.serve("a.example", a_pem("a.example", "rsa"))
    context = context_of(version=version, ciphers="ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
        await deferToThread(leaf_at, server.port, "a.example", context)


WEAK = (
    "AES128-GCM-SHA256",
    "AES256-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
)


@pytest.mark.parametrize("cipher", WEAK)
@pytest_twisted.ensureDeferred
async def test_ciphers_without_forward_secrecy_or_authentication_are_refused(server, cipher):
    server.front.serve("a.example", a_pem("a.example", "rsa"))
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        await deferToThread(leaf_at, server.port, "a.example", context_of(version=V2, ciphers=f"{cipher}:@SECLEVEL=0"))


def agreed(port: int, context: Any) -> tuple[str | None, str | None]:
    """The version and the protocol that were agreed on."""
    with tls(port, "a.example", context) as connection:
        ask(connection)
        return connection.version(), connection.selected_alpn_protocol()


def cipher_at(port: int, ciphers: str) -> str:
    with tls(port, "a.example", context_of(version=V2, ciphers=ciphers)) as connection:
        chosen = connection.cipher()
        assert chosen is not None
        return chosen[0]


@pytest.mark.parametrize("kind", ("ec", "rsa"))
@pytest_twisted.ensureDeferred
async def test_good_ciphers_of_tls_1_2_work_and_the_server_chooses(server, kind):
    server.front.serve("a.example", a_pem("a.example", kind))
    signature = "ECDSA" if kind == "ec" else "RSA"
    good = [f"ECDHE-{signature}-{name}" for name in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")]
    assert [await deferToThread(cipher_at, server.port, name) for name in good] == good
    assert await deferToThread(cipher_at, server.port, ":".join(reversed(good))) == good[0]


@pytest.mark.parametrize(("version", "name"), ((V2, "TLSv1.2"), (V3, "TLSv1.3"), (None, "TLSv1.3")))
@pytest.mark.parametrize(
    ("offered", "chosen"), ((None, None), (["http/1.1"], "http/1.1"), (["h2", "http/1.1", ACME], "http/1.1"))
)
@pytest_twisted.ensureDeferred
async def test_http_1_1_is_chosen_where_it_is_offered(server, version, name, offered, chosen):
    assert await deferToThread(agreed, server.port, context_of(offered, version)) == (name, chosen)


@pytest.mark.parametrize("version", (V2, V3))
@pytest.mark.parametrize("offered", (["h2"], ["h2", ACME], ["spdy/3"]))
@pytest_twisted.ensureDeferred
async def test_who_offers_only_protocols_that_nobody_speaks_is_told_so(server, version, offered):
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        await deferToThread(leaf_at, server.port, "a.example", context_of(offered, version))


# -- challenges

CHALLENGE = Challenge("tls-alpn-01", "token", "https://ca.example/challenge")
RESPONSE = Response("token.thumbprint")


def validated(port: int, name: str | None, version: Any) -> tuple[bytes, str | None, bytes]:
    """What an authority sees: the certificate, the protocol, and what is said after the handshake."""
    with tls(port, name, context_of([ACME], version)) as connection:
        leaf = connection.getpeercert(binary_form=True) or b""
        return leaf, connection.selected_alpn_protocol(), connection.recv(100)


def proof_in(leaf: bytes) -> tuple[list[str], bytes, bool]:
    """The names in a certificate, the value of RFC 8737's extension, and whether it is critical."""
    extensions = x509.load_der_x509_certificate(leaf).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    proof = extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    return names, proof.value.value, proof.critical


PROOF = b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()


def test_a_challenge_certificate_names_one_name_and_proves_one_key():
    pem = challenge_pem("a.example", "token.thumbprint", dt.datetime.now(dt.UTC))
    assert proof_in(leaf_of(pem)) == (["a.example"], PROOF, True)


# TLS 1.2 and RSA is where a callback of ALPN that sets the context would crash the process.
@pytest.mark.parametrize("version", (V2, V3))
@pytest.mark.parametrize("kind", ("ec", "rsa"))
@pytest_twisted.ensureDeferred
async def test_challenges_are_answered_while_others_are_served(server, version, kind):
    pem = a_pem("a.example", kind)
    server.front.serve("a.example", pem)
    responder = server.front.responder()
    stop = threading.Event()
    hammer = deferToThread(_hammer, server.port, stop, version)
    await responder.start_responding("A.example", CHALLENGE, RESPONSE)
    for _ in range(3):
        leaf, protocol, rest = await deferToThread(validated, server.port, "a.example", version)
        assert proof_in(leaf) == (["a.example"], PROOF, True)
        assert (protocol, rest) == (ACME, b"")
    responder.stop_responding("a.example", CHALLENGE, RESPONSE)
    responder.stop_responding("a.example", CHALLENGE, RESPONSE)
    with pytest.raises(OSError, match=r"reset|EOF"):
        await deferToThread(validated, server.port, "a.example", version)
    stop.set()
    assert await hammer == {leaf_of(pem)}


@pytest_twisted.ensureDeferred
async def test_nothing_is_proved_for_a_name_without_a_challenge(server):
    server.front.challenge("b.example", "token.thumbprint")
    for name in ("a.example", None):
        with pytest.raises(OSError, match=r"reset|EOF"):
            await deferToThread(validated, server.port, name, V3)


@pytest_twisted.ensureDeferred
async def test_the_end_of_an_old_challenge_leaves_the_new_one(server):
    server.front.challenge("a.example", "an older one")
    server.front.challenge("a.example", "token.thumbprint")
    server.front.settle("a.example", "an older one")
    leaf, _, _ = await deferToThread(validated, server.port, "a.example", V3)
    assert proof_in(leaf)[1] == PROOF


@pytest_twisted.ensureDeferred
async def test_a_validation_that_does_not_end_is_ended(serving):
    server = await serving(hello_limit=0.3)
    server.front.challenge("a.example", "token.thumbprint")
    connection = await deferToThread(tls, server.port, "a.example", context_of([ACME]))
    await until(lambda: server.front.waiting == 0)
    connection.close()


def test_the_responder_is_one_of_txacme():
    responder = TlsFront(make_site(Root(), clock=reactor), reactor).responder()
    assert verifyObject(IResponder, responder)
    assert responder.challenge_type == "tls-alpn-01"


# -- what no client of TLS would send


@pytest.mark.parametrize("pieces", ((b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",), (b"G", b"E", b"T", b" ", b"/")))
@pytest_twisted.ensureDeferred
async def test_who_speaks_plain_http_is_told_to_use_https(server, pieces):
    answer = await deferToThread(said_to, server.port, *pieces)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Type: text/plain" in head
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"https://" in body
    assert body.count(b"\n") == 1


@pytest_twisted.ensureDeferred
async def test_a_plain_head_request_gets_no_body(server):
    answer = await deferToThread(said_to, server.port, b"HEAD / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest_twisted.ensureDeferred
async def test_a_large_plain_request_gets_its_answer_too(server):
    request = b"POST /hooks/a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000)
    assert b"400 Bad Request" in await deferToThread(said_to, server.port, request)


GARBAGE = {
    "zeros": bytes(100),
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "small letters": b"get / http/1.1\r\n\r\n",
    "capitals": b"A" * 100,
    "SSL 2": b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(40),
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "a hello with something wrong inside": b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest_twisted.ensureDeferred
async def test_garbage_ends_the_connection(server, data):
    answer = await deferToThread(said_to, server.port, data)
    assert answer == (b"\x15\x03\x03\x00\x02\x02\x32" if data[0] == 22 else b"")
    await until(lambda: server.front.waiting == 0)


@pytest.mark.parametrize(
    "data",
    (b"", b"G", b"\x16", hello_of()[:100], hello_of()),
    ids=("silent", "a letter", "a byte", "half a hello", "a hello"),
)
@pytest_twisted.ensureDeferred
async def test_who_does_not_go_on_is_left(serving, data):
    server = await serving(hello_limit=0.3)
    began = time.monotonic()
    await deferToThread(said_to, server.port, data)
    assert time.monotonic() - began >= 0.29
    await until(lambda: server.front.waiting == 0)


@pytest_twisted.ensureDeferred
async def test_who_goes_on_slowly_is_left_as_well(serving):
    server = await serving(hello_limit=0.3)
    await deferToThread(_drip, server.port, hello_of(), 0.05)
    await until(lambda: server.front.waiting == 0)


def _drip(port: int, data: bytes, pause: float) -> None:
    with tcp(port) as connection, suppress(ConnectionError):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause)
        pytest.fail("all of it was listened to")


@pytest_twisted.ensureDeferred
async def test_a_hello_that_does_not_end_is_refused_before_it_fills_the_memory(serving):
    server = await serving(hello_size=4000)
    record = b"\x16\x03\x01\x10\x00\x01\x00\x0f\x90" + bytes(4092)
    assert await deferToThread(said_to, server.port, record) == b"\x15\x03\x03\x00\x02\x02\x32"


@pytest_twisted.ensureDeferred
async def test_a_handshake_may_come_one_byte_at_a_time(server):
    server.front.serve("a.example", a_pem("a.example"))
    assert json.loads(await deferToThread(_byte_by_byte, server.port))["secure"] is True


def _byte_by_byte(port: int) -> bytes:
    """A request over TLS, everything of which goes out as single bytes."""
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context_of(["http/1.1"]).wrap_bio(arrived, leaving, server_hostname="a.example")
    with tcp(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def over_the_wire(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    done = None
                for byte in leaving.read():
                    connection.sendall(bytes([byte]))
                if done is not None:
                    return done
                arrived.write(some(connection))

        def shaken() -> bool:
            client.do_handshake()
            return True

        over_the_wire(shaken)
        over_the_wire(lambda: client.write(b"GET / HTTP/1.0\r\n\r\n"))
        answer = over_the_wire(lambda: client.read(65536))
        assert isinstance(answer, bytes)
        return answer.partition(b"\r\n\r\n")[2]


@pytest_twisted.ensureDeferred
async def test_where_too_many_wait_the_oldest_goes(serving):
    server = await serving(waiting_limit=5)
    with ExitStack() as stack:
        waiting = []
        for count in range(1, 9):
            waiting.append(stack.enter_context(await deferToThread(tcp, server.port)))
            await until(partial(_waits, server, min(count, 5)))
        for gone in waiting[:3]:
            assert await deferToThread(rest, gone) == b""
        for still in waiting[3:]:
            still.setblocking(False)
            with pytest.raises(BlockingIOError):
                still.recv(1)
        assert await deferToThread(leaf_at, server.port)


def _waits(server: Server, count: int) -> bool:
    return server.front.waiting == count


@contextmanager
def many_files(wanted: int) -> Iterator[int]:
    """How many files may be open; as many as wanted where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    try:
        yield max(soft, allowed)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "data"),
    ((5000, b""), (5000, hello_of()[:100]), (300, b"")),
    ids=("silent", "half a hello", "more than may wait"),
)
@pytest_twisted.ensureDeferred
async def test_thousands_of_idle_connections_hurt_nobody(serving, limit, data):
    server = await serving("tcp:0:interface=127.0.0.1:backlog=4000", waiting_limit=limit, hello_limit=2 * GENEROUS)
    with many_files(4500) as allowed, ExitStack() as stack:
        count = min(2000, (allowed - 300) // 2)
        for opened in range(0, count, 40):  # less than the kernel keeps for a port until they are accepted
            await deferToThread(_open, stack, server.port, min(40, count - opened), data)
            await until(partial(_waits, server, min(opened + 40, count, limit)))
        for _ in range(20):
            assert await deferToThread(agreed, server.port, context_of(["http/1.1"])) == ("TLSv1.3", "http/1.1")
        assert min(count, limit - 1) <= server.front.waiting <= limit
    await until(lambda: server.front.waiting == 0)


def _open(stack: ExitStack, port: int, count: int, data: bytes) -> None:
    for _ in range(count):
        connection = stack.enter_context(tcp(port))
        if data:
            connection.sendall(data)


@pytest_twisted.ensureDeferred
async def test_who_waits_is_not_let_in_when_the_port_closes():
    front = TlsFront(make_site(Root(), clock=reactor), reactor)
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(front)
    connection = await deferToThread(tcp, port.getHost().port)
    await until(lambda: front.waiting == 1)
    await port.stopListening()
    assert await deferToThread(rest, connection) == b""
    connection.close()
    assert front.waiting == 0


# -- the site behind it


@pytest_twisted.ensureDeferred
async def test_the_site_knows_who_asks_and_that_it_is_safe(server):
    connection = await deferToThread(tls, server.port)
    assert json.loads(await deferToThread(ask, connection)) == {"secure": True, "from": "127.0.0.1"}
    connection.close()


@pytest_twisted.ensureDeferred
async def test_it_works_behind_a_proxy_that_tells_the_address(serving):
    server = await serving("haproxy:tcp:0:interface=127.0.0.1")
    assert json.loads(await deferToThread(_ask_through_proxy, server.port)) == {"secure": True, "from": "192.0.2.7"}


def _ask_through_proxy(port: int) -> bytes:
    raw = tcp(port)
    raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n")
    with context_of(["http/1.1"]).wrap_socket(raw, server_hostname="a.example") as connection:
        return ask(connection)


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_gets_every_byte_and_the_server_does_not_hurry_ahead(server):
    expected = hashlib.sha256(PIECE * (BIG // len(PIECE))).hexdigest()
    digest, ahead = await deferToThread(_read_slowly, server)
    assert digest == expected
    assert ahead < 8 * 1024 * 1024  # what the kernel holds for both ends, and a little of ours


def _read_slowly(server: Server) -> tuple[str, int]:
    """The digest of the body, and how many bytes the server was ahead of the reader at most."""
    digest, received, ahead = hashlib.sha256(), 0, 0
    with tls(server.port) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n")
        data = some(connection)
        while b"\r\n\r\n" not in data:
            data += some(connection)
        data = data.partition(b"\r\n\r\n")[2]
        while True:
            digest.update(data)
            received += len(data)
            if received == BIG:
                return digest.hexdigest(), ahead
            if received % 7 == 0:
                time.sleep(0.003)
            ahead = max(ahead, server.root.downloads[0].written - received)
            data = some(connection)


@pytest_twisted.ensureDeferred
async def test_events_arrive_when_they_are_written(server):
    connection = await deferToThread(tls, server.port)
    connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
    received = await deferToThread(_read_to, connection, b"begin\n")
    for count in range(5):
        server.root.streams[0].write(b"event %d\n" % count)
        received = await deferToThread(_read_to, connection, b"event %d\n" % count)
    server.root.streams[0].finish()
    assert await deferToThread(rest, connection) == b""
    assert received == b"event 4\n"
    connection.close()


def _read_to(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += some(connection)
    return data


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_is_noticed(server):
    connection = await deferToThread(tls, server.port)
    connection.sendall(b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await deferToThread(some, connection)
    connection.close()
    await server.root.lost
    assert server.root.downloads[0].is_stopped


@pytest_twisted.ensureDeferred
async def test_a_body_is_received_whole_and_too_large_a_one_is_refused_readably(server):
    body = PIECE * 40
    answer = await deferToThread(_post, server.port, body, len(body))
    assert answer.endswith(hashlib.sha256(body).hexdigest().encode())
    answer = await deferToThread(_post, server.port, body, 50_000_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"At most 1048576 bytes are taken here." in answer


def _post(port: int, body: bytes, length: int) -> bytes:
    with tls(port) as connection:
        head = f"POST / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + body)
        return rest(connection)
