"""An authority that is real, one that misbehaves, and somebody who answers their challenges."""

from __future__ import annotations

import base64
import datetime as dt
import json
import socket
from collections import defaultdict
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from sayci.acme.client import AcmeClient
from sayci.acme.keys import new_account_key
from sayci.acme.transport import authority_agent
from tests.pebble import running_pebble


@pytest.fixture(scope="session")
def pebble(tmp_path_factory):
    """An authority that refuses 15 nonces in a hundred."""
    with running_pebble(tmp_path_factory.mktemp("pebble"), nonce_reject=15) as running:
        yield running


@pytest.fixture
def client_of():
    """Makes clients, each with an account of its own, of a pebble or of the fake authority."""

    def make(authority, key=None, **settings):
        agent = authority_agent(reactor, getattr(authority, "ca_file", None))
        return AcmeClient(agent, reactor, authority.directory_url, key or new_account_key(), **settings)

    return make


class HttpResponder(Resource):
    """Answers http-01, on any port; `transcript` says what it was asked to do, `asked` how often it was looked at."""

    challenge_type = "http-01"
    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self):
        super().__init__()
        self.answers = {}
        self.transcript = []
        self.asked = 0

    def start_responding(self, name, challenge, response):
        self.transcript.append(("start", name, challenge.kind))
        self.answers[f"/.well-known/acme-challenge/{challenge.token}"] = response.key_authorization
        return succeed(None)

    def stop_responding(self, name, challenge, response):
        self.transcript.append(("stop", name, challenge.kind))
        self.answers.clear()

    def render_GET(self, request):  # noqa: N802 - Twisted's name
        self.asked += 1
        found = self.answers.get(request.path.decode())
        request.setResponseCode(200 if found else 404)
        return (found or "").encode()


@pytest.fixture
def responder():
    """Notes what it is told; nothing listens."""
    return HttpResponder()


@pytest_twisted.async_yield_fixture
async def serve_http():
    """Makes resources answer on ports of 127.0.0.1, until the test is over."""
    ports: list[Any] = []

    async def serve(resource, number=0):
        site: Any = Site(resource)
        ports.append(reactor.listenTCP(number, site, interface="127.0.0.1"))
        return ports[-1].getHost().port

    yield serve
    for port in ports:
        await port.stopListening()


@pytest_twisted.async_yield_fixture
async def http_responder(pebble, serve_http):
    """Answers http-01 where pebble looks."""
    made = HttpResponder()
    await serve_http(made, pebble.http_port)
    yield made


@pytest.fixture
def unused_port():
    """A port at which nobody listens, and that nobody else gets."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


class FakeAuthority(Resource):
    """An authority that believes everybody, in this process, without TLS.

    `instead` maps a path to answers that are given first, before the usual one: (code, headers, what), where `what` is
    JSON, bytes, or None for no answer at all.  `requests` lists the paths and payloads of signed requests.  `meta` and
    `more` are what its directory says besides; `profiles`, `replaces` and the like are in the payload of its orders.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self):
        super().__init__()
        self.base = ""
        self.meta = {}
        self.more = {}
        self.instead = defaultdict(list)
        self.requests = []
        self.seen = []
        self.silent: Deferred[Any] = Deferred()
        self.nonces = 0
        self.gives_nonces = True
        self.order: dict[str, Any] = {"status": "ready"}
        self.authorization: dict[str, Any] = {"status": "valid"}
        self.chain = b""
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def directory_url(self):
        return f"{self.base}/dir"

    def orders(self):
        return [payload for path, payload in self.requests if path == "/order"]

    def render(self, request):
        path = request.path.decode()
        self.seen.append(path)
        self.nonces += 1
        if self.gives_nonces:
            request.setHeader("Replay-Nonce", f"nonce-{self.nonces}")
        body = request.content.read()
        payload = json.loads(_decoded(json.loads(body)["payload"]) or b"null") if body else None
        if request.method == b"POST":
            self.requests.append((path, payload))
        answers = self.instead[path]
        code, headers, what = answers.pop(0) if answers else self._usual(path, payload)
        if what is None:
            request.notifyFinish().addBoth(lambda _: None)
            self.silent.callback(request)
            return NOT_DONE_YET
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name, value)
        return what if isinstance(what, bytes) else json.dumps(what).encode()

    def _usual(self, path, payload):
        base = self.base
        match path:
            case "/dir":
                names = {"newNonce": f"{base}/nonce", "newAccount": f"{base}/account", "newOrder": f"{base}/order"}
                return 200, {}, names | {"meta": self.meta} | self.more
            case "/nonce":
                return 200, {}, b""
            case "/account":
                return 201, {"Location": f"{base}/account/1"}, {"status": "valid"}
            case "/order":
                order = {"authorizations": [f"{base}/authorization"], "finalize": f"{base}/finalize"}
                self.order |= order | {"certificate": f"{base}/certificate"}
                return 201, {"Location": f"{base}/order/1"}, self.order
            case "/order/1":
                return 200, {}, self.order
            case "/authorization":
                return 200, {}, {"identifier": {"type": "dns", "value": "a.example"}, **self.authorization}
            case "/challenge":
                return 200, {}, {"status": "processing"}
            case "/finalize":
                self.chain = self.chain or self.issued(base64.urlsafe_b64decode(payload["csr"] + "=="))
                self.order["status"] = "valid"
                return 200, {}, self.order
            case "/certificate":
                return 200, {"Content-Type": "application/pem-certificate-chain"}, self.chain
        return 404, {}, {"detail": "no such thing"}

    def issued(self, csr_der, **different):
        """A certificate, unsigned by anybody of renown, for the request; `key` and `names` make it a different one."""
        request = x509.load_der_x509_csr(csr_der)
        names = different.get("names") or request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        made = x509.CertificateBuilder().subject_name(x509.Name([])).serial_number(0x8877665544332211)
        made = made.issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake")]))
        made = made.public_key(different.get("key") or request.public_key()).add_extension(names, critical=True)
        made = made.not_valid_before(dt.datetime.now(dt.UTC)).not_valid_after(
            dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        )
        authority = x509.AuthorityKeyIdentifier(bytes(range(20)), None, None)
        made = made.add_extension(authority, critical=False)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest_twisted.async_yield_fixture
async def authority(serve_http):
    """A fake one, listening."""
    made = FakeAuthority()
    made.base = f"http://127.0.0.1:{await serve_http(made)}"
    yield made


def _decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
