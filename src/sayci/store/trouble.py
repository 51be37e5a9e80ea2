"""What is told of a database's error, and what only the log has: what PostgreSQL says names hosts, users and sockets."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from sqlalchemy import exc
from twisted.logger import Logger

#: Seconds between two lines in the log that say the same.
SAID_EVERY = 10.0

# SQLSTATE's classes and codes (PostgreSQL, appendix A).
_STATES = {
    "25006": "it can only be read",
    "55P03": "it is locked by somebody else",
    "53100": "its disk is full",
    "53300": "it has too many connections",
    "53": "it has no resources left",
    "57": "it was interrupted or is being shut down",
    "58": "its system or its disk fails",
    "XX": "it is damaged",
}


def words_of(error: exc.DBAPIError) -> str:
    """Why the database did not do it, in words that anybody may read."""
    if isinstance(error.orig, sqlite3.Error):
        return first_line(error.orig)  # SQLite's words are fixed, and name nothing
    state = getattr(error.orig, "sqlstate", None) or ""
    if not state or error.connection_invalidated or state[:2] in ("08", "28", "3D"):
        return "it does not answer"
    return _STATES.get(state) or _STATES.get(state[:2]) or f"SQLSTATE {state}"


def first_line(error: BaseException | None) -> str:
    """The first line of what an error says."""
    return str(error).strip().partition("\n")[0]


class Complaints:
    """Says in the log what the database says, the same not more often than every SAID_EVERY seconds; from any thread."""

    _log = Logger()

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: tuple[str, float] | None = None

    def add(self, error: exc.DBAPIError) -> None:
        """The database said this."""
        words, now = first_line(error.orig), self._clock()
        if self._said is None or self._said[0] != words or now - self._said[1] >= SAID_EVERY:
            self._said = words, now
            self._log.warn("the database cannot do it now: {words}", words=words)
