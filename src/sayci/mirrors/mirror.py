"""One project's mirror: a bare repository that holds few refs, changed by one task at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from twisted.internet.defer import CancelledError, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sayci import git
from sayci.errors import CommitNotFound, RepositoryError, RepositoryUnreachable
from sayci.interfaces import Remote
from sayci.mirrors.client import Deadline, Git
from sayci.mirrors.command import Output
from sayci.mirrors.removal import remove
from sayci.mirrors.threads import Threads

#: Each fetch makes a pack; so many are put into one.
PACKS_LIMIT = 50

Listener = Callable[[bytes], None]


class Mirror:
    """The mirror at `path`.  Who changes it holds it: ``async with mirror.held(deadline): ...``."""

    def __init__(self, path: Path, client: Git, threads: Threads, clock: IReactorTime) -> None:
        self.path = path
        self._git = client
        self._threads = threads
        self._clock = clock
        self._lock = DeferredLock()
        self._swept = False

    @asynccontextmanager
    async def held(self, deadline: Deadline) -> AsyncIterator[None]:
        """Nobody else changes it in the meantime.  Raises RepositoryUnreachable when that cannot be had in time."""
        await self._lock.acquire().addTimeout(deadline.left(), self._clock, _in_use(deadline.limit))
        try:
            if not self._swept:
                # No git of this server is at work here, so what looks like it was left by one that was killed.
                await self._threads.call(_sweep, self.path)
                self._swept = True
            yield
        finally:
            self._lock.release()

    # -- while it is held

    async def fetch_branch(self, remote: Remote, branch: str, deadline: Deadline) -> bool:
        """Fetch a branch; whether there is one of that name."""
        found = await self._threads.call(_format_of, self.path) or "sha1"
        await self._make(found, deadline)
        command = git.fetch_branch(self.path, remote.url, branch)
        output = await self._fetch(command, remote, deadline)
        if git.has_other_format(output.stderr):
            await self._make("sha1" if found == "sha256" else "sha256", deadline)
            output = await self._fetch(command, remote, deadline)
        if git.lacks_ref(output.stderr):
            return False
        _require(output)
        return True

    async def fetch_commit(
        self, remote: Remote, commit: str, build_id: int, deadline: Deadline, listen: Listener, *, debug: bool
    ) -> None:
        """Fetch a commit for a build, which keeps it from being collected until the build is forgotten."""
        await self._make(git.format_of(commit), deadline)
        command = git.fetch_commit(self.path, remote.url, commit, build_id)
        output = await self._fetch(command, remote, deadline, listen, traces=debug)
        if git.hands_out_refs_only(output.stderr):
            _require(await self._fetch(git.fetch_heads(self.path, remote.url), remote, deadline, listen))
            output = await self._fetch(command, remote, deadline, listen, traces=debug)
        _require(output)

    async def fetch_tags(self, remote: Remote, deadline: Deadline) -> None:
        """Make the tags those of the repository."""
        _require(await self._fetch(git.fetch_tags(self.path, remote.url), remote, deadline))

    async def forget(self, build_id: int, deadline: Deadline) -> None:
        """Let go of a build's commit."""
        await self._git.done(git.forget_build(self.path, build_id), deadline)

    async def tidy(self, deadline: Deadline) -> None:
        """Put the packs into one, when there are many."""
        if await self._threads.call(_packs_in, self.path) >= PACKS_LIMIT:
            await self._git.done(git.collect(self.path), deadline)

    async def remove(self) -> list[str]:
        """Remove it; returns what could not be removed."""
        return await self._threads.call(remove, self.path)

    # -- at any time

    async def exists(self) -> bool:
        """Whether there is one."""
        return bool(await self._threads.call(_format_of, self.path))

    async def tags(self, deadline: Deadline) -> str:
        """Its tags as a packed-refs file."""
        output = await self._git.done(git.list_tags(self.path), deadline)
        return "" if output.cut else output.stdout.decode("utf-8", "surrogateescape")

    async def describe(self, commit: str, deadline: Deadline) -> tuple[str, str]:
        """Message and author of a commit.  Raises CommitNotFound when it is not here."""
        output = await self._git.run(git.describe(self.path, commit), deadline)
        if output.exit_code != 0:
            raise CommitNotFound("the project's mirror does not have this commit", commit)
        return git.description_of(output.stdout)

    # -- its own

    async def _make(self, object_format: str, deadline: Deadline) -> None:
        """Make sure that it is there and names its objects so; one that is empty may be made anew."""
        found = await self._threads.call(_format_of, self.path)
        if found == object_format:
            return
        packs = await self._threads.call(_packs_in, self.path)
        if found and packs:
            raise CommitNotFound("the repository names its commits by another hash", found)
        await self.remove()
        await self._git.done(git.init(self.path, object_format), deadline)

    async def _fetch(
        self,
        command: tuple[str, ...],
        remote: Remote,
        deadline: Deadline,
        listen: Listener | None = None,
        *,
        traces: bool = False,
    ) -> Output:
        """Run a fetch; what it has left when it did not come to its end is removed."""
        try:
            output = await self._git.run(command, deadline, remote=remote, listen=listen, traces=traces)
        except (RepositoryError, CancelledError):
            await self._threads.call(_sweep, self.path)
            raise
        if output.exit_code != 0:
            await self._threads.call(_sweep, self.path)
        return output


def _require(output: Output) -> None:
    if output.exit_code != 0 or git.is_shallow(output.stderr):
        raise git.explain(output.stderr, output.exit_code)


def _in_use(limit: float) -> Callable[[object, float], Failure]:
    error = RepositoryUnreachable("the project's mirror was in use for the whole time limit", f"{limit:g} s")
    return lambda _result, _timeout: Failure(error)


# ------------------------------------------------------------------------------------------------ blocking


def _format_of(mirror: Path) -> str:
    """How a mirror names its objects: ``sha1``, ``sha256``, or "" when there is none, or half of one."""
    if not (mirror / "objects").is_dir():  # made last
        return ""
    return "sha256" if "sha256" in (mirror / "config").read_text(encoding="utf-8").lower() else "sha1"


def _packs_in(mirror: Path) -> int:
    return sum(1 for _ in (mirror / "objects" / "pack").glob("*.pack"))


def holds_in(mirrors: Path) -> Iterator[tuple[int, list[int]]]:
    """For each mirror, which builds hold a commit of it: project's id, builds' ids."""
    for mirror in mirrors.glob("*.git"):
        builds = {path.name for path in (mirror / git.BUILDS).glob("[0-9]*")}
        try:
            packed = (mirror / "packed-refs").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            packed = ""
        builds |= {line.rpartition("/")[2] for line in packed.splitlines() if f" {git.BUILDS}/" in line}
        numbers = sorted(int(name) for name in builds if name.isdecimal())
        if numbers and mirror.stem.isdecimal():
            yield int(mirror.stem), numbers


def _sweep(mirror: Path) -> None:
    """Remove what a killed git has left: locks, and packs that were not complete."""
    packs = mirror / "objects" / "pack"
    patterns = (("tmp_*", packs), (".tmp-*", packs), ("*.keep", packs), ("*.lock", mirror / "objects" / "info"))
    left = [path for pattern, directory in patterns for path in directory.glob(pattern)]
    left += [*mirror.glob("*.lock"), *(mirror / "refs").rglob("*.lock"), mirror / "gc.pid"]
    for path in left:
        path.unlink(missing_ok=True)
