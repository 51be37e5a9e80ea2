"""Repositories, a server for them, and the parts that make mirrors and workspaces of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from sayci.git import Policy
from sayci.mirrors.askpass import install
from sayci.mirrors.client import Deadline, Git
from sayci.mirrors.command import Commands
from sayci.mirrors.mirror import Mirror
from sayci.mirrors.sources import GitSources
from sayci.mirrors.threads import Threads
from tests.gitserver import GitServer

#: The tests' reactor; the interfaces that it provides are more than its type says.
REACTOR: Any = reactor
EVERYTHING = Policy(frozenset({"http", "https", "ssh", "file"}))


@pytest.fixture
def root(tmp_path):
    """Where the server's repositories are."""
    path = tmp_path / "repositories"
    path.mkdir()
    return path


@pytest.fixture
def server(root):
    with GitServer(root) as running:
        yield running


@pytest.fixture
def sources_of(tmp_path):
    """Makes GitSources in the test's directory; each one is like another start of the server."""

    def make(policy=EVERYTHING, **given):
        mirrors, workspaces = tmp_path / "mirrors", tmp_path / "workspaces"
        return GitSources(REACTOR, mirrors, workspaces, policy, threads=REACTOR.getThreadPool(), **given)

    return make


@pytest.fixture
def sources(sources_of):
    return sources_of()


@pytest.fixture
def log():
    return []


@pytest.fixture
def commands():
    return Commands(REACTOR)


@pytest.fixture
def threads():
    return Threads(REACTOR, REACTOR.getThreadPool())


@pytest.fixture
def deadline():
    return Deadline(REACTOR, 30.0)


@pytest.fixture
def client(tmp_path, commands):
    return Git(commands, install(tmp_path), tmp_path / "ssh", {})


@pytest.fixture
def mirror(tmp_path, client, threads):
    return Mirror(tmp_path / "mirrors" / "7.git", client, threads, REACTOR)


@pytest.fixture
def in_a_directory(tmp_path, monkeypatch):
    """The current directory is one of the test's own: names in it are found without a way through its parents."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def nobody(in_a_directory):
    """Without the powers of root, where the tests run as root; the current directory belongs to whom we are then."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(".", 65534, 65534)
    os.seteuid(65534)
    try:
        yield Path()
    finally:
        os.seteuid(0)
