"""Values of the domain with defaults, so that a test names only what it is about.

``a_build(state=BuildState.RUNNING)``: each function takes the fields of its value by keyword and fills in the others;
what a build's state implies (its result, its times, the states of its steps) follows the state unless it is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from sayci.account import Access, Actor, Token
from sayci.build import Build, BuildState, Cause, NewBuild
from sayci.change import Change
from sayci.delivery import Delivery, NewDelivery, Verdict
from sayci.passwords import Cost, Passwords
from sayci.people import People
from sayci.project import MirrorState, Project, Settings, Variable
from sayci.report import TEST_CONTEXT, CommitStatus, DueStatus, StatusState
from sayci.step import Result, Step, StepState, plan
from sayci.store.sql_store import SqlStore

Fields = dict[str, Any]

#: A moment, in seconds since the epoch: 2026-11-21 00:00:00 UTC.
NOW = 1_795_219_200.0
MAIN = "refs/heads/main"
COMMIT = "4f1c9aa0" * 5
OTHER_COMMIT = "b7d20e13" * 5


def commit(number: int) -> str:
    """A full object name, a different one for each number."""
    return f"{number + 1:040x}"


def settings(name: str = "web-shop", **fields: Any) -> Settings:
    """What a person says of a project; it has no deploys."""
    fields.setdefault("url", f"https://git.example/team/{name}.git")
    return Settings(name, **fields)


def deploying_settings(name: str = "web-shop", **fields: Any) -> Settings:
    """The same of a project that deploys its main branch."""
    fields.setdefault("deploy_branch", "main")
    return settings(name, **fields)


def a_project(name: str = "web-shop", **fields: Any) -> Project:
    """A registered project whose mirror is ready; settings' fields (such as deploy_branch) may be given too."""
    own = {
        key: fields.pop(key)
        for key in ("id", "created_at", "mirror", "mirror_error", "has_access_token")
        if key in fields
    }
    given = fields.pop("settings", None) or settings(name, **fields)
    defaults: Fields = {"id": 1, "settings": given, "created_at": NOW, "mirror": MirrorState.READY}
    return Project(**defaults | own)


def a_variable(name: str = "LEVEL", value: str | None = "debug", **fields: Any) -> Variable:
    """A plain variable for every step."""
    return Variable(name, value, **fields)


def a_change(**fields: Any) -> Change:
    """A push to main."""
    return Change(**{"ref": MAIN, "commit": COMMIT, "message": "Sell more shoes", "author": "Ada Lovelace"} | fields)


def new_delivery(project_id: int = 1, **fields: Any) -> NewDelivery:
    """A push as it came, to be looked at; give `forge_id` to make it another one."""
    defaults: Fields = {
        "project_id": project_id,
        "forge_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "event": "push",
        "headers": (("content-type", "application/json"), ("x-github-event", "push")),
        "body": b'{"ref": "refs/heads/main"}',
        "verdict": Verdict.RECEIVED,
        "explanation": "",
        "received_at": NOW,
    }
    return NewDelivery(**defaults | fields)


def a_delivery(**fields: Any) -> Delivery:
    """A kept delivery that nobody has looked at yet."""
    defaults: Fields = {
        "id": 1,
        "project_id": 1,
        "forge_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "event": "push",
        "received_at": NOW,
        "verdict": Verdict.RECEIVED,
        "explanation": "",
        "size": 26,
    }
    return Delivery(**defaults | fields)


def a_step(name: str = "test", **fields: Any) -> Step:
    """A step; give `result` and it has finished."""
    if fields.get("result") is not None:
        fields.setdefault("state", StepState.FINISHED)
    state = fields.get("state", StepState.PENDING)
    if state is not StepState.PENDING:
        fields.setdefault("started_at", NOW + 1)
    if state is StepState.FINISHED:
        fields.setdefault("result", Result.SUCCESS)
        fields.setdefault("finished_at", NOW + 60)
        fields.setdefault("duration", 59.0)
    return Step(name, **fields)


def new_build(project_id: int = 1, **fields: Any) -> NewBuild:
    """The build that a push to main makes: a test (`deploys=True`: and a deploy) that supersedes queued ones.

    Where `cause` says that a person asked, it supersedes nothing unless that is given.
    """
    cause = fields.setdefault("cause", Cause.PUSH)
    deploys, tests = fields.pop("deploys", cause is Cause.DEPLOY), fields.pop("tests", cause is not Cause.DEPLOY)
    defaults: Fields = {
        "project_id": project_id,
        "ref": MAIN,
        "commit": COMMIT,
        "steps": plan(tests=tests, deploys=deploys),
        "message": "Sell more shoes",
        "author": "Ada Lovelace",
        "supersedes": cause is Cause.PUSH,
        "asked_by": "" if cause is Cause.PUSH else "ada",
    }
    return NewBuild(**defaults | fields)


def _steps_for(state: BuildState, result: Result, *, tests: bool, deploys: bool) -> tuple[Step, ...]:
    steps = plan(tests=tests, deploys=deploys)
    if state is BuildState.QUEUED:
        return steps
    if state is not BuildState.FINISHED:
        running = a_step(steps[0].name, state=StepState.RUNNING, handle="handle-1")
        return (running, *steps[1:])
    if result is Result.SUCCESS:
        return tuple(a_step(step.name, result=Result.SUCCESS) for step in steps)
    first, second, *others = steps
    return (
        a_step(first.name, result=Result.SUCCESS),
        a_step(second.name, result=result, reason="make test, exit 2", exit_code=2),
        *(a_step(step.name, result=Result.SKIPPED, started_at=None, duration=None) for step in others),
    )


def a_build(state: BuildState = BuildState.QUEUED, **fields: Any) -> Build:
    """A build of a push to main: a test, with `deploys=True` a deploy after it.

    A running one is in its checkout; a finished one has succeeded unless `result` says otherwise, and then its second
    step is the one that ended so.
    """
    if fields.get("result") is not None:
        state = BuildState.FINISHED
    result = fields.get("result") or Result.SUCCESS
    tests, deploys = fields.pop("tests", True), fields.pop("deploys", False)
    defaults: Fields = {
        "id": 1,
        "project_id": 1,
        "project": "web-shop",
        "number": 1,
        "cause": Cause.PUSH,
        "ref": MAIN,
        "commit": COMMIT,
        "steps": _steps_for(state, result, tests=tests, deploys=deploys),
        "created_at": NOW,
        "state": state,
        "message": "Sell more shoes",
        "author": "Ada Lovelace",
    }
    if state is not BuildState.QUEUED:
        defaults["started_at"] = NOW + 1
    if state is BuildState.FINISHED:
        defaults |= {"result": result, "finished_at": NOW + 60}
        if result is not Result.SUCCESS:
            defaults["reason"] = "make test, exit 2"
    return Build(**defaults | fields)


def a_status(**fields: Any) -> CommitStatus:
    """What is said of a commit whose test waits."""
    defaults: Fields = {
        "project_id": 1,
        "project": "web-shop",
        "build": 1,
        "commit": COMMIT,
        "context": TEST_CONTEXT,
        "state": StatusState.PENDING,
        "description": "#1 waits",
    }
    return CommitStatus(**defaults | fields)


def a_due_status(**fields: Any) -> DueStatus:
    """A status to be posted to GitHub for the first time; fields of the status itself may be given too."""
    own = {
        key: fields.pop(key) for key in ("id", "version", "attempts", "url", "forge_api", "repository") if key in fields
    }
    status = fields.pop("status", None) or a_status(**fields)
    defaults: Fields = {
        "id": 1,
        "version": 1,
        "attempts": 0,
        "url": "",
        "forge_api": "https://api.github.com",
        "repository": "https://git.example/team/web-shop.git",
    }
    return DueStatus(**defaults | {"status": status} | own)


def an_actor(access: Access = Access.ADMIN, name: str = "ada") -> Actor:
    """Somebody who may do everything."""
    return Actor(name, access)


def a_token(**fields: Any) -> Token:
    """A program's token as it is listed; it never expires."""
    defaults: Fields = {"id": 1, "name": "deploy-bot", "access": Access.BUILD, "created_at": NOW}
    return Token(**defaults | fields)


#: Hashes that take no time.
CHEAP = Cost(n=2**4, r=1, p=1)


def some_people(store: Any, sign_in: Any, bus: Any, clock: Any) -> People:
    """People whose passwords are hashed cheaply and at once."""
    return People(store, sign_in, Passwords(maybeDeferred, cost=CHEAP), bus, clock, clock)


def a_store(directory: Path, clock: Clock | None = None) -> SqlStore:
    """A real store in `directory` without threads: whatever is awaited has happened already, no reactor has to run."""
    clock = clock or Clock()
    if clock.seconds() == 0:
        clock.advance(NOW)
    return SqlStore.open(f"sqlite:///{directory / 'sayci.sqlite'}", directory / "key", clock, in_process=True)
