"""mirror.py: one task at a time, and what killed ones have left."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from sayci.errors import CommitNotFound, RepositoryRefused, RepositoryUnreachable
from sayci.interfaces import Remote
from sayci.mirrors import mirror as mirror_module
from sayci.mirrors.client import Deadline
from sayci.mirrors.mirror import Mirror
from tests.gitserver import Repository, a_repository, processes_mentioning, run

REACTOR: Any = reactor  # the interfaces that the tests' reactor provides are more than its type says


@pytest.fixture
def repository(root):
    return Repository(root / "shop.git")


@pytest.fixture
def remote(server):
    return Remote(server.url("shop.git"))


@pytest.fixture
def fetch(mirror, remote, deadline, log):
    """Fetches a commit for a build."""

    async def fetch(commit, build_id=1, deadline=deadline):
        async with mirror.held(deadline):
            await mirror.fetch_commit(remote, commit, build_id, deadline, log.append, debug=False)

    return fetch


def refs_of(mirror: Mirror) -> list[str]:
    return Repository(mirror.path).git("for-each-ref", "--format=%(refname)").split()


@pytest_twisted.ensureDeferred
async def test_a_mirror_has_no_remote_no_hooks_and_few_refs(mirror, remote, repository, fetch, deadline):
    commit = repository.commit({"a": "1"})
    for number in range(20):
        repository.move(f"refs/heads/topic{number}", commit)
    async with mirror.held(deadline):
        await mirror.fetch_branch(remote, "main", deadline)
    await fetch(commit, 33)
    assert refs_of(mirror) == ["refs/sayci/builds/33", "refs/sayci/heads/main", "refs/sayci/recent/1"]
    assert not (mirror.path / "hooks").exists()
    assert "remote" not in (mirror.path / "config").read_text()


@pytest_twisted.ensureDeferred
async def test_a_commit_that_is_here_is_not_asked_for(repository, fetch, server):
    commit = repository.commit({"a": "1"})
    await fetch(commit, 1)
    asked = len(server.requests)
    await fetch(commit, 2)
    assert len(server.requests) == asked


@pytest_twisted.ensureDeferred
async def test_what_recent_builds_had_is_not_sent_again(mirror, repository, fetch, log, deadline):
    await fetch(repository.commit({f"f{number}": f"{number}" for number in range(200)}))
    async with mirror.held(deadline):
        await mirror.forget(1, deadline)
    log.clear()
    await fetch(repository.commit({"f1": "new"}), 2)
    assert b"Receiving objects: 100% (3/3)" in b"".join(log)


@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_mirror_waits_no_longer_than_its_limit(mirror, deadline):
    async with mirror.held(deadline):
        with pytest.raises(RepositoryUnreachable, match="in use"):
            async with mirror.held(Deadline(REACTOR, 0.1)):
                raise AssertionError
    async with mirror.held(Deadline(REACTOR, 0.1)):
        pass


@pytest_twisted.ensureDeferred
async def test_a_failure_lets_the_next_one_have_it(mirror, deadline):
    with pytest.raises(ZeroDivisionError):
        async with mirror.held(deadline):
            raise ZeroDivisionError
    async with mirror.held(deadline):
        pass


@pytest_twisted.ensureDeferred
async def test_what_a_killed_server_left_does_not_stand_in_the_way(
    mirror, repository, fetch, client, threads, deadline
):
    commit = repository.commit({"a": "1"})
    await fetch(commit)
    run(f"--git-dir={mirror.path}", "pack-refs", "--all")
    left = (
        *("packed-refs.lock", "HEAD.lock", "config.lock", "shallow.lock", "gc.pid", "refs/sayci/builds/2.lock"),
        *("refs/sayci/recent/2.lock", "objects/pack/tmp_pack_Xy12", "objects/pack/tmp_idx_Xy12"),
        *("objects/pack/.tmp-123-pack-abc.pack", "objects/pack/pack-abc.keep", "objects/info/commit-graph.lock"),
    )
    for name in left:
        (mirror.path / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror.path / name).touch()
    again = Mirror(mirror.path, client, threads, REACTOR)
    async with again.held(deadline):
        assert not [name for name in left if (mirror.path / name).exists()]
        await again.fetch_commit(Remote(f"file://{repository.path}"), commit, 2, deadline, lambda _: None, debug=False)
        await again.forget(1, deadline)
    assert "refs/sayci/builds/1" not in refs_of(mirror)
    assert "refs/sayci/builds/2" in refs_of(mirror)


@pytest_twisted.ensureDeferred
async def test_half_of_a_mirror_is_made_anew(mirror, repository, fetch):
    commit = repository.commit({"a": "1"})
    mirror.path.mkdir(parents=True)
    (mirror.path / "config").write_text("[core")
    (mirror.path / "HEAD").touch()
    await fetch(commit)
    assert "refs/sayci/builds/1" in refs_of(mirror)


@pytest_twisted.ensureDeferred
async def test_a_fetch_that_was_killed_leaves_nothing_and_the_next_one_works(mirror, repository, fetch, server):
    commit = repository.commit({"a": os.urandom(500_000)})
    server.stall_after = 200_000
    fetching = Deferred.fromCoroutine(fetch(commit))
    assert await deferToThread(server.held.wait, 30)
    (leader, *_) = (line for line in processes_mentioning(str(mirror.path)) if " timeout " not in line)
    os.killpg(os.getpgid(int(leader.partition(":")[0])), signal.SIGKILL)
    with pytest.raises(RepositoryUnreachable):
        await fetching
    assert not processes_mentioning(str(mirror.path))
    assert not list((mirror.path / "objects" / "pack").iterdir())
    server.stall_after = None
    await fetch(commit)


@pytest_twisted.ensureDeferred
async def test_a_fetch_that_runs_out_of_time_leaves_nothing(mirror, repository, fetch, server):
    commit = repository.commit({"a": os.urandom(500_000)})
    server.stall_after = 200_000
    with pytest.raises(RepositoryUnreachable, match="did not answer"):
        await fetch(commit, deadline=Deadline(REACTOR, 1.0))
    assert not processes_mentioning(str(mirror.path))
    assert not list((mirror.path / "objects" / "pack").iterdir())


@pytest_twisted.ensureDeferred
async def test_many_packs_become_one_and_nothing_is_lost(mirror, repository, fetch, deadline, monkeypatch):
    monkeypatch.setattr(mirror_module, "PACKS_LIMIT", 4)
    packs = lambda: len(list((mirror.path / "objects" / "pack").glob("*.pack")))  # noqa: E731 - short
    commits = [repository.commit({"a": str(number)}) for number in range(4)]
    for build_id, commit in enumerate(commits):
        async with mirror.held(deadline):
            await mirror.tidy(deadline)
        assert packs() == build_id
        await fetch(commit, build_id)
    async with mirror.held(deadline):
        await mirror.tidy(deadline)
    assert packs() == 1
    for commit in commits:
        await mirror.describe(commit, deadline)


@pytest_twisted.ensureDeferred
async def test_checkouts_go_on_while_the_packs_become_one(mirror, repository, fetch, deadline, monkeypatch):
    monkeypatch.setattr(mirror_module, "PACKS_LIMIT", 1)
    commit = repository.commit({f"f{number}": os.urandom(100) for number in range(500)})
    await fetch(commit)
    async with mirror.held(deadline):
        tidying = Deferred.fromCoroutine(mirror.tidy(deadline))
        for _ in range(5):
            assert await mirror.describe(commit, deadline) == ("a change", "Ada Example")
        await tidying


@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_forgotten_may_be_described_until_it_is_collected(mirror, repository, fetch, deadline):
    commit = repository.commit({"a": "1"}, "Sell more")
    await fetch(commit)
    async with mirror.held(deadline):
        for _ in range(2):
            await mirror.forget(1, deadline)
    assert (await mirror.describe(commit, deadline))[0] == "Sell more"


@pytest_twisted.ensureDeferred
async def test_a_shallow_copy_is_refused_rather_than_built_without_its_history(mirror, root, server, deadline, log):
    repository, first = a_repository(root / "whole.git")
    commit = repository.commit({"a": "1"})
    run("clone", "--quiet", "--bare", "--depth=1", repository.url, str(root / "shop.git"))
    remote = Remote(server.url("shop.git"))
    async with mirror.held(deadline):
        with pytest.raises(RepositoryRefused, match="shallow copy"):
            await mirror.fetch_commit(remote, commit, 1, deadline, log.append, debug=False)
        with pytest.raises(RepositoryRefused, match="shallow copy"):
            await mirror.fetch_branch(remote, "main", deadline)
    with pytest.raises(CommitNotFound):
        await mirror.describe(first, deadline)
