"""Repositories, a server for them, and the parts that make mirrors and workspaces of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue

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


class LentUsers:
    """interfaces.Users: 60801, 60802 and so on.

    `said` is what was asked of them, `waiting` has those who wait: whoever has given somebody back calls them.  `seen` is
    what was in the directory `looks_at` whenever somebody was given back.
    """

    def __init__(self):
        self.free = [60801, 60802, 60803, 60804]
        self.lent = {}
        self.said = []
        self.waiting: DeferredQueue[Deferred[None]] = DeferredQueue()
        self.looks_at: Path | None = None
        self.seen: list[list[str]] = []

    async def lend(self, build_id):
        self.said.append(("lend", build_id))
        if build_id not in self.lent:
            if not self.free:
                user: Deferred[None] = Deferred()
                self.waiting.put(user)
                await user
            self.lent[build_id] = self.free.pop(0)
        return self.lent[build_id]

    def keep(self, build_id, uid):
        self.said.append(("keep", build_id, uid))
        if uid in self.free:
            self.free.remove(uid)
            self.lent[build_id] = uid

    async def give_back(self, build_id):
        self.said.append(("give back", build_id))
        if self.looks_at is not None:
            self.seen.append([path.name for path in self.looks_at.iterdir()])
        if build_id in self.lent:
            self.free.append(self.lent.pop(build_id))


@pytest.fixture
def users_of():
    """Makes users for builds, as a starting server does."""
    if os.geteuid() != 0:
        pytest.skip("only root can run commands as other users")
    return LentUsers


@pytest.fixture
def reachable():
    """A directory that other users can pass through, which they cannot to pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="sayci-test-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def shared_sources_of(reachable, users_of):
    """Makes GitSources whose builds have users of their own."""

    def make(users=None, **given):
        mirrors, workspaces = reachable / "mirrors", reachable / "workspaces"
        return GitSources(
            REACTOR,
            mirrors,
            workspaces,
            EVERYTHING,
            threads=REACTOR.getThreadPool(),
            users=users or users_of(),
            **given,
        )

    return make


@pytest.fixture
def log():
    return []


@pytest.fixture
def commands():
    return Commands(REACTOR, other_users=os.geteuid() == 0)


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
