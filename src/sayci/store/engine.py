"""Connections to the database of a URL, and what its errors mean for those who ask."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from sayci.errors import CannotStart, Unavailable
from sayci.store.trouble import Complaints, first_line, words_of

#: Seconds that a statement waits for a lock which another process holds.
BUSY_TIMEOUT = 5.0
#: The file of SQLite's log is cut to this when it has grown by a large transaction, in bytes.
_LOG_LIMIT = 64 * 1024 * 1024
_OLDEST_SQLITE = (3, 35, 0)  # has INSERT ... RETURNING
_POSTGRESQL = "postgresql+psycopg"
# Values do not get into errors' texts: they may be secrets.
_SHARED: dict[str, Any] = {"max_overflow": 0, "hide_parameters": True}

# "55P03" is PostgreSQL's lock_not_available; the other number is any, as long as it is always the same.
_LOCK_NOT_AVAILABLE, _SERVERS_LOCK = "55P03", 0x7361796369
_BUSY, _LOCKED = 5, 6  # SQLITE_BUSY, SQLITE_LOCKED (https://sqlite.org/rescode.html)

_complaints = Complaints()


def read_url(url: str) -> URL:
    """The address of a database: ``sqlite:////srv/sayci/sayci.sqlite`` or ``postgresql://USER@HOST/NAME``.

    Raises CannotStart for anything else, without the password that may be in it.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise CannotStart(
            "the address of the database is not a URL such as sqlite:////srv/sayci/sayci.sqlite"
        ) from None
    if parsed.drivername in ("postgresql", "postgres", _POSTGRESQL):
        return parsed.set(drivername=_POSTGRESQL)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise CannotStart("a database is sqlite:///FILE or postgresql://USER@HOST/NAME", _shown(parsed))
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise CannotStart("sayci's database is a file: sqlite:////srv/sayci/sayci.sqlite", _shown(parsed))
    return parsed


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


@dataclass(frozen=True, slots=True)
class Engines:
    """Two ways to one database: `writer` for one thread, `reader` for several, in which nothing can be written."""

    writer: Engine
    reader: Engine

    def close(self) -> None:
        """Close all connections; no thread may be using one."""
        self.reader.dispose()
        self.writer.dispose()


def open_engines(url: URL, *, readers: int, busy_timeout: float = BUSY_TIMEOUT) -> Engines:
    """The engines for a URL from read_url; connects to nothing yet.  Raises CannotStart without the database's driver."""
    make = _sqlite if url.drivername.startswith("sqlite") else _postgresql
    return make(url, readers, busy_timeout)


def _sqlite(url: URL, readers: int, busy_timeout: float) -> Engines:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise CannotStart("sayci needs SQLite 3.35 or newer; this Python has", sqlite3.sqlite_version)
    shared: dict[str, Any] = _SHARED | {"connect_args": {"timeout": busy_timeout}}
    writer = sa.create_engine(url, pool_size=1, **shared)
    reader = sa.create_engine(url, pool_size=readers, **shared)
    _on_connect(
        writer, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"journal_size_limit = {_LOG_LIMIT}"
    )
    _on_connect(reader, "query_only = ON")
    # IMMEDIATE: to take the lock at the start waits for it; to take it at the first write, after a read, does not.
    _on_begin(writer, "BEGIN IMMEDIATE")
    _on_begin(reader, "BEGIN")
    return Engines(writer, reader)


def _on_connect(engine: Engine, *pragmas: str) -> None:
    @sa.event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the sqlite3 module begins no transactions of its own
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()


def _on_begin(engine: Engine, statement: str) -> None:
    @sa.event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


def _postgresql(url: URL, readers: int, busy_timeout: float) -> Engines:
    shared: dict[str, Any] = _SHARED | {"pool_pre_ping": True}
    waits = {"options": f"-c lock_timeout={int(busy_timeout * 1000)}", "connect_timeout": max(2, int(busy_timeout))}
    try:
        writer = sa.create_engine(url, pool_size=1, connect_args=waits, **shared)
        reader = sa.create_engine(
            url,
            pool_size=readers,
            isolation_level="REPEATABLE READ",  # a snapshot for each read: its statements agree
            connect_args=waits | {"options": "-c default_transaction_read_only=on"},
            **shared,
        )
    except ImportError:
        raise CannotStart("PostgreSQL takes the package psycopg: pip install 'sayci[postgresql]'") from None
    _lock_out_others(writer)
    return Engines(writer, reader)


def _lock_out_others(writer: Engine) -> None:
    """One server for a database: two would start every build twice.  SQLite's file is in a data directory that is locked."""

    @sa.event.listens_for(writer, "connect")
    def connected(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(f"SELECT pg_advisory_lock({_SERVERS_LOCK})")  # for as long as the connection lasts
            connection.commit()
        except writer.dialect.loaded_dbapi.OperationalError as error:
            if getattr(error, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
            raise Unavailable("another sayci uses the database") from None
        finally:
            cursor.close()


def make_file(url: URL) -> Path | None:
    """The file of an SQLite database, made for its owner alone if it is not there; None for other databases.

    Raises CannotStart when it cannot be made.
    """
    if not url.drivername.startswith("sqlite"):
        return None
    path = Path(url.database or "")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CannotStart("cannot open the database", path, error.strerror) from None
    return path


def explained(error: Exception) -> Exception:
    """What to tell of an error while a transaction ran: Unavailable when it is the database's, else the error itself.

    Errors of our own statements (a constraint, a syntax error) are defects, and stay what they are.
    """
    if isinstance(error, exc.IntegrityError | exc.DataError | exc.ProgrammingError | exc.NotSupportedError):
        return error
    if isinstance(error, exc.DBAPIError):
        _complaints.add(error)
        return Unavailable("the database cannot do it now", words_of(error))
    if isinstance(error, exc.TimeoutError):
        return Unavailable("the database has no free connection")
    return error


def is_for_all(error: Exception) -> bool:
    """Whether an error is no one transaction's: another one would meet it too, perhaps after a long wait.

    Unavailable is what the attempt to connect raises.
    """
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError | Unavailable)
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (_BUSY, _LOCKED)
    return error.connection_invalidated or getattr(error.orig, "sqlstate", "") is None


def cannot_open(url: URL, error: Exception) -> CannotStart:
    """What to say of an error while the database was opened or migrated."""
    orig = error.orig if isinstance(error, exc.DBAPIError) else error
    return CannotStart("cannot open the database", _shown(url), first_line(orig))
