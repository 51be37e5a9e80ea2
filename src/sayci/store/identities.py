"""Who people are at the forge, and what follows from that: functions of a connection, and their asynchronous front."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred

from sayci.account import Access
from sayci.errors import IdentityTaken, NameTaken, UnknownPerson
from sayci.identity import ForgeToken, Identity, Linked
from sayci.person import Member, Person
from sayci.store import accounts
from sayci.store.seal import Seal
from sayci.store.tables import forge_grants, grants, identities, people, projects, sessions

Value = TypeVar("Value")

# Of who has neither a role, a password nor a grant.
_NOTHING = (
    people.c.role == Access.NONE,
    people.c.password.is_(None),
    people.c.id.not_in(sa.select(grants.c.person_id)),
    people.c.id.not_in(sa.select(forge_grants.c.person_id)),
)


class Do(Protocol):
    """Runs a function of a connection, to read or to write."""

    def __call__(self, work: Callable[[Connection], Value]) -> Deferred[Value]:
        """Fires with what it answers."""
        ...


class SqlIdentities:
    """interfaces.Identities of the forge at `forge`, its address; ids of another forge are nobody's here."""

    def __init__(self, read: Do, write: Do, seal: Seal, forge: str) -> None:
        self._read = read
        self._write = write
        self._seal = seal
        self._forge = forge

    async def person_of(self, identity_id: int) -> Person | None:
        """See interfaces.Identities, here and below."""
        return await self._read(lambda connection: person_of(connection, self._forge, identity_id))

    async def linked(self, person_id: int) -> Linked | None:
        """One of them."""
        found = await self._read(lambda connection: all_linked(connection, self._forge, person_id))
        return found[0] if found else None

    async def all_linked(self) -> Sequence[Linked]:
        """By the person's id."""
        return await self._read(lambda connection: all_linked(connection, self._forge, None))

    async def link(self, person_id: int, identity: Identity, token: ForgeToken, now: float) -> None:
        """In the place of an earlier one."""
        await self._write(lambda connection: self._link(connection, person_id, identity, token, now))

    async def add_person(
        self, names: Iterable[str], identity: Identity, token: ForgeToken, access: Mapping[int, Access], now: float
    ) -> Person:
        """In one transaction."""
        wanted = list(names)

        def work(connection: Connection) -> Person:
            person = accounts.add(connection, free_name(connection, wanted), Access.NONE, now)
            self._link(connection, person.id, identity, token, now)
            set_access(connection, person.id, access, now)
            return person

        return await self._write(work)

    async def token(self, person_id: int) -> ForgeToken | None:
        """Opened."""
        query = sa.select(identities.c.token).where(
            identities.c.person_id == person_id, identities.c.forge == self._forge
        )
        sealed = await self._read(lambda connection: connection.execute(query).scalar())
        return None if sealed is None else _token_of(self._seal.opened(sealed, "identities", person_id, "token"))

    async def keep_token(self, person_id: int, token: ForgeToken) -> None:
        """Sealed."""
        values = {"token": self._sealed(person_id, token)}
        await self._write(lambda connection: _update(connection, person_id, values))

    async def set_access(self, person_id: int, access: Mapping[int, Access], now: float) -> bool:
        """From now on, in open sessions too."""
        return await self._write(lambda connection: set_access(connection, person_id, access, now))

    async def access(self, person_id: int) -> Mapping[int, Access]:
        """By project."""
        return await self._read(lambda connection: access_of(connection, person_id))

    async def has_anything(self, person_id: int) -> bool:
        """In one statement."""
        query = sa.select(people.c.id).where(people.c.id == person_id, ~sa.and_(*_NOTHING))
        return await self._read(lambda connection: connection.execute(query).first() is not None)

    async def revoke(self, person_id: int) -> None:
        """In one transaction."""
        await self._write(lambda connection: revoke(connection, person_id))

    async def unlink(self, person_id: int) -> None:
        """In one transaction."""
        await self._write(lambda connection: unlink(connection, person_id))

    async def lapse(self, before: float) -> Sequence[int]:
        """In one transaction."""
        return await self._write(lambda connection: lapse(connection, before))

    async def members(self, project_id: int) -> Sequence[Member]:
        """By name."""
        return await self._read(lambda connection: members(connection, project_id))

    def _link(self, connection: Connection, person_id: int, identity: Identity, token: ForgeToken, now: float) -> None:
        known = person_of(connection, self._forge, identity.id)
        if known is not None and known.id != person_id:
            raise IdentityTaken("that account is linked to somebody else here", known.name)
        if connection.execute(sa.select(people.c.id).where(people.c.id == person_id)).first() is None:
            raise UnknownPerson("nobody has that number", person_id)
        if known is None:  # what followed from another account is not this one's
            unlink(connection, person_id)
        connection.execute(sa.delete(identities).where(identities.c.person_id == person_id))
        connection.execute(
            sa.insert(identities).values(
                person_id=person_id,
                forge=self._forge,
                identity=identity.id,
                login=identity.login,
                token=self._sealed(person_id, token),
                linked_at=now,
            )
        )

    def _sealed(self, person_id: int, token: ForgeToken) -> bytes:
        text = json.dumps([token.access_token, token.expires_at, token.refresh_token])
        return self._seal.sealed(text, "identities", person_id, "token")


def _token_of(text: str) -> ForgeToken:
    return ForgeToken(*json.loads(text))


# ------------------------------------------------------------------------------------------------ of a connection


def person_of(connection: Connection, forge: str, identity_id: int) -> Person | None:
    """Who is that at the forge."""
    where = (identities.c.forge == forge, identities.c.identity == identity_id)
    name = connection.execute(
        sa.select(people.c.name).join(identities, identities.c.person_id == people.c.id).where(*where)
    ).scalar()
    return None if name is None else accounts.find(connection, name)


def all_linked(connection: Connection, forge: str, person_id: int | None) -> list[Linked]:
    """Everybody with an identity at the forge, or this one."""
    query = (
        sa.select(
            people.c.name, identities.c.identity, identities.c.login, identities.c.token.is_not(None).label("has")
        )
        .join(people, identities.c.person_id == people.c.id)
        .where(identities.c.forge == forge)
        .order_by(identities.c.person_id)
    )
    if person_id is not None:
        query = query.where(identities.c.person_id == person_id)
    rows = connection.execute(query).all()
    return [
        Linked(accounts.find(connection, row.name), Identity(row.identity, row.login), bool(row.has)) for row in rows
    ]


def free_name(connection: Connection, names: Iterable[str]) -> str:
    """The first of the names that nobody has, in any case; raises NameTaken."""
    for name in names:
        if connection.execute(sa.select(people.c.id).where(people.c.name_key == name.lower())).first() is None:
            return name
    raise NameTaken("all names like that are somebody's")


def _update(connection: Connection, person_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(sa.update(identities).where(identities.c.person_id == person_id).values(values))


def access_of(connection: Connection, person_id: int) -> dict[int, Access]:
    """What follows from the forge, by project."""
    query = sa.select(forge_grants.c.project_id, forge_grants.c.access).where(forge_grants.c.person_id == person_id)
    return {row.project_id: row.access for row in connection.execute(query)}


def set_access(connection: Connection, person_id: int, access: Mapping[int, Access], now: float) -> bool:
    """Whether anything is different; a project or a person that is gone is left out."""
    if connection.execute(sa.select(people.c.id).where(people.c.id == person_id)).first() is None:
        return False
    before = access_of(connection, person_id)
    wanted = sa.select(projects.c.id).where(projects.c.id.in_(list(access)))
    there = set(connection.execute(wanted).scalars())
    answered = forge_grants.c.project_id.in_(list(access))
    connection.execute(sa.delete(forge_grants).where(forge_grants.c.person_id == person_id, answered))
    rows = [
        {"person_id": person_id, "project_id": project_id, "access": reach, "seen_at": now}
        for project_id, reach in access.items()
        if reach is not Access.NONE and project_id in there
    ]
    if rows:
        connection.execute(sa.insert(forge_grants), rows)
    end_if_nothing_is_left(connection, [person_id])
    return before != access_of(connection, person_id)


def end_if_nothing_is_left(connection: Connection, person_ids: Sequence[int]) -> None:
    """End the sessions of those of these people who have no role, no password and no grant, from here or the forge."""
    who = sa.select(people.c.id).where(people.c.id.in_(list(person_ids)), *_NOTHING)
    connection.execute(sa.delete(sessions).where(sessions.c.person_id.in_(who)))


def revoke(connection: Connection, person_id: int) -> None:
    """Keep who it is; forget the token and what followed from it, and end the sessions."""
    _update(connection, person_id, {"token": None})
    connection.execute(sa.delete(forge_grants).where(forge_grants.c.person_id == person_id))
    connection.execute(sa.delete(sessions).where(sessions.c.person_id == person_id))


def unlink(connection: Connection, person_id: int) -> None:
    """Forget who it is at the forge, and what followed from that."""
    connection.execute(sa.delete(identities).where(identities.c.person_id == person_id))
    connection.execute(sa.delete(forge_grants).where(forge_grants.c.person_id == person_id))
    end_if_nothing_is_left(connection, [person_id])


def lapse(connection: Connection, before: float) -> Sequence[int]:
    """Forget what was seen longer ago; of which people."""
    is_old = forge_grants.c.seen_at < before
    whose = list(
        connection.execute(
            sa.select(forge_grants.c.person_id).where(is_old).distinct().order_by(forge_grants.c.person_id)
        ).scalars()
    )
    if whose:
        connection.execute(sa.delete(forge_grants).where(is_old))
        end_if_nothing_is_left(connection, whose)
    return whose


def members(connection: Connection, project_id: int) -> list[Member]:
    """Who may do something in the project because the forge says so, by name."""
    query = (
        sa.select(people.c.name, forge_grants.c.access)
        .join(forge_grants, forge_grants.c.person_id == people.c.id)
        .where(forge_grants.c.project_id == project_id)
        .order_by(people.c.name_key)
    )
    return [Member(row.name, row.access) for row in connection.execute(query)]


def any_secret(connection: Connection) -> bool:
    """Whether there is a token that only the right key opens."""
    query = sa.select(identities.c.person_id).where(identities.c.token.is_not(None)).limit(1)
    return connection.execute(query).first() is not None
