"""The commits of the branches, as they were seen last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "heads",
        sa.Column("project_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "branch", name="pk_heads"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_heads_project_id", ondelete="CASCADE"),
    )
