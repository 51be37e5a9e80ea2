"""How projects stand, as functions of a connection: few columns of many builds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.change import ref_of
from sayci.outlook import LENGTH, Outlook, Past
from sayci.project import Project
from sayci.step import Result
from sayci.store import builds as whole
from sayci.store import projects as registered
from sayci.store.tables import builds, projects

#: So many projects are asked for in one query.
TOGETHER = 500

_PAST = (
    builds.c.number,
    builds.c.ref,
    builds.c.cause,
    builds.c.deploys,
    builds.c.state,
    builds.c.result,
    builds.c.created_at,
    builds.c.started_at,
    builds.c.finished_at,
)
_KEYS: sa.BindParameter[int] = sa.bindparam("keys", expanding=True)
# Numbers are dense, so that the newest builds are found by their numbers: nothing is read to be thrown away.
_NEWEST = (
    sa.select(builds.c.project_id, *_PAST)
    .join(projects)
    .where(projects.c.id.in_(_KEYS), builds.c.number > projects.c.last_number - LENGTH)
    .order_by(builds.c.project_id, builds.c.number.desc())
)
_TELLING = (
    sa.select(*_PAST)
    .where(
        builds.c.project_id == sa.bindparam("project"),
        builds.c.ref == sa.bindparam("its_ref"),
        builds.c.number < sa.bindparam("before"),
        builds.c.result.not_in((Result.CANCELLED, Result.SKIPPED)),
    )
    .order_by(builds.c.number.desc())
    .limit(1)
)


def load(connection: Connection, project_ids: Sequence[int] | None) -> list[Outlook]:
    """The outlooks of these projects, or of all, by id."""
    known = registered.some(connection, project_ids)
    found: list[Outlook] = []
    for start in range(0, len(known), TOGETHER):
        found += _load(connection, known[start : start + TOGETHER])
    return found


def _load(connection: Connection, known: Sequence[Project]) -> list[Outlook]:
    keys = [project.id for project in known]
    past: dict[int, list[Past]] = defaultdict(list)
    for project_id, *fields in connection.execute(_NEWEST, {"keys": keys}):
        past[project_id].append(Past(*fields))
    newest = whole.latest(connection, keys, 1)
    return [
        _with_standing(connection, Outlook(project, next(iter(newest[project.id]), None), tuple(past[project.id])))
        for project in known
    ]


def _with_standing(connection: Connection, outlook: Outlook) -> Outlook:
    """The outlook with the build that says how the project stands, where that is older than the others."""
    if outlook.standing is not None or len(outlook.past) < LENGTH:
        return outlook
    values = {
        "project": outlook.project.id,
        "its_ref": ref_of(outlook.project.settings.default_branch),
        "before": outlook.past[-1].number,
    }
    row = connection.execute(_TELLING, values).first()
    return outlook if row is None else Outlook(outlook.project, outlook.newest, (*outlook.past, Past(*row)))
