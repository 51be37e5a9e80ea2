"""A database with many projects and very many builds, made as fast as SQLite takes rows."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sayci.account import Access, Actor, Origin, digest_of
from sayci.project import MirrorState, Project, Settings
from sayci.store.sql_store import SqlStore

#: The cookie of somebody who has signed in.
COOKIE = "sayci_session=session-of-the-bench-long-enough-to-be-one"
WORDS = [
    "parser",
    "cache",
    "retry",
    "login",
    "price",
    "stock",
    "order",
    "mail",
    "index",
    "token",
    "table",
    "page",
    "build",
    "queue",
    "clock",
]


def make(data: Path, *, projects: int, builds: int, many: int) -> None:
    """`projects` projects with `builds` builds each, and one called ``many`` with as many as that."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = Clock()
    clock.advance(time.time())
    path = data / "sayci.sqlite"
    store = SqlStore.open(f"sqlite:///{path}", data / "key", clock, in_process=True)
    known = [_project(store, name, clock.seconds()) for name in ("many", *(f"team-{n:03}" for n in range(projects)))]
    secret = COOKIE.partition("=")[2]
    now = clock.seconds()
    _now(store.add_session(digest_of(secret), Actor("ada", Access.ADMIN), now, now + 86_400, Origin()))
    _now(store.close())
    with sqlite3.connect(path) as connection:
        for project in known:
            _fill(connection, project, many if project.name == "many" else builds, clock.seconds())
        connection.execute("ANALYZE")
    connection.close()


def _now(coroutine: Any) -> Any:
    found: list[Any] = []
    deferred: Deferred[Any] = Deferred.fromCoroutine(coroutine)
    deferred.addCallback(found.append)
    return found[0]


def _project(store: SqlStore, name: str, now: float) -> Project:
    settings = Settings(name, f"https://git.example/team/{name}.git", deploy_branch="main")
    project = _now(store.add_project(settings, "webhook secret", "", now))
    found: Project = _now(store.set_mirror(project.id, MirrorState.READY))
    return found


def _fill(connection: sqlite3.Connection, project: Project, number: int, now: float) -> None:
    chance = random.Random(project.id)  # noqa: S311 - the same builds each time
    (first,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM builds").fetchone()
    rows = list(_rows(chance, project.id, first, number, now))
    connection.executemany(
        'INSERT INTO builds (id, project_id, number, cause, ref, "commit", message, author, asked_by, attempt, state, '
        "result, reason, created_at, started_at, finished_at, deploys, source) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    steps = [
        (row[0], place, name, "finished", _of(name, row[11]), row[15], row[14], 50.0)
        for row in rows
        for place, name in enumerate(("checkout", "test", "deploy")[: 3 if row[16] else 2])
    ]
    connection.executemany(
        "INSERT INTO steps (build_id, position, name, state, result, reason, finished_at, started_at, duration) "
        "VALUES (?, ?, ?, ?, ?, '', ?, ?, ?)",
        steps,
    )
    connection.execute("UPDATE projects SET last_number = ? WHERE id = ?", (number, project.id))


def _of(step: str, result: str) -> str:
    if step == "test" or result == "success":
        return result
    return "success" if step == "checkout" else "skipped"


def _rows(chance: random.Random, project_id: int, first: int, number: int, now: float) -> Iterator[tuple[Any, ...]]:
    for place in range(number):
        result = chance.choices(("success", "failure", "error", "timed_out", "cancelled"), (90, 6, 1, 1, 2))[0]
        made = now - (number - place) * 600
        seconds = 600.0 if result == "timed_out" else 90 * chance.uniform(0.8, 1.3)
        is_main = chance.random() < 0.7
        branch = "main" if is_main else f"feature/{chance.randrange(40)}"
        yield (
            first + place,
            project_id,
            place + 1,
            "push",
            f"refs/heads/{branch}",
            f"{chance.getrandbits(160):040x}",
            f"Mend the {chance.choice(WORDS)} of the {chance.choice(WORDS)} (part {place})",
            chance.choice(("Ada Lovelace", "Grace Hopper", "Robin Milner")),
            "",
            1,
            "finished",
            result,
            "" if result == "success" else "make test, exit 2",
            made,
            made + 2,
            made + 2 + seconds,
            is_main,
            None,
        )
