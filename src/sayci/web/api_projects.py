"""The API of projects: register, configure, remove; their webhook secrets and their environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import UNSET

from sayci.account import Access
from sayci.errors import Invalid, Missing
from sayci.interfaces import Store
from sayci.project import Project, Scope, Settings, Variable
from sayci.registry import Registry
from sayci.web import wire
from sayci.web.reading import CURSOR, LIMIT, PROJECT, VARIABLE, cursor_for
from sayci.web.route import Call, Table

table = Table()

_PROJECT = "/api/v1/projects/{project}"
_VARIABLE = _PROJECT + "/environment/{variable}"


class ProjectsApi:
    """Projects and what is set for them."""

    def __init__(self, store: Store, registry: Registry, links: wire.Links) -> None:
        self._store = store
        self._registry = registry
        self._links = links

    # -- projects

    @table.route(
        "GET", "/api/v1/projects", Access.NONE, "List the projects", LIMIT, CURSOR, answer=wire.Listing[wire.Project]
    )
    async def list_projects(self, call: Call) -> wire.Listing[wire.Project]:
        """Those that the credential may look at, in the order of their registration."""
        granted = None if call.actor.access >= Access.READ else call.actor.grants
        page = await self._store.projects(after=call.get(CURSOR) or 0, limit=call[LIMIT], granted=granted)
        return wire.listing(map(self._shown, page.items), cursor_for(page.next))

    @table.route(
        "POST",
        "/api/v1/projects",
        Access.ADMIN,
        "Register a project",
        body=wire.NewProject,
        answer=wire.RegisteredProject,
        code=201,
        problems=(409, 502),
    )
    async def register_project(self, call: Call, body: wire.NewProject) -> wire.RegisteredProject:
        """The repository is asked first; its mirror is cloned afterwards.  The webhook secret is told here alone."""
        given = wire.given(body)
        access_token = given.pop("access_token", None) or ""
        project, secret = await self._registry.register(Settings(**given), access_token)
        return wire.of_registered(project, self._links, secret)

    @table.route("GET", _PROJECT, Access.READ, "Show a project", PROJECT, answer=wire.Project)
    async def show_project(self, call: Call) -> wire.Project:
        """Its settings and the state of its mirror."""
        return self._shown(await self._project(call))

    @table.route(
        "PATCH",
        _PROJECT,
        Access.ADMIN,
        "Change a project's settings",
        PROJECT,
        body=wire.ProjectChange,
        answer=wire.Project,
        problems=(409, 502),
    )
    async def change_project(self, call: Call, body: wire.ProjectChange) -> wire.Project:
        """What is absent stays as it is.  A new address is asked first, with the token that is given along."""
        project = await self._project(call)
        given = wire.given(body)
        access_token = given.pop("access_token", UNSET)
        _changed(project.settings, given)  # before anything is written, all of it must be right
        if access_token is not UNSET:
            project = await self._registry.set_access_token(project.name, access_token or "")
        if given:
            project = await self._registry.change(project.name, lambda settings: _changed(settings, given))
        return self._shown(project)

    @table.route("DELETE", _PROJECT, Access.ADMIN, "Remove a project", PROJECT, code=204, problems=(409,))
    async def remove_project(self, call: Call) -> None:
        """With its builds and logs; not while builds of it wait or run."""
        await self._registry.remove((await self._project(call)).name)

    @table.route(
        "POST",
        _PROJECT + "/webhook-secret",
        Access.ADMIN,
        "Replace the webhook secret",
        PROJECT,
        answer=wire.Webhook,
        code=201,
    )
    async def replace_webhook_secret(self, call: Call) -> wire.Webhook:
        """The one before it is worth nothing from now on; the new one is told here alone."""
        project = await self._project(call)
        secret = await self._registry.new_webhook_secret(project.name)
        return wire.Webhook(webhook_url=self._links.webhook(project.name), webhook_secret=secret)

    # -- environment

    @table.route(
        "GET",
        _PROJECT + "/environment",
        Access.ADMIN,
        "List a project's variables",
        PROJECT,
        answer=wire.Listing[wire.Variable],
    )
    async def list_variables(self, call: Call) -> wire.Listing[wire.Variable]:
        """All of them at once; the values of secret ones are null."""
        project = await self._project(call)
        return wire.listing(map(wire.of_variable, await self._store.variables(project.id)))

    @table.route(
        "PUT", _VARIABLE, Access.ADMIN, "Set a variable", PROJECT, VARIABLE, body=wire.NewValue, answer=wire.Variable
    )
    async def set_variable(self, call: Call, body: wire.NewValue) -> wire.Variable:
        """A new value for a secret leaves it secret, unless the request says otherwise."""
        project = await self._project(call)
        before = {variable.name: variable for variable in await self._store.variables(project.id)}
        old = before.get(call[VARIABLE], Variable(call[VARIABLE], None, Scope.BOTH, secret=False))
        secret = old.secret if body.secret is UNSET else body.secret
        scope = old.scope if body.scope is UNSET else body.scope
        variable = Variable(call[VARIABLE], body.value, scope, secret)
        await self._store.set_variable(project.id, variable)
        return wire.of_variable(variable)

    @table.route("DELETE", _VARIABLE, Access.ADMIN, "Remove a variable", PROJECT, VARIABLE, code=204)
    async def remove_variable(self, call: Call) -> None:
        """Builds that start from now on do not get it."""
        project = await self._project(call)
        if not await self._has(project, call[VARIABLE]):
            raise Missing("the project has no such variable", call[VARIABLE][:80])

    # -- its own

    async def _has(self, project: Project, name: str) -> bool:
        try:
            Variable(name, None)
        except Invalid:
            return False
        return await self._store.remove_variable(project.id, name)

    async def _project(self, call: Call) -> Project:
        return await self._store.project(call[PROJECT])

    def _shown(self, project: Project) -> wire.Project:
        return wire.of_project(project, self._links)


def _changed(settings: Settings, given: dict[str, Any]) -> Settings:
    return replace(settings, **given)
