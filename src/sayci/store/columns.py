"""Types of columns: the same values in SQLite and in PostgreSQL, whatever strangers send."""

from __future__ import annotations

import enum

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_LARGEST = 2**63 - 1


def plain(text: str) -> str:
    """`text` as every database can keep it: U+FFFD for NUL, "?" for halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


class Words(TypeDecorator[str]):
    """Text from anybody."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Never an error for what a database cannot keep."""
        return None if value is None else plain(value)


class Number(TypeDecorator[int]):
    """A whole number of 64 bits; what is larger is compared as the largest, and so found nowhere.

    Addresses have numbers in them, so that any number can come; none of them is an error of the database.
    """

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """SQLite counts a primary key by itself only if its type is INTEGER, which has 64 bits there."""
        return sa.Integer() if dialect.name == "sqlite" else sa.BigInteger()

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Never an error for a number that no column can have."""
        return None if value is None else max(-_LARGEST, min(value, _LARGEST))


def word(kind: type[enum.Enum]) -> sa.Enum:
    """A member of `kind`, kept as its value, or as its name in lower case where the value is a number."""

    def words(members: type[enum.Enum]) -> list[str]:
        return [member.value if isinstance(member.value, str) else member.name.lower() for member in members]

    return sa.Enum(kind, values_callable=words, native_enum=False, create_constraint=False, length=16)
