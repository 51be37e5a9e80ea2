"""The outbox of commit statuses, as functions of a connection: one row for each commit and name."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.build import Build
from sayci.interfaces import ToldStatus
from sayci.report import CommitStatus, DueStatus, StatusState, statuses_of
from sayci.store.columns import Words
from sayci.store.pages import clamped
from sayci.store.tables import IS_DUE, projects, statuses

# What a newer build says replaces what an older one said, and never the other way round; the same words are no news.
_SAY = sa.text(
    "INSERT INTO statuses"
    ' (project_id, "commit", context, build, state, description, version, told, attempts, error, due_at)'
    " VALUES (:project_id, :commit, :context, :build, :state, :description, 1, false, 0, '', 0)"
    ' ON CONFLICT (project_id, "commit", context) DO UPDATE SET'
    " build = excluded.build, state = excluded.state, description = excluded.description,"
    " version = statuses.version + 1, told = false, attempts = 0, error = '', due_at = 0"
    " WHERE excluded.build >= statuses.build"
    " AND (excluded.state <> statuses.state OR excluded.description <> statuses.description)"
).bindparams(sa.bindparam("description", type_=Words))

#: How many of a project's newest builds are told of when it gets another access token.
STILL_TOLD = 20

_DUE = (
    sa.select(statuses, projects.c.name.label("project"), projects.c.forge_api, projects.c.url.label("repository"))
    .join(projects)
    .where(IS_DUE, projects.c.access_token.is_not(None))
)


def say(connection: Connection, build: Build) -> None:
    """Put into the outbox what is to be said of the build's commit now."""
    for status in statuses_of(build):
        connection.execute(
            _SAY,
            {
                "project_id": status.project_id,
                "commit": status.commit,
                "context": status.context,
                "build": status.build,
                "state": status.state.value,
                "description": status.description,
            },
        )


def due(connection: Connection, now: float, limit: int) -> Sequence[DueStatus]:
    """Those that may be posted now, the oldest first."""
    query = _DUE.where(statuses.c.due_at <= now).order_by(statuses.c.due_at, statuses.c.id).limit(clamped(limit))
    return [
        DueStatus(
            row.id,
            row.version,
            row.attempts,
            CommitStatus(row.project_id, row.project, row.build, row.commit, row.context, row.state, row.description),
            "",
            row.forge_api,
            row.repository,
        )
        for row in connection.execute(query)
    ]


def next_due(connection: Connection) -> float | None:
    """When the next one may be tried; None when there is none."""
    query = _DUE.with_only_columns(sa.func.min(statuses.c.due_at), maintain_column_froms=True)
    moment: float | None = connection.execute(query).scalar()
    return moment


def hasten(connection: Connection, by: float) -> None:
    """Let all that wait for another try wait `by` seconds less."""
    connection.execute(sa.update(statuses).where(statuses.c.due_at > 0).values(due_at=statuses.c.due_at - by))


def told(connection: Connection, status_id: int, version: int) -> None:
    """It was posted, unless it has changed since."""
    _update(connection, status_id, version, told=True, error="", due_at=None)


def failed(connection: Connection, status_id: int, version: int, error: str, retry_at: float | None) -> None:
    """It was not posted, unless it has changed since: then it is tried anew anyhow."""
    _update(connection, status_id, version, attempts=statuses.c.attempts + 1, error=error, due_at=retry_at)


def try_again(connection: Connection, project_id: int) -> None:
    """Make due at once what the project's newest builds have not told yet, also what was given up.

    Of older builds nothing is told any more: the first token of an old project is no reason to tell a forge its history.
    """
    last = sa.select(projects.c.last_number).where(projects.c.id == project_id).scalar_subquery()
    untold = (statuses.c.project_id == project_id, statuses.c.told.is_(False))
    change = sa.update(statuses).values(attempts=0, error="")
    connection.execute(change.where(*untold, statuses.c.build > last - STILL_TOLD).values(due_at=0))
    connection.execute(change.where(*untold, statuses.c.build <= last - STILL_TOLD).values(due_at=None))


def _update(connection: Connection, status_id: int, version: int, **values: object) -> None:
    where = (statuses.c.id == status_id, statuses.c.version == version)
    connection.execute(sa.update(statuses).where(*where).values(values))


def of_commit(connection: Connection, project_id: int, commit: str) -> Sequence[ToldStatus]:
    """What was or is to be said of a commit, by context."""
    query = sa.select(statuses).where(statuses.c.project_id == project_id, statuses.c.commit == commit)
    rows = sorted(connection.execute(query), key=lambda row: row.context)
    return [
        ToldStatus(
            row.context,
            StatusState(row.state).value,
            row.description,
            row.told,
            row.attempts,
            row.error,
            row.due_at if row.attempts else None,
        )
        for row in rows
    ]
