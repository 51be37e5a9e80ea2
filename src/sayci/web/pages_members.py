"""The page of a project's visibility and members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sayci.account import Access
from sayci.errors import Invalid, UnknownPerson
from sayci.forge_people import ForgePeople
from sayci.interfaces import Store
from sayci.people import People
from sayci.person import PROJECT_ROLES, Member, project_role_of, word_of_role
from sayci.project import Project, Visibility
from sayci.registry import Registry
from sayci.web.forms import Advice
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import PERSON, PROJECT
from sayci.web.troubles import sentence

_PAGE = "/<project>/settings/people"


class MemberPages:
    """Says who may look at a project, and who may maintain it."""

    def __init__(self, store: Store, registry: Registry, people: People, forge: ForgePeople | None) -> None:
        self._forge = forge
        self._store = store
        self._registry = registry
        self._people = people

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get(_PAGE, self.members, Access.ADMIN)
        frame.post(_PAGE, self.set_member, Access.ADMIN)
        frame.post(f"{_PAGE}/visibility", self.set_visibility, Access.ADMIN)
        frame.post(f"{_PAGE}/<person>/remove", self.remove, Access.ADMIN)

    async def members(self, visit: Visit, project: str) -> Answer:
        """Who they are."""
        del visit
        return await self._page(await self._store.project(PROJECT.read(project)))

    async def _page(self, project: Project, errors: Advice | None = None) -> Page:
        members = await self._store.members(project.id)
        there = {member.name for member in members}
        values = {
            "project": project,
            "is_public": project.settings.visibility is Visibility.PUBLIC,
            "members": [(member.name, word_of_role(member.role)) for member in members],
            "by_forge": [(member.name, word_of_role(member.role)) for member in await self._by_forge(project)],
            "others": [person.name for person in await self._people.all() if person.name not in there],
            "roles": PROJECT_ROLES,
            "errors": errors or Advice(),
        }
        return Page("members.html", values, 422 if errors else 200)

    async def _by_forge(self, project: Project) -> Sequence[Member]:
        return await self._forge.members(project.id) if self._forge is not None else ()

    async def set_visibility(self, visit: Visit, project: str) -> Answer:
        """Public or private."""
        known = await self._store.project(PROJECT.read(project))
        try:
            visibility = Visibility(visit.form.get("visibility", ""))
        except ValueError:
            return await self._page(known, Advice(visibility="Choose private or public."))
        await self._registry.change(known.name, lambda settings: replace(settings, visibility=visibility))
        return self._back(known)

    async def set_member(self, visit: Visit, project: str) -> Answer:
        """Grant somebody a role."""
        known = await self._store.project(PROJECT.read(project))
        try:
            name = PERSON.read(visit.form.get("name", "").strip())
            await self._people.set_member(known.id, name, project_role_of(visit.form.get("role", "")))
        except (Invalid, UnknownPerson) as error:
            return await self._page(known, Advice(member=sentence(error)))
        return self._back(known)

    async def remove(self, visit: Visit, project: str, person: str) -> Answer:
        """Take it back."""
        del visit
        known = await self._store.project(PROJECT.read(project))
        await self._people.set_member(known.id, PERSON.read(person), None)
        return self._back(known)

    @staticmethod
    def _back(project: Project) -> SeeOther:
        return SeeOther(f"/{project.name}/settings/people")
