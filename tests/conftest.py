"""Fixtures that every test may use; those of one edge live in its folder."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor

from sayci.bus import Bus
from sayci.ledger import Ledger
from tests.factories import NOW
from tests.fakes import FakeLauncher, FakeLogs, FakeSources


@pytest_twisted.async_yield_fixture
async def store(tmp_path):
    """A real store in a database of its own."""
    from sayci.store.sql_store import SqlStore

    opened = SqlStore.open(f"sqlite:///{tmp_path}/sayci.sqlite", tmp_path / "key", reactor)
    yield opened
    await opened.close()


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def ledger(store, bus):
    return Ledger(store, bus, lambda: NOW)


@pytest.fixture
def logs():
    return FakeLogs()


@pytest.fixture
def launcher(logs):
    return FakeLauncher(logs)


@pytest.fixture
def sources(tmp_path):
    return FakeSources(tmp_path / "workspaces")
