"""client.py: a command line in, what git said out, and trouble in words."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from sayci import git
from sayci.errors import RepositoryRefused, RepositoryUnreachable
from sayci.interfaces import Remote
from sayci.mirrors.askpass import install
from sayci.mirrors.client import Deadline, Git
from tests.gitserver import a_repository

TOKEN = "ghp_moonlight_over_the_harbour"


def test_a_deadline_is_what_is_left_of_a_limit_and_never_nothing():
    clock = Clock()
    deadline = Deadline(clock, 10.0)
    clock.advance(4)
    assert deadline.left() == 6.0
    clock.advance(100)
    assert deadline.left() > 0


@pytest_twisted.ensureDeferred
async def test_a_failure_is_raised_in_words_by_done_and_answered_by_run(client, deadline, server):
    command, remote = git.ls_remote(server.url("nothing.git")), Remote(server.url("nothing.git"))
    assert (await client.run(command, deadline, remote=remote)).exit_code != 0
    with pytest.raises(RepositoryRefused, match="no repository at this address"):
        await client.done(command, deadline, remote=remote)


@pytest_twisted.ensureDeferred
async def test_a_command_that_was_given_no_remote_reaches_none(client, deadline, server, root):
    a_repository(root / "shop.git")
    with pytest.raises(RepositoryRefused, match="not allowed"):
        await client.done(git.ls_remote(server.url("shop.git")), deadline)
    assert not server.requests


@pytest_twisted.ensureDeferred
async def test_a_command_that_reaches_nothing_is_told_of_no_proxy(commands, deadline, server, tmp_path):
    more_than_can_be_passed_on = {"http_proxy": "x" * 10_000_000}
    client = Git(commands, install(tmp_path), tmp_path / "ssh", more_than_can_be_passed_on)
    await client.done(git.init(tmp_path / "7.git", "sha1"), deadline)
    with pytest.raises(RepositoryUnreachable, match="could not be started"):
        await client.done(git.ls_remote(server.url("x")), deadline, remote=Remote(server.url("x")))


@pytest_twisted.ensureDeferred
async def test_a_command_is_given_no_more_time_than_is_left(client, server):
    server.silent = True
    clock = Clock()
    deadline = Deadline(clock, 10.0)
    clock.advance(9.7)
    with pytest.raises(RepositoryUnreachable, match="10 s"):
        await client.done(git.ls_remote(server.url("x")), deadline, remote=Remote(server.url("x")))


@pytest_twisted.ensureDeferred
async def test_the_token_is_sent_only_when_it_is_asked_for(client, deadline, server, root):
    a_repository(root / "shop.git")
    remote = Remote(server.url("shop.git"), TOKEN)
    await client.done(git.ls_remote(remote.url), deadline, remote=remote)
    assert not any("authorization" in request.headers for request in server.requests)
    server.token = TOKEN
    await client.done(git.ls_remote(remote.url), deadline, remote=remote)
    assert any("authorization" in request.headers for request in server.requests)
