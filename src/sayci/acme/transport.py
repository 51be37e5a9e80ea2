"""HTTPS to an authority: verified, bounded in time and size, never redirected, and cancellable."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from OpenSSL.crypto import X509, X509Store
from OpenSSL.SSL import Connection
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.internet.error import TimeoutError as ConnectingTooSlow
from twisted.internet.interfaces import IConsumer, IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from sayci.acme.trouble import AcmeError, AuthorityUnreachable, BadAnswer, clean, refusal
from sayci.errors import CannotStart, Invalid

#: Seconds for a whole exchange, from looking up the name to the end of the answer.
TIME_LIMIT = 30.0
#: Seconds for which an idle connection is kept: less than any authority does, since a POST on a dead one is lost.
IDLE_LIMIT = 15
#: Bytes of an answer; chains of certificates are some 5 KiB, directories less.
SIZE_LIMIT = 1024 * 1024
#: Seconds that are believed of a Retry-After: more is a mistake, or an attack.
_LONGEST_PAUSE = 30 * 24 * 3600.0
_LOOPBACK_NAMES = frozenset({"localhost"})


def authority_agent(reactor: Any, ca_file: Path | None = None) -> Agent:
    """What speaks to an authority: it trusts what the system trusts, and the certificates in `ca_file` besides.

    Raises CannotStart when that file has no certificate, or cannot be read.
    """
    roots = _roots_in(ca_file) if ca_file else []
    pool = HTTPConnectionPool(reactor)
    pool.cachedConnectionTimeout = IDLE_LIMIT
    return Agent(reactor, _Trust(roots), connectTimeout=TIME_LIMIT, pool=pool)


def _roots_in(path: Path) -> list[X509]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CannotStart("the file of --acme-ca-file cannot be read", str(path), error.strerror) from None
    except ValueError:
        raise CannotStart("the file of --acme-ca-file has no certificate in PEM", str(path)) from None
    return [X509.from_cryptography(certificate) for certificate in found]


@implementer(IPolicyForHTTPS)
class _Trust:
    """Twisted's own policy, which verifies chain and name, with further roots."""

    def __init__(self, roots: list[X509]) -> None:
        self._roots = roots

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: N802 - its name
        return _Verifying(optionsForClientTLS(hostname.decode("ascii")), self._roots)


@implementer(IOpenSSLClientConnectionCreator)
class _Verifying:
    def __init__(self, creator: IOpenSSLClientConnectionCreator, roots: list[X509]) -> None:
        self._creator = creator
        self._roots = roots

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:  # noqa: N802 - Twisted's name
        # There is no public way to hand Twisted a second trust root; a context's store takes roots until the handshake.
        connection: Connection = self._creator.clientConnectionForTLS(protocol)
        store = cast("X509Store", connection.get_context().get_cert_store())  # contexts have one from the beginning
        for root in self._roots:
            store.add_cert(root)
        return connection


class Answer:
    """An answer of the authority, whole."""

    def __init__(self, code: int, headers: Headers, body: bytes, received_at: float) -> None:
        self.code = code
        self.body = body
        self._headers = headers
        self._received_at = received_at

    def header(self, name: str) -> str:
        """The header's last value; "" where there is none."""
        values = self._headers.getRawHeaders(name, [])
        return str(values[-1]).strip() if values else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait (RFC 9110 10.2.3), None where it does not say; dates count from the authority's own clock."""
        value = self.header("Retry-After")
        if re.fullmatch(r"[0-9]{1,9}", value):
            seconds = float(value)
        else:
            then, now = _date(value), _date(self.header("Date")) or self._received_at
            if then is None:
                return None
            seconds = then - now
        return min(max(seconds, 0.0), _LONGEST_PAUSE)

    def json(self) -> Mapping[str, Any]:
        """The object that the body is; raises BadAnswer."""
        said = self._object()
        if said is None:
            raise BadAnswer("the authority did not answer with JSON", f"HTTP {self.code}", kind="answer")
        return said

    def check(self) -> None:
        """Raises AuthorityRefused for a refusal, and BadAnswer for what is neither that nor a success."""
        if self.code >= 400:
            raise refusal(self.code, self._object() or {}, self.retry_after, self._received_at)
        if not 200 <= self.code < 300:
            place = clean(self.header("Location"), 200)
            raise BadAnswer("the authority sends us elsewhere", f"HTTP {self.code}", place, kind="answer")

    def _object(self) -> Mapping[str, Any] | None:
        try:
            said = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None


class Transport:
    """Exchanges single requests and answers with the authority whose directory is at `directory_url`.

    Raises Invalid unless that is an https URL; http is for authorities on this very machine.
    """

    def __init__(
        self,
        agent: IAgent,
        clock: IReactorTime,
        directory_url: str,
        user_agent: str,
        *,
        time_limit: float = TIME_LIMIT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._user_agent = user_agent
        self._time_limit = time_limit
        self._wall = wall
        parts = _parts(directory_url)
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        if not parts.hostname or not (self._secure or _is_local(parts)):
            raise Invalid("the directory of an authority has an https address", directory_url)

    async def exchange(self, method: str, url: str, body: bytes | None = None, accept: str = "") -> Answer:
        """Send it once and return the answer, whatever its code; `body` is a signed request (RFC 8555 6.2).

        Raises AuthorityUnreachable and BadAnswer.
        """
        self._check(url)
        exchange = Deferred.fromCoroutine(self._exchange(method, url, body, accept))
        try:
            return await exchange.addTimeout(self._time_limit, self._clock)
        except (AcmeError, CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - names, sockets, TLS and HTTP fail in many classes
            raise self._unreachable(error) from None

    async def _exchange(self, method: str, url: str, body: bytes | None, accept: str) -> Answer:
        headers = Headers({"User-Agent": [self._user_agent], "Accept-Language": ["en"]})
        if accept:
            headers.setRawHeaders("Accept", [accept])
        if body is not None:
            headers.setRawHeaders("Content-Type", ["application/jose+json"])
        producer = None if body is None else _Producer(body)
        try:
            response = await self._agent.request(method.encode(), url.encode("ascii"), headers, producer)
            text = await _text_of(response)
        except Exception as error:
            if any(isinstance(reason, CancelledError) for reason in _reasons(error)):
                raise CancelledError from None  # Twisted wraps ours in what became of the request
            raise
        return Answer(response.code, response.headers, text, self._wall())

    def _check(self, url: str) -> None:
        parts = _parts(url)
        local = not self._secure and _is_local(parts)
        if not (url.isascii() and url.isprintable() and parts.hostname and (parts.scheme == "https" or local)):
            raise BadAnswer("the authority sends us to an address that is not https", clean(url, 200), kind="answer")

    def _unreachable(self, error: Exception) -> AuthorityUnreachable:
        reasons = _reasons(error)
        if isinstance(error, TooSlow | ConnectingTooSlow):
            seconds = f"{self._time_limit:g} seconds"
            return AuthorityUnreachable("the authority did not answer in time", self._host, seconds, kind="timeout")
        words = _words_of(reasons[-1])
        if any(map(_is_distrust, reasons)):
            sentence = "the authority's own certificate is not trusted: give its root as --acme-ca-file"
            return AuthorityUnreachable(sentence, self._host, words, kind="untrusted")
        return AuthorityUnreachable("the authority cannot be reached", self._host, words, kind="unreachable")


class _Body(Protocol):
    """Gathers a body, and breaks it off when there is too much of it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.ended: Deferred[bytes] = Deferred(lambda _: self._break_off())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._data += data
        if len(self._data) > SIZE_LIMIT and not self.ended.called:
            self.ended.errback(BadAnswer("the authority's answer is too long", f"over {SIZE_LIMIT} B", kind="answer"))
            self._break_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        if self.ended.called:
            return
        if reason.check(ResponseDone):
            self.ended.callback(bytes(self._data))
        else:
            self.ended.errback(reason)

    def _break_off(self) -> None:
        self._data.clear()
        if self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]  # Twisted hands out an IPushProducer


@implementer(IBodyProducer)
class _Producer:
    """A body that is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """It is all written at once."""

    resumeProducing = stopProducing = pauseProducing  # noqa: N815 - Twisted's names


def _text_of(response: IResponse) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.ended


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def _is_local(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host in _LOOPBACK_NAMES
    return parts.scheme == "http" and loopback


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _reasons(error: BaseException) -> list[BaseException]:
    """The error and what Twisted has wrapped in it, from the outside in."""
    found = [error]
    for reason in getattr(error, "reasons", None) or ():
        inner = reason.value if isinstance(reason, Failure) else reason
        if isinstance(inner, BaseException):
            found += _reasons(inner)
    return found


def _is_distrust(error: BaseException) -> bool:
    return isinstance(error, VerificationError) or (isinstance(error, TlsError) and "certificate" in _words_of(error))


def _words_of(error: BaseException) -> str:
    if isinstance(error, TlsError):
        parts = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return clean("TLS: " + ("; ".join(str(part[-1]) for part in parts) or "the connection was closed"), 200)
    if isinstance(error, VerificationError):
        return "it is for another name"
    return clean(str(error) or type(error).__name__, 200)
