"""A build: one commit taken through its steps; and every move that it can make, as pure functions."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, replace

from sayci.change import MESSAGE_LIMIT, NAME_LIMIT, branch_of, cut
from sayci.errors import IllegalMove, UnknownStep
from sayci.step import DEPLOY, TEST, Result, Step, StepState, worst_of


class Cause(enum.Enum):
    """Why there is this build."""

    PUSH = "push"
    MANUAL = "manual"
    REBUILD = "rebuild"
    CATCH_UP = "catch-up"  #: found by asking the repository: nobody had told of it
    DEPLOY = "deploy"  #: a person asked for the deploy of a commit that is green


class BuildState(enum.Enum):
    """Where a build is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"  #: a person asked for its end; its processes are being ended
    FINISHED = "finished"


#: The legal moves of a build: (state, event) -> state.  docs/architecture.rst prints it.
BUILD_MOVES: dict[tuple[BuildState, str], BuildState] = {
    (BuildState.QUEUED, "claim"): BuildState.RUNNING,
    (BuildState.QUEUED, "cancel"): BuildState.FINISHED,
    (BuildState.RUNNING, "cancel"): BuildState.CANCELLING,
    (BuildState.RUNNING, "finish"): BuildState.FINISHED,
    (BuildState.RUNNING, "requeue"): BuildState.QUEUED,
    (BuildState.CANCELLING, "finish"): BuildState.FINISHED,
}


@dataclass(frozen=True, slots=True)
class NewBuild:
    """A build that is to be made; the store gives it its number.

    `source` is the number of the build that is run again or whose commit is deployed.  `supersedes` says that queued
    builds of the same ref that no person has asked for are cancelled by this one.
    """

    project_id: int
    cause: Cause
    ref: str
    commit: str
    steps: tuple[Step, ...]
    message: str = ""
    author: str = ""
    delivery_id: int | None = None
    source: int | None = None
    supersedes: bool = False
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """One commit taken through its steps.

    `number` counts per project; `id` counts for the whole server and names the build's directories.  `attempt` counts from
    1; it grows when an interrupted build is queued again.  Times are seconds since the epoch.
    """

    id: int
    project_id: int
    project: str
    number: int
    cause: Cause
    ref: str
    commit: str
    steps: tuple[Step, ...]
    created_at: float
    state: BuildState = BuildState.QUEUED
    result: Result | None = None
    reason: str = ""
    message: str = ""
    author: str = ""
    delivery_id: int | None = None
    source: int | None = None
    asked_by: str = ""
    attempt: int = 1
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def branch(self) -> str | None:
        """The short name of the branch, None when the ref is not a branch."""
        return branch_of(self.ref)

    @property
    def deploys(self) -> bool:
        """Whether a deploy is among the steps."""
        return any(step.name == DEPLOY for step in self.steps)

    @property
    def tests(self) -> bool:
        """Whether a test is among the steps."""
        return any(step.name == TEST for step in self.steps)

    @property
    def is_green(self) -> bool:
        """Whether its tests have succeeded, whatever came of a deploy."""
        return any(step.name == TEST and step.result is Result.SUCCESS for step in self.steps)

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.state is not BuildState.FINISHED

    def step(self, name: str) -> Step:
        """The step called `name`; raises UnknownStep."""
        for step in self.steps:
            if step.name == name:
                return step
        raise UnknownStep("the build has no such step", name[:80])

    # -- moves: each returns the build after it, or raises IllegalMove and nothing has changed

    def _moved(self, event: str) -> BuildState:
        try:
            return BUILD_MOVES[self.state, event]
        except KeyError:
            raise IllegalMove("the build cannot do that now", f"#{self.number} is {self.state.value}", event) from None

    def claimed(self, now: float) -> Build:
        """A runner has taken it."""
        return replace(self, state=self._moved("claim"), started_at=now)

    def with_step(self, step: Step) -> Build:
        """The build with its step of that name replaced; only a build that runs has steps that move."""
        if self.state not in (BuildState.RUNNING, BuildState.CANCELLING):
            raise IllegalMove("the build is not running", f"#{self.number} is {self.state.value}")
        self.step(step.name)
        return replace(self, steps=tuple(step if step.name == old.name else old for old in self.steps))

    def described(self, message: str, author: str) -> Build:
        """The build with what its commit says of itself, where nobody has said so yet."""
        return (
            self if self.message else replace(self, message=cut(message, MESSAGE_LIMIT), author=cut(author, NAME_LIMIT))
        )

    def cancelled(self, now: float, reason: str) -> Build:
        """Somebody, or a newer push, wants its end: at once while it is queued, else as soon as its processes are gone."""
        state = self._moved("cancel")
        if state is BuildState.FINISHED:
            return replace(self, state=BuildState.RUNNING, reason=reason).finished(now, Result.CANCELLED, reason)
        return replace(self, state=state, reason=reason)

    def finished(self, now: float, result: Result | None = None, reason: str = "") -> Build:
        """It has ended: `result` is the worst of its steps' unless it is given.  Steps that never ran are skipped."""
        state = self._moved("finish")
        steps = tuple(
            step.finished(now, Result.SKIPPED) if step.state is not StepState.FINISHED else step for step in self.steps
        )
        worst = result or worst_of([step.result for step in steps if step.result is not None])
        told = (
            reason or self.reason or next((step.reason for step in steps if step.result is worst and step.reason), "")
        )
        return replace(self, state=state, steps=steps, result=worst, reason=told, finished_at=now)

    def answered(self, now: float, by: str, *, arrived: bool) -> Build:
        """A person has said whether a deploy arrived that nobody knew the end of; its words say who and when.

        The build has ended before and after.  Raises IllegalMove when there is nothing to answer.
        """
        asked = next((step for step in self.steps if step.name == DEPLOY and step.result is Result.UNKNOWN), None)
        if self.is_open or asked is None:
            raise IllegalMove("the build has no question to answer", f"#{self.number}")
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
        told = f"{by} said on {when} that it {'arrived' if arrived else 'did not arrive'}"
        step = replace(asked, result=Result.SUCCESS if arrived else Result.FAILURE, reason=told)
        steps = tuple(step if other is asked else other for other in self.steps)
        worst = worst_of([other.result for other in steps if other.result is not None])
        return replace(self, steps=steps, result=worst, reason=told)

    def requeued(self, reason: str) -> Build:
        """It was interrupted before it could end, and is to run again from its first step."""
        return replace(
            self,
            state=self._moved("requeue"),
            steps=tuple(step.requeued() for step in self.steps),
            attempt=self.attempt + 1,
            reason=reason,
            started_at=None,
        )
