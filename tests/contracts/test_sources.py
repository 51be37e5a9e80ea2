"""Every Sources: mirrors and checkouts, of real repositories, over smart HTTP and from files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from sayci.errors import CommitNotFound, RepositoryRefused, RepositoryUnreachable
from sayci.git import Policy
from sayci.interfaces import Remote
from sayci.mirrors.mirror import holds_in
from sayci.mirrors.sources import GitSources
from tests.gitserver import ENVIRONMENT, GitServer, Repository, a_repository, processes_mentioning

REACTOR: Any = reactor  # the interfaces that the tests' reactor provides are more than its type says
ABSENT = "4f1c9aa0" * 5
TOKEN = "ghp_moonlight_over_the_harbour"


class Place:
    """Somewhere repositories are, and how they are reached there."""

    def __init__(self, root: Path, server: GitServer | None) -> None:
        self.root = root
        self.server = server

    def repository(self, name="shop.git", **given):
        return Repository(self.root / name, **given)

    def remote(self, name="shop.git", token=""):
        return Remote(self.server.url(name) if self.server else f"file://{self.root / name}", token)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "repositories"
    path.mkdir()
    return path


@pytest.fixture
def server(root):
    with GitServer(root) as running:
        yield running


@pytest.fixture(params=("http", "file"))
def place(request, root):
    if request.param == "file":
        yield Place(root, None)
        return
    with GitServer(root) as running:
        yield Place(root, running)


class FirstUsers:
    """interfaces.Users, of whom each build is lent another one."""

    async def lend(self, build_id):
        return 60701 + build_id

    def keep(self, build_id, uid):
        assert uid == 60701 + build_id

    async def give_back(self, build_id):
        pass


@pytest.fixture(params=(None, FirstUsers), ids=("one user", "users of their own"))
def data(request, tmp_path):
    """Where mirrors and workspaces are, and the users that builds have, if they have any."""
    if request.param is None:
        yield tmp_path, None
        return
    if os.geteuid() != 0:
        pytest.skip("only root can run commands as other users")
    path = Path(tempfile.mkdtemp(prefix="sayci-test-", dir="/tmp"))  # others cannot get into pytest's own directory
    path.chmod(0o711)
    yield path, request.param()
    shutil.rmtree(path)


@pytest.fixture
def sources_of(data):
    """Makes the Sources that are under test."""
    path, users = data

    def make(**limits):
        policy = Policy(frozenset({"http", "https", "ssh", "file"}))
        threads = REACTOR.getThreadPool()
        return GitSources(
            REACTOR, path / "mirrors", path / "workspaces", policy, threads=threads, users=users, **limits
        )

    return make


@pytest.fixture
def mirror_path(data):
    path, _ = data
    return path / "mirrors" / "1.git"


@pytest.fixture
def sources(sources_of):
    return sources_of()


@pytest.fixture
def log():
    return []


def files_of(tree: Path) -> set[str]:
    return {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if not path.is_dir() and ".git" not in path.parts[len(tree.parts) :]
    }


def git_in(tree: Path, *arguments: str) -> str:
    """What git prints in a workspace, as a build would run it."""
    environment = {"PATH": ENVIRONMENT["PATH"], "HOME": str(tree.parent / "home"), "LC_ALL": "C"}
    owner = tree.stat().st_uid
    become = ("setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups") if owner != os.geteuid() else ()
    command = (*become, "git", *arguments)
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, timeout=30)
    return done.stdout.decode().strip()


# -- heads


@pytest_twisted.ensureDeferred
async def test_heads_are_the_branches_with_their_commits(place, sources):
    repository = place.repository()
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"}, branch="release/1.2", parent=first)
    repository.git("tag", "v1", first)
    assert await sources.heads(place.remote()) == {"main": first, "release/1.2": second}


@pytest_twisted.ensureDeferred
async def test_an_empty_repository_has_no_heads(place, sources):
    place.repository()
    assert await sources.heads(place.remote()) == {}


@pytest_twisted.ensureDeferred
async def test_a_repository_that_is_not_there_is_refused(place, sources, log):
    remote = place.remote("nothing.git")
    with pytest.raises(RepositoryRefused, match="no repository at this address"):
        await sources.heads(remote)
    with pytest.raises(RepositoryRefused, match="no repository at this address"):
        await sources.clone(1, remote, "main")
    with pytest.raises(RepositoryRefused, match="no repository at this address"):
        await sources.checkout(1, remote, ABSENT, 1, log.append)


@pytest_twisted.ensureDeferred
async def test_an_address_that_the_policy_does_not_allow_is_refused(sources, log):
    for url in ("ext::sh", "git://host/x", "--upload-pack=x", "https://ada:x@host/y"):
        with pytest.raises(RepositoryRefused):
            await sources.heads(Remote(url))
        with pytest.raises(RepositoryRefused):
            await sources.clone(1, Remote(url), "main")
        with pytest.raises(RepositoryRefused):
            await sources.checkout(1, Remote(url), ABSENT, 1, log.append)


# -- clone


@pytest_twisted.ensureDeferred
async def test_a_clone_has_the_branch(place, sources):
    commit = place.repository().commit({"a": "1"}, "Sell more\n\nShoes", author="Grace <grace@example.org>")
    await sources.clone(1, place.remote(), "main")
    assert await sources.describe(1, commit) == ("Sell more\n\nShoes", "Grace")


@pytest_twisted.ensureDeferred
async def test_a_clone_of_an_empty_repository_or_an_absent_branch_is_a_mirror_that_fills_later(place, sources, log):
    repository = place.repository()
    await sources.clone(1, place.remote(), "main")
    commit = repository.commit({"a": "1"})
    await sources.clone(1, place.remote(), "nothing")
    workspace = await sources.checkout(1, place.remote(), commit, 1, log.append)
    assert files_of(workspace / "tree") == {"a"}


@pytest_twisted.ensureDeferred
async def test_a_second_clone_keeps_what_is_there(place, sources):
    repository = place.repository()
    old = repository.commit({"a": "1"})
    await sources.clone(1, place.remote(), "main")
    new = repository.commit({"a": "2"})
    await sources.clone(1, place.remote(), "main")
    assert (await sources.describe(1, old))[0] == (await sources.describe(1, new))[0] == "a change"


@pytest_twisted.ensureDeferred
async def test_a_commit_that_the_mirror_does_not_have_cannot_be_described(place, sources):
    place.repository().commit({"a": "1"})
    with pytest.raises(CommitNotFound):
        await sources.describe(1, ABSENT)
    await sources.clone(1, place.remote(), "main")
    with pytest.raises(CommitNotFound):
        await sources.describe(1, ABSENT)


# -- checkout


@pytest_twisted.ensureDeferred
async def test_a_checkout_is_the_commit_and_room_to_work(place, sources, log):
    commit = place.repository().commit(
        {"Makefile": "test:\n", "bin/run": "#!/bin/sh\n", "größe/a b": "x", "crlf": "a\r\nb\n"},
        executable={"bin/run"},
        symlinks={"link": "Makefile", "bin/out": "../../../../etc/passwd"},
    )
    workspace = await sources.checkout(1, place.remote(), commit, 12, log.append)
    tree = workspace / "tree"
    assert files_of(tree) == {"Makefile", "bin/run", "größe/a b", "crlf", "link", "bin/out"}
    assert os.access(tree / "bin/run", os.X_OK)
    assert not os.access(tree / "Makefile", os.X_OK)
    assert (tree / "link").readlink() == Path("Makefile")
    assert (tree / "crlf").read_bytes() == b"a\r\nb\n"
    assert {path.name for path in workspace.iterdir()} == {"tree", "home", "tmp"}
    assert not list((workspace / "home").iterdir())
    assert not list((workspace / "tmp").iterdir())
    for path in workspace.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(workspace.stat().st_mode) & 0o767 == 0o700


@pytest_twisted.ensureDeferred
async def test_a_checkout_says_what_it_does(place, sources, log):
    commit = place.repository().commit({"a": "1"}, "Sell more\n\nShoes")
    await sources.checkout(1, place.remote(), commit, 1, log.append)
    said = b"".join(log).decode()
    assert said.startswith(f"$ git fetch {place.remote().url} {commit}\n")
    assert said.endswith(f"HEAD is now at {commit[:7]} Sell more\n")
    assert "Receiving objects: 100%" in said
    assert "\r" not in said
    assert "refs/sayci" not in said


@pytest_twisted.ensureDeferred
async def test_git_works_in_a_checkout(place, sources, log):
    repository = place.repository()
    first = repository.commit({"a": "1"}, "first")
    repository.git("tag", "v1.0", first)
    commit = repository.commit({"a": "2"}, "second")
    tree = await sources.checkout(1, place.remote(), commit, 1, log.append) / "tree"
    assert git_in(tree, "status", "--porcelain") == ""
    assert git_in(tree, "rev-parse", "HEAD") == commit
    assert git_in(tree, "log", "--format=%s") == "second\nfirst"
    assert git_in(tree, "describe", "--tags") == f"v1.0-1-g{commit[:7]}"
    assert git_in(tree, "remote") == ""
    git_in(tree, "fsck", "--strict")
    git_in(tree, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--allow-empty", "-m", "mine")
    git_in(tree, "gc", "--quiet")
    assert git_in(tree, "log", "--format=%s") == "mine\nsecond\nfirst"


@pytest_twisted.ensureDeferred
async def test_a_tag_that_was_put_on_a_known_commit_is_there(place, sources, log):
    repository = place.repository()
    commit = repository.commit({"a": "1"})
    await sources.checkout(1, place.remote(), commit, 1, log.append)
    repository.git("tag", "release", commit)
    tree = await sources.checkout(1, place.remote(), commit, 2, log.append) / "tree"
    assert git_in(tree, "describe", "--tags") == "release"


@pytest_twisted.ensureDeferred
async def test_tags_that_go_and_stand_in_the_way_of_new_ones_do_no_harm(place, sources, log):
    repository = place.repository()
    first = repository.commit({"a": "1"})
    repository.git("tag", "release", first)
    await sources.checkout(1, place.remote(), first, 1, log.append)
    repository.delete("refs/tags/release")
    second = repository.commit({"a": "2"})
    repository.git("tag", "release/2", second)
    tree = await sources.checkout(1, place.remote(), second, 2, log.append) / "tree"
    assert git_in(tree, "tag") == "release/2"


@pytest_twisted.ensureDeferred
async def test_any_commit_that_was_pushed_can_be_checked_out(place, sources, log):
    repository = place.repository()
    first = repository.commit({"a": "1"})
    tip = repository.commit({"a": "2"})
    pushed_away = repository.commit({"a": "3"})
    repository.move("refs/heads/main", tip)
    for build_id, (commit, content) in enumerate(((tip, "2"), (first, "1"), (pushed_away, "3"))):
        workspace = await sources.checkout(1, place.remote(), commit, build_id, log.append)
        assert (workspace / "tree" / "a").read_text() == content


@pytest_twisted.ensureDeferred
async def test_a_commit_that_the_mirror_has_needs_no_repository(place, sources, log):
    repository = place.repository()
    repository.commit({"a": "1"})
    commit = repository.commit({"a": "2"}, branch="other")
    await sources.checkout(1, place.remote(), commit, 1, log.append)
    repository.delete("refs/heads/other")
    repository.forget_unreachable()
    assert (await sources.checkout(1, place.remote(), commit, 2, log.append) / "tree" / "a").read_text() == "2"
    repository.path.rename(repository.path.with_name("moved.git"))
    assert (await sources.checkout(1, place.remote(), commit, 3, log.append) / "tree" / "a").read_text() == "2"
    assert "the tags are as they were" in b"".join(log).decode()


@pytest_twisted.ensureDeferred
async def test_a_commit_that_the_repository_does_not_have_is_not_found(place, sources, log):
    repository = place.repository()
    repository.commit({"a": "1"})
    gone = repository.commit({"a": "2"}, branch="other")
    repository.delete("refs/heads/other")
    repository.forget_unreachable()
    for commit in (ABSENT, gone, "ab" * 32):
        with pytest.raises(CommitNotFound):
            await sources.checkout(1, place.remote(), commit, 1, log.append)


@pytest_twisted.ensureDeferred
async def test_a_commit_of_the_wrong_kind_does_not_cost_the_mirror_what_it_has(place, sources, log):
    commit = place.repository().commit({"a": "1"})
    await sources.clone(1, place.remote(), "main")
    with pytest.raises(CommitNotFound):
        await sources.checkout(1, place.remote(), "ab" * 32, 1, log.append)
    assert await sources.describe(1, commit)


@pytest_twisted.ensureDeferred
async def test_a_repository_whose_objects_are_named_by_sha256_is_like_any_other(place, sources, log):
    repository = place.repository(object_format="sha256")
    repository.commit({"a": "1"}, "first")
    commit = repository.commit({"a": "2"}, "second")
    assert len(commit) == 64
    assert await sources.heads(place.remote()) == {"main": commit}
    await sources.clone(1, place.remote(), "main")
    assert (await sources.describe(1, commit))[0] == "second"
    tree = await sources.checkout(1, place.remote(), commit, 1, log.append) / "tree"
    assert git_in(tree, "log", "--format=%s") == "second\nfirst"
    assert git_in(tree, "status", "--porcelain") == ""
    with pytest.raises(CommitNotFound):
        await sources.checkout(1, place.remote(), ABSENT, 2, log.append)
    await sources.checkout(2, place.remote(), commit, 3, log.append)


@pytest_twisted.ensureDeferred
async def test_what_an_earlier_attempt_left_is_gone(place, sources, log):
    commit = place.repository().commit({"a": "1"})
    workspace = await sources.checkout(1, place.remote(), commit, 1, log.append)
    (workspace / "tree" / "left").write_text("x")
    (workspace / "home" / ".gitconfig").write_text("[core]\n\tfsmonitor = touch /tmp/x\n")
    (workspace / "tree" / ".git" / "config").write_text("[core]\n\tworktree = /\n")
    (workspace / "more").mkdir()
    again = await sources.checkout(1, place.remote(), commit, 1, log.append)
    assert again == workspace
    assert files_of(again / "tree") == {"a"}
    assert not list((again / "home").iterdir())
    assert git_in(again / "tree", "status", "--porcelain") == ""


@pytest_twisted.ensureDeferred
async def test_several_checkouts_of_one_project_at_once(place, sources, log):
    repository = place.repository()
    commits = [repository.commit({"a": str(number)}) for number in range(4)]
    workspaces = await gatherResults(
        [
            Deferred.fromCoroutine(sources.checkout(1, place.remote(), commit, build_id, log.append))
            for build_id, commit in enumerate(commits)
        ]
    )
    assert [(workspace / "tree" / "a").read_text() for workspace in workspaces] == ["0", "1", "2", "3"]


@pytest_twisted.ensureDeferred
async def test_checkouts_of_two_projects_at_once_share_nothing(place, sources, log):
    mine = place.repository("mine.git").commit({"a": "mine"})
    other = place.repository("other.git").commit({"a": "other"})
    one, two = await gatherResults(
        [
            Deferred.fromCoroutine(sources.checkout(1, place.remote("mine.git"), mine, 1, log.append)),
            Deferred.fromCoroutine(sources.checkout(2, place.remote("other.git"), other, 2, log.append)),
        ]
    )
    assert (one / "tree" / "a").read_text() == "mine"
    assert (two / "tree" / "a").read_text() == "other"
    with pytest.raises(CommitNotFound):
        await sources.describe(1, other)
    with pytest.raises(subprocess.CalledProcessError):
        git_in(one / "tree", "cat-file", "-e", other)


@pytest_twisted.ensureDeferred
async def test_a_build_holds_its_commit_for_as_long_as_it_lasts(place, sources, log, mirror_path):
    repository = place.repository()
    repository.commit({"a": "1"})
    commit = repository.commit({"a": "2"}, branch="other")
    await sources.checkout(1, place.remote(), commit, 1, log.append)
    refs = lambda: Repository(mirror_path).git("for-each-ref", "refs/sayci/builds")  # noqa: E731 - short
    assert commit in refs()
    await sources.discard(1, 1)
    assert refs() == ""


# -- discard and remove


@pytest_twisted.ensureDeferred
async def test_a_discarded_workspace_is_gone_and_again_is_no_trouble(place, sources, log):
    commit = place.repository().commit({"a": "1"})
    workspace = await sources.checkout(1, place.remote(), commit, 1, log.append)
    kept = await sources.checkout(1, place.remote(), commit, 2, log.append)
    for _ in range(2):
        await sources.discard(1, 1)
        assert not workspace.exists()
    assert (kept / "tree" / "a").exists()
    await sources.discard(4711, 4711)


@pytest_twisted.ensureDeferred
async def test_what_a_killed_server_left_is_swept_but_for_builds_that_go_on(place, sources_of, log, mirror_path):
    commit = place.repository().commit({"a": "1"})
    killed = sources_of()
    ended, running = [await killed.checkout(1, place.remote(), commit, number, log.append) for number in (1, 2)]
    again = sources_of()
    fresh = await again.checkout(1, place.remote(), commit, 3, log.append)
    await again.sweep([2])
    assert not ended.exists()
    assert (running / "tree" / "a").exists()
    assert (fresh / "tree" / "a").exists()
    assert {number for _, held in holds_in(mirror_path.parent) for number in held} == {2, 3}
    await again.sweep([])
    assert running.exists()


@pytest_twisted.ensureDeferred
async def test_a_removed_mirror_is_gone_and_can_be_made_again(place, sources, log, mirror_path):
    commit = place.repository().commit({"a": "1"})
    await sources.clone(1, place.remote(), "main")
    for _ in range(2):
        await sources.remove(1)
        assert not mirror_path.exists()
        with pytest.raises(CommitNotFound):
            await sources.describe(1, commit)
    workspace = await sources.checkout(1, place.remote(), commit, 1, log.append)
    assert files_of(workspace / "tree") == {"a"}


# -- servers that have a mind of their own


@pytest_twisted.ensureDeferred
async def test_a_private_repository_opens_to_its_token(server, root, sources, log):
    server.token = TOKEN
    _, commit = a_repository(root / "shop.git")
    remote = Remote(server.url("shop.git"), TOKEN)
    assert await sources.heads(remote) == {"main": commit}
    await sources.clone(1, remote, "main")
    workspace = await sources.checkout(1, remote, commit, 1, log.append)
    assert files_of(workspace / "tree") == {"Makefile"}


@pytest.mark.parametrize(("token", "words"), (("", "set the project's access token"), ("wrong", "set a new one")))
@pytest_twisted.ensureDeferred
async def test_a_private_repository_stays_closed_without_it(server, root, sources, log, token, words):
    server.token = TOKEN
    _, commit = a_repository(root / "shop.git")
    remote = Remote(server.url("shop.git"), token)
    for attempt in (
        sources.heads(remote),
        sources.clone(1, remote, "main"),
        sources.checkout(1, remote, commit, 1, log.append),
    ):
        with pytest.raises(RepositoryRefused, match=words):
            await attempt
    assert not (await sources.heads(Remote(server.url("shop.git"), TOKEN))).keys() - {"main"}


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed_and_says_that_the_repository_has_moved(server, root, sources, tmp_path):
    a_repository(root / "shop.git")
    with GitServer(root, token=TOKEN) as elsewhere:
        server.redirect_to = elsewhere.address
        with pytest.raises(RepositoryRefused, match="new address"):
            await sources.heads(Remote(server.url("shop.git"), TOKEN))
        assert not elsewhere.requests


@pytest.mark.parametrize("manner", ("silent", "trickle"))
@pytest_twisted.ensureDeferred
async def test_a_server_that_does_not_answer_is_given_up_in_time_and_nothing_is_left(
    server, root, sources_of, log, manner
):
    _, commit = a_repository(root / "shop.git")
    setattr(server, manner, True)
    sources = sources_of(ask_limit=1.0, fetch_limit=1.0)
    remote = Remote(server.url("shop.git"))
    for attempt in (
        lambda: sources.heads(remote),
        lambda: sources.clone(1, remote, "main"),
        lambda: sources.checkout(1, remote, commit, 1, log.append),
    ):
        started = time.monotonic()
        with pytest.raises(RepositoryUnreachable, match="did not answer"):
            await attempt()
        assert time.monotonic() - started < 10
        assert not processes_mentioning(server.address)


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_there_is_unreachable(server, sources, log):
    server.close()
    remote = Remote(server.url("shop.git"))
    for attempt in (
        sources.heads(remote),
        sources.clone(1, remote, "main"),
        sources.checkout(1, remote, ABSENT, 1, log.append),
    ):
        with pytest.raises(RepositoryUnreachable, match="no connection"):
            await attempt


@pytest_twisted.ensureDeferred
async def test_a_cancelled_checkout_leaves_no_process_and_the_next_one_works(server, root, sources, log):
    _, commit = a_repository(root / "shop.git")
    server.stall_after = 10
    remote = Remote(server.url("shop.git"))
    checkout = Deferred.fromCoroutine(sources.checkout(1, remote, commit, 1, log.append))
    assert await deferToThread(server.held.wait, 30)
    assert processes_mentioning(server.address)
    checkout.cancel()
    with pytest.raises(CancelledError):
        await checkout
    assert not processes_mentioning(server.address)
    server.stall_after = None
    workspace = await sources.checkout(1, remote, commit, 1, log.append)
    assert files_of(workspace / "tree") == {"Makefile"}


@pytest_twisted.ensureDeferred
async def test_a_server_that_hands_out_only_what_its_refs_point_to(server, root, sources, log):
    server.version_2 = False
    repository = Repository(root / "shop.git")
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"})
    away = repository.commit({"a": "3"}, branch="other", parent=first)
    repository.delete("refs/heads/other")
    for build_id, (commit, content) in enumerate(((first, "1"), (second, "2"))):
        workspace = await sources.checkout(1, Remote(server.url("shop.git")), commit, build_id, log.append)
        assert (workspace / "tree" / "a").read_text() == content
    with pytest.raises(CommitNotFound):
        await sources.checkout(1, Remote(server.url("shop.git")), away, 3, log.append)
