"""Tokens, one-time codes and sessions, as functions of a connection; of each only a digest is kept.

People themselves are in accounts.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.account import Access, Actor, Origin, Session, Token, capped
from sayci.errors import UnknownPerson, UnknownToken
from sayci.sign_in import SESSION_IDLE
from sayci.store.tables import forge_grants, grants, people, sessions, sign_in_codes, tokens

_TOKENS = sa.select(
    tokens.c.id,
    tokens.c.name,
    tokens.c.access,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.last_used_at,
    people.c.name.label("person"),
).select_from(tokens.outerjoin(people, people.c.id == tokens.c.person_id))


@dataclass(frozen=True, slots=True)
class Known:
    """Who holds a credential, until when, and when its last use was noted; of a token also its id.

    One that nobody uses for `idle` seconds has expired.
    """

    actor: Actor
    expires_at: float | None
    id: int = 0
    last_used_at: float = 0.0
    idle: float = math.inf

    def at(self, now: float) -> Actor | None:
        """The actor, unless the credential has expired."""
        is_over = self.expires_at is not None and now >= self.expires_at
        return None if is_over or (self.last_used_at and now - self.last_used_at >= self.idle) else self.actor


def try_to_write(connection: Connection) -> None:
    """Write something and take it back: raises where nothing can be written.  An expired code lets nobody in."""
    digest = os.urandom(32)
    connection.execute(sa.insert(sign_in_codes).values(digest=digest, expires_at=0.0))
    connection.execute(sa.delete(sign_in_codes).where(sign_in_codes.c.digest == digest))


def add_token(
    connection: Connection,
    name: str,
    access: Access,
    digest: bytes,
    now: float,
    expires_at: float | None,
    person_id: int | None,
) -> Token:
    """A new token; raises UnknownPerson."""
    if person_id is not None and not connection.execute(sa.select(people.c.id).where(people.c.id == person_id)).first():
        raise UnknownPerson("nobody has that number", person_id)
    values = {"name": name, "access": access, "digest": digest, "created_at": now, "expires_at": expires_at}
    values |= {"person_id": person_id}
    token_id = connection.execute(sa.insert(tokens).values(values).returning(tokens.c.id)).scalar_one()
    return Token(*connection.execute(_TOKENS.where(tokens.c.id == token_id)).one())


def all_tokens(connection: Connection, person_id: int | None) -> Sequence[Token]:
    """By id; a person's, or those of all."""
    query = _TOKENS if person_id is None else _TOKENS.where(tokens.c.person_id == person_id)
    return [Token(*row) for row in connection.execute(query.order_by(tokens.c.id))]


def token(connection: Connection, digest: bytes) -> Token | None:
    """The token of that digest."""
    row = connection.execute(_TOKENS.where(tokens.c.digest == digest)).first()
    return None if row is None else Token(*row)


def remove_token(connection: Connection, token_id: int) -> bytes:
    """Its digest.  Raises UnknownToken."""
    removed = sa.delete(tokens).where(tokens.c.id == token_id).returning(tokens.c.digest)
    digest = connection.execute(removed).scalar_one_or_none()
    if digest is None:
        raise UnknownToken("no such token", token_id)
    return bytes(digest)


def holder(connection: Connection, digest: bytes) -> Known | None:
    """Who holds the token of that digest."""
    query = _TOKENS.add_columns(tokens.c.person_id, people.c.role).where(tokens.c.digest == digest)
    row = connection.execute(query).first()
    if row is None or (row.person_id is not None and row.person is None):
        return None
    actor = Actor(row.name, row.access)
    if row.person is not None:
        person = Actor(row.person, row.role, row.person_id, granted(connection, row.person_id))
        actor = capped(person, row.access)
    return Known(actor, row.expires_at, row.id, row.last_used_at or 0.0)


def used_token(connection: Connection, token_id: int, now: float) -> None:
    """Say when it was last used."""
    connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


def add_code(connection: Connection, digest: bytes, expires_at: float) -> None:
    """A new one-time code."""
    connection.execute(sa.insert(sign_in_codes).values(digest=digest, expires_at=expires_at))


def use_code(connection: Connection, digest: bytes, now: float) -> bool:
    """Whether it is good; it is not afterwards.  What else has expired or was used goes away by the way."""
    used = connection.execute(
        sa.update(sign_in_codes)
        .where(sign_in_codes.c.digest == digest, sign_in_codes.c.used_at.is_(None), sign_in_codes.c.expires_at > now)
        .values(used_at=now)
    )
    if not used.rowcount:
        return False
    # One that was used is kept, to say that anyone ever signed in.
    connection.execute(
        sa.delete(sign_in_codes).where(sign_in_codes.c.digest != digest, sign_in_codes.c.used_at.is_not(None))
    )
    connection.execute(
        sa.delete(sign_in_codes).where(sign_in_codes.c.digest != digest, sign_in_codes.c.expires_at <= now)
    )
    connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= now))
    return True


def anyone_signed_in(connection: Connection) -> bool:
    """Whether a code was ever used."""
    return (
        connection.execute(
            sa.select(sign_in_codes.c.digest).where(sign_in_codes.c.used_at.is_not(None)).limit(1)
        ).first()
        is not None
    )


def add_session(
    connection: Connection, digest: bytes, actor: Actor, now: float, expires_at: float, origin: Origin
) -> None:
    """A new session."""
    values = {
        "digest": digest,
        "name": actor.name,
        "access": actor.access,
        "expires_at": expires_at,
        "person_id": actor.person_id,
        "created_at": now,
        "seen_at": now,
        "address": origin.address,
        "browser": origin.browser,
    }
    connection.execute(sa.insert(sessions).values(values))


_SESSION = (
    sa.select(
        sessions.c.name,
        sessions.c.access,
        sessions.c.expires_at,
        sessions.c.seen_at,
        sessions.c.person_id,
        people.c.name.label("person"),
        people.c.role,
    )
    .select_from(sessions.outerjoin(people, people.c.id == sessions.c.person_id))
    .where(sessions.c.digest == sa.bindparam("key"))
)


def of_session(connection: Connection, digest: bytes) -> Known | None:
    """Whose session it is."""
    row = connection.execute(_SESSION, {"key": digest}).first()
    if row is None or (row.person_id is not None and row.person is None):
        return None
    actor = Actor(row.name, row.access)
    if row.person is not None:
        actor = Actor(row.person, row.role, row.person_id, granted(connection, row.person_id))
    return Known(actor, row.expires_at, last_used_at=row.seen_at or 0.0, idle=SESSION_IDLE)


def sessions_of(connection: Connection, name: str, person_id: int | None, now: float) -> Sequence[Session]:
    """Those that have not expired, the newest first."""
    whose = sessions.c.person_id == person_id
    if person_id is None:
        whose = sa.and_(sessions.c.person_id.is_(None), sessions.c.name == name)
    in_use = sa.or_(sessions.c.seen_at.is_(None), sessions.c.seen_at > now - SESSION_IDLE)
    query = sa.select(sessions).where(whose, sessions.c.expires_at > now, in_use)
    newest_first = query.order_by(sa.func.coalesce(sessions.c.created_at, 0.0).desc(), sessions.c.digest)
    return [
        Session(bytes(row.digest), row.created_at, row.seen_at, Origin(row.address or "", row.browser or ""))
        for row in connection.execute(newest_first)
    ]


def granted(connection: Connection, person_id: int) -> dict[int, Access]:
    """What somebody may do in single projects: of what was granted here and what follows from the forge, the greater."""
    found: dict[int, Access] = {}
    for table in (grants, forge_grants):
        query = sa.select(table.c.project_id, table.c.access).where(table.c.person_id == person_id)
        for row in connection.execute(query):
            found[row.project_id] = max(row.access, found.get(row.project_id, Access.NONE))
    return found


def used_session(connection: Connection, digest: bytes, now: float) -> None:
    """Say when it was last used."""
    connection.execute(sa.update(sessions).where(sessions.c.digest == digest).values(seen_at=now))


def remove_session(connection: Connection, digest: bytes) -> None:
    """Nothing if there is none."""
    connection.execute(sa.delete(sessions).where(sessions.c.digest == digest))
