"""Where the server listens: plain ports, and those that get their certificates by themselves."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from sayci.acme import endpoint
from sayci.acme.endpoint import AcmePort
from sayci.build import Build
from sayci.errors import CannotStart
from sayci.listening.shared import Place, SharedSockets
from sayci.options import ServerSettings
from sayci.report import CommitStatus

if TYPE_CHECKING:
    from sayci.https import Https

#: Connections that the kernel keeps for a port until they are taken.
BACKLOG = 500
#: Twisted's ways to listen with TLS, beside our own.
_TLS = ("ssl:", "tls:")


class Addresses:
    """The address by which the world reaches this server; known once it listens."""

    def __init__(self, stated: str) -> None:
        self._base = stated
        #: Where it is reached from this machine.
        self.local: list[str] = []

    def __call__(self) -> str:
        """Without a slash at the end."""
        return self._base or "http://localhost"

    def listening(self, port: IListeningPort, *, secure: bool, host: str = "localhost") -> None:
        """Where the operator has stated nothing, the first TCP port says it."""
        address = port.getHost()
        if not isinstance(address, (IPv4Address, IPv6Address)):
            return
        scheme = "https" if secure else "http"
        usual = address.port == (443 if secure else 80)
        self._base = self._base or f"{scheme}://{host}{'' if usual else f':{address.port}'}"
        self.local += [f"{scheme}://{here}:{address.port}" for here in _on_this_machine(address.host)]

    def of_build(self, build: Build) -> str:
        """A build's page."""
        return f"{self()}/{build.project}/{build.number}"

    def of_status(self, status: CommitStatus) -> str:
        """The page that a commit status links to."""
        return f"{self()}/{status.project}/{status.build}"


def _on_this_machine(host: str) -> tuple[str, ...]:
    """The addresses by which a program on this machine may reach what listens at `host`."""
    if host == "::":
        return ("[::1]", "127.0.0.1")  # the second on a machine without IPv6, or where it takes both
    if host in ("", "0.0.0.0"):  # noqa: S104 - nothing is bound here
        return ("127.0.0.1",)
    return (f"[{host}]" if ":" in host else host,)


class Ports:
    """All that this server listens at; `site` is what it serves, to at most so many `connections` at a time."""

    def __init__(self, settings: ServerSettings, site: IProtocolFactory, reactor: Any, connections: int) -> None:
        self._settings = settings
        self._site = site
        self._reactor = reactor
        self._sockets = SharedSockets(reactor)
        self._connections = connections
        self._open: list[IListeningPort] = []
        self.addresses = Addresses(settings.public_url)
        #: Directories with keys in them.
        self.private: list[Path] = []
        #: Whoever keeps certificates fresh; None where no port wants any.
        self.https: Https | None = None

    def inherit(self, sockets: Sequence[tuple[Place, socket.socket]]) -> None:
        """Sockets of an earlier server, to be listened at where our ports are theirs."""
        self._sockets.close_unused()
        self._sockets = SharedSockets(self._reactor, sockets)

    def sockets(self) -> Sequence[tuple[Place, socket.socket]]:
        """What a later server may listen at as well: all TCP ports that we have not got from somebody ourselves."""
        return self._sockets.open

    def listen(self) -> None:
        """Take the ports, before anything else is done.  Raises CannotStart."""
        for description in self._settings.ports:
            if endpoint.is_acme(description):
                self._listen_with_certificates(endpoint.parse(description))
            else:
                secure = description.startswith(_TLS)
                self.addresses.listening(self._take(description, self._site), secure=secure)
        if self._settings.acme.http_port:
            if self.https is None:
                raise CannotStart("--acme-http is for a server with a port that begins with le:")
            self._take(self._settings.acme.http_port, self.https.plain_site(self.addresses))
        self._sockets.close_unused()

    async def stop(self) -> None:
        """Listen no more.  Who has called and is not heard yet is heard by whoever has the socket beside us."""
        for port in self._open:
            await maybeDeferred(port.stopListening)
        self._sockets.close()

    def _listen_with_certificates(self, port: AcmePort) -> None:
        from sayci.https import Https  # noqa: PLC0415 - it takes memory that a server without certificates does not need

        if self.https is None:
            self.https = Https(port, self._settings, self._site, self._reactor, self._connections)
        self.https.check(port)
        self.private.append(port.directory.absolute())
        listening = self._take(port.sub_endpoint, self.https.front)
        self.addresses.listening(listening, secure=True, host=self.https.first_name or "localhost")

    def _take(self, description: str, factory: IProtocolFactory) -> IListeningPort:
        try:
            listening = serverFromString(self._sockets, with_backlog(description)).listen(factory)
        except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
            raise CannotStart("not a port to listen at", description, error) from None
        problems: list[Failure] = []
        listening.addCallbacks(self._open.append, problems.append)
        if problems:
            raise CannotStart("the port cannot be listened at", description, _why(problems[0]))
        return self._open[-1]


def with_backlog(description: str) -> str:
    """The endpoint with room for BACKLOG connections that nobody has taken yet, unless it says itself how many.

    Twisted's 50 are too few where a thousand come at once: some of them would wait for seconds to be tried again.
    """
    is_tcp = description.startswith(("tcp:", "tcp6:", "ssl:"))
    return f"{description}:backlog={BACKLOG}" if is_tcp and ":backlog=" not in description else description


def _why(failure: Failure) -> str:
    error = failure.value
    inner = getattr(error, "socketError", None)
    return getattr(inner, "strerror", None) or str(error)
