"""What the forge is told of a build: commit statuses, made from a build and nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sayci.build import Build, BuildState
from sayci.step import DEPLOY, Result, Step, StepState, worst_of

#: GitHub cuts longer ones with an error.
DESCRIPTION_LIMIT = 140
TEST_CONTEXT, DEPLOY_CONTEXT = "sayci/test", "sayci/deploy"


class StatusState(enum.Enum):
    """The four words of GitHub's commit statuses."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """What is said of one commit under one name.

    `build` is the number of the build that says it: what a newer build says replaces it.  `commit` is a full object name.
    """

    project_id: int
    project: str
    build: int
    commit: str
    context: str
    state: StatusState
    description: str


@dataclass(frozen=True, slots=True)
class DueStatus:
    """A status from the outbox with what it takes to post it.

    `version` grows with each change of the status, so that a post which was overtaken is not taken for the newest.
    `attempts` counts the posts of this version that failed.  `url` is the build's page, `repository` the address under
    which the project is registered.
    """

    id: int
    version: int
    attempts: int
    status: CommitStatus
    url: str
    forge_api: str
    repository: str


_STATE_OF = {
    Result.SUCCESS: StatusState.SUCCESS,
    Result.FAILURE: StatusState.FAILURE,
    Result.TIMED_OUT: StatusState.FAILURE,
    Result.CANCELLED: StatusState.ERROR,
    Result.SKIPPED: StatusState.ERROR,
    Result.ERROR: StatusState.ERROR,
    Result.UNKNOWN: StatusState.ERROR,
}
_WORDS_OF = {
    Result.SUCCESS: "succeeded",
    Result.FAILURE: "failed",
    Result.TIMED_OUT: "timed out",
    Result.CANCELLED: "cancelled",
    Result.SKIPPED: "skipped",
    Result.ERROR: "could not run",
    Result.UNKNOWN: "unknown: needs an answer",
}


def _said(build: Build, context: str, steps: list[Step]) -> tuple[StatusState, str]:
    name = "deploy" if context == DEPLOY_CONTEXT else "test"
    results = [step.result for step in steps if step.result is not None]
    ended_early = any(result not in (Result.SUCCESS, Result.SKIPPED) for result in results)
    if all(step.state is StepState.FINISHED for step in steps) or ended_early:
        worst = worst_of(results)
        if worst is Result.SKIPPED and build.result is Result.CANCELLED:
            worst = Result.CANCELLED
        reason = next((step.reason for step in steps if step.result is worst and step.reason), "")
        if worst is Result.CANCELLED:
            reason = build.reason or reason
        words = f"#{build.number} {name} {_WORDS_OF[worst]}"
        return _STATE_OF[worst], f"{words}: {reason}" if reason else words
    if build.state is BuildState.QUEUED:
        return StatusState.PENDING, f"#{build.number} waits"
    return StatusState.PENDING, f"#{build.number} {name} is running"


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= DESCRIPTION_LIMIT else words[: DESCRIPTION_LIMIT - 1] + "…"


def statuses_of(build: Build) -> tuple[CommitStatus, ...]:
    """What is to be said of the build's commit now: of its test with its checkout, and of its deploy once that matters.

    A deploy that was skipped because the test did not succeed says nothing.
    """
    groups = []
    if build.tests:
        groups.append((TEST_CONTEXT, [step for step in build.steps if step.name != DEPLOY]))
    if build.deploys:
        deploy = build.step(DEPLOY)
        silent = build.tests and (deploy.state is StepState.PENDING or deploy.result is Result.SKIPPED)
        if not silent:
            groups.append((DEPLOY_CONTEXT, [deploy] if build.tests else list(build.steps)))
    statuses = []
    for context, steps in groups:
        state, words = _said(build, context, steps)
        statuses.append(
            CommitStatus(build.project_id, build.project, build.number, build.commit, context, state, _short(words))
        )
    return tuple(statuses)
