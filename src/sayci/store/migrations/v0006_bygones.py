"""What builds that were removed because they were old had built."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "bygones",
        sa.Column("project_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "ref", "commit", name="pk_bygones"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_bygones_project_id", ondelete="CASCADE"),
    )
