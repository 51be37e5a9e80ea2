"""The TLS port: certificates by name, replaced while it runs, and TLS-ALPN-01 answered on the very same port.

The ClientHello is read here before OpenSSL sees it, and decides which context the connection gets; from then on it is a
connection of Twisted's TLS like any other. No callback of OpenSSL ever changes a context or a certificate: with an
ALPN callback that does, TLS 1.2 and an RSA certificate, pyOpenSSL crashes, and anybody could have it do so.

A connection waits from its first moment until its handshake is over. How long, with how many bytes, and how many do
so at a time, is limited; where too many wait the one that has waited longest goes: who speaks TLS is through within
two round trips, so a flood must be that much faster to hurt anybody.
"""

# The names of what is overridden are Twisted's.
# ruff: noqa: N802

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sayci.acme.bridge import IResponder
from sayci.acme.challenge import Challenge, Response
from sayci.acme.hello import HANDSHAKE, HELLO_SIZE, BadHello, Hello, HelloReader, plain_name
from sayci.acme.selfsigned import challenge_pem, fallback_pem
from sayci.errors import Invalid

#: Seconds in which a handshake must be over.
HELLO_LIMIT = 10.0
#: How many connections may wait for the end of their handshakes at a time; with HELLO_SIZE, 32 MiB at the very worst.
WAITING_LIMIT = 500
#: Seconds after which a context is replaced by a new one, and so the keys of its session tickets.
TICKET_KEYS = 24 * 3600.0

_HTTP = b"http/1.1"
_ACME = b"acme-tls/1"

# Mozilla's "intermediate" without DHE: forward secrecy and authenticated encryption only.  AES comes first; every
# machine that has no instructions for it and is new enough for TLS 1.3 is still fast enough.
_TLS_1_2 = b":".join(
    b"ECDHE-%s-%s" % (signature, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"AES256-GCM-SHA384", b"CHACHA20-POLY1305")
    for signature in (b"ECDSA", b"RSA")
)
_TLS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_OPTIONS = SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)

# What a request of HTTP begins with, as far as it is there.
_REQUEST = re.compile(rb"[A-Z]{1,16}(?: |\Z)")
_SENTENCE = b"This port speaks HTTPS: please use an address that begins with https://\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nServer: sayci\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_SENTENCE), _SENTENCE)
)
# How long, in seconds, who has got that answer is listened to, so that it can read it before the end.
_LINGER = 2.0


def _alert(description: int) -> bytes:
    """A fatal alert, as a record (RFC 8446, 6)."""
    return bytes((21, 3, 3, 0, 2, 2, description))


_DECODE_ERROR = _alert(50)
_NO_APPLICATION_PROTOCOL = _alert(120)


class UnusableCertificate(Invalid):
    """What was given as a key with its certificates cannot be served."""


# ------------------------------------------------------------------------------------------------ contexts


@dataclass(frozen=True, slots=True)
class _Identity:
    """A private key with its certificate and those that lead to the authority."""

    key: Any = field(repr=False)
    certificate: x509.Certificate
    chain: Sequence[x509.Certificate]


def _identity(pem: bytes) -> _Identity:
    """Raises UnusableCertificate."""
    block = _KEY.search(pem)
    if block is None:
        raise UnusableCertificate("there is no private key")
    try:
        key = serialization.load_pem_private_key(block[0], None)
        leaf, *chain = x509.load_pem_x509_certificates(pem)
        matches = key.public_key() == leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableCertificate("the key or a certificate cannot be read") from error
    if not matches:
        raise UnusableCertificate("the private key is not that of the first certificate")
    return _Identity(key, leaf, chain)


def _context(identity: _Identity, protocol: bytes) -> SSL.Context:
    """A context that speaks `protocol`.  Raises UnusableCertificate."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Sessions are in the clients' tickets alone: nothing to keep, nothing to run over.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_select_callback(_choice_of(protocol))
    try:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        for certificate in identity.chain:
            context.add_extra_chain_cert(certificate)
        context.check_privatekey()
    except (SSL.Error, TypeError, ValueError) as error:
        raise UnusableCertificate("OpenSSL does not take the key or a certificate") from error
    context.set_tls13_ciphersuites(_TLS_1_3)
    context.set_cipher_list(_TLS_1_2)
    return context


def _choice_of(protocol: bytes) -> Callable[[SSL.Connection, list[bytes]], Any]:
    return lambda _, offered: protocol if protocol in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLServerConnectionCreator)
class _Connections:
    """Makes OpenSSL's connections of one context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """One for `protocol`."""
        return SSL.Connection(self._context, None)


class _Served:
    """An identity that serves a site; its context, and with it the keys of its tickets, is never old."""

    def __init__(self, pem: bytes, site: IProtocolFactory, clock: IReactorTime, protocol: bytes = _HTTP) -> None:
        self._identity = _identity(pem)
        self._site = site
        self._clock = clock
        self._protocol = protocol
        self._renew()

    def _renew(self) -> None:
        connections = _Connections(_context(self._identity, self._protocol))
        self._factory = TLSMemoryBIOFactory(connections, False, self._site, self._clock)
        self._since = self._clock.seconds()

    def factory(self) -> TLSMemoryBIOFactory:
        """What makes the protocol of a new connection."""
        if self._clock.seconds() - self._since > TICKET_KEYS:
            self._renew()
        return self._factory


# ------------------------------------------------------------------------------------------------ connections


class _Arrival(Protocol):
    """A connection: it waits until its handshake is over, and then hands on what comes.

    It stays the transport's protocol, so that it works on any transport, be it one that is wrapped itself.
    """

    transport: Any
    _tls: TLSMemoryBIOProtocol | None = None

    def __init__(self, front: TlsFront) -> None:
        self._front = front
        self._reader = HelloReader(front.hello_size)
        self._take: Callable[[bytes], None] = self._take_hello

    def connectionMade(self) -> None:
        self._deadline = self._front.clock.callLater(self._front.hello_limit, self.transport.abortConnection)
        self._front.arrived(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._waits_no_more()
        self._take = _forget
        if self._tls is not None:
            tls, self._tls = self._tls, None
            tls.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        self._take(data)

    def drop(self) -> None:
        """End this connection at once."""
        self._waits_no_more()
        self._take = _forget
        self.transport.abortConnection()

    def _waits_no_more(self) -> None:
        self._front.left(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _take_hello(self, data: bytes) -> None:
        try:
            hello = self._reader.feed(data)
        except BadHello:
            self._take_no_hello(bytes(self._reader.received[:32]))
        else:
            if hello is not None:
                self._meet(hello)

    def _take_no_hello(self, begin: bytes) -> None:
        request = _REQUEST.match(begin)
        if request is None:
            self._end(_DECODE_ERROR if begin[0] == HANDSHAKE else b"")
        elif request[0].endswith(b" "):
            self._answer_in_plain(is_head=request[0] == b"HEAD ")

    def _answer_in_plain(self, *, is_head: bool) -> None:
        # Closing a socket with unread bytes makes the kernel send a reset, which can destroy the answer on its way.
        self.transport.write(_PLAIN_ANSWER.removesuffix(_SENTENCE) if is_head else _PLAIN_ANSWER)
        self.transport.loseWriteConnection()
        self._take = _forget
        self._deadline.reset(min(_LINGER, self._front.hello_limit))

    def _end(self, words: bytes) -> None:
        self._take = _forget
        if words:
            self.transport.write(words)
        self.transport.loseConnection()

    def _meet(self, hello: Hello) -> None:
        if hello.protocols == (_ACME,):
            answer = self._front.challenged(hello.server_name)
            if answer is None:
                self.drop()
            else:
                self._begin(answer, self._take_challenge)
        elif hello.protocols and _HTTP not in hello.protocols:
            self._end(_NO_APPLICATION_PROTOCOL)  # RFC 7301, 3.2
        else:
            self._begin(self._front.served(hello.server_name), self._take_handshake)

    def _begin(self, factory: TLSMemoryBIOFactory, take: Callable[[bytes], None]) -> None:
        self._tls = factory.buildProtocol(self.transport.getPeer())
        received = bytes(self._reader.received)
        del self._reader  # nobody needs its memory any more
        self._take = take
        self._tls.makeConnection(self.transport)
        take(received)

    def _take_handshake(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            return
        tls.dataReceived(data)
        connection = tls.getHandle()  # None once the connection is over
        if connection is not None and connection.get_peer_finished() is not None:
            self._waits_no_more()
            self._take = tls.dataReceived

    def _take_challenge(self, data: bytes) -> None:
        # It never gets out of waiting, so that it ends in time whatever the peer does.
        if self._tls is not None:
            self._tls.dataReceived(data)


def _forget(data: bytes) -> None:
    """What comes after the end."""


@implementer(IHandshakeListener)
class _Silent(Protocol):
    """Ends a connection as soon as its handshake is over: nothing else is said with acme-tls/1 (RFC 8737, 3)."""

    transport: Any

    def handshakeCompleted(self) -> None:
        """The handshake is over."""
        self.transport.loseConnection()


class _SilentFactory(Factory):
    protocol = _Silent
    noisy = False


# ------------------------------------------------------------------------------------------------ the port


class TlsFront(Factory):
    """Serves `site` over TLS: a factory for any listening endpoint of streams.

    Until a certificate is served there is a self-signed one, so a port can listen at once. TLS 1.2 and 1.3; of ALPN's
    protocols HTTP/1.1: who offers others only is refused with the alert that RFC 7301 has for that, and who offers none
    is served. `hello_limit` is how many seconds a handshake may take, `hello_size` how many bytes a ClientHello
    may have, `waiting_limit` how many connections may be before the end of their handshakes at a time.
    """

    noisy = False

    def __init__(
        self,
        site: IProtocolFactory,
        clock: IReactorTime,
        *,
        hello_limit: float = HELLO_LIMIT,
        hello_size: int = HELLO_SIZE,
        waiting_limit: int = WAITING_LIMIT,
    ) -> None:
        self.clock = clock
        self.hello_limit = hello_limit
        self.hello_size = hello_size
        self._waiting_limit = waiting_limit
        self._site = site
        self._waiting: dict[_Arrival, None] = {}  # the one that has waited longest is the first
        self._served: dict[str, _Served] = {}
        self._fallback = _Served(fallback_pem(_now()), site, clock)
        self._challenges: dict[str, tuple[str, _Served]] = {}

    # -- certificates

    def serve(self, name: str, pem: bytes) -> None:
        """New handshakes for `name` get this key with its certificate and chain, whose order is leaf first.

        Connections that are there go on. Raises UnusableCertificate; what was served before is still served then.
        """
        self._served[plain_name(name)] = _Served(pem, self._site, self.clock)

    def withdraw(self, name: str) -> None:
        """New handshakes for `name` get what any unknown name gets; safe where it is not served."""
        self._served.pop(plain_name(name), None)

    def is_served(self, name: str) -> bool:
        """Whether that name has a certificate of its own."""
        return plain_name(name) in self._served

    def served(self, name: str) -> TLSMemoryBIOFactory:
        """What makes the protocol of a connection for `name`: its own, the first name's, or with the fallback."""
        first = next(iter(self._served.values()), self._fallback)
        return self._served.get(name, first).factory()

    # -- challenges

    def responder(self) -> TlsAlpnResponder:
        """What answers challenges of TLS-ALPN-01 on this port."""
        return TlsAlpnResponder(self)

    def challenge(self, name: str, key_authorization: str) -> None:
        """Answer a challenge for `name` from now on; one per name, the newest."""
        pem = challenge_pem(plain_name(name), key_authorization, _now())
        self._challenges[plain_name(name)] = key_authorization, _Served(pem, _SilentFactory(), self.clock, _ACME)

    def settle(self, name: str, key_authorization: str) -> None:
        """Answer that challenge no more; safe where it is not answered."""
        if self._challenges.get(plain_name(name), ("",))[0] == key_authorization:
            del self._challenges[plain_name(name)]

    def challenged(self, name: str) -> TLSMemoryBIOFactory | None:
        """What makes the protocol of a connection that wants to see the answer of `name`."""
        pending = self._challenges.get(name)
        return None if pending is None else pending[1].factory()

    # -- connections

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """A new connection."""
        return _Arrival(self)

    def startFactory(self) -> None:
        """The first port listens."""
        self._site.doStart()

    def stopFactory(self) -> None:
        """No port listens any more: who is in a handshake is not let in."""
        for arrival in list(self._waiting):
            arrival.drop()
        self._site.doStop()

    @property
    def waiting(self) -> int:
        """How many connections wait for the end of their handshakes."""
        return len(self._waiting)

    def arrived(self, arrival: _Arrival) -> None:
        """A connection waits; where that is one too many, the one that has waited longest is dropped."""
        self._waiting[arrival] = None
        if len(self._waiting) > self._waiting_limit:
            next(iter(self._waiting)).drop()

    def left(self, arrival: _Arrival) -> None:
        """A connection waits no more; safe to repeat."""
        self._waiting.pop(arrival, None)


@implementer(IResponder)
class TlsAlpnResponder:
    """Answers challenges of TLS-ALPN-01 (RFC 8737) on the port of `front`."""

    challenge_type = "tls-alpn-01"

    def __init__(self, front: TlsFront) -> None:
        self._front = front

    def start_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[None]:
        """Show the answer; an authority may come as soon as the Deferred has fired, which it has."""
        self._front.challenge(server_name, response.key_authorization)
        return succeed(None)

    def stop_responding(self, server_name: str, challenge: Challenge, response: Response) -> None:
        """Show it no longer; safe to repeat."""
        self._front.settle(server_name, response.key_authorization)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
