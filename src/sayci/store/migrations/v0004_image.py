"""Projects have an image that their steps run in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_sequence = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))


def upgrade() -> None:
    """Add it; those that are there have none of their own."""
    column = sa.Column("image", sa.Text, nullable=False, server_default="")
    if op.get_bind().dialect.name == "sqlite":
        _make_anew(column)
    else:
        op.add_column("projects", column)
        op.alter_column("projects", "image", server_default=None)


def _make_anew(column: sa.Column[str]) -> None:
    """SQLite gets a table as if it had always had the column."""
    of_projects = _sequence.c.name == "projects"
    last_id = op.get_bind().execute(sa.select(_sequence.c.seq).where(of_projects)).scalar()
    whole = {"sqlite_autoincrement": True}
    with op.batch_alter_table("projects", recreate="always", table_kwargs=whole) as projects:
        projects.add_column(column, insert_after="forge_api")
    with op.batch_alter_table("projects", recreate="always", table_kwargs=whole) as projects:
        projects.alter_column("image", server_default=None)
    if last_id is not None:  # or the ids of projects that were removed would be given again
        op.execute(_sequence.update().where(of_projects).values(seq=last_id))
