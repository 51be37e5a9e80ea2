"""Deliveries, as functions of a connection."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Dialect, Row

from sayci.build import NewBuild
from sayci.delivery import Accepted, Delivery, NewDelivery, Verdict
from sayci.errors import UnknownDelivery, UnknownProject
from sayci.interfaces import Page, Settled, StoredBody
from sayci.store import builds
from sayci.store.columns import plain
from sayci.store.pages import clamped, page_of
from sayci.store.prepared import Prepared
from sayci.store.tables import IS_RECEIVED, deliveries

_FIELDS = (
    "id",
    "project_id",
    "forge_id",
    "event",
    "received_at",
    "verdict",
    "explanation",
    "build_number",
    "size",
)
#: Bytes of bodies that one query of several deliveries reads.
BODIES_TOGETHER = 32 * 1024 * 1024
#: How many of a project's newest are looked at when some of them are asked for.
LOOKED_AT = 20_000
_COLUMNS = [deliveries.c[name] for name in _FIELDS]
_DELIVERIES = sa.select(*_COLUMNS)
_WITH_BODIES = sa.select(*_COLUMNS, deliveries.c.headers, deliveries.c.body)
_BY_ID = _DELIVERIES.where(deliveries.c.id == sa.bindparam("key"))
_SETTLE = sa.update(deliveries).where(deliveries.c.id == sa.bindparam("key"))
_INSERT = sa.text(
    "INSERT INTO deliveries"
    " (project_id, forge_id, event, received_at, verdict, explanation, size, headers, body)"
    " VALUES (:project_id, :forge_id, :event, :received_at, :verdict, :explanation, :size, :headers, :body)"
    " ON CONFLICT (project_id, forge_id) DO NOTHING RETURNING id"
)


def _delivery_of(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(*row[: len(_FIELDS)])


def _with_body(row: Row[*tuple[Any, ...]]) -> tuple[Delivery, StoredBody]:
    headers = tuple((name, value) for name, value in json.loads(row.headers))
    return _delivery_of(row), StoredBody(headers, bytes(row.body))


class Inserter:
    """Keeps deliveries: the one write that has to be fast."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = Prepared(_INSERT, dialect)

    def accept(self, connection: Connection, new: NewDelivery) -> Accepted:
        """Keep it, unless one with its forge_id is there; raises UnknownProject."""
        forge_id, event, explanation = plain(new.forge_id), plain(new.event), plain(new.explanation)
        size = len(new.body)
        values = {
            "project_id": new.project_id,
            "forge_id": forge_id,
            "event": event,
            "received_at": new.received_at,
            "verdict": new.verdict.value,
            "explanation": explanation,
            "size": size,
            "headers": json.dumps([*new.headers], separators=(",", ":")),
            "body": new.body,
        }
        try:
            row = self._insert.first(connection, values)
        except exc.IntegrityError:
            raise UnknownProject("no such project", new.project_id) from None
        if row is None:
            return Accepted(_by_forge_id(connection, new.project_id, forge_id), fresh=False)
        kept = Delivery(row[0], new.project_id, forge_id, event, new.received_at, new.verdict, explanation, None, size)
        return Accepted(kept, fresh=True)


def _by_forge_id(connection: Connection, project_id: int, forge_id: str) -> Delivery:
    where = (deliveries.c.project_id == project_id, deliveries.c.forge_id == forge_id)
    return _delivery_of(connection.execute(_DELIVERIES.where(*where)).one())


def _by_id(connection: Connection, delivery_id: int) -> Delivery:
    row = connection.execute(_BY_ID, {"key": delivery_id}).first()
    if row is None:
        raise UnknownDelivery("no such delivery", delivery_id)
    return _delivery_of(row)


def settle(
    connection: Connection, delivery_id: int, verdict: Verdict, explanation: str, build: NewBuild | None, now: float
) -> Settled:
    """Say what became of it and make its build, unless it has made one; raises UnknownDelivery, UnknownProject."""
    before = _by_id(connection, delivery_id)
    if before.build_number is not None:
        return Settled(before, builds.find(connection, before.project_id, before.build_number))
    added = None if build is None else builds.add(connection, build, now)
    number = None if added is None else added.build.number
    connection.execute(
        _SETTLE, {"key": delivery_id, "verdict": verdict, "explanation": explanation, "build_number": number}
    )
    after = _by_id(connection, delivery_id)
    return Settled(after) if added is None else Settled(after, added.build, added.superseded)


def supersede(connection: Connection, delivery_ids: Sequence[int], explanation: str) -> None:
    """Say of all those that nobody has looked at yet that they were superseded."""
    where = (IS_RECEIVED, deliveries.c.id.in_(delivery_ids))
    connection.execute(sa.update(deliveries).where(*where).values(verdict=Verdict.SUPERSEDED, explanation=explanation))


def unsettled(connection: Connection, after: int, limit: int) -> Sequence[tuple[Delivery, StoredBody]]:
    """Those that nobody has looked at, the oldest first; fewer when their bodies are large."""
    sizes = sa.select(deliveries.c.id, deliveries.c.size).where(IS_RECEIVED, deliveries.c.id > after)
    rows = connection.execute(sizes.order_by(deliveries.c.id).limit(clamped(limit))).all()
    so_far = itertools.accumulate(row.size for row in rows)
    ids = [row.id for row, total in zip(rows, so_far, strict=True) if total <= BODIES_TOGETHER] or [
        row.id for row in rows[:1]
    ]
    found = connection.execute(_WITH_BODIES.where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id))
    return [_with_body(row) for row in found]


def find(connection: Connection, project_id: int, delivery_id: int) -> tuple[Delivery, StoredBody]:
    """One of the project's; raises UnknownDelivery."""
    where = (deliveries.c.id == delivery_id, deliveries.c.project_id == project_id)
    row = connection.execute(_WITH_BODIES.where(*where)).first()
    if row is None:
        raise UnknownDelivery("no such delivery", delivery_id)
    return _with_body(row)


def page(
    connection: Connection, project_id: int | None, before: int | None, limit: int, verdicts: Collection[Verdict] = ()
) -> Page[Delivery]:
    """The project's, or all, the newest first."""
    query = _DELIVERIES if project_id is None else _DELIVERIES.where(deliveries.c.project_id == project_id)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    lowest = 0
    if verdicts:
        lowest = _lowest(connection, project_id, before)
        query = query.where(deliveries.c.id >= lowest, deliveries.c.verdict.in_(verdicts))
    rows = connection.execute(query.order_by(deliveries.c.id.desc()).limit(clamped(limit) + 1)).all()
    part = page_of([_delivery_of(row) for row in rows], limit, lambda delivery: delivery.id)
    return part if part.next is not None or not lowest else replace(part, next=lowest)


def _lowest(connection: Connection, project_id: int | None, before: int | None) -> int:
    """The least id that is looked at when some are sifted; 0 where these are all."""
    query = sa.select(deliveries.c.id)
    if project_id is not None:
        query = query.where(deliveries.c.project_id == project_id)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    found: int | None = connection.execute(
        query.order_by(deliveries.c.id.desc()).offset(LOOKED_AT - 1).limit(1)
    ).scalar()
    return found or 0
