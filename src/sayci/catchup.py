"""Finds what nobody has told of: pushes whose webhooks were lost, or came while no server was there.

Each project's repository is asked for its branches, at the start of the server and now and then after that, a project at a
time.  Whatever has moved since it was last seen, and was not built, is built once, as it is now.

A repository that denies itself twice in a row, a round apart, has revoked the access: its clone is removed, until it answers
again.  One that does not answer at all says nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci.background import Background
from sayci.change import Change, ref_of
from sayci.errors import Invalid, RepositoryDenied, RepositoryError, SayciError
from sayci.inbox import Inbox
from sayci.interfaces import Remote, Sources, Store
from sayci.project import MirrorState, Project
from sayci.registry import Registry

#: Most seconds between two projects; the pauses differ by chance, so that many servers do not ask one forge together.
PAUSE = 2.0
#: The longest time until a repository that does not answer is asked again, in seconds.
LONGEST_BACKOFF = 24 * 3600.0
#: Branches that are looked at more closely at one time; the others' turn comes with the next.
CLOSELY = 100


class CatchUp:
    """Asks the repositories, every `interval` seconds more or less; 0 is never.  `random` answers 0 to 1."""

    _log = Logger()

    def __init__(
        self,
        store: Store,
        sources: Sources,
        inbox: Inbox,
        registry: Registry,
        clock: IReactorTime,
        *,
        interval: float,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._sources = sources
        self._inbox = inbox
        self._registry = registry
        self._clock = clock
        self._interval = interval
        self._random = random
        self._background = Background()
        #: By project: how often in a row its repository has not answered, and until when it is left alone.
        self._failed: dict[int, tuple[int, float]] = {}
        #: The projects whose repositories were denied when they said anything at all the last time.
        self._denied: set[int] = set()

    def start(self) -> None:
        """Begin with a look at every project."""
        if self._interval > 0:
            self._background.start(self._rounds(), "looking for what nobody told of")

    async def stop(self) -> None:
        """Look no more; the next server does."""
        self._background.cancel()
        await self._background.idle()

    async def _rounds(self) -> None:
        while True:
            await self._round()
            await deferLater(self._clock, self._interval * (0.75 + self._random() / 2))

    async def _round(self) -> None:
        after: int | None = 0
        while after is not None:
            try:
                page = await self._store.projects(after=after)
            except SayciError:
                return
            for project in page.items:
                if self._clock.seconds() >= self._failed.get(project.id, (0, 0.0))[1]:
                    await self._surely(project)
                    await deferLater(self._clock, PAUSE * self._random())
            after = page.next

    async def _surely(self, project: Project) -> None:
        """Look at a project; whatever is wrong with one is no reason to leave out the others."""
        try:
            await self.look(project)
        except CancelledError:
            raise
        except RepositoryDenied as error:
            self._failed.pop(project.id, None)
            await self._deny(project, error)
        except RepositoryError as error:
            times = self._failed.get(project.id, (0, 0.0))[0] + 1
            pause = min(self._interval * 2.0 ** min(times, 20), LONGEST_BACKOFF)
            self._failed[project.id] = (times, self._clock.seconds() + pause)
            if times == 1:
                self._log.info("{project} cannot be asked for its branches: {error}", project=project.name, error=error)
        except Exception:  # noqa: BLE001 - the other projects' turn must come; it is logged
            self._log.failure("looking at the repository of {project} failed", project=project.name)
        else:
            self._failed.pop(project.id, None)

    async def _deny(self, project: Project, error: RepositoryDenied) -> None:
        if project.id not in self._denied:
            self._denied.add(project.id)
            self._log.info("{project} is denied: {error}", project=project.name, error=error)
        elif project.mirror is not MirrorState.REVOKED:
            with self._log.failuresHandled("removing the clone of {project} failed", project=project.name):
                await self._registry.revoke(project.id, error)

    async def look(self, project: Project) -> None:
        """Ask one repository, and build what has moved.  Raises RepositoryError, and what the store raises."""
        remote = Remote(project.settings.url, await self._store.access_token(project.id))
        with self._inbox.listening() as heard:
            heads = await self._sources.heads(remote)
            self._denied.discard(project.id)
            if project.mirror is MirrorState.REVOKED:
                await self._registry.regain(project.id)
            seen = await self._store.seen_heads(project.id)
            if seen is None:  # what is there when a project is seen for the first time is old
                await self._store.see_heads(project.id, heads)
                return
            moved = {branch: commit for branch, commit in heads.items() if seen.get(branch) != commit}
            known = dict(heads)
            for number, (branch, commit) in enumerate(moved.items()):
                if number >= CLOSELY or not await self._is_done(project, remote, branch, commit, heard):
                    _forget(known, branch, seen)
        await self._store.see_heads(project.id, known)

    async def _is_done(
        self, project: Project, remote: Remote, branch: str, commit: str, heard: set[tuple[int, str]]
    ) -> bool:
        """See to a branch that has moved; whether nothing is left to do, now or later."""
        try:
            change = Change(ref_of(branch), commit)
        except Invalid:
            return True  # a name that no push could have either
        if await self._store.was_built(project.id, change.ref, commit):
            return True
        try:
            await self._sources.clone(project.id, remote, branch)
            change = Change(change.ref, commit, *await self._sources.describe(project.id, commit))
        except RepositoryError:
            return False  # it has moved on, or is gone: the next look says
        if change.asks_to_skip:
            return True
        self._log.info(
            "{project}: nobody told of {commit} on {branch}", project=project.name, commit=commit, branch=branch
        )
        return await self._inbox.find(project, change, heard)


def _forget(known: dict[str, str], branch: str, seen: Mapping[str, str]) -> None:
    """Keep of a branch what was known before."""
    if branch in seen:
        known[branch] = seen[branch]
    else:
        del known[branch]
