"""The page of all people with an account: invite, give a role, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sayci.account import Access
from sayci.errors import Conflict, Invalid
from sayci.forge_people import ForgePeople
from sayci.people import People
from sayci.person import ROLES, Person, role_of
from sayci.web.forms import Advice
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import PERSON
from sayci.web.troubles import sentence
from sayci.web.wire import Links

_PAGE = "/settings/people"
#: What each role may do, for who chooses.
MEANINGS = {
    "member": "sees the projects in which a role is granted, and public ones",
    "viewer": "looks at every project, its builds and logs",
    "maintainer": "also builds, cancels, deploys, replays",
    "admin": "also adds and configures projects, and people",
}


def _heading(everybody: Sequence[Person]) -> str:
    if not everybody:
        return "Nobody has an account yet."
    return "One person has an account." if len(everybody) == 1 else f"{len(everybody)} people have an account."


class PeoplePages:
    """What an admin does with accounts."""

    def __init__(self, people: People, links: Links, forge: ForgePeople | None) -> None:
        self._people = people
        self._forge = forge
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get(_PAGE, self.people, Access.ADMIN)
        frame.post(_PAGE, self.invite, Access.ADMIN)
        frame.post(f"{_PAGE}/<person>/role", self.set_role, Access.ADMIN)
        frame.post(f"{_PAGE}/<person>/invitation", self.invite_again, Access.ADMIN)
        frame.post(f"{_PAGE}/<person>/remove", self.remove, Access.ADMIN)

    async def people(self, visit: Visit) -> Answer:
        """Everybody."""
        return await self._page(visit)

    async def _page(self, visit: Visit, errors: Advice | None = None) -> Page:
        everybody = await self._people.all()
        values = {
            "people": everybody,
            "logins": await self._forge.logins() if self._forge is not None else {},
            "heading": _heading(everybody),
            "errors": errors or Advice(),
            "given": {"name": visit.form.get("name", "")[:100], "role": visit.form.get("role", "viewer")},
            "roles": MEANINGS,
            "role_words": {access: word for word, access in ROLES.items()},
        }
        return Page("people.html", values, 422 if errors else 200)

    async def invite(self, visit: Visit) -> Answer:
        """Somebody new, and the link for it, this once."""
        try:
            person, code = await self._people.invite(visit.form.get("name", ""), role_of(visit.form.get("role", "")))
        except (Invalid, Conflict) as error:
            return await self._page(visit, Advice(invite=sentence(error)))
        return Page("invited.html", {"person": person, "link": self._links.invitation(code), "is_new": True})

    async def invite_again(self, visit: Visit, person: str) -> Answer:
        """A link for a new password, this once."""
        del visit
        known, code = await self._people.invite_again(PERSON.read(person))
        return Page("invited.html", {"person": known, "link": self._links.invitation(code), "is_new": False})

    async def set_role(self, visit: Visit, person: str) -> Answer:
        """Another role; the last admin stays one."""
        try:
            await self._people.set_role(PERSON.read(person), role_of(visit.form.get("role", "")))
        except (Invalid, Conflict) as error:
            return await self._page(visit, Advice(people=sentence(error)))
        return SeeOther(_PAGE)

    async def remove(self, visit: Visit, person: str) -> Answer:
        """With all sessions; not the last admin."""
        try:
            await self._people.remove(PERSON.read(person))
        except Conflict as error:
            return await self._page(visit, Advice(people=sentence(error)))
        return SeeOther(_PAGE)
