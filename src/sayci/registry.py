"""Registers projects and changes their settings: the repository is asked before anything is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from twisted.logger import Logger

from sayci.account import new_secret
from sayci.background import Background
from sayci.bus import Bus
from sayci.errors import RepositoryDenied, RepositoryError, RepositoryRefused
from sayci.event import AccessChanged, ProjectChanged, ProjectRemoved
from sayci.git import Policy, check_url
from sayci.interfaces import LogStore, Remote, Sources, Store
from sayci.project import MirrorState, Project, Settings


class Registry:
    """The verbs that make, change and remove projects."""

    _log = Logger()

    def __init__(
        self,
        store: Store,
        sources: Sources,
        logs: LogStore,
        bus: Bus,
        policy: Policy,
        clock: Callable[[], float],
        require_idle: Callable[[int], None],
    ) -> None:
        self._store = store
        self._sources = sources
        self._logs = logs
        self._bus = bus
        self._policy = policy
        self._clock = clock
        self._require_idle = require_idle
        self._background = Background()

    async def start(self) -> None:
        """Go on with the mirrors that a stopped server had not finished making or removing."""
        after: int | None = 0
        while after is not None:
            page = await self._store.projects(after=after)
            for project in page.items:
                if project.mirror is MirrorState.CLONING:
                    self._clone_in_background(project)
                elif project.mirror is MirrorState.REVOKED:
                    self._background.start(self._sources.remove(project.id), f"removing the clone of {project.name}")
            after = page.next

    async def stop(self) -> None:
        """Leave mirrors as they are; the next server goes on."""
        self._background.cancel()
        await self._background.idle()

    async def register(self, settings: Settings, access_token: str = "") -> tuple[Project, str]:
        """Ask the repository, then register the project; its mirror is cloned afterwards.

        Answers the project and its webhook secret, which is not shown again.  Raises Invalid, NameTaken,
        RepositoryRefused (with what is wrong) and RepositoryUnreachable.
        """
        settings = replace(settings, url=check_url(settings.url, self._policy))
        heads = await self._ask(settings, access_token)
        secret = new_secret()
        project = await self._store.add_project(settings, secret, access_token, self._clock())
        await self._store.see_heads(project.id, heads)  # what is there already is not news
        self._bus.publish(ProjectChanged(project))
        self._clone_in_background(project)
        return project, secret

    async def change(self, name: str, change: Callable[[Settings], Settings]) -> Project:
        """Give the project other settings; a new URL is asked first.  Raises as `register` does, and UnknownProject."""
        before = await self._store.project(name)
        after = change(before.settings)
        moved = after.url != before.settings.url
        if moved:
            check_url(after.url, self._policy)
            self._require_idle(before.id)
            heads = await self._ask(after, await self._store.access_token(before.id))
        project = await self._store.change_project(name, change)
        if moved:
            await self._store.see_heads(project.id, heads)
            # Objects of the old address must not stay readable through the mirror of the new one.
            await self._sources.remove(project.id)
            project = await self._store.set_mirror(project.id, MirrorState.CLONING)
            self._clone_in_background(project)
        self._bus.publish(ProjectChanged(project))
        if moved or after.forge_api != before.settings.forge_api:  # the forge gave access to the other repository
            self._bus.publish(AccessChanged())
        return project

    async def set_access_token(self, name: str, access_token: str) -> Project:
        """Replace the forge's access token, or remove it with "".  Raises UnknownProject."""
        project = await self._store.set_access_token(name, access_token)
        if project.is_unreadable:
            project = await self._store.set_mirror(project.id, MirrorState.CLONING)
            self._clone_in_background(project)
        self._bus.publish(ProjectChanged(project))
        return project

    async def revoke(self, project_id: int, error: RepositoryDenied) -> None:
        """Remove the clone of a repository that lets sayci in no more; builds and logs stay.  Raises UnknownProject."""
        project = await self._store.set_mirror(project_id, MirrorState.REVOKED, str(error))
        self._bus.publish(ProjectChanged(project))
        self._log.warn("{project}: access is revoked, its clone is removed: {error}", project=project.name, error=error)
        await self._sources.remove(project_id)

    async def regain(self, project_id: int) -> None:
        """Clone a repository again that lets sayci in once more.  Raises UnknownProject."""
        project = await self._store.set_mirror(project_id, MirrorState.CLONING)
        self._bus.publish(ProjectChanged(project))
        self._clone_in_background(project)

    async def new_webhook_secret(self, name: str) -> str:
        """Replace the webhook secret; the old one is worth nothing from now on.  Raises UnknownProject."""
        secret = new_secret()
        project = await self._store.set_webhook_secret(name, secret)
        self._bus.publish(ProjectChanged(project))
        return secret

    async def remove(self, name: str) -> None:
        """Remove the project, its builds, logs and mirror.  Raises UnknownProject; Conflict while builds wait or run."""
        project = await self._store.project(name)
        self._require_idle(project.id)
        builds = await self._build_ids(project)
        await self._store.remove_project(name)
        self._bus.publish(ProjectRemoved(project))
        self._background.start(self._sweep(project, builds), f"removing what was {project.name}'s")

    # -- its own

    async def _ask(self, settings: Settings, access_token: str) -> Mapping[str, str]:
        heads = await self._sources.heads(Remote(settings.url, access_token))
        # An empty repository may be registered: its first push is built like any other.
        if heads and settings.default_branch not in heads:
            raise RepositoryRefused(
                "the repository has no such branch; say which is the default branch",
                settings.default_branch,
                "it has " + " ".join(sorted(heads)[:10]),
            )
        return heads

    def _clone_in_background(self, project: Project) -> None:
        self._background.start(self._clone(project), f"cloning {project.name}")

    async def _clone(self, project: Project) -> None:
        remote = Remote(project.settings.url, await self._store.access_token(project.id))
        try:
            await self._sources.clone(project.id, remote, project.settings.default_branch)
        except RepositoryDenied as error:
            await self.revoke(project.id, error)
            return
        except RepositoryError as error:
            changed = await self._store.set_mirror(project.id, MirrorState.FAILED, str(error))
        else:
            changed = await self._store.set_mirror(project.id, MirrorState.READY)
        self._bus.publish(ProjectChanged(changed))

    async def _build_ids(self, project: Project) -> list[int]:
        ids: list[int] = []
        before: int | None = None
        while True:
            page = await self._store.builds(project.id, before=before, limit=500)
            ids += [build.id for build in page.items]
            before = page.next
            if before is None:
                return ids

    async def _sweep(self, project: Project, builds: list[int]) -> None:
        await self._sources.remove(project.id)
        for build_id in builds:
            await self._logs.remove(build_id)
