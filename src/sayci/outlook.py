"""How every project stands, kept in memory: loaded once, and moved by what the bus tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from sayci.build import Build, BuildState, Cause
from sayci.bus import Bus
from sayci.change import branch_of, ref_of
from sayci.event import BuildChanged, Event, ProjectChanged, ProjectRemoved
from sayci.project import Project
from sayci.step import Result
from sayci.usual import usual

#: How many of a project's newest builds are remembered.
LENGTH = 40


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a build; the names are those of Build."""

    number: int
    ref: str
    cause: Cause
    deploys: bool
    state: BuildState
    result: Result | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def branch(self) -> str | None:
        """The short name of the branch, None when the ref is not a branch."""
        return branch_of(self.ref)

    @property
    def is_telling(self) -> bool:
        """Whether it says how its branch stands: it has ended, and was neither cancelled nor skipped."""
        return self.result not in (None, Result.CANCELLED, Result.SKIPPED)

    @property
    def seconds(self) -> float | None:
        """How long it ran; None of one that has not, or not yet ended."""
        return None if self.started_at is None or self.finished_at is None else self.finished_at - self.started_at


def past_of(build: Build) -> Past:
    """What is remembered of `build`."""
    return Past(
        build.number,
        build.ref,
        build.cause,
        build.deploys,
        build.state,
        build.result,
        build.created_at,
        build.started_at,
        build.finished_at,
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """A project with its newest builds, the newest first.

    `past` has at most LENGTH of them, and after those the last one that says how the default branch stands, if it is
    older.  `newest` is the newest build with all that is known of it.
    """

    project: Project
    newest: Build | None = None
    past: tuple[Past, ...] = ()

    @property
    def standing(self) -> Past | None:
        """The build that says how the project stands."""
        ref = ref_of(self.project.settings.default_branch)
        return next((past for past in self.past if past.ref == ref and past.is_telling), None)

    def usual(self, build: Build | Past) -> float | None:
        """How long a build like this one usually takes: one of the project with the same steps."""
        kind = (build.cause is Cause.DEPLOY, build.deploys)
        return usual(
            [
                past.seconds
                for past in self.past
                if past.result is Result.SUCCESS
                and past.seconds is not None
                and (past.cause is Cause.DEPLOY, past.deploys) == kind
            ]
        )

    def with_build(self, build: Build) -> Outlook:
        """The outlook once a build was made, or has moved."""
        by_number = {past.number: past for past in self.past} | {build.number: past_of(build)}
        past = [by_number[number] for number in sorted(by_number, reverse=True)]
        is_newest = self.newest is None or build.number >= self.newest.number
        changed = replace(self, past=tuple(past[:LENGTH]), newest=build if is_newest else self.newest)
        if changed.standing is None:
            older = replace(self, past=tuple(past[LENGTH:])).standing
            changed = replace(changed, past=(*changed.past, *([older] if older else [])))
        return changed


class Outlooks:
    """The outlooks of all projects.

    `load` answers those of some projects, or of all (None), as the store has them.  Nothing is loaded before somebody asks;
    from then on the bus keeps them.
    """

    def __init__(self, load: Callable[[Sequence[int] | None], Awaitable[Sequence[Outlook]]], bus: Bus) -> None:
        self._load = load
        self._bus = bus
        self._all: dict[int, Outlook] = {}
        self._stale: set[int] = set()
        self._early: list[Event] | None = None
        self._waiting: list[Deferred[object]] = []
        self._is_loaded = False
        self._unsubscribe: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Hear no more."""
        self._unsubscribe()

    async def all(self) -> Sequence[Outlook]:
        """Every project's, by id.  Raises what the store raises."""
        while not self._is_loaded or self._stale:
            await self._up_to_date()
        return sorted(self._all.values(), key=lambda outlook: outlook.project.id)

    async def of(self, project: Project) -> Outlook:
        """The outlook of one project."""
        await self.all()
        return self._all.get(project.id) or Outlook(project)

    def usual(self, build: Build) -> float | None:
        """How long a build like this one usually takes, as far as is known now."""
        outlook = self._all.get(build.project_id)
        return None if outlook is None else outlook.usual(build)

    # -- loading

    async def _up_to_date(self) -> None:
        """Load what is missing; those who want it at the same time share one reading."""
        waiting: Deferred[object] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._load_missing()).addBoth(self._hand_out)
        await waiting

    def _hand_out(self, outcome: object) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:  # else it has gone
                each.callback(outcome)

    async def _load_missing(self) -> None:
        which = sorted(self._stale) if self._is_loaded else None
        if which is None:
            self._unsubscribe()
            self._unsubscribe = self._bus.subscribe(self._heard)
        self._early = []
        self._stale.clear()
        try:
            found = await self._load(which)
            self._all.update({outlook.project.id: outlook for outlook in found})
            self._is_loaded = True
        except BaseException:
            self._stale.update(which or ())
            raise
        finally:
            # What moved meanwhile may be newer than what was read.
            early, self._early = self._early, None
            for event in early:
                self._heard(event)

    # -- what moves them

    def _heard(self, event: Event) -> None:
        if self._early is not None:
            self._early.append(event)
            return
        match event:
            case BuildChanged(build):
                known = self._all.get(build.project_id)
                if known is None:
                    self._stale.add(build.project_id)
                else:
                    self._all[build.project_id] = known.with_build(build)
            case ProjectChanged(project):
                known = self._all.get(project.id)
                if known is None or known.project.settings != project.settings:
                    self._stale.add(project.id)
                else:
                    self._all[project.id] = replace(known, project=project)
            case ProjectRemoved(project):
                self._all.pop(project.id, None)
                self._stale.discard(project.id)
