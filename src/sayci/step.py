"""The steps of a build, their results, and which steps a build has."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from sayci.errors import IllegalMove

CHECKOUT, TEST, DEPLOY = "checkout", "test", "deploy"


class Result(enum.Enum):
    """How a step or a build ended.  `failure` is the author's to mend, `error` is ours or the machine's."""

    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"


#: From the mildest to the one that a person must look at first.
_SEVERITY = (
    Result.SKIPPED,
    Result.SUCCESS,
    Result.CANCELLED,
    Result.FAILURE,
    Result.TIMED_OUT,
    Result.ERROR,
    Result.UNKNOWN,
)


def worst_of(results: list[Result]) -> Result:
    """What a mixture of results means for the whole: the most severe of them; `skipped` when there are none."""
    return max(results, key=_SEVERITY.index, default=Result.SKIPPED)


class StepState(enum.Enum):
    """Where a step is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"


#: The legal moves of a step: (state, event) -> state.  docs/architecture.rst prints it.
STEP_MOVES: dict[tuple[StepState, str], StepState] = {
    (StepState.PENDING, "start"): StepState.RUNNING,
    (StepState.PENDING, "finish"): StepState.FINISHED,
    (StepState.RUNNING, "start"): StepState.RUNNING,  # learns its launcher's handle, or is started anew
    (StepState.RUNNING, "finish"): StepState.FINISHED,
    (StepState.RUNNING, "requeue"): StepState.PENDING,
    (StepState.FINISHED, "requeue"): StepState.PENDING,
    (StepState.PENDING, "requeue"): StepState.PENDING,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a build.

    `handle` is the launcher's text by which the running command is found again.  `reason` is a sentence for people, such
    as "make test, exit 2".  Times are seconds since the epoch; `duration` is in seconds of the monotonic clock.
    """

    name: str
    state: StepState = StepState.PENDING
    result: Result | None = None
    reason: str = ""
    handle: str | None = None
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None

    def _moved(self, event: str) -> StepState:
        try:
            return STEP_MOVES[self.state, event]
        except KeyError:
            raise IllegalMove("the step cannot do that now", self.name, self.state.value, event) from None

    def started(self, now: float, handle: str | None = None) -> Step:
        """The step once its command runs, or is about to (`handle` None)."""
        return replace(self, state=self._moved("start"), started_at=self.started_at or now, handle=handle)

    def finished(
        self, now: float, result: Result, reason: str = "", exit_code: int | None = None, duration: float | None = None
    ) -> Step:
        """The step once its end is known."""
        return replace(
            self,
            state=self._moved("finish"),
            result=result,
            reason=reason,
            exit_code=exit_code,
            finished_at=now,
            duration=duration,
        )

    def requeued(self) -> Step:
        """The step as new: it will run again."""
        self._moved("requeue")
        return Step(self.name)


def plan(*, tests: bool, deploys: bool) -> tuple[Step, ...]:
    """The steps of a build that tests, deploys, or does the one after the other."""
    names = [CHECKOUT, *([TEST] if tests else []), *([DEPLOY] if deploys else [])]
    return tuple(Step(name) for name in names)
