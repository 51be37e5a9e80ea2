"""What a step of a project may take of the machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTED = ("output_limit", "process_limit", "memory_limit", "workspace_limit", "open_files_limit")


def upgrade() -> None:
    """Projects that are there have what the server allows."""
    op.add_column("projects", sa.Column("silence_limit", sa.Double, nullable=False, server_default="0"))
    op.add_column("projects", sa.Column("ends_at_output_limit", sa.Boolean, nullable=False, server_default=sa.false()))
    for name in COUNTED:
        op.add_column("projects", sa.Column(name, NUMBER, nullable=False, server_default="0"))
