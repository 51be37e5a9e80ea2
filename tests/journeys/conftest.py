"""Real servers for journeys."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from tests.forge_server import ForgeServer
from tests.gitserver import GitServer, Repository
from tests.server import Server
from tests.slots import passable_directory, some_numbers


@pytest.fixture
def server_of(tmp_path):
    """Start servers; all are gone at the end.  As root they give each build a user of its own, as they do for people."""
    servers = []
    with ExitStack() as stack:
        place = stack.enter_context(passable_directory()) if os.geteuid() == 0 else tmp_path

        def make(*options, name="data", sign_in=True, environment=None):
            users = ("--slot-uid", str(some_numbers().first)) if os.geteuid() == 0 else ()
            server = Server(place / name, *users, *options, environment=environment)
            servers.append(server)
            server.start()
            return server.sign_in() if sign_in else server

        yield make
        for server in servers:
            server.stop()


@pytest.fixture
def commons():
    """A directory in which tests and the builds that they start, whoever those are, may both write."""
    with passable_directory() as path:
        path.chmod(0o777)
        yield path


@pytest.fixture
def sayci_server(server_of):
    """A signed-in server that takes file and http URLs."""
    return server_of("--allow-url", "file", "--allow-url", "http")


@pytest.fixture
def origin(request, tmp_path):
    """A repository with the MAKEFILE of the test's file, and the smart HTTP server that has it behind a token."""
    repository = Repository(tmp_path / "repositories" / "windmill" / "flour.git")
    repository.commit({"Makefile": request.module.MAKEFILE})
    with GitServer(tmp_path / "repositories", token="the-forge-token") as server:
        yield repository, server.url("windmill/flour.git")


@pytest.fixture
def forge():
    """Where commit statuses are posted to."""
    with ForgeServer(token="the-forge-token") as server:
        yield server
