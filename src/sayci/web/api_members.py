"""The API of a project's members: who may look at it or maintain it, whatever the role elsewhere."""

from __future__ import annotations

from sayci.account import Access
from sayci.interfaces import Store
from sayci.people import People
from sayci.person import Member, project_role_of
from sayci.web import wire
from sayci.web.reading import PERSON, PROJECT
from sayci.web.route import Call, Table

table = Table()

_MEMBERS = "/api/v1/projects/{project}/members"
_MEMBER = _MEMBERS + "/{person}"


class MembersApi:
    """What an admin grants in single projects."""

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people

    @table.route("GET", _MEMBERS, Access.ADMIN, "List a project's members", PROJECT, answer=wire.Listing[wire.Member])
    async def list_members(self, call: Call) -> wire.Listing[wire.Member]:
        """All of them at once, by name; who has a role everywhere is not among them for that."""
        project = await self._store.project(call[PROJECT])
        return wire.listing(map(wire.of_member, await self._store.members(project.id)))

    @table.route(
        "PUT",
        _MEMBER,
        Access.ADMIN,
        "Make somebody a member",
        PROJECT,
        PERSON,
        body=wire.NewMember,
        answer=wire.Member,
    )
    async def set_member(self, call: Call, body: wire.NewMember) -> wire.Member:
        """With this role, in the place of an earlier one."""
        project = await self._store.project(call[PROJECT])
        role = project_role_of(body.role)
        member = await self._people.set_member(project.id, call[PERSON], role)
        return wire.of_member(member or Member(call[PERSON], role))

    @table.route("DELETE", _MEMBER, Access.ADMIN, "Take somebody's membership back", PROJECT, PERSON, code=204)
    async def remove_member(self, call: Call) -> None:
        """In open sessions too."""
        project = await self._store.project(call[PROJECT])
        await self._people.set_member(project.id, call[PERSON], None)
