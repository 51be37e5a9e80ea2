"""Real servers for journeys."""

from __future__ import annotations

import pytest

from tests.server import Server


@pytest.fixture
def server_of(tmp_path):
    """Start servers; all are gone at the end."""
    servers = []

    def make(*options, name="data", sign_in=True, environment=None):
        server = Server(tmp_path / name, *options, environment=environment)
        servers.append(server)
        server.start()
        return server.sign_in() if sign_in else server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def sayci_server(server_of):
    """A signed-in server that takes file and http URLs."""
    return server_of("--allow-url", "file", "--allow-url", "http")
