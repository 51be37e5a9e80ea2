"""The deploys of projects as far as they count now, as functions of a connection."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.build import BuildState
from sayci.deploying import Deploying
from sayci.project import Project
from sayci.step import DEPLOY, TEST, Result
from sayci.store import builds as whole
from sayci.store import projects as registered
from sayci.store.tables import IS_DEPLOY, builds, projects, steps

#: Of so many deploys without an answer of a project those that are the newest are told.
ASKED_LIMIT = 5
#: Among so many builds of a project the newest green one is looked for.
LOOKED_AT = 1000

_OF_PROJECT = builds.c.project_id == sa.bindparam("project")
_DEPLOYS = sa.select(builds.c.id).where(_OF_PROJECT, IS_DEPLOY).order_by(builds.c.number.desc())


def _has_succeeded(step: str) -> sa.Exists:
    return sa.exists().where(steps.c.build_id == builds.c.id, steps.c.name == step, steps.c.result == Result.SUCCESS)


_NEWEST = _DEPLOYS.limit(1)
_LIVE = _DEPLOYS.where(_has_succeeded(DEPLOY)).limit(1)
_ASKED = _DEPLOYS.where(builds.c.result == Result.UNKNOWN).limit(ASKED_LIMIT)
_GREEN = (
    sa.select(builds.c.id)
    .join(projects)
    .where(
        _OF_PROJECT,
        builds.c.ref == sa.bindparam("its_ref"),
        builds.c.number > projects.c.last_number - LOOKED_AT,
        builds.c.state == BuildState.FINISHED,
        _has_succeeded(TEST),
    )
    .order_by(builds.c.number.desc())
    .limit(1)
)


def load(connection: Connection, project_ids: Sequence[int]) -> list[Deploying]:
    """Those of these projects, by id; without those that are not there."""
    found = {project.id: _ids(connection, project) for project in registered.some(connection, project_ids)}
    every = whole.by_ids(connection, sorted({build_id for ids in found.values() for each in ids for build_id in each}))
    return [
        Deploying(
            project_id,
            newest=every[newest[0]] if newest else None,
            live=every[live[0]] if live else None,
            green=every[green[0]] if green else None,
            asked=tuple(every[build_id] for build_id in asked),
        )
        for project_id, (newest, live, green, asked) in found.items()
    ]


def _ids(connection: Connection, project: Project) -> tuple[Sequence[int], ...]:
    """The ids of the newest, the live and the green build, and of those that are asked about."""
    values = {"project": project.id}
    newest = connection.execute(_NEWEST, values).scalars().all()
    if not newest:
        live: Sequence[int] = ()
        asked: Sequence[int] = ()
    else:
        live = connection.execute(_LIVE, values).scalars().all()
        asked = connection.execute(_ASKED, values).scalars().all()
    green: Sequence[int] = ()
    if project.deploy_ref is not None:
        green = connection.execute(_GREEN, {**values, "its_ref": project.deploy_ref}).scalars().all()
    return newest, live, green, asked
