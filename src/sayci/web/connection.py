"""How far a project is from being built by itself: repository, webhook, first build, and whether the forge is told.

`checks_of` and `steps_of` are pure; `Connections` finds out what they speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sayci.build import Build
from sayci.interfaces import Store, ToldStatus
from sayci.outlook import Outlook, Outlooks
from sayci.project import MirrorState, Project
from sayci.refusals import Refusals
from sayci.step import Result
from sayci.web.arrivals import Light, light_of
from sayci.web.sayings import Saying, doing, mark_of, standing
from sayci.web.words import due


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is as it should be, or is not yet: a mark, what it is, how it is; `more` are words of others.

    `path` leads to where something can be done about it, and `link` says what.
    """

    mark: str
    title: str
    text: str
    more: str = ""
    path: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a project's ties: the webhook's light, the newest build, and what the forge was told of its commit.

    `is_green` says that a build of it has succeeded.
    """

    project: Project
    light: Light
    outlook: Outlook
    statuses: Sequence[ToldStatus] = ()

    @property
    def newest(self) -> Build | None:
        """The newest build."""
        return self.outlook.newest

    @property
    def is_green(self) -> bool:
        """Whether a build of it has ever succeeded, among those that are remembered."""
        return any(past.result is Result.SUCCESS for past in self.outlook.past)


class Connections:
    """Finds out how projects are connected: two short questions to the database for each."""

    def __init__(self, store: Store, outlooks: Outlooks, refusals: Refusals) -> None:
        self._store = store
        self._outlooks = outlooks
        self._refusals = refusals

    async def of(self, project: Project) -> Connection:
        """How a project is connected now."""
        delivery = next(iter((await self._store.deliveries(project.id, limit=1)).items), None)
        outlook = await self._outlooks.of(project)
        newest = outlook.newest
        told = () if newest is None else await self._store.told_statuses(project.id, newest.commit)
        return Connection(project, light_of(delivery, self._refusals.of(project.id)), outlook, told)

    def forget_refusals(self, project: Project) -> None:
        """What was refused before a new secret says nothing any more."""
        self._refusals.forget(project.id)


# ------------------------------------------------------------------------------------------------ one by one


def _repository(project: Project) -> Check:
    settings = f"/{project.name}/settings#builds"
    match project.mirror:
        case MirrorState.READY:
            return Check("success", "Repository", "sayci has a copy of it.")
        case MirrorState.CLONING:
            return Check("running", "Repository", "It is being copied.")
        case MirrorState.FAILED:
            words = "It cannot be read:"
        case MirrorState.REVOKED:
            words = "It lets sayci in no more:"
    return Check("error", "Repository", words, project.mirror_error, settings, "Look at its address and its access")


def _webhook(project: Project, light: Light) -> Check:
    mark = "queued" if light.mark == "ping" else light.mark
    deliveries = f"/{project.name}/deliveries"
    if light.is_green:
        return Check(mark, "Webhook", f"{light.news}. {light.rest}", path=deliveries, link="Deliveries")
    text = f"{light.news}. {light.rest}"
    return Check(mark, "Webhook", text, path=f"/{project.name}/settings/webhook", link="How to set it up")


def _statuses(connection: Connection, now: float) -> Check:
    project, title = connection.project, "Commit statuses"
    access = f"/{project.name}/settings#access"
    if not project.has_access_token:
        text = "No token is set, so the forge is not told how builds went."
        return Check("queued", title, text, path=access, link="Set a token")
    untold = [status for status in connection.statuses if not status.told]
    bad = next((status for status in untold if status.error), None)
    if bad is not None:
        again = f" The next try is {due(bad.retry_at, now)}." if bad.retry_at is not None else " It was given up."
        return Check(
            "failure", title, f"The forge did not take {bad.context}.{again}", bad.error, access, "Set another token"
        )
    if untold:
        return Check("running", title, "The forge is being told.")
    if not connection.statuses:
        return Check("success", title, "A token is set; the forge will be told how builds go.")
    last = connection.statuses[-1]
    return Check("success", title, f"The forge has the last one: {last.context}, {last.state}.")


def _build(connection: Connection) -> Check:
    project, newest = connection.project, connection.newest
    branch = project.settings.default_branch
    stands = standing(project, connection.outlook.past)
    if newest is None:
        return Check("queued", "Builds", f"None yet. A push to {branch} makes the first, or the button above.")
    path, link = f"/{project.name}/{newest.number}", f"See #{newest.number}"
    if newest.is_open and stands is None:
        return Check("running", "Builds", f"#{newest.number} is {doing(newest)}.", path=path, link=link)
    if stands is None:
        return Check("queued", "Builds", f"{branch} has no result yet.", path=path, link=link)
    words = "passes" if stands.result is Result.SUCCESS else "does not pass"
    path, link = f"/{project.name}/{stands.number}", f"See #{stands.number}"
    return Check(mark_of(stands), "Builds", f"{branch} {words}.", path=path, link=link)


def _deploys(project: Project) -> Check:
    settings = project.settings
    if settings.deploy_branch:
        return Check(
            "success", "Deploys", f"A push to {settings.deploy_branch} is deployed with make {settings.deploy_target}."
        )
    return Check("skipped", "Deploys", "None: no deploy branch is named.")


def checks_of(connection: Connection, now: float) -> Sequence[Check]:
    """What is connected and what is missing, for who configures the project."""
    return (
        _repository(connection.project),
        _webhook(connection.project, connection.light),
        _build(connection),
        _statuses(connection, now),
        _deploys(connection.project),
    )


# ------------------------------------------------------------------------------------------------ the first time


def _first_build(connection: Connection) -> tuple[Check, Check]:
    """The steps of the first build and of the first green one."""
    project, newest = connection.project, connection.newest
    branch = project.settings.default_branch
    green = Check("queued", "The first green build", "make test has to end with 0.")
    if newest is None:
        return Check("queued", "The first build", f"Push to {branch}, or build it now."), green
    path, link = f"/{project.name}/{newest.number}", f"See #{newest.number}"
    if newest.is_open:
        return Check("running", "The first build", f"#{newest.number} is {doing(newest)}.", path=path, link=link), green
    first = Check("success", "The first build", f"#{newest.number} has run.")
    if connection.is_green:
        return first, Check("success", "The first green build", f"#{newest.number} succeeded.", path=path, link=link)
    words = f"#{newest.number} did not succeed:"
    return first, Check(mark_of(newest), "The first green build", words, newest.reason, path, link)


def steps_of(connection: Connection) -> Sequence[Check]:
    """The way from signing in to the first green build, as far as it is gone."""
    project = connection.project
    added = Check("success", f"{project.name} is added", project.settings.url)
    signed_in = Check("success", "You are signed in", "")
    return signed_in, added, _repository(project), _webhook(project, connection.light), *_first_build(connection)


def saying_of_steps(connection: Connection) -> Saying:
    """The news of the way to the first green build."""
    project, newest = connection.project, connection.newest
    if connection.is_green:
        return Saying("success", project.name, "has its first green build.")
    if project.is_unreadable:
        return Saying("error", project.name, "cannot be read.")
    if newest is not None and newest.is_open:
        return Saying("running", project.name, "is being built for the first time.")
    if newest is not None:
        return Saying(mark_of(newest), project.name, "is built, and not green yet.")
    if connection.light.mark == "failure":
        return Saying("failure", project.name, "refused what came:", "see the webhook.")
    if connection.light.is_green:
        return Saying("success", project.name, "is connected.", "Push something.")
    return Saying("queued", project.name, "is added.", "Now tell the forge.")


def saying_of_settings(connection: Connection) -> Saying:
    """Whether a project is connected, and what is missing."""
    project, light = connection.project, connection.light
    if project.is_unreadable:
        return Saying("error", project.name, "cannot be read:", "look at its address and its access.")
    match light.mark:
        case "success":
            return Saying("success", project.name, "is connected.")
        case "failure":
            return Saying("failure", project.name, "refused what came last.")
        case "error":
            return Saying("error", project.name, "is connected, but not for pushes.")
    return Saying("queued", project.name, "waits for its first ping.")
