"""The pages on which projects are registered and configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sayci.account import Access
from sayci.errors import Invalid, NameTaken, RepositoryError, RepositoryRefused
from sayci.interfaces import Store
from sayci.limits import Limits, in_bytes
from sayci.project import Project, Scope, Settings, Variable, check_name
from sayci.registry import Registry
from sayci.web.changes import Changes
from sayci.web.connection import Connections, checks_of, saying_of_settings, steps_of
from sayci.web.forms import Advice, Fields
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import PROJECT, wants_events
from sayci.web.sayings import worst
from sayci.web.troubles import sentence
from sayci.web.wire import Links
from sayci.web.words import counted, minutes

#: What the form of a new project holds before anybody has written into it.
_EMPTY = {
    "name": "",
    "url": "",
    "default_branch": "main",
    "deploy_branch": "",
    "test_target": "test",
    "deploy_target": "deploy",
    "time_limit": "60",
    "forge_api": "",
    "image": "",
}
#: Limits, and what they are given in: mebibytes, or one.
_UNITS = {
    "memory_limit": 1 << 20,
    "process_limit": 1,
    "workspace_limit": 1 << 20,
    "output_limit": 1 << 20,
    "open_files_limit": 1,
}
_NAMES = (*_UNITS, "silence_limit")
#: The choices of who is given a variable, and whether it is secret.
_KINDS = {"plain": False, "secret": True}


def _shown(settings: Settings) -> dict[str, str]:
    """Settings as a form's fields hold them."""
    return {
        "url": settings.url,
        "default_branch": settings.default_branch,
        "deploy_branch": settings.deploy_branch or "",
        "test_target": settings.test_target,
        "deploy_target": settings.deploy_target,
        "time_limit": minutes(settings.time_limit),
        "forge_api": settings.forge_api,
        "image": settings.image,
    }


def _shown_limits(settings: Settings) -> dict[str, str]:
    """The limits that may be empty, as a form's fields hold them."""
    amounts = {
        name: f"{getattr(settings, name) / unit:.15g}" for name, unit in _UNITS.items() if getattr(settings, name)
    }
    return {
        **dict.fromkeys(_UNITS, ""),
        **amounts,
        "silence_limit": minutes(settings.silence_limit) if settings.silence_limit else "",
        "ends_at_output_limit": "yes" if settings.ends_at_output_limit else "no",
    }


def _read_limits(fields: Fields) -> dict[str, Any]:
    return {
        **{name: fields.amount(name, unit) for name, unit in _UNITS.items()},
        "silence_limit": fields.silence_limit("silence_limit"),
        "ends_at_output_limit": fields.given.get("ends_at_output_limit") == "yes",
    }


def _read(fields: Fields) -> dict[str, Any]:
    """The fields that a new project's form and the settings have in common."""
    return {
        "url": fields.given.get("url", "").strip(),
        "default_branch": fields.branch("default_branch"),
        "deploy_branch": fields.branch_or_none("deploy_branch"),
        "test_target": fields.target("test_target", "test"),
        "deploy_target": fields.target("deploy_target", "deploy"),
        "time_limit": fields.time_limit("time_limit"),
        "forge_api": fields.given.get("forge_api", "").strip().rstrip("/"),
        "image": fields.image("image"),
    }


def _field_of(error: Invalid | RepositoryError, settings: Settings | None) -> str:
    """Beside which field an error belongs that came from further inside."""
    if settings is None:  # all that _read does not check
        return "forge_api"
    is_branch = isinstance(error, RepositoryRefused) and settings.default_branch in error.args[1:]
    return "default_branch" if is_branch else "url"


def name_of(url: str) -> str:
    """What a project at a Git address may be called: the last part of its path; "" where there is none that can be a name."""
    name = url.strip().rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
    try:
        return check_name(name)
    except Invalid:
        return ""


def most_of(limits: Limits) -> Mapping[str, str]:
    """What the server allows at most, in words for a form; "" where nothing is said."""
    bounded = {name: getattr(limits, name) for name in _UNITS}
    shown = {name: in_bytes(most) if _UNITS[name] > 1 else f"{most:,}" for name, most in bounded.items() if most}
    if limits.silence_limit:
        shown["silence_limit"] = counted(round(limits.silence_limit / 60), "minute")
    return {
        name: f"At most {shown[name]}, which is what this server allows." if name in shown else "" for name in _NAMES
    }


class SettingsPages:
    """Registers projects and changes what is set for them."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        connections: Connections,
        changes: Changes,
        links: Links,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._connections = connections
        self._changes = changes
        self._links = links
        self._limits = limits
        self._clock = clock

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/new", self.new, Access.ADMIN)
        frame.post("/new", self.register, Access.ADMIN)
        frame.get("/<project>/settings", self.settings, Access.ADMIN)
        frame.post("/<project>/settings", self.change, Access.ADMIN)
        frame.post("/<project>/settings/environment", self.set_variable, Access.ADMIN)
        frame.post("/<project>/settings/environment/remove", self.remove_variable, Access.ADMIN)
        frame.post("/<project>/settings/access-token", self.set_access_token, Access.ADMIN)
        frame.get("/<project>/settings/webhook", self.webhook, Access.ADMIN)
        frame.post("/<project>/settings/webhook-secret", self.new_webhook_secret, Access.ADMIN)
        frame.post("/<project>/settings/remove", self.remove, Access.ADMIN)

    # -- registering

    async def new(self, visit: Visit) -> Answer:
        """The form, empty but for an address that was given."""
        url = visit.query("url").strip()
        return self._new_page({**_EMPTY, "url": url, "name": name_of(url)}, Advice())

    async def register(self, visit: Visit) -> Answer:
        """Register a project and show its webhook's secret, this once; or the form again with what to do."""
        given = visit.form
        if "name" not in given:  # the form of the first run asks for the address alone
            given = {**_EMPTY, **given, "name": name_of(given.get("url", ""))}
        fields = Fields(given)
        name, token, rest = fields.project_name("name"), fields.access_token("access_token"), _read(fields)
        settings: Settings | None = None
        if not fields.errors:
            try:
                settings = Settings(name, **rest)
                project, secret = await self._registry.register(settings, token)
                return await self._webhook_page(project, secret, is_new=True)
            except NameTaken:
                fields.errors["name"] = f"There is a project {name} already. Choose another name."
            except (Invalid, RepositoryError) as error:
                fields.errors[_field_of(error, settings)] = sentence(error)
        return self._new_page(given, fields.errors)

    @staticmethod
    def _new_page(given: Mapping[str, str], errors: Advice) -> Page:
        values = {"given": {**_EMPTY, **given}, "errors": errors}
        return Page("new.html", values, 422 if errors else 200)

    # -- the webhook

    async def webhook(self, visit: Visit, project: str) -> Answer:
        """What to do at the forge, and whether it is done."""
        known = await self._find(project)
        if wants_events(visit.request):
            await self._changes.stream(visit.request, known.id)
            return None
        return await self._webhook_page(known)

    async def new_webhook_secret(self, visit: Visit, project: str) -> Answer:
        """Replace the webhook's secret and show the new one, this once."""
        del visit
        known = await self._find(project)
        secret = await self._registry.new_webhook_secret(known.name)
        self._connections.forget_refusals(known)
        return await self._webhook_page(known, secret)

    async def _webhook_page(self, project: Project, secret: str = "", *, is_new: bool = False) -> Page:
        connection = await self._connections.of(project)
        address = f"/{project.name}/settings/webhook"
        values = {
            "project": project,
            "secret": secret,
            "webhook_url": self._links.webhook(project.name),
            "is_new": is_new,
            "base": self._links.base(),
            "light": connection.light,
            "steps": () if connection.is_green else steps_of(connection),
            # The answer to a form that shows a secret is not there a second time: the script looks elsewhere.
            "changes": address,
            "look_at": address,
        }
        return Page("webhook.html", values)

    # -- configuring

    async def settings(self, visit: Visit, project: str) -> Answer:
        """Whether a project is connected, and all that is set for it."""
        known = await self._find(project)
        if wants_events(visit.request):
            await self._changes.stream(visit.request, known.id)
            return None
        return await self._settings_page(known)

    async def _find(self, name: str) -> Project:
        return await self._store.project(PROJECT.read(name))

    async def _settings_page(
        self,
        project: Project,
        errors: Advice | None = None,
        given: Mapping[str, str] | None = None,
        variable: Mapping[str, str] | None = None,
    ) -> Page:
        connection = await self._connections.of(project)
        now = self._clock()
        saying = saying_of_settings(connection)
        values = {
            # What somebody has written stands beside what is wrong with it, and is not looked at again.
            **({} if errors else {"changes": f"/{project.name}/settings"}),
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "light": connection.light,
            "checks": checks_of(connection, now),
            "most": most_of(self._limits),
            "project": project,
            "variables": await self._store.variables(project.id),
            "given": {**_shown(project.settings), **_shown_limits(project.settings), **(given or {})},
            "errors": errors or Advice(),
            "variable": {"name": "", "value": "", "scope": "both", "kind": "secret", **(variable or {})},
            "scopes": list(Scope),
            "webhook_url": self._links.webhook(project.name),
        }
        return Page("settings.html", values, 422 if errors else 200)

    async def change(self, visit: Visit, project: str) -> Answer:
        """Change what builds and how."""
        known = await self._find(project)
        fields = Fields(visit.form)
        rest = _read(fields) | _read_limits(fields)
        settings: Settings | None = None
        if not fields.errors:
            try:
                settings = replace(known.settings, **rest)
                await self._registry.change(known.name, lambda now: replace(now, **rest))
                return self._back(known)
            except (Invalid, RepositoryError) as error:
                fields.errors[_field_of(error, settings)] = sentence(error)
        return await self._settings_page(known, fields.errors, visit.form)

    async def set_variable(self, visit: Visit, project: str) -> Answer:
        """Add a variable, or replace the one of that name."""
        known = await self._find(project)
        try:
            await self._store.set_variable(known.id, _variable_of(visit.form))
        except Invalid as error:
            given = {**visit.form, "value": ""} if visit.form.get("kind") == "secret" else visit.form
            return await self._settings_page(known, Advice(variable=sentence(error)), variable=given)
        return self._back(known, "#environment")

    async def remove_variable(self, visit: Visit, project: str) -> Answer:
        """Remove a variable."""
        known = await self._find(project)
        await self._store.remove_variable(known.id, visit.form.get("name", ""))
        return self._back(known, "#environment")

    async def set_access_token(self, visit: Visit, project: str) -> Answer:
        """Replace the forge's token; an empty field removes it."""
        known = await self._find(project)
        fields = Fields(visit.form)
        token = fields.access_token("access_token")
        if fields.errors:
            return await self._settings_page(known, fields.errors)
        await self._registry.set_access_token(known.name, token)
        return self._back(known, "#access")

    async def remove(self, visit: Visit, project: str) -> Answer:
        """Remove the project, if its name was written as a confirmation."""
        known = await self._find(project)
        if visit.form.get("name", "").strip() != known.name:
            advice = Advice(remove=f"Write {known.name} to confirm. Nothing was removed.")
            return await self._settings_page(known, advice)
        await self._registry.remove(known.name)
        return SeeOther("/")

    @staticmethod
    def _back(project: Project, place: str = "") -> SeeOther:
        return SeeOther(f"/{project.name}/settings{place}")


def _variable_of(form: Mapping[str, str]) -> Variable:
    try:
        scope, secret = Scope(form.get("scope", "")), _KINDS[form.get("kind", "")]
    except (KeyError, ValueError):
        raise Invalid("choose which steps are given the variable, and whether it is secret") from None
    return Variable(form.get("name", "").strip(), form.get("value", ""), scope, secret)
