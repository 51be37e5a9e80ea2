"""Listens at TCP ports through sockets that a later server may have as well.

A port of Twisted's own shuts its socket down when it is closed, for everybody who has it, and with it go the connections
that nobody has taken yet.  One that was adopted is only closed: whoever else has the socket goes on with all that is in it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory


@dataclass(frozen=True, slots=True)
class Place:
    """Where a socket listens, as the operator has said it: port 0 is any."""

    interface: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """IPv6 for an address of that kind, else IPv4; as Twisted sees it."""
        return socket.AF_INET6 if isIPv6Address(self.interface) else socket.AF_INET


class SharedSockets:
    """A reactor for endpoints: its TCP ports are `inherited` sockets where there is one for the place, else new ones.

    All else is done by the `reactor` behind it.  `open` has what is listened at, to be handed over.
    """

    def __init__(self, reactor: Any, inherited: Iterable[tuple[Place, socket.socket]] = ()) -> None:
        self._reactor = reactor
        self._inherited = list(inherited)
        self.open: list[tuple[Place, socket.socket]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(  # noqa: N802 - Twisted's name
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listen.  Raises CannotListenError."""
        place = Place(interface, port)
        try:
            opened = self._inherited_at(place) or _opened(place)
            self.open.append((place, opened))
            opened.setblocking(False)
            opened.listen(backlog)
            listening: IListeningPort = self._reactor.adoptStreamPort(opened.fileno(), place.family, factory)
        except OSError as error:
            raise CannotListenError(interface, port, error) from None
        return listening

    def listenSSL(  # noqa: N802 - Twisted's name
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803 - Twisted's name
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """Listen, and speak TLS.  Raises CannotListenError."""
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)

    def close_unused(self) -> None:
        """What was inherited and is not listened at is nobody's business here."""
        _close(opened for _, opened in self._inherited)
        self._inherited.clear()

    def close(self) -> None:
        """Our own copies of all."""
        self.close_unused()
        _close(opened for _, opened in self.open)
        self.open.clear()

    def _inherited_at(self, place: Place) -> socket.socket | None:
        for number, (inherited, opened) in enumerate(self._inherited):
            if inherited == place:
                del self._inherited[number]
                return opened
        return None


def _opened(place: Place) -> socket.socket:
    """A socket that is bound there; as Twisted would make it."""
    address: Any = (place.interface, place.port)
    if place.family == socket.AF_INET6:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        address = socket.getaddrinfo(place.interface, place.port, place.family, socket.SOCK_STREAM, flags=numeric)[0][4]
    made = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _close(sockets: Iterable[socket.socket]) -> None:
    for opened in sockets:
        with suppress(OSError):
            opened.close()
