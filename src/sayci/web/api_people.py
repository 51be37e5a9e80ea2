"""The API of people: who has an account, with which role; invitations."""

from __future__ import annotations

from sayci.account import Access
from sayci.people import People
from sayci.person import role_of
from sayci.web import wire
from sayci.web.reading import PERSON
from sayci.web.route import Call, Table

table = Table()

_PEOPLE = "/api/v1/people"
_PERSON = _PEOPLE + "/{person}"


class PeopleApi:
    """What an admin does with accounts."""

    def __init__(self, people: People, links: wire.Links) -> None:
        self._people = people
        self._links = links

    @table.route("GET", _PEOPLE, Access.ADMIN, "List the people", answer=wire.Listing[wire.Person])
    async def list_people(self, call: Call) -> wire.Listing[wire.Person]:
        """All of them at once, by name."""
        return wire.listing(map(wire.of_person, await self._people.all()))

    @table.route(
        "POST",
        _PEOPLE,
        Access.ADMIN,
        "Invite somebody",
        body=wire.NewPerson,
        answer=wire.InvitedPerson,
        code=201,
        problems=(409,),
    )
    async def invite_person(self, call: Call, body: wire.NewPerson) -> wire.InvitedPerson:
        """The answer is the only place where the invitation's address is told."""
        person, code = await self._people.invite(body.name, role_of(body.role))
        return wire.of_invited(person, self._links.invitation(code))

    @table.route(
        "PATCH",
        _PERSON,
        Access.ADMIN,
        "Change somebody's role",
        PERSON,
        body=wire.NewRole,
        answer=wire.Person,
        problems=(409,),
    )
    async def change_person(self, call: Call, body: wire.NewRole) -> wire.Person:
        """In open sessions too.  The last admin stays one."""
        return wire.of_person(await self._people.set_role(call[PERSON], role_of(body.role)))

    @table.route("DELETE", _PERSON, Access.ADMIN, "Remove somebody", PERSON, code=204, problems=(409,))
    async def remove_person(self, call: Call) -> None:
        """With all sessions.  The last admin cannot be removed."""
        await self._people.remove(call[PERSON])

    @table.route(
        "POST",
        _PERSON + "/invitation",
        Access.ADMIN,
        "Let somebody set a new password",
        PERSON,
        answer=wire.InvitedPerson,
        code=201,
    )
    async def invite_again(self, call: Call) -> wire.InvitedPerson:
        """By a one-time address, told here alone; an earlier one is void.  The old password stays good until then."""
        person, code = await self._people.invite_again(call[PERSON])
        return wire.of_invited(person, self._links.invitation(code))
