"""What is old and may go, as functions of a connection; what may go is decided by retention.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.build import BuildState
from sayci.delivery import Verdict
from sayci.retention import Remains
from sayci.step import DEPLOY, TEST, Result
from sayci.store.projects import find_by_id
from sayci.store.tables import builds, bygones, deliveries, statuses, steps

_TEST, _DEPLOY = steps.alias("test"), steps.alias("deploy")
_REMAINS = (
    sa.select(builds.c.id, builds.c.number, builds.c.ref, builds.c.state, builds.c.finished_at, builds.c.created_at)
    .add_columns(_TEST.c.result.label("test"), _DEPLOY.c.result.label("deploy"))
    .outerjoin(_TEST, sa.and_(_TEST.c.build_id == builds.c.id, _TEST.c.name == TEST))
    .outerjoin(_DEPLOY, sa.and_(_DEPLOY.c.build_id == builds.c.id, _DEPLOY.c.name == DEPLOY))
)
#: What a delivery has in the place of headers when its body was removed.
_NO_HEADERS = "[]"
_IS_LOOKED_AT = deliveries.c.verdict != Verdict.RECEIVED
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_ENDED = (builds.c.id.in_(_IDS), builds.c.state == BuildState.FINISHED)


def remains(connection: Connection, project_id: int) -> Sequence[Remains]:
    """What has to be known of each of the project's builds; raises UnknownProject."""
    find_by_id(connection, project_id)
    return [
        Remains(
            row.id,
            row.number,
            row.ref,
            (row.finished_at or row.created_at) if row.state is BuildState.FINISHED else None,
            is_green=row.test is Result.SUCCESS,
            deploy=row.deploy,
        )
        for row in connection.execute(_REMAINS.where(builds.c.project_id == project_id))
    ]


def forget_builds(connection: Connection, build_ids: Sequence[int]) -> None:
    """Remove ended builds with their steps and what was told of them; that their commits were built is kept.

    Otherwise somebody who has caught an old delivery could have its commit deployed.
    """
    values = {"ids": list(build_ids)}
    there = sa.exists().where(
        bygones.c.project_id == builds.c.project_id,
        bygones.c.ref == builds.c.ref,
        bygones.c.commit == builds.c.commit,
    )
    built = sa.select(builds.c.project_id, builds.c.ref, builds.c.commit).where(*_ENDED, ~there).distinct()
    connection.execute(sa.insert(bygones).from_select(["project_id", "ref", "commit"], built), values)
    of_these = sa.exists().where(
        *_ENDED, builds.c.project_id == statuses.c.project_id, builds.c.number == statuses.c.build
    )
    connection.execute(sa.delete(statuses).where(of_these, statuses.c.due_at.is_(None)), values)
    connection.execute(sa.delete(builds).where(*_ENDED), values)


def forget_bodies(connection: Connection, before: float, limit: int) -> int:
    """Remove headers and bodies of deliveries that came before; of how many."""
    old = (deliveries.c.received_at < before, deliveries.c.headers != _NO_HEADERS, _IS_LOOKED_AT)
    ids = connection.execute(sa.select(deliveries.c.id).where(*old).order_by(deliveries.c.id).limit(limit)).scalars()
    found = list(ids)
    emptied = sa.update(deliveries).where(deliveries.c.id.in_(_IDS)).values(headers=_NO_HEADERS, body=b"")
    if found:
        connection.execute(emptied, {"ids": found})
    return len(found)


def forget_deliveries(connection: Connection, before: float, limit: int) -> int:
    """Remove deliveries that came before, but for those whose builds are there; how many."""
    has_build = sa.exists().where(
        builds.c.project_id == deliveries.c.project_id, builds.c.number == deliveries.c.build_number
    )
    old = (deliveries.c.received_at < before, _IS_LOOKED_AT, ~has_build)
    found = list(
        connection.execute(sa.select(deliveries.c.id).where(*old).order_by(deliveries.c.id).limit(limit)).scalars()
    )
    if found:
        connection.execute(sa.delete(deliveries).where(deliveries.c.id.in_(_IDS)), {"ids": found})
    return len(found)
