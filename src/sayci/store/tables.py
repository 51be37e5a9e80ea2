"""The tables: what is kept, in types that every database has; states and results are words.

``migrations`` makes them; a test says that it makes exactly these.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sayci.account import Access
from sayci.build import BuildState, Cause
from sayci.delivery import Verdict
from sayci.project import MirrorState, Scope, Visibility
from sayci.report import StatusState
from sayci.step import Result, StepState
from sayci.store.columns import Number, Words, word

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> sa.Column[int]:
    return sa.Column("id", Number, primary_key=True)


def _time(name: str, *, nullable: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, Words, nullable=False)


def _limit(name: str) -> sa.Column[int]:
    """0 is what the server allows."""
    return sa.Column(name, Number, nullable=False, server_default="0")


def _of_project(*, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "project_id",
        Number,
        sa.ForeignKey("projects.id", ondelete="CASCADE"),
        primary_key=primary_key,
        autoincrement=False,
        nullable=False,
    )


#: `name_key` is the name in lower case; `last_number` the number of the newest build.  Ids are never used again, since
#: they name directories (this is what sqlite_autoincrement says, here and below).
#: `visibility` is NULL for private ones that are older than it.
projects = sa.Table(
    "projects",
    metadata,
    _id(),
    _text("name"),
    sa.Column("name_key", Words, nullable=False, unique=True),
    _text("url"),
    _text("default_branch"),
    sa.Column("deploy_branch", Words),
    _text("test_target"),
    _text("deploy_target"),
    _time("time_limit", nullable=False),
    _text("forge_api"),
    _text("image"),
    _time("created_at", nullable=False),
    sa.Column("mirror", word(MirrorState), nullable=False),
    _text("mirror_error"),
    sa.Column("last_number", Number, nullable=False),
    sa.Column("webhook_secret", sa.LargeBinary, nullable=False),
    sa.Column("access_token", sa.LargeBinary),
    sa.Column("silence_limit", sa.Double, nullable=False, server_default="0"),
    sa.Column("ends_at_output_limit", sa.Boolean, nullable=False, server_default=sa.false()),
    _limit("output_limit"),
    _limit("process_limit"),
    _limit("memory_limit"),
    _limit("workspace_limit"),
    _limit("open_files_limit"),
    sa.Column("visibility", word(Visibility)),
    sqlite_autoincrement=True,
)

#: `value` of a plain variable, `sealed` of a secret one.
variables = sa.Table(
    "variables",
    metadata,
    _of_project(primary_key=True),
    sa.Column("name", Words, primary_key=True),
    sa.Column("scope", word(Scope), nullable=False),
    sa.Column("secret", sa.Boolean, nullable=False),
    sa.Column("value", Words),
    sa.Column("sealed", sa.LargeBinary),
)

#: The body comes last: SQLite then lists deliveries without reading bodies.
deliveries = sa.Table(
    "deliveries",
    metadata,
    _id(),
    _of_project(),
    _text("forge_id"),
    _text("event"),
    _time("received_at", nullable=False),
    sa.Column("verdict", word(Verdict), nullable=False),
    _text("explanation"),
    sa.Column("build_number", Number),
    sa.Column("size", Number, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("project_id", "forge_id"),
    sa.Index(None, "project_id", "id"),
    sqlite_autoincrement=True,
)

#: `deploys` says that a deploy is among the steps, to list deploys alone.
builds = sa.Table(
    "builds",
    metadata,
    _id(),
    _of_project(),
    sa.Column("number", Number, nullable=False),
    sa.Column("cause", word(Cause), nullable=False),
    _text("ref"),
    _text("commit"),
    _text("message"),
    _text("author"),
    sa.Column("delivery_id", Number),
    sa.Column("source", Number),
    _text("asked_by"),
    sa.Column("attempt", Number, nullable=False),
    sa.Column("state", word(BuildState), nullable=False),
    sa.Column("result", word(Result)),
    _text("reason"),
    _time("created_at", nullable=False),
    _time("started_at"),
    _time("finished_at"),
    sa.Column("deploys", sa.Boolean, nullable=False),
    sa.UniqueConstraint("project_id", "number"),
    sa.Index(None, "project_id", "ref", "number"),
    sa.Index(None, "project_id", "commit", "number"),
    sqlite_autoincrement=True,
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column(
        "build_id", Number, sa.ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("position", Number, primary_key=True, autoincrement=False),
    _text("name"),
    sa.Column("state", word(StepState), nullable=False),
    sa.Column("result", word(Result)),
    _text("reason"),
    sa.Column("handle", Words),
    sa.Column("exit_code", Number),
    _time("started_at"),
    _time("finished_at"),
    _time("duration"),
)

#: The outbox: what is said of a commit under one name.  `told` says that the forge has it as of `version`; `due_at` is
#: when the next try may be, none when it is told or given up.
statuses = sa.Table(
    "statuses",
    metadata,
    _id(),
    _of_project(),
    _text("commit"),
    _text("context"),
    sa.Column("build", Number, nullable=False),
    sa.Column("state", word(StatusState), nullable=False),
    _text("description"),
    sa.Column("version", Number, nullable=False),
    sa.Column("told", sa.Boolean, nullable=False),
    sa.Column("attempts", Number, nullable=False),
    _text("error"),
    _time("due_at"),
    sa.UniqueConstraint("project_id", "commit", "context"),
    sqlite_autoincrement=True,
)

#: What the repository said of its branches when it was asked last; the row of no branch says that it was.
heads = sa.Table(
    "heads",
    metadata,
    _of_project(primary_key=True),
    sa.Column("branch", Words, primary_key=True),
    _text("commit"),
)

#: What builds that were removed because they were old had built: such a commit is still none that a push deploys.
bygones = sa.Table(
    "bygones",
    metadata,
    _of_project(primary_key=True),
    sa.Column("ref", Words, primary_key=True),
    sa.Column("commit", Words, primary_key=True),
)

#: `person_id` is whose it is; null for one of a program.
tokens = sa.Table(
    "tokens",
    metadata,
    _id(),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    _text("name"),
    sa.Column("access", word(Access), nullable=False),
    _time("created_at", nullable=False),
    _time("expires_at"),
    _time("last_used_at"),
    sa.Column("person_id", Number),
    sqlite_autoincrement=True,
)

sign_in_codes = sa.Table(
    "sign_in_codes",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    _time("expires_at", nullable=False),
    _time("used_at"),
)

#: `name` and `access` are those of who has no account; of a person they are as in `people`.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    _text("name"),
    sa.Column("access", word(Access), nullable=False),
    _time("expires_at", nullable=False),
    sa.Column("person_id", Number),
    _time("created_at"),
    _time("seen_at"),
    sa.Column("address", Words),
    sa.Column("browser", Words),
)

#: `name_key` is the name in lower case; `role` the access that the person has everywhere; `password` what is kept of it.
people = sa.Table(
    "people",
    metadata,
    _id(),
    _text("name"),
    sa.Column("name_key", Words, nullable=False, unique=True),
    sa.Column("role", word(Access), nullable=False),
    sa.Column("password", Words),
    _time("created_at", nullable=False),
    sqlite_autoincrement=True,
)

#: What people may do in single projects.
grants = sa.Table(
    "grants",
    metadata,
    sa.Column(
        "person_id", Number, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _of_project(primary_key=True),
    sa.Column("access", word(Access), nullable=False),
)

#: Who people are at the forge, which is named by its address; `token` is NULL once its owner has revoked it.
identities = sa.Table(
    "identities",
    metadata,
    sa.Column(
        "person_id", Number, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _text("forge"),
    sa.Column("identity", Number, nullable=False),
    _text("login"),
    sa.Column("token", sa.LargeBinary),
    _time("linked_at", nullable=False),
    sa.UniqueConstraint("forge", "identity"),
)

#: What people may do in single projects because the forge lets them into the repository; `seen_at` is when it said so.
forge_grants = sa.Table(
    "forge_grants",
    metadata,
    sa.Column(
        "person_id", Number, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _of_project(primary_key=True),
    sa.Column("access", word(Access), nullable=False),
    _time("seen_at", nullable=False),
)

#: One for a person at most.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("person_id", Number, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False, unique=True),
    _time("expires_at", nullable=False),
)

# Conditions with the word in them instead of a parameter: a database uses an index of few rows only for a condition that
# it can see to be the index's own.
IS_RECEIVED = sa.text("verdict = 'received'")
IS_OPEN = sa.text("builds.state <> 'finished'")
IS_DEPLOY = sa.text("builds.deploys")
IS_DUE = sa.text("due_at IS NOT NULL")


def _few(name: str, condition: str, *columns: sa.Column[Any]) -> None:
    """An index of the rows for which `condition` holds, in which columns have no table's name."""
    where = sa.text(condition)
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


_few("ix_deliveries_received", "verdict = 'received'", deliveries.c.id)
_few("ix_builds_open", "state <> 'finished'", builds.c.project_id, builds.c.ref)
_few("ix_builds_deploys", "deploys", builds.c.project_id, builds.c.number)
_few("ix_statuses_due", "due_at IS NOT NULL", statuses.c.due_at)
