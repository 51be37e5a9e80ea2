"""What the pages say: the marks of all things, and the sentence that answers each page's question.

Pure functions; whatever commits and people have written is in what they return as it is, to be escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sayci.build import Build, BuildState, Cause
from sayci.outlook import Past
from sayci.project import MirrorState, Project, Scope
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, Step, StepState
from sayci.web.words import age, counted, duration, listed, so_long, spelled

#: A mark names the shape, the colour and the word by which a state is shown.
MARKS: Mapping[str, str] = {
    "success": "success",
    "failure": "failure",
    "error": "error",
    "timedout": "timed out",
    "cancelled": "cancelled",
    "unknown": "unknown",
    "running": "running",
    "queued": "waiting",
    "skipped": "skipped",
    "person": "waiting for a person",
}
_SIGNS = {"success": "✓", "failure": "✗", "timedout": "✗", "error": "!", "unknown": "?", "running": "…", "queued": "…"}
_FAVICONS = {
    "success": "success",
    "failure": "failure",
    "timedout": "failure",
    "error": "attention",
    "unknown": "attention",
    "running": "running",
}
#: From the one that a person must look at first to the mildest; those in ATTENTION need somebody.
_WORST_FIRST = ("unknown", "failure", "timedout", "error", "running", "success")
ATTENTION = frozenset({"unknown", "failure", "timedout", "error"})


def mark_of(thing: Build | Past | Step) -> str:
    """The mark of a build or a step as it is now."""
    if thing.result is not None:
        return "timedout" if thing.result is Result.TIMED_OUT else thing.result.value
    return "queued" if thing.state in (BuildState.QUEUED, StepState.PENDING) else "running"


def worst(marks: Sequence[str]) -> str:
    """The mark that a person must look at first; "idle" when there is none to look at."""
    return next((mark for mark in _WORST_FIRST if mark in marks), "idle")


def urgency(mark: str) -> int:
    """Where a mark is in a list that begins with what a person must look at first."""
    return _WORST_FIRST.index(mark) if mark in _WORST_FIRST else len(_WORST_FIRST)


def favicon(mark: str) -> str:
    """Which of the favicons goes with a mark."""
    return _FAVICONS.get(mark, "idle")


# ------------------------------------------------------------------------------------------------ builds


@dataclass(frozen=True, slots=True)
class Saying:
    """A page's answer in one sentence: a mark, the subject, the news in the mark's colour, the rest."""

    mark: str
    subject: str
    news: str
    rest: str = ""

    def __str__(self) -> str:
        """The sentence without its mark."""
        return " ".join(part for part in (self.subject, self.news, self.rest) if part)

    @property
    def title(self) -> str:
        """The sentence for a tab: its mark as a sign, and no full stop."""
        sign = _SIGNS.get(self.mark, "")
        return f"{sign} {self}".strip().rstrip(".:")


def took(build: Build | Past, now: float) -> float | None:
    """Seconds that the build has been running, or that it ran; None while it waits and when it never ran."""
    if build.started_at is None:
        return None
    return (now if build.finished_at is None else build.finished_at) - build.started_at


def progress(elapsed: float, usually: float | None) -> str:
    """How long something runs, against the usual: "1:02 of usually 1:38"."""
    shown = duration(elapsed) if elapsed >= 1 else "0:00"
    if usually is None:
        return f"{shown} so far"
    if elapsed <= usually:
        return f"{shown} of usually {duration(usually)}"
    return f"{shown}, longer than the usual {duration(usually)}"


def step_in_question(build: Build) -> Step | None:
    """The step that a build's news is about: the one that runs, or the one that ended as the build did."""
    for step in build.steps:
        if step.state is StepState.RUNNING or (
            step.result is not None and step.result is build.result is not Result.SUCCESS
        ):
            return step
    return None


def why_skipped(build: Build, step: Step) -> str:
    """Why a step never ran, as a sentence."""
    if build.result is Result.CANCELLED:
        return f"{step.name} was skipped, because the build was cancelled."
    before = [other for other in build.steps if other.result not in (None, Result.SUCCESS, Result.SKIPPED)]
    if not before:
        return f"{step.name} was skipped."
    return f"{step.name} was skipped, because {before[0].name} {_ENDED.get(mark_of(before[0]), 'did not succeed')}."


_ENDED = {
    "failure": "failed",
    "error": "could not run",
    "timedout": "was stopped",
    "cancelled": "was cancelled",
    "unknown": "ended in a way that nobody knows",
}
_DOING = {CHECKOUT: "is being checked out.", TEST: "is testing.", DEPLOY: "is deploying."}


def doing(build: Build) -> str:
    """What a running build does: "testing"."""
    if build.state is BuildState.CANCELLING:
        return "being cancelled"
    step = step_in_question(build)
    return {CHECKOUT: "checking out", TEST: "testing", DEPLOY: "deploying"}.get(step.name if step else "", "starting")


def saying_of_build(build: Build, waiting: str, now: float) -> Saying:
    """What there is to say of a build; `waiting` is why it waits, where it does."""
    subject = f"#{build.number}"
    mark = mark_of(build)
    step = step_in_question(build)
    after = duration(took(build, now))
    match build.state:
        case BuildState.QUEUED:
            return Saying(mark, subject, "is waiting.", waiting)
        case BuildState.CANCELLING:
            return Saying(mark, subject, "is being cancelled.")
        case BuildState.RUNNING:
            return Saying(mark, subject, _DOING.get(step.name if step else "", "is running."))
    match build.result:
        case Result.SUCCESS:
            deployed = any(step.name == DEPLOY and step.result is Result.SUCCESS for step in build.steps)
            return Saying(mark, subject, "was deployed" if deployed else "succeeded", f"in {after}." if after else "")
        case Result.TIMED_OUT:
            where = f" in {step.name}" if step else ""
            return Saying(mark, subject, f"was stopped{where}:", build.reason or f"it took {after}")
        case Result.CANCELLED:
            return Saying(mark, subject, *_cancelled(build.reason, f"after {after}." if after else ""))
        case Result.UNKNOWN:
            return Saying(mark, f"Was #{build.number} deployed?", "Nobody knows.")
        case Result.ERROR:
            return Saying(mark, subject, "could not run:", build.reason or "nothing says why")
        case Result.FAILURE:
            where = f" in {step.name}:" if step else ":"
            return Saying(mark, subject, f"failed{where}", build.reason or "nothing says why")
    return Saying(mark, subject, "was skipped.")


def _cancelled(reason: str, after: str) -> tuple[str, str]:
    """The news and the rest of "was cancelled by ada after 0:50."."""
    if reason.startswith(("cancelled by ", "superseded by ")):
        return f"was {reason}", after
    return ("was cancelled:", reason) if reason else ("was cancelled", after)


def in_short(build: Build) -> str:
    """A build's state in few words, for a list: "failure in test"."""
    mark = mark_of(build)
    step = step_in_question(build)
    if build.state is BuildState.CANCELLING:
        return "being cancelled"
    if mark in ("failure", "error", "timedout", "unknown", "running") and step is not None:
        return f"{MARKS[mark]} in {step.name}" if mark != "running" else f"running {step.name}"
    return MARKS[mark]


def what_started(build: Build) -> str:
    """Why there is this build, in words."""
    match build.cause:
        case Cause.PUSH:
            return "a push"
        case Cause.CATCH_UP:
            return "a look at the repository: no webhook had told of it"
        case Cause.MANUAL:
            return f"{build.asked_by or 'somebody'}, by hand"
        case Cause.REBUILD:
            return f"{build.asked_by or 'somebody'}, who ran #{build.source} again"
        case Cause.DEPLOY:
            return f"{build.asked_by or 'somebody'}, who deployed #{build.source}"


def first_line(message: str) -> str:
    """A commit's message in one line."""
    return message.strip().partition("\n")[0].strip()


def message_of(build: Build) -> str:
    """The message of a build's commit in one line, or why there is none."""
    return first_line(build.message) or ("Not fetched yet" if build.is_open else "No message")


# ------------------------------------------------------------------------------------------------ projects


def standing(project: Project, builds: Sequence[Build | Past]) -> Build | Past | None:
    """The build that says how a project stands: the last of its default branch that was not cancelled or skipped."""
    ended = (build for build in builds if build.result not in (None, Result.CANCELLED, Result.SKIPPED))
    return next((build for build in ended if build.branch == project.settings.default_branch), None)


def mark_of_project(project: Project, builds: Sequence[Build | Past]) -> str:
    """How a project stands, as a mark; of one that was never built, "queued"."""
    if project.is_unreadable:
        return "error"
    build = standing(project, builds)
    return "queued" if build is None else mark_of(build)


def mark_in_list(mark: str, builds: Sequence[Build | Past]) -> str:
    """The mark of a project in a list: one that needs nobody, and of which something runs, is running."""
    runs = any(mark_of(build) == "running" for build in builds)
    return "running" if runs and mark not in ATTENTION else mark


_UNREADABLE = {
    MirrorState.FAILED: "its repository cannot be read",
    MirrorState.REVOKED: "its repository lets sayci in no more",
}
_STANDS = {
    "success": "passes",
    "error": "could not run",
    "unknown": "a deploy waits for your answer",
    "queued": "has not been built yet",
}


def standing_in_words(project: Project, builds: Sequence[Build | Past], newest: Build | None, now: float) -> str:
    """How a project stands and what it does, for a list: "testing; passes", "failing since yesterday, 2 builds in a row"."""
    if project.is_unreadable:
        return _UNREADABLE[project.mirror]
    if project.mirror is MirrorState.CLONING and not builds:
        return "its repository is being cloned"
    stands = _STANDS.get(mark_of_project(project, builds)) or _failing_in_short(project, builds, now)
    if builds and standing(project, builds) is None:
        stands = "no result yet"
    if newest is not None and newest.state is BuildState.RUNNING:
        return f"{doing(newest)}; {stands}"
    if any(mark_of(build) == "running" for build in builds):
        return f"building; {stands}"
    return f"{in_short(newest)}; {stands}" if newest is not None and newest.is_open else stands


def _failing_in_short(project: Project, builds: Sequence[Build | Past], now: float) -> str:
    streak = _streak(project, builds)
    failing = f"failing {so_long(streak[-1].created_at, now)}"
    return failing if len(streak) == 1 else f"{failing}, {len(streak)} builds in a row"


def what_is_wrong(project: Project, newest: Build | None) -> str:
    """What a list says in a box below a project, with the words of who found it; "" where all is well."""
    if project.is_unreadable:
        return project.mirror_error
    if newest is None or mark_of(newest) not in ATTENTION:
        return ""
    return newest.reason


def _these(names: Sequence[str], one: str, many: str) -> str:
    """One sentence of some projects: "janet is failing." or, of more than three, "5 projects are failing."."""
    if len(names) == 1:
        return f"{names[0]} {one}."
    return f"{listed(names) if len(names) <= 3 else f'{len(names)} projects'} {many}."


def saying_of_home(stands: Mapping[str, str]) -> Saying:
    """How all projects stand (name -> mark)."""
    by_mark: dict[str, list[str]] = {}
    for name, mark in stands.items():
        by_mark.setdefault("failure" if mark == "timedout" else mark, []).append(name)
    news = [
        (mark, _these(by_mark[mark], one, many))
        for mark, one, many in (
            ("failure", "is failing", "are failing"),
            ("unknown", "needs a person", "need a person"),
            ("error", "could not run", "could not run"),
        )
        if mark in by_mark
    ]
    passing, unbuilt = len(by_mark.get("success", [])), len(by_mark.get("queued", []))
    if not news:
        return _all_is_well(list(stands), passing, unbuilt)
    (mark, first), *others = news
    rest = f"The other {spelled(passing)} {'passes' if passing == 1 else 'pass'}." if passing else ""
    return Saying(mark, "", first, " ".join([*(words for _, words in others), rest]).strip())


def _all_is_well(names: Sequence[str], passing: int, unbuilt: int) -> Saying:
    if not passing:
        return Saying("queued", "", "Nothing has been built yet.")
    if not unbuilt:
        return Saying("success", "", f"{names[0]} passes." if passing == 1 else f"All {passing} projects pass.")
    built = f"{passing} of {len(names)} projects {'passes' if passing == 1 else 'pass'}."
    return Saying(
        "success", "", built, f"{counted(unbuilt, 'project')} {'has' if unbuilt == 1 else 'have'} no builds yet."
    )


def saying_of_project(project: Project, builds: Sequence[Build | Past], now: float) -> Saying:
    """How a project stands; `builds` are its newest ones."""
    branch = project.settings.default_branch
    if project.is_unreadable:
        return Saying("error", project.name, "cannot be built:", _UNREADABLE[project.mirror])
    build = standing(project, builds)
    if build is None:
        if project.mirror is MirrorState.CLONING:
            return Saying("running", project.name, "is being cloned.")
        return _without_result(branch, builds)
    mark = mark_of(build)
    when = age(build.created_at, now)
    match mark:
        case "success":
            return Saying(mark, branch, "passes.", f"#{build.number} succeeded {when}.")
        case "unknown":
            return Saying(mark, f"Was #{build.number} deployed?", "Nobody knows.")
        case "error":
            return Saying(mark, branch, "could not be built:", f"#{build.number}, {when}")
    return _failing(project, builds, now)


def _without_result(branch: str, builds: Sequence[Build | Past]) -> Saying:
    marks = {mark_of(build) for build in builds if build.branch == branch}
    if "running" in marks:
        return Saying("running", branch, "is being built for the first time.")
    if "queued" in marks:
        return Saying("queued", branch, "waits for its first build.")
    return Saying("queued", branch, "has no result yet." if marks else "has not been built yet.")


def _failing(project: Project, builds: Sequence[Build | Past], now: float) -> Saying:
    """How often in a row, and since when, the default branch fails."""
    streak = _streak(project, builds)
    often = {1: "fails", 2: "has failed twice"}.get(len(streak), f"has failed {spelled(len(streak))} times")
    first = streak[-1]
    return Saying(
        mark_of(streak[0]),
        project.settings.default_branch,
        often,
        f"since #{first.number}, {age(first.created_at, now)}",
    )


def _streak(project: Project, builds: Sequence[Build | Past]) -> Sequence[Build | Past]:
    """The builds of the default branch that failed one after the other until now, the newest first."""
    streak: list[Build | Past] = []
    for build in builds:
        if build.branch != project.settings.default_branch or build.result in (None, Result.CANCELLED, Result.SKIPPED):
            continue
        if build.result not in (Result.FAILURE, Result.TIMED_OUT):
            break
        streak.append(build)
    return streak


def saying_of_deploys(deploys: Sequence[Build], live: Build | None, now: float) -> Saying:
    """What there is to say of a project's deploys, the newest first; `live` is the last that arrived."""
    asked = next((build for build in deploys if build.result is Result.UNKNOWN), None)
    if asked is not None:
        return Saying("unknown", f"Did #{asked.number} arrive?", "Nobody knows.")
    if live is None:
        return Saying("queued", "", "Nothing has been deployed yet.")
    newest = deploys[0]
    since = so_long(live.step(DEPLOY).finished_at or live.created_at, now)
    if newest.number != live.number and mark_of(newest.step(DEPLOY)) in ATTENTION:
        return Saying("failure", f"#{newest.number}", "was not deployed.", f"#{live.number} has been live {since}.")
    return Saying("success", f"#{live.number}", "has been live", f"{since}.")


def given_to(scope: Scope) -> str:
    """Which steps are given a variable."""
    return {Scope.TEST: "test", Scope.DEPLOY: "deploy", Scope.BOTH: "test and deploy"}[scope]
