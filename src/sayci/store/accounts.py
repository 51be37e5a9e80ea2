"""People with accounts, as functions of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from sayci.account import Access
from sayci.errors import LastAdmin, NameTaken, UnknownPerson, UnknownProject
from sayci.person import Member, Person
from sayci.store.tables import grants, invitations, people, projects, sessions, tokens

_PEOPLE = sa.select(
    people.c.id, people.c.name, people.c.role, people.c.created_at, people.c.password.is_not(None).label("has_password")
)


def _person_of(row: Row[Any]) -> Person:
    return Person(row.id, row.name, row.role, row.created_at, bool(row.has_password))


def _is_called(name: str) -> sa.ColumnElement[bool]:
    return people.c.name_key == name.lower()


def add(connection: Connection, name: str, role: Access, now: float) -> Person:
    """Somebody new; raises NameTaken."""
    if connection.execute(sa.select(people.c.id).where(_is_called(name))).first() is not None:
        raise NameTaken("somebody with that name exists", name)
    values = {"name": name, "name_key": name.lower(), "role": role, "created_at": now}
    connection.execute(sa.insert(people).values(values))
    return find(connection, name)


def everybody(connection: Connection) -> Sequence[Person]:
    """By name."""
    return [_person_of(row) for row in connection.execute(_PEOPLE.order_by(people.c.name_key, people.c.id))]


def find(connection: Connection, name: str) -> Person:
    """Raises UnknownPerson."""
    row = connection.execute(_PEOPLE.where(_is_called(name))).first()
    if row is None:
        raise UnknownPerson("nobody has that name", name[:80])
    return _person_of(row)


def password_of(connection: Connection, name: str) -> tuple[Person | None, str | None]:
    """Whoever has that name, and what is kept of the password."""
    row = connection.execute(_PEOPLE.add_columns(people.c.password).where(_is_called(name))).first()
    return (None, None) if row is None else (_person_of(row), row.password)


def set_password(connection: Connection, person_id: int, password: str, *, ends_sessions: bool) -> None:
    """Keep another hash."""
    connection.execute(sa.update(people).where(people.c.id == person_id).values(password=password))
    if ends_sessions:
        connection.execute(sa.delete(sessions).where(sessions.c.person_id == person_id))


def _check_not_last(connection: Connection, person: Person) -> None:
    """Raises LastAdmin when nobody but `person` is an admin with a password."""
    others = (people.c.id != person.id, people.c.role == Access.ADMIN, people.c.password.is_not(None))
    if person.role is not Access.ADMIN or not person.has_password:
        return
    if connection.execute(sa.select(people.c.id).where(*others).limit(1)).first() is None:
        raise LastAdmin("nobody else with a password is an admin; make somebody one first", person.name)


def set_role(connection: Connection, name: str, role: Access) -> Person:
    """Raises UnknownPerson, LastAdmin."""
    person = find(connection, name)
    if role is not Access.ADMIN:
        _check_not_last(connection, person)
    connection.execute(sa.update(people).where(people.c.id == person.id).values(role=role))
    return find(connection, name)


def remove(connection: Connection, name: str) -> None:
    """Raises UnknownPerson, LastAdmin."""
    person = find(connection, name)
    _check_not_last(connection, person)
    for credentials in (sessions, tokens):
        connection.execute(sa.delete(credentials).where(credentials.c.person_id == person.id))
    connection.execute(sa.delete(people).where(people.c.id == person.id))


# -- single projects


def members(connection: Connection, project_id: int) -> Sequence[Member]:
    """By name."""
    query = (
        sa.select(people.c.name, grants.c.access)
        .join(grants, grants.c.person_id == people.c.id)
        .where(grants.c.project_id == project_id)
        .order_by(people.c.name_key)
    )
    return [Member(row.name, row.access) for row in connection.execute(query)]


def set_member(connection: Connection, project_id: int, name: str, role: Access | None) -> Member | None:
    """None takes the grant back.  Raises UnknownPerson, also for who has no grant to be taken back; UnknownProject."""
    person = find(connection, name)
    is_it = (grants.c.person_id == person.id, grants.c.project_id == project_id)
    removed = connection.execute(sa.delete(grants).where(*is_it)).rowcount
    if role is None:
        if not removed:
            raise UnknownPerson("the project has no such member", person.name)
        return None
    if connection.execute(sa.select(projects.c.id).where(projects.c.id == project_id)).first() is None:
        raise UnknownProject("no such project", project_id)
    connection.execute(sa.insert(grants).values(person_id=person.id, project_id=project_id, access=role))
    return Member(person.name, role)


# -- invitations


def add_invitation(connection: Connection, person_id: int, digest: bytes, expires_at: float) -> None:
    """In the place of an earlier one; raises UnknownPerson."""
    if connection.execute(sa.select(people.c.id).where(people.c.id == person_id)).first() is None:
        raise UnknownPerson("nobody has that number", person_id)
    connection.execute(sa.delete(invitations).where(invitations.c.person_id == person_id))
    connection.execute(sa.insert(invitations).values(digest=digest, person_id=person_id, expires_at=expires_at))


def invited(connection: Connection, digest: bytes, now: float) -> Person | None:
    """Whose invitation it is."""
    query = _PEOPLE.join(invitations, invitations.c.person_id == people.c.id)
    row = connection.execute(query.where(invitations.c.digest == digest, invitations.c.expires_at > now)).first()
    return None if row is None else _person_of(row)


def accept(connection: Connection, digest: bytes, password: str, now: float) -> Person | None:
    """Use it up."""
    person = invited(connection, digest, now)
    connection.execute(sa.delete(invitations).where(invitations.c.digest == digest))
    if person is None:
        return None
    set_password(connection, person.id, password, ends_sessions=True)
    return find(connection, person.name)
