"""A PostgreSQL server, and a store without threads."""

from __future__ import annotations

import pytest

from tests.factories import a_store
from tests.postgresql import running_server


@pytest.fixture(scope="session")
def postgresql():
    with running_server() as server:
        yield server


@pytest.fixture
def quiet_store(tmp_path):
    """A store without threads: what is awaited has happened already."""
    return a_store(tmp_path)
