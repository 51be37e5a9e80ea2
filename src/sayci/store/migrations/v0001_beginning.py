"""The tables of the first sayci."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WORD = sa.String(16)


def _id() -> sa.Column[int]:
    return sa.Column("id", NUMBER, nullable=False)


def _project_id() -> sa.Column[int]:
    return sa.Column("project_id", NUMBER, autoincrement=False, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _word(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, WORD, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, NUMBER, autoincrement=False, nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _few(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    """Make them."""
    _projects()
    _deliveries()
    _builds()
    _statuses()
    _people()


def _projects() -> None:
    op.create_table(
        "projects",
        _id(),
        _text("name"),
        _text("name_key"),
        _text("url"),
        _text("default_branch"),
        _text("deploy_branch", nullable=True),
        _text("test_target"),
        _text("deploy_target"),
        _time("time_limit", nullable=False),
        _text("forge_api"),
        _time("created_at", nullable=False),
        _word("mirror"),
        _text("mirror_error"),
        _number("last_number"),
        sa.Column("webhook_secret", sa.LargeBinary, nullable=False),
        sa.Column("access_token", sa.LargeBinary),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name_key", name="uq_projects_name_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "variables",
        _project_id(),
        _text("name"),
        _word("scope"),
        sa.Column("secret", sa.Boolean, nullable=False),
        _text("value", nullable=True),
        sa.Column("sealed", sa.LargeBinary),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_variables"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_variables_project_id", ondelete="CASCADE"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        _id(),
        _project_id(),
        _text("forge_id"),
        _text("event"),
        _time("received_at", nullable=False),
        _word("verdict"),
        _text("explanation"),
        _number("build_number", nullable=True),
        _number("size"),
        _text("headers"),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("project_id", "forge_id", name="uq_deliveries_project_id_forge_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_deliveries_project_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_project_id_id", "deliveries", ["project_id", "id"])
    _few("ix_deliveries_received", "deliveries", ["id"], "verdict = 'received'")


def _builds() -> None:
    op.create_table(
        "builds",
        _id(),
        _project_id(),
        _number("number"),
        _word("cause"),
        _text("ref"),
        _text("commit"),
        _text("message"),
        _text("author"),
        _number("delivery_id", nullable=True),
        _number("source", nullable=True),
        _text("asked_by"),
        _number("attempt"),
        _word("state"),
        _word("result", nullable=True),
        _text("reason"),
        _time("created_at", nullable=False),
        _time("started_at"),
        _time("finished_at"),
        sa.Column("deploys", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_builds"),
        sa.UniqueConstraint("project_id", "number", name="uq_builds_project_id_number"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_builds_project_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_builds_project_id_ref_number", "builds", ["project_id", "ref", "number"])
    op.create_index("ix_builds_project_id_commit_number", "builds", ["project_id", "commit", "number"])
    _few("ix_builds_open", "builds", ["project_id", "ref"], "state <> 'finished'")
    _few("ix_builds_deploys", "builds", ["project_id", "number"], "deploys")
    op.create_table(
        "steps",
        _number("build_id"),
        _number("position"),
        _text("name"),
        _word("state"),
        _word("result", nullable=True),
        _text("reason"),
        _text("handle", nullable=True),
        _number("exit_code", nullable=True),
        _time("started_at"),
        _time("finished_at"),
        _time("duration"),
        sa.PrimaryKeyConstraint("build_id", "position", name="pk_steps"),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], name="fk_steps_build_id", ondelete="CASCADE"),
    )


def _statuses() -> None:
    op.create_table(
        "statuses",
        _id(),
        _project_id(),
        _text("commit"),
        _text("context"),
        _number("build"),
        _word("state"),
        _text("description"),
        _number("version"),
        sa.Column("told", sa.Boolean, nullable=False),
        _number("attempts"),
        _text("error"),
        _time("due_at"),
        sa.PrimaryKeyConstraint("id", name="pk_statuses"),
        sa.UniqueConstraint("project_id", "commit", "context", name="uq_statuses_project_id_commit_context"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_statuses_project_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    _few("ix_statuses_due", "statuses", ["due_at"], "due_at IS NOT NULL")


def _people() -> None:
    op.create_table(
        "tokens",
        _id(),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _text("name"),
        _word("access"),
        _time("created_at", nullable=False),
        _time("expires_at"),
        _time("last_used_at"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sign_in_codes",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _time("expires_at", nullable=False),
        _time("used_at"),
        sa.PrimaryKeyConstraint("digest", name="pk_sign_in_codes"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _text("name"),
        _word("access"),
        _time("expires_at", nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
