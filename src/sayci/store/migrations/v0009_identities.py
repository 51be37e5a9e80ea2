"""Who people are at the forge."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WORD = sa.String(16)


def upgrade() -> None:
    """Make the tables; nobody is linked yet."""
    op.create_table(
        "identities",
        sa.Column("person_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("forge", sa.Text, nullable=False),
        sa.Column("identity", NUMBER, nullable=False),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("token", sa.LargeBinary),
        sa.Column("linked_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("person_id", name="pk_identities"),
        sa.UniqueConstraint("forge", "identity", name="uq_identities_forge_identity"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_identities_person_id", ondelete="CASCADE"),
    )
    op.create_table(
        "forge_grants",
        sa.Column("person_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("project_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("access", WORD, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "project_id", name="pk_forge_grants"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_forge_grants_person_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_forge_grants_project_id", ondelete="CASCADE"),
    )
