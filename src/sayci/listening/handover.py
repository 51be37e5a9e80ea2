"""Hands the sockets of a server that listens to the one that waits for its data directory.

Both then have the very same sockets, so that between the one's last `accept` and the other's first nothing is refused or
reset: connections wait in the kernel.  It goes over a Unix socket in the data directory, which nobody else gets at.  A server
in another network, as that of another container, opens sockets of its own: nobody would reach it by the ones it was given.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sayci.listening.shared import Place

#: The Unix socket's name in the data directory.
NAME = "handover"
#: Most sockets that are handed over; the kernel takes 253 in one message.
MOST = 200
#: Seconds that the other server has for its part.
LIMIT = 5.0
_MESSAGE = 65_536
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

Sockets = Sequence[tuple[Place, socket.socket]]


@contextmanager
def _address_in(directory: Path) -> Iterator[str]:
    """The Unix socket's address.  A path in one has 107 bytes at most, and a data directory's may be longer."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def _network() -> list[int]:
    """What tells the network that this process is in from all others of this machine (namespaces(7)).  Raises OSError."""
    status = Path("/proc/self/ns/net").stat()
    return [status.st_dev, status.st_ino]


def ask(directory: Path) -> Sockets | None:
    """The sockets of the server that uses the data directory; None when it hands out none, or none of use here.

    Blocks, for LIMIT at most.
    """
    with _address_in(directory) as address, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(LIMIT)
        try:
            asking.connect(address)
            message, descriptors, _, _ = socket.recv_fds(asking, _MESSAGE, MOST, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return None
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    try:
        said = json.loads(message)
        places = [Place(str(interface), int(port)) for interface, port in said["places"]]
        is_here = said["network"] == _network()
    except (ValueError, TypeError, KeyError):
        places, is_here = [], False
    if not is_here or len(places) != len(sockets):
        for received in sockets:
            received.close()
        return None
    return list(zip(places, sockets, strict=True))


@implementer(IReadDescriptor)
class Handover:
    """Gives whoever may ask the sockets that `sockets` answers; from its making until `stop`."""

    _log = Logger()

    def __init__(self, reactor: Any, directory: Path, sockets: Callable[[], Sockets]) -> None:
        """Raises OSError."""
        self._reactor = reactor
        self._path = directory / NAME
        self._sockets = sockets
        self._path.unlink(missing_ok=True)  # what a killed server has left; the data directory is ours
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.setblocking(False)
        with _address_in(directory) as address:
            self._listening.bind(address)
        self._path.chmod(0o600)
        self._listening.listen(8)
        reactor.addReader(self)

    def stop(self) -> None:
        """Hand over nothing more."""
        self._reactor.removeReader(self)
        self._listening.close()
        self._path.unlink(missing_ok=True)

    def fileno(self) -> int:
        """What the reactor watches."""
        return self._listening.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """A name for it."""
        return "handover"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Somebody asks."""
        with suppress(OSError):  # who has gone away already gets nothing
            asking, _ = self._listening.accept()
            with asking:
                self._give(asking)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The reactor has stopped."""

    def _give(self, asking: socket.socket) -> None:
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid != os.geteuid():
            return
        given = self._sockets()[:MOST]
        places = [(place.interface, place.port) for place, _ in given]
        message = json.dumps({"network": _network(), "places": places}).encode()
        asking.setblocking(False)
        socket.send_fds(asking, [message], [opened.fileno() for _, opened in given])
        self._log.info("process {pid} waits to take over, and has {count} ports", pid=pid, count=len(given))
