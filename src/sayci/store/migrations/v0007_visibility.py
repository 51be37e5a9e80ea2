"""Who may look at single projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WORD = sa.String(16)


def upgrade() -> None:
    """Projects that are there are private."""
    op.add_column("projects", sa.Column("visibility", WORD))
    op.create_table(
        "grants",
        sa.Column("person_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("project_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("access", WORD, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "project_id", name="pk_grants"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_grants_person_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_grants_project_id", ondelete="CASCADE"),
    )
