"""Builds and their steps, as functions of a connection; whatever changes a build changes what is said of its commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.build import Build, BuildState, Cause, NewBuild
from sayci.change import branch_of
from sayci.errors import NotGreen, UnknownBuild, UnknownProject
from sayci.interfaces import Added, Page, Wanted
from sayci.step import DEPLOY, TEST, Result, Step
from sayci.store import statuses
from sayci.store.pages import clamped, page_of
from sayci.store.tables import IS_DEPLOY, IS_OPEN, builds, bygones, projects, steps

#: How many builds a search looks at in one go, and how many refs are listed.
LOOKED_AT = 20_000
#: So many builds are asked for in one query.
TOGETHER = 500
MOST_REFS = 200

#: Columns of a build and of a step that never change, and those that a move may change.
_BORN = (
    "id",
    "project_id",
    "number",
    "cause",
    "ref",
    "commit",
    "delivery_id",
    "source",
    "asked_by",
    "created_at",
)
_MOVING = ("message", "author", "attempt", "state", "result", "reason", "started_at", "finished_at")
_STEP_MOVING = ("state", "result", "reason", "handle", "exit_code", "started_at", "finished_at", "duration")

_BUILDS = sa.select(*(builds.c[name] for name in (*_BORN, *_MOVING)), projects.c.name.label("project")).join(projects)
_STEPS = sa.select(steps.c.build_id, *(steps.c[name] for name in ("name", *_STEP_MOVING))).order_by(
    steps.c.build_id, steps.c.position
)


# Statements are made once where that is possible: to make one takes as long as to run it three times.
_KEY: sa.BindParameter[int] = sa.bindparam("key")
_BY_ID = _BUILDS.where(builds.c.id == _KEY)
_BY_NUMBER = _BUILDS.where(
    builds.c.project_id == sa.bindparam("project"), builds.c.number == sa.bindparam("its_number")
)
_STEPS_OF_ONE = _STEPS.where(steps.c.build_id == _KEY)
_STEPS_OF_MANY = _STEPS.where(steps.c.build_id.in_(sa.bindparam("keys", expanding=True)))
_COUNT = (
    sa.update(projects)
    .where(projects.c.id == _KEY)
    .values(last_number=projects.c.last_number + 1)
    .returning(projects.c.last_number)
)
_WAITING = _BUILDS.where(
    IS_OPEN,
    builds.c.project_id == sa.bindparam("project"),
    builds.c.ref == sa.bindparam("its_ref"),
    builds.c.state == BuildState.QUEUED,
    builds.c.cause.in_((Cause.PUSH, Cause.CATCH_UP)),
)
_INSERT = sa.insert(builds).returning(builds.c.id)
_INSERT_STEPS = sa.insert(steps)
_UPDATE = sa.update(builds).where(builds.c.id == _KEY)
_UPDATE_STEP = sa.update(steps).where(steps.c.build_id == _KEY, steps.c.position == sa.bindparam("place"))


def _load(connection: Connection, query: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[Build]:
    rows = connection.execute(query, values or {}).all()
    if not rows:
        return []
    if len(rows) == 1:
        found = connection.execute(_STEPS_OF_ONE, {"key": rows[0].id})
    else:
        found = connection.execute(_STEPS_OF_MANY, {"keys": [row.id for row in rows]})
    steps_of: dict[int, list[Step]] = defaultdict(list)
    for build_id, *fields in found:
        steps_of[build_id].append(Step(*fields))
    return [Build(steps=tuple(steps_of[row.id]), **row._asdict()) for row in rows]


def _by_id(connection: Connection, build_id: int) -> Build:
    found = _load(connection, _BY_ID, {"key": build_id})
    if not found:
        raise UnknownBuild("no such build", build_id)
    return found[0]


# -- making and moving


def add(connection: Connection, new: NewBuild, now: float) -> Added:
    """A build with the project's next number, and those that it superseded; raises UnknownProject."""
    number = _next_number(connection, new.project_id)
    superseded = _supersede(connection, new, number, now) if new.supersedes else []
    build_id = connection.execute(_INSERT, _row_of(new, number, now)).scalar_one()
    rows = [
        {"build_id": build_id, "position": position, "name": step.name} | _moving(step, _STEP_MOVING)
        for position, step in enumerate(new.steps)
    ]
    connection.execute(_INSERT_STEPS, rows)
    build = _by_id(connection, build_id)
    statuses.say(connection, build)
    return Added(build, superseded)


def _next_number(connection: Connection, project_id: int) -> int:
    number: int | None = connection.execute(_COUNT, {"key": project_id}).scalar()
    if number is None:
        raise UnknownProject("no such project", project_id)
    return number


def _row_of(new: NewBuild, number: int, now: float) -> dict[str, Any]:
    given = ("project_id", "cause", "ref", "commit", "message", "author", "delivery_id", "source", "asked_by")
    return {name: getattr(new, name) for name in given} | {
        "number": number,
        "attempt": 1,
        "state": BuildState.QUEUED,
        "reason": "",
        "created_at": now,
        "deploys": any(step.name == DEPLOY for step in new.steps),
    }


def _supersede(connection: Connection, new: NewBuild, number: int, now: float) -> list[Build]:
    reason = f"superseded by #{number}, a newer push to {branch_of(new.ref) or new.ref}"
    waiting = _load(connection, _WAITING, {"project": new.project_id, "its_ref": new.ref})
    return [_write(connection, old, old.cancelled(now, reason)) for old in sorted(waiting, key=lambda build: build.id)]


def advance(connection: Connection, build_id: int, move: Callable[[Build], Build]) -> Build:
    """The build after `move`; raises UnknownBuild, and what `move` raises."""
    old = _by_id(connection, build_id)
    return _write(connection, old, move(old))


def _write(connection: Connection, old: Build, new: Build) -> Build:
    """Write what differs; answers what is kept then, which is what is said of the commit too."""
    if new == old:
        return old
    values = _difference(old, new, _MOVING)
    if values:
        connection.execute(_UPDATE, {"key": old.id} | values)
    for position, (old_step, new_step) in enumerate(zip(old.steps, new.steps, strict=True)):
        values = _difference(old_step, new_step, _STEP_MOVING)
        if values:
            connection.execute(_UPDATE_STEP, {"key": old.id, "place": position} | values)
    build = _by_id(connection, old.id)
    statuses.say(connection, build)
    return build


def _moving(thing: Build | Step, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def _difference(old: Build | Step, new: Build | Step, names: Iterable[str]) -> dict[str, Any]:
    before = _moving(old, names)
    return {name: value for name, value in _moving(new, names).items() if value != before[name]}


# -- reading


def find(connection: Connection, project_id: int, number: int) -> Build:
    """The project's build of that number; raises UnknownBuild."""
    found = _load(connection, _BY_NUMBER, {"project": project_id, "its_number": number})
    if not found:
        raise UnknownBuild("no such build", number)
    return found[0]


def numbered(connection: Connection, project_id: int, numbers: Collection[int]) -> Mapping[int, Build]:
    """The project's builds that have these numbers, by number."""
    if not numbers:
        return {}
    query = _BUILDS.where(builds.c.project_id == project_id, builds.c.number.in_(sorted(numbers)))
    return {build.number: build for build in _load(connection, query)}


def by_ids(connection: Connection, build_ids: Sequence[int]) -> Mapping[int, Build]:
    """These builds, by id; those that are not there are left out."""
    found: list[Build] = []
    for start in range(0, len(build_ids), TOGETHER):
        found += _load(connection, _BUILDS.where(builds.c.id.in_(build_ids[start : start + TOGETHER])))
    return {build.id: build for build in found}


def page(
    connection: Connection,
    project_id: int,
    before: int | None,
    limit: int,
    ref: str | None,
    *,
    deploys_only: bool,
    wanted: Wanted | None = None,
) -> Page[Build]:
    """The project's builds, the newest first."""
    query = _BUILDS.where(builds.c.project_id == project_id)
    if before is not None:
        query = query.where(builds.c.number < before)
    if ref is not None:
        query = query.where(builds.c.ref == ref)
    if deploys_only:
        query = query.where(IS_DEPLOY)
    lowest = 0
    if wanted is not None and wanted != Wanted():
        lowest = _top(connection, project_id, before) - LOOKED_AT
        query = query.where(builds.c.number >= lowest, *_conditions(wanted))
    found = _load(connection, query.order_by(builds.c.number.desc()).limit(clamped(limit) + 1))
    part = page_of(found, limit, lambda build: build.number)
    return part if part.next is not None or lowest <= 1 else replace(part, next=lowest)


def _top(connection: Connection, project_id: int, before: int | None) -> int:
    """The number above which there is nothing to look at."""
    last = connection.execute(sa.select(projects.c.last_number).where(projects.c.id == project_id)).scalar() or 0
    return min(last + 1, last + 1 if before is None else before)


def _conditions(wanted: Wanted) -> Iterable[sa.ColumnElement[bool]]:
    if wanted.results:
        yield builds.c.result.in_(sorted(wanted.results, key=lambda result: result.value))
    if wanted.cause is not None:
        yield builds.c.cause == wanted.cause
    for word in wanted.words:
        yield (
            builds.c.message.icontains(word, autoescape=True)
            | builds.c.author.icontains(word, autoescape=True)
            | builds.c.commit.startswith(word.lower(), autoescape=True)
        )


def refs(connection: Connection, project_id: int) -> Sequence[tuple[str, int]]:
    """The refs that were built with the numbers of their newest builds, the newest first.

    The index is entered once for each ref, however many builds it has.
    """
    of_project = builds.c.project_id == project_id
    every = sa.select(sa.func.min(builds.c.ref).label("ref")).where(of_project).cte("every", recursive=True)
    following = sa.select(sa.func.min(builds.c.ref)).where(of_project, builds.c.ref > every.c.ref).scalar_subquery()
    every = every.union_all(sa.select(following).where(every.c.ref.is_not(None)))
    newest = sa.select(sa.func.max(builds.c.number)).where(of_project, builds.c.ref == every.c.ref).scalar_subquery()
    rows = connection.execute(sa.select(every.c.ref, newest).where(every.c.ref.is_not(None)).limit(MOST_REFS)).all()
    return sorted(((ref, number) for ref, number in rows), key=lambda row: -row[1])


def latest(connection: Connection, project_ids: Sequence[int], limit: int) -> Mapping[int, Sequence[Build]]:
    """The newest builds of each project, the newest first."""
    # Numbers are dense, so that the newest builds are found by their numbers: nothing is read to be thrown away.
    found = _load(
        connection,
        _BUILDS.where(
            projects.c.id.in_(project_ids), builds.c.number > projects.c.last_number - clamped(limit)
        ).order_by(builds.c.number.desc()),
    )
    latest_of: dict[int, list[Build]] = {project_id: [] for project_id in project_ids}
    for build in found:
        latest_of[build.project_id].append(build)
    return latest_of


def all_open(connection: Connection) -> Sequence[Build]:
    """Every build that waits or runs, by id."""
    # Not ORDER BY: SQLite would then go through all builds by id, rather than sort the few of the index.
    return sorted(_load(connection, _BUILDS.where(IS_OPEN)), key=lambda build: build.id)


def green(connection: Connection, project_id: int, commit: str) -> Build:
    """The newest build whose tests succeeded for `commit`; raises NotGreen."""
    passed = sa.exists().where(steps.c.build_id == builds.c.id, steps.c.name == TEST, steps.c.result == Result.SUCCESS)
    query = _BUILDS.where(builds.c.project_id == project_id, builds.c.commit == commit, passed)
    found = _load(connection, query.order_by(builds.c.number.desc()).limit(1))
    if not found:
        raise NotGreen("no tests have succeeded for the commit", commit[:80])
    return found[0]


def is_there(connection: Connection, project_id: int, ref: str, commit: str) -> bool:
    """Whether there is a build of that commit and ref, or was one."""
    same = (builds.c.project_id == project_id, builds.c.commit == commit, builds.c.ref == ref)
    if connection.execute(sa.select(builds.c.id).where(*same).limit(1)).first() is not None:
        return True
    same = (bygones.c.project_id == project_id, bygones.c.commit == commit, bygones.c.ref == ref)
    return connection.execute(sa.select(bygones.c.ref).where(*same)).first() is not None


def found(connection: Connection, project_id: int, ref: str, commit: str) -> Build | None:
    """The build of that commit and ref which was made by asking the repository; None when there is none."""
    same = (builds.c.project_id == project_id, builds.c.commit == commit, builds.c.ref == ref)
    query = _BUILDS.where(*same, builds.c.cause == Cause.CATCH_UP).order_by(builds.c.number.desc()).limit(1)
    return next(iter(_load(connection, query)), None)


def is_newest(connection: Connection, build: Build) -> bool:
    """Whether no later build of its ref has another commit."""
    later = sa.select(builds.c.id).where(
        builds.c.project_id == build.project_id,
        builds.c.ref == build.ref,
        builds.c.number > build.number,
        builds.c.commit != build.commit,
    )
    return connection.execute(later.limit(1)).first() is None
