"""GitSources: mirrors of repositories and checkouts of single commits, made by git."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sayci import git
from sayci.change import check_branch, check_commit
from sayci.errors import Invalid, RepositoryError, RepositoryRefused, RepositoryUnreachable
from sayci.interfaces import Remote, Users
from sayci.mirrors import askpass, removal, workspace
from sayci.mirrors.client import Deadline, Git
from sayci.mirrors.command import FILE_LIMIT, MEMORY_LIMIT, Commands, Reactor
from sayci.mirrors.mirror import Mirror, holds_in
from sayci.mirrors.threads import Threads


class GitSources:
    """interfaces.Sources by git: a mirror ``mirrors/PROJECT.git``, a workspace ``workspaces/BUILD``.

    Both directories, and `ssh`, are ours alone (mode 0700).  For ``ssh://`` and ``git@host:path`` the private keys
    id_ed25519, id_ecdsa and id_rsa in `ssh` (beside `mirrors`, unless it is given) are tried; the keys of hosts are kept in
    known_hosts there, and a host that is seen for the first time is trusted.  Neither the server user's ~/.ssh nor an agent
    is looked at.  `passed_on` is where git.PASSED_ON is taken from: the operator's proxies and certificate authorities.

    `fetch_limit` is for all of a clone or a checkout, `ask_limit` for short questions; both are in seconds.  `file_limit`
    and `memory_limit`, in bytes, are for the largest file that git may write (the pack of a first fetch) and for the memory
    of each of its processes.  git is given no configuration but ours, and never runs in a workspace that a build has touched.

    With `users` a workspace belongs to the user that is lent to its build, who is waited for as long as for a fetch; what
    is checked out is written by him, and `workspaces` may be passed through by everybody (mode 0711).  He is given back
    when no workspace of the build is left.  This takes a server that is root.

    Without `shares_objects` a checkout has copies of the mirror's objects: a build that runs as the server's own user, and
    sees nothing of the server but its workspace, could change those that the mirror has too.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Reactor,
        mirrors: Path,
        workspaces: Path,
        policy: git.Policy,
        *,
        threads: ThreadPool,
        fetch_limit: float = 600.0,
        ask_limit: float = 30.0,
        ssh: Path | None = None,
        passed_on: Mapping[str, str] | None = None,
        file_limit: int = FILE_LIMIT,
        memory_limit: int = MEMORY_LIMIT,
        users: Users | None = None,
        shares_objects: bool = True,
    ) -> None:
        """Raises CannotStart when a program is missing, OSError when the directories cannot be used."""
        self._reactor = reactor
        self._directory, self._workspaces = mirrors.absolute(), workspaces.absolute()
        self._policy = policy
        self._fetch_limit, self._ask_limit = fetch_limit, ask_limit
        self._threads = Threads(reactor, threads)
        self._commands = Commands(
            reactor, file_limit=file_limit, memory_limit=memory_limit, other_users=users is not None
        )
        self._users = users
        self._shares_objects = shares_objects
        keys = (ssh or mirrors.parent / "ssh").absolute()
        for directory in (self._directory, self._workspaces, keys):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._workspaces.chmod(0o711 if users is not None else 0o700)
        self._git = Git(self._commands, askpass.install(self._directory), keys, passed_on or {})
        self._mirrors: dict[int, Mirror] = {}
        # What an earlier server was removing; looked up now, while nothing of ours is in there yet.
        self._left = removal.left_behind(self._directory) + removal.left_behind(self._workspaces)
        self._found = sorted(path for path in self._workspaces.iterdir() if path.name.isdecimal())
        self._holds = dict(holds_in(self._directory))
        if users is not None:
            _keep(users, self._found)

    async def stop(self) -> None:
        """End every command that runs, and wait until it is gone."""
        await self._commands.stop()

    # -- interfaces.Sources

    async def heads(self, remote: Remote) -> Mapping[str, str]:
        """Every branch of the repository with the commit that it points to; at most git.HEADS_LIMIT."""
        self._check(remote)
        output = await self._git.done(git.ls_remote(remote.url), self._deadline(self._ask_limit), remote=remote)
        if output.cut:
            raise git.too_many_heads()
        return git.heads_of(output.stdout)

    async def clone(self, project_id: int, remote: Remote, branch: str) -> None:
        """Fill the project's mirror with `branch`, and the tags if they can be had."""
        self._check(remote, branch=branch)
        mirror, deadline = self._mirror(project_id), self._deadline(self._fetch_limit)
        async with mirror.held(deadline):
            if await mirror.fetch_branch(remote, branch, deadline):
                await self._fetch_tags(mirror, remote, deadline)

    async def checkout(
        self,
        project_id: int,
        remote: Remote,
        commit: str,
        build_id: int,
        log: Callable[[bytes], None],
        *,
        debug: bool = False,
    ) -> Path:
        """Fetch exactly `commit` and answer a fresh workspace.  The tags are fetched too, if they can be had.

        Raises what `users` raises, too.
        """
        self._check(remote, commit=commit)
        deadline, told = self._deadline(self._fetch_limit), _Told(log)
        place, mirror = self._workspaces / str(build_id), self._mirror(project_id)
        self._complain(await self._threads.call(removal.remove, place))
        uid = await self._lent(build_id, deadline)
        told.say(f"$ git fetch {remote.url} {commit}")
        async with mirror.held(deadline):
            with told.listening() as listen:
                await mirror.fetch_commit(remote, commit, build_id, deadline, listen, debug=debug)
            if trouble := await self._fetch_tags(mirror, remote, deadline):
                told.say(f"the tags are as they were at an earlier fetch: {trouble}")
            # While it is held, so that the packs are there, and all that the tags name is in them.
            tags = await mirror.tags(deadline)
            made = (place, mirror.path, commit, tags, uid)
            tree = await self._threads.call(workspace.make, *made, shares_objects=self._shares_objects)
        with told.listening() as listen:
            await self._git.done(git.read_tree(tree, commit), deadline, listen=listen, traces=debug, uid=uid)
        message, _ = await mirror.describe(commit, deadline)
        told.say(f"HEAD is now at {commit[:7]} {message.partition(chr(10))[0]}")
        return place

    async def describe(self, project_id: int, commit: str) -> tuple[str, str]:
        """Message and author of a commit that the mirror has."""
        return await self._mirror(project_id).describe(commit, self._deadline(self._ask_limit))

    async def discard(self, project_id: int, build_id: int) -> None:
        """Remove the build's workspace and its hold on the mirror; now and then tidy the mirror up."""
        left, self._left = self._left, []
        mirror, deadline = self._mirror(project_id), self._deadline(self._fetch_limit)
        with self._nothing_raised("discarding a build", build_id):
            await self._remove_workspace(self._workspaces / str(build_id))
            self._complain(await self._threads.call(removal.finish, left))
            if await mirror.exists():
                async with mirror.held(deadline):
                    await mirror.forget(build_id, deadline)
                    await mirror.tidy(deadline)

    async def sweep(self, open_builds: Collection[int]) -> None:
        """Remove what builds that have ended, and an earlier server's removals, have left."""
        kept = {str(build_id) for build_id in open_builds}
        left, self._left = self._left, []
        found, self._found = self._found, []
        with self._nothing_raised("sweeping workspaces", len(kept)):
            self._complain(await self._threads.call(removal.finish, left))
            for path in found:
                if path.name not in kept:
                    await self._remove_workspace(path)
        holds, self._holds = self._holds, {}
        for project_id, builds in holds.items():
            await self._let_go(project_id, [build_id for build_id in builds if str(build_id) not in kept])

    async def _let_go(self, project_id: int, builds: Sequence[int]) -> None:
        mirror, deadline = self._mirror(project_id), self._deadline(self._fetch_limit)
        with self._nothing_raised("letting go of what ended builds held in the mirror", project_id):
            for build_id in builds:
                async with mirror.held(deadline):
                    await mirror.forget(build_id, deadline)

    async def remove(self, project_id: int) -> None:
        """Remove the project's mirror."""
        mirror = self._mirror(project_id)
        with self._nothing_raised("removing a mirror", project_id):
            async with mirror.held(self._deadline(self._fetch_limit)):
                self._complain(await mirror.remove())

    # -- its own

    def _mirror(self, project_id: int) -> Mirror:
        if project_id not in self._mirrors:
            path = self._directory / f"{project_id}.git"
            self._mirrors[project_id] = Mirror(path, self._git, self._threads, self._reactor)
        return self._mirrors[project_id]

    async def _lent(self, build_id: int, deadline: Deadline) -> int | None:
        """The user that the build runs as, if it has one of its own."""
        if self._users is None:
            return None
        lent = Deferred.fromCoroutine(self._users.lend(build_id))
        return await lent.addTimeout(deadline.left(), self._reactor, _all_lent(deadline.limit))

    async def _remove_workspace(self, place: Path) -> None:
        """Remove a workspace and give the build's user back.

        He is not given back when the next one who is lent him could get into it.  What is not removed but out of its place
        is in a directory of ours, into which nobody else gets; to end who may be at work in it, he has to be given back.
        """
        self._complain(await self._threads.call(removal.remove, place))
        if self._users is None:
            return
        if await self._threads.call(os.path.lexists, place):
            self._log.error("build {build} keeps its user: its workspace could not be removed", build=place.name)
        else:
            await self._users.give_back(int(place.name))

    def _deadline(self, limit: float) -> Deadline:
        return Deadline(self._reactor, limit)

    def _check(self, remote: Remote, *, branch: str | None = None, commit: str | None = None) -> None:
        """What was checked when it was registered is checked again where it is used: the policy may have changed."""
        try:
            git.check_url(remote.url, self._policy)
            if branch is not None:
                check_branch(branch)
            if commit is not None:
                check_commit(commit)
        except Invalid as error:
            raise RepositoryRefused(*error.args) from None

    async def _fetch_tags(self, mirror: Mirror, remote: Remote, deadline: Deadline) -> str:
        """What is wrong, if anything.  A build is not lost for the lack of tags: its commit is here."""
        try:
            await mirror.fetch_tags(remote, self._deadline(deadline.left() / 2))
        except RepositoryError as error:
            return str(error)
        return ""

    @contextmanager
    def _nothing_raised(self, what: str, number: int) -> Iterator[None]:
        try:
            yield
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the seam promises that nothing is raised, so it is logged
            self._log.failure("{what} failed: {number}", what=what, number=number)

    def _complain(self, problems: Sequence[str]) -> None:
        for problem in problems[:10]:
            self._log.warn("not removed: {problem}", problem=problem)


def _keep(users: Users, workspaces: Sequence[Path]) -> None:
    """Builds of an earlier server's time keep their users for as long as their workspaces are here."""
    for path in workspaces:
        uid = workspace.owner_of(path)
        if uid is not None:
            users.keep(int(path.name), uid)


def _all_lent(limit: float) -> Callable[[object, float], Failure]:
    error = RepositoryUnreachable("no user was free for the build for the whole time limit", f"{limit:g} s")
    return lambda _result, _timeout: Failure(error)


class _Told:
    """What a checkout says to the people who read its log."""

    def __init__(self, log: Callable[[bytes], None]) -> None:
        self._log = log

    def say(self, line: str) -> None:
        self._log(f"{line}\n".encode("utf-8", "replace"))

    @contextmanager
    def listening(self) -> Iterator[Callable[[bytes], None]]:
        """Passes on what one command says, line by line."""
        lines = git.Lines()
        try:
            yield lambda data: self._pass_on(lines.feed(data))
        finally:
            self._pass_on(lines.end())

    def _pass_on(self, said: bytes) -> None:
        if said:
            self._log(said)
