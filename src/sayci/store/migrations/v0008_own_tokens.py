"""Whose a token is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Those that are there are nobody's: a program's."""
    op.add_column("tokens", sa.Column("person_id", NUMBER))
