"""What TLS costs: full handshakes a second, and requests a second over TLS against a plain port.

``python -m bench.tls`` prints it.
The server and two clients are processes of their own; the clients cost about as much as the server, so on a machine of
two processors these are figures to compare with each other.
"""

from __future__ import annotations

import json
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from twisted.internet.endpoints import serverFromString
from twisted.web.static import Data

from sayci.acme.port import TlsFront
from sayci.web.site import make_site

CLIENTS = 2
CONNECTIONS = 8
SECONDS = 1.5
ROUNDS = 5
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"hello\n" * 100


def serve() -> None:
    """Serve the same site over TCP and over TLS until the standard input ends; prints both ports."""
    from twisted.internet import reactor, stdio  # noqa: PLC0415 - this is a program, and nobody else wants a reactor
    from twisted.internet.protocol import Protocol  # noqa: PLC0415 - as above

    page = Data(BODY, "text/plain")
    page.isLeaf = True
    site = make_site(page, clock=reactor)
    ports = []
    for factory in (site, TlsFront(site, reactor)):
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1:backlog=500")
        endpoint.listen(factory).addCallback(lambda port: ports.append(port.getHost().port))
    print(json.dumps(ports), flush=True)  # noqa: T201 - for the process that has started this one

    class Parent(Protocol):
        def connectionLost(self, reason: object = None) -> None:  # noqa: N802 - Twisted's name
            if reactor.running:
                reactor.stop()

    stdio.StandardIO(Parent())
    reactor.run()


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _connect(port: int, context: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection if context is None else context.wrap_socket(connection, server_hostname="localhost")


def _ask(connections: list[socket.socket]) -> int:
    """A request on each connection, and then its answer."""
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        answer = b""
        while not answer.endswith(BODY):
            data = connection.recv(65536)
            if not data:
                raise RuntimeError("no answer", answer)
            answer += data
    return len(connections)


def load(kind: str, port: int) -> None:
    """Do as much as can be done in SECONDS; prints how much a second."""
    context = None if kind == "plain" else _tls_context()
    if kind == "handshakes":
        print(_per_second(lambda: _handshake(port, context)))  # noqa: T201 - for the process that has started this one
        return
    connections = [_connect(port, context) for _ in range(CONNECTIONS)]
    print(_per_second(lambda: _ask(connections)))  # noqa: T201 - as above


def _handshake(port: int, context: ssl.SSLContext | None) -> int:
    with closing(_connect(port, context)):
        return 1


def _per_second(work: Callable[[], int]) -> float:
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        done += work()
    return done / (time.perf_counter() - began)


@contextmanager
def _server() -> Iterator[tuple[int, int]]:
    command = (sys.executable, "-m", "bench.tls", "serve")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("no pipes to the server")
        plain, secure = json.loads(server.stdout.readline())
        yield plain, secure
        server.stdin.close()


def _rate(kind: str, port: int) -> float:
    """What all clients get done together in a second."""
    command = (sys.executable, "-m", "bench.tls", "load", kind, str(port))
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(CLIENTS)]
    return sum(float(client.communicate()[0]) for client in clients)


def figures() -> Iterator[tuple[str, str]]:
    """Names and values of what is measured, in half a minute."""
    with _server() as (plain, secure):
        rounds = [
            (_rate("handshakes", secure), _rate("plain", plain), _rate("requests", secure)) for _ in range(ROUNDS)
        ]
    handshakes, plainly, securely = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(tls / tcp for _, tcp, tls in rounds)
    yield "full handshakes with TLS 1.3 and a P-256 key", f"{handshakes:.0f}/s (median of {ROUNDS})"
    yield (
        f"requests over {CLIENTS * CONNECTIONS} kept connections: plain, TLS",
        f"{plainly:.0f}/s, {securely:.0f}/s: ratio {ratio:.2f} (median of {ROUNDS} pairs)",
    )


def main() -> None:
    """The figures, or one of the processes that measure them."""
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["load", kind, port]:
            load(kind, int(port))
        case _:
            for name, value in figures():
                print(f"{name:<62} {value}", flush=True)  # noqa: T201 - the result of the program


if __name__ == "__main__":
    main()
