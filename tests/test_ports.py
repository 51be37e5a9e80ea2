"""ports.py: endpoints as they are listened at, and the addresses that come of it; the rest is in the journeys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sayci.ports import Addresses, with_backlog


def a_port(address: object) -> Any:
    """A port that listens there."""
    return SimpleNamespace(getHost=lambda: address)


@pytest.mark.parametrize(
    ("given", "taken"),
    (
        ("tcp:8080", "tcp:8080:backlog=500"),
        ("tcp:8080:interface=127.0.0.1", "tcp:8080:interface=127.0.0.1:backlog=500"),
        ("tcp:8080:backlog=7", "tcp:8080:backlog=7"),
        ("ssl:443:privateKey=k.pem", "ssl:443:privateKey=k.pem:backlog=500"),
        ("unix:/run/sayci.sock", "unix:/run/sayci.sock"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ),
)
def test_there_is_room_for_many_connections(given, taken):
    assert with_backlog(given) == taken


@pytest.mark.parametrize(
    ("address", "secure", "host", "base", "local"),
    (
        (IPv4Address("TCP", "0.0.0.0", 8080), False, "localhost", "http://localhost:8080", ["http://127.0.0.1:8080"]),
        (IPv4Address("TCP", "0.0.0.0", 443), True, "ci.example", "https://ci.example", ["https://127.0.0.1:443"]),
        (IPv4Address("TCP", "10.1.2.3", 80), False, "localhost", "http://localhost", ["http://10.1.2.3:80"]),
        (
            IPv6Address("TCP", "::", 80),
            False,
            "localhost",
            "http://localhost",
            ["http://[::1]:80", "http://127.0.0.1:80"],
        ),
        (IPv6Address("TCP", "::1", 1), True, "localhost", "https://localhost:1", ["https://[::1]:1"]),
        (UNIXAddress("/x"), False, "localhost", "http://localhost", []),
    ),
)
def test_the_first_port_says_how_the_server_is_reached(address, secure, host, base, local):
    addresses = Addresses("")
    addresses.listening(a_port(address), secure=secure, host=host)
    assert (addresses(), addresses.local) == (base, local)


def test_what_the_operator_states_is_the_address():
    addresses = Addresses("https://ci.example.org")
    addresses.listening(a_port(IPv4Address("TCP", "0.0.0.0", 8080)), secure=False)
    assert addresses() == "https://ci.example.org"
