"""Projects and their environments, as functions of a connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from sayci.errors import IllegalMove, Invalid, NameTaken, UnknownProject
from sayci.interfaces import Page
from sayci.limits import NAMES
from sayci.project import SECRETS_LIMIT, VARIABLES_LIMIT, MirrorState, Project, Settings, Variable, Visibility
from sayci.store.pages import clamped, page_of
from sayci.store.seal import Seal
from sayci.store.tables import IS_OPEN, builds, forge_grants, projects, variables

_SETTINGS = (
    "name",
    "url",
    "default_branch",
    "deploy_branch",
    "test_target",
    "deploy_target",
    "forge_api",
    "image",
    *NAMES,
    "visibility",
)
_PROJECTS = sa.select(
    projects.c.id,
    projects.c.created_at,
    projects.c.mirror,
    projects.c.mirror_error,
    projects.c.access_token.is_not(None).label("has_access_token"),
    *(projects.c[name] for name in _SETTINGS),
)
_BY_NAME = _PROJECTS.where(projects.c.name_key == sa.bindparam("key"))
_BY_ID = _PROJECTS.where(projects.c.id == sa.bindparam("key"))
_LONGEST_NAME = 64


def key_of(name: str) -> str:
    """What two names of one project have in common; raises UnknownProject for what can be no project's name."""
    if len(name) > _LONGEST_NAME or not name.isascii() or not name.isprintable():
        raise _unknown(name)
    return name.lower()


def _unknown(name: str | int) -> UnknownProject:
    return UnknownProject("no such project", name if isinstance(name, int) else name[:80])


def _project_of(row: Row[Any]) -> Project:
    return Project(
        id=row.id,
        settings=Settings(
            **{name: getattr(row, name) for name in _SETTINGS} | {"visibility": row.visibility or Visibility.PRIVATE}
        ),
        created_at=row.created_at,
        mirror=row.mirror,
        mirror_error=row.mirror_error,
        has_access_token=bool(row.has_access_token),
    )


def _row_of(settings: Settings) -> dict[str, Any]:
    return {"name_key": settings.name.lower()} | {name: getattr(settings, name) for name in _SETTINGS}


def find(connection: Connection, name: str) -> Project:
    """The project of that name, in any case; raises UnknownProject."""
    row = connection.execute(_BY_NAME, {"key": key_of(name)}).first()
    if row is None:
        raise _unknown(name)
    return _project_of(row)


def find_by_id(connection: Connection, project_id: int) -> Project:
    """The project of that id; raises UnknownProject."""
    row = connection.execute(_BY_ID, {"key": project_id}).first()
    if row is None:
        raise _unknown(project_id)
    return _project_of(row)


def names_of(connection: Connection, project_ids: Collection[int]) -> Mapping[int, str]:
    """Of those that are there."""
    query = sa.select(projects.c.id, projects.c.name).where(projects.c.id.in_(list(project_ids)))
    return {row.id: row.name for row in connection.execute(query)}


def page(connection: Connection, after: int, limit: int, granted: Collection[int] | None) -> Page[Project]:
    """Projects by id: all of them, or the public ones and those that are `granted`."""
    query = _PROJECTS.where(projects.c.id > after)
    if granted is not None:
        query = query.where((projects.c.visibility == Visibility.PUBLIC) | projects.c.id.in_(list(granted)))
    rows = connection.execute(query.order_by(projects.c.id).limit(clamped(limit) + 1)).all()
    return page_of([_project_of(row) for row in rows], limit, lambda project: project.id)


def some(connection: Connection, project_ids: Sequence[int] | None) -> list[Project]:
    """These projects, or all of them, by id; those that are not there are left out."""
    query = _PROJECTS if project_ids is None else _PROJECTS.where(projects.c.id.in_(project_ids))
    return [_project_of(row) for row in connection.execute(query.order_by(projects.c.id))]


def add(
    connection: Connection, seal: Seal, settings: Settings, webhook_secret: str, access_token: str, now: float
) -> Project:
    """A new project; raises NameTaken."""
    _check_free(connection, settings.name, None)
    values = _row_of(settings) | {
        "created_at": now,
        "mirror": MirrorState.CLONING,
        "mirror_error": "",
        "last_number": 0,
        "webhook_secret": b"",  # it is sealed for the row's id, which is not known before
    }
    project_id = connection.execute(sa.insert(projects).values(values).returning(projects.c.id)).scalar_one()
    _update(
        connection,
        project_id,
        webhook_secret=seal.sealed(webhook_secret, "projects", project_id, "webhook_secret"),
        access_token=_sealed_token(seal, project_id, access_token),
    )
    return find_by_id(connection, project_id)


def _sealed_token(seal: Seal, project_id: int, access_token: str) -> bytes | None:
    return seal.sealed(access_token, "projects", project_id, "access_token") if access_token else None


def _check_free(connection: Connection, name: str, own_id: int | None) -> None:
    there = connection.execute(sa.select(projects.c.id).where(projects.c.name_key == name.lower())).scalar()
    if there is not None and there != own_id:
        raise NameTaken("a project with that name exists", name)


def _update(connection: Connection, project_id: int, **values: Any) -> None:
    connection.execute(sa.update(projects).where(projects.c.id == project_id).values(values))


def change(connection: Connection, name: str, make: Callable[[Settings], Settings]) -> Project:
    """The project with other settings; raises UnknownProject, NameTaken, and what `make` raises."""
    project = find(connection, name)
    settings = make(project.settings)
    if (settings.url, settings.forge_api) != (project.settings.url, project.settings.forge_api):
        # Who may look followed from the other repository.
        connection.execute(sa.delete(forge_grants).where(forge_grants.c.project_id == project.id))
    _check_free(connection, settings.name, project.id)
    _update(connection, project.id, **_row_of(settings))
    return find_by_id(connection, project.id)


def set_mirror(connection: Connection, project_id: int, state: MirrorState, error: str) -> Project:
    """The project with another mirror; raises UnknownProject."""
    _update(connection, project_id, mirror=state, mirror_error=error)
    return find_by_id(connection, project_id)


def set_access_token(connection: Connection, seal: Seal, name: str, access_token: str) -> Project:
    """The project with another access token, or with none; raises UnknownProject."""
    project = find(connection, name)
    _update(connection, project.id, access_token=_sealed_token(seal, project.id, access_token))
    return find_by_id(connection, project.id)


def set_webhook_secret(connection: Connection, seal: Seal, name: str, webhook_secret: str) -> Project:
    """The project with another webhook secret; raises UnknownProject."""
    project = find(connection, name)
    _update(
        connection, project.id, webhook_secret=seal.sealed(webhook_secret, "projects", project.id, "webhook_secret")
    )
    return project


def remove(connection: Connection, name: str) -> Project:
    """Remove it with all its rows; raises UnknownProject, IllegalMove."""
    project = find(connection, name)
    is_open = sa.select(builds.c.number).where(builds.c.project_id == project.id, IS_OPEN).limit(1)
    number = connection.execute(is_open).scalar()
    if number is not None:
        raise IllegalMove("a build of the project waits or runs", f"{project.name} #{number}")
    connection.execute(sa.delete(projects).where(projects.c.id == project.id))
    return project


def webhook_secret(connection: Connection, seal: Seal, name: str) -> tuple[Project, str]:
    """The project and its webhook secret; raises UnknownProject."""
    project = find(connection, name)
    query = sa.select(projects.c.webhook_secret).where(projects.c.id == project.id)
    sealed = connection.execute(query).scalar_one()
    return project, seal.opened(sealed, "projects", project.id, "webhook_secret")


def access_token(connection: Connection, seal: Seal, project_id: int) -> str:
    """The forge's token, empty when there is none; raises UnknownProject."""
    row = connection.execute(sa.select(projects.c.access_token).where(projects.c.id == project_id)).first()
    if row is None:
        raise _unknown(project_id)
    return "" if row.access_token is None else seal.opened(row.access_token, "projects", project_id, "access_token")


def check_seal(connection: Connection, seal: Seal) -> None:
    """Raises Unavailable unless the key of `seal` is the one under which the database's secrets were sealed."""
    row = connection.execute(sa.select(projects.c.id, projects.c.webhook_secret).limit(1)).first()
    if row is not None:
        seal.opened(row.webhook_secret, "projects", row.id, "webhook_secret")


def any_secret(connection: Connection) -> bool:
    """Whether there is anything that only the right key opens."""
    return connection.execute(sa.select(projects.c.id).limit(1)).first() is not None


# -- environment


def list_variables(connection: Connection, seal: Seal, project_id: int, *, revealed: bool) -> Sequence[Variable]:
    """By name; the values of secret ones only when they are to be `revealed`."""
    query = sa.select(variables).where(variables.c.project_id == project_id)
    rows = sorted(connection.execute(query), key=lambda row: row.name)  # databases differ in how they sort

    def value_of(row: Row[Any]) -> str | None:
        if not row.secret:
            return str(row.value)
        return seal.opened(row.sealed, "variables", project_id, row.name) if revealed else None

    return [Variable(row.name, value_of(row), row.scope, row.secret) for row in rows]


def set_variable(connection: Connection, seal: Seal, project_id: int, variable: Variable) -> None:
    """Add or replace one; raises UnknownProject, Invalid beyond the limits or without a value."""
    if variable.value is None:
        raise Invalid("a variable needs a value", variable.name)
    find_by_id(connection, project_id)
    remove_variable(connection, project_id, variable.name)
    _check_limits(connection, project_id, variable)
    sealed = seal.sealed(variable.value, "variables", project_id, variable.name) if variable.secret else None
    connection.execute(
        sa.insert(variables).values(
            project_id=project_id,
            name=variable.name,
            scope=variable.scope,
            secret=variable.secret,
            value=None if variable.secret else variable.value,
            sealed=sealed,
        )
    )


def _check_limits(connection: Connection, project_id: int, variable: Variable) -> None:
    others = (
        connection.execute(sa.select(variables.c.secret).where(variables.c.project_id == project_id)).scalars().all()
    )
    if len(others) >= VARIABLES_LIMIT:
        raise Invalid("a project has at most this many variables", VARIABLES_LIMIT)
    if variable.secret and sum(others) >= SECRETS_LIMIT:
        raise Invalid("a project has at most this many secret variables", SECRETS_LIMIT)


def remove_variable(connection: Connection, project_id: int, name: str) -> bool:
    """Whether there was one."""
    where = (variables.c.project_id == project_id, variables.c.name == name)
    return connection.execute(sa.delete(variables).where(*where)).rowcount > 0
