"""Bring a database to the tables of this sayci, in one transaction.

alembic is imported only when there is something to do.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection

from sayci.errors import CannotStart, Unavailable
from sayci.store import engine
from sayci.store.tables import metadata

#: The newest revision that this sayci knows; a test says that it is the last one in SCRIPTS.
NEWEST = "0009"
SCRIPTS = Path(__file__).parent / "migrations"

_versions = sa.table("alembic_version", sa.column("version_num"))


def migrate(
    url: URL, *, newest: str = NEWEST, scripts: Path = SCRIPTS, busy_timeout: float = engine.BUSY_TIMEOUT
) -> None:
    """Make the tables, or bring older ones to the revision `newest` of `scripts`.

    An SQLite file is copied aside before, as FILE.before-REVISION.  Raises CannotStart when the database cannot be
    opened, is newer than this sayci, or is somebody else's; then nothing has changed.
    """
    path = engine.make_file(url)
    engines = engine.open_engines(url, readers=1, busy_timeout=busy_timeout)
    try:
        with engines.writer.connect() as connection:
            _check(connection)
            stored = _revision(connection)
            if stored == newest:
                return
            connection.rollback()
            if path is not None and stored is not None:
                _copy_aside(path, path.with_name(f"{path.name}.before-{newest}"))
            _upgrade(connection, stored, newest, scripts)
    except (exc.SQLAlchemyError, sqlite3.Error, OSError, Unavailable) as error:
        raise engine.cannot_open(url, error) from error
    finally:
        engines.close()


def _check(connection: Connection) -> None:
    """Raises CannotStart for what would go wrong later: no write-ahead log, or letters that cannot be kept."""
    if connection.dialect.name == "sqlite":
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            raise CannotStart("the file system of the database cannot have SQLite's write-ahead log; use a local one")
    elif connection.exec_driver_sql("SHOW server_encoding").scalar() != "UTF8":
        raise CannotStart("the database's encoding is not UTF8")


def _revision(connection: Connection) -> str | None:
    """The revision of the tables that are there; None when there are none."""
    there = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in there:
        return connection.execute(sa.select(_versions.c.version_num)).scalar()
    if there & set(metadata.tables):
        raise CannotStart(
            "there are tables in the database that are not sayci's", *sorted(there & set(metadata.tables))
        )
    return None


def _copy_aside(path: Path, copy: Path) -> None:
    """A copy of the database in `path`, complete or not there at all."""
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as original, closing(sqlite3.connect(part)) as target:
        original.backup(target)
    part.replace(copy)


def _upgrade(connection: Connection, stored: str | None, newest: str, scripts: Path) -> None:
    from alembic.config import Config  # noqa: PLC0415 - 40 MB and half a second that a usual start does not take
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415 - as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above
    from alembic.util import CommandError  # noqa: PLC0415 - as above

    directory = ScriptDirectory(str(scripts), version_locations=[str(scripts)])
    with EnvironmentContext(
        Config(),
        directory,
        fn=lambda revision, _context: directory._upgrade_revs(newest, revision),  # noqa: SLF001 - what alembic's own commands do
    ) as environment:
        try:
            with _without_foreign_keys(connection), connection.begin():
                environment.configure(connection=connection, target_metadata=metadata)
                environment.run_migrations()
        except CommandError:
            raise CannotStart("the database was made by a newer sayci; its tables are of revision", stored) from None


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by making a new one and dropping the old, which would delete all that refers to its rows."""
    if connection.dialect.name != "sqlite":
        yield
        return
    # Straight to the driver: within a transaction, which SQLAlchemy would begin, these do nothing.
    driver = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")
