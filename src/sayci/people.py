"""People: invited by an admin, known by a password that they chose themselves, with one role each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sayci.account import Access, Actor, Origin, digest_of, new_secret
from sayci.bus import Bus
from sayci.errors import Forbidden, Unauthenticated
from sayci.event import AccessChanged
from sayci.interfaces import Store
from sayci.passwords import Passwords
from sayci.person import PASSWORD_MOST, Member, Person, check_password, check_person_name
from sayci.sign_in import DAY, SECRET_LIMIT, SignIn
from sayci.tries import WrongTries

#: Seconds that an invitation is good for.
INVITATION_LIFETIME = 7 * DAY
#: How often a name may be tried with a wrong password, from anywhere, and seconds until there is one more try.
NAME_BURST = 20
NAME_REFILL = 30.0

_WRONG = "the name or the password is wrong"
_NO_INVITATION = "the invitation is wrong, has expired, or was used before"


class People:
    """Invites people, and knows them by name and password.

    Wrong tries count against the client's address and against the name, whether or not somebody has it; an answer takes as
    long for a name that nobody has.  The bus is told of whom the access has changed.  `clock` is the seconds since the
    epoch, `steady` those of a clock that nobody sets.
    """

    def __init__(
        self,
        store: Store,
        sign_in: SignIn,
        passwords: Passwords,
        bus: Bus,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._store = store
        self._sign_in = sign_in
        self._passwords = passwords
        self._bus = bus
        self._clock = clock
        self._addresses = WrongTries(steady)
        self._names = WrongTries(steady, burst=NAME_BURST, refill=NAME_REFILL)

    # -- what admins do

    async def all(self) -> Sequence[Person]:
        """By name."""
        return await self._store.people()

    async def invite(self, name: str, role: Access) -> tuple[Person, str]:
        """A new person, and the code of an invitation for it.  Raises Invalid, NameTaken."""
        person = await self._store.add_person(check_person_name(name), role, self._clock())
        return person, await self._invitation(person)

    async def invite_again(self, name: str) -> tuple[Person, str]:
        """A person, and the code by which a new password is set; an earlier one is void.  Raises UnknownPerson."""
        person = await self._store.person(name)
        return person, await self._invitation(person)

    async def _invitation(self, person: Person) -> str:
        code = new_secret()
        await self._store.add_invitation(person.id, digest_of(code), self._clock() + INVITATION_LIFETIME)
        return code

    async def set_role(self, name: str, role: Access) -> Person:
        """Raises UnknownPerson, and LastAdmin for the last one."""
        person = await self._store.set_role(name, role)
        self._bus.publish(AccessChanged(person.id))
        return person

    async def remove(self, name: str) -> None:
        """With all sessions.  Raises UnknownPerson, and LastAdmin for the last one."""
        person = await self._store.person(name)
        await self._store.remove_person(name)
        self._bus.publish(AccessChanged(person.id))

    async def set_member(self, project_id: int, name: str, role: Access | None) -> Member | None:
        """Grant somebody a role in a project, or none any more.

        Raises UnknownPerson, also for who has no role to be taken away, and UnknownProject.
        """
        person = await self._store.person(name)
        member = await self._store.set_member(project_id, name, role)
        self._bus.publish(AccessChanged(person.id))
        return member

    # -- what they do themselves

    async def invited(self, code: str, address: str) -> Person:
        """Whose invitation it is.  Raises Unauthenticated, TooOften."""
        self._addresses.check(address)
        self._addresses.wrong(address)
        person = await self._store.invited(digest_of(code), self._clock()) if len(code) <= SECRET_LIMIT else None
        if person is None:
            raise Unauthenticated(_NO_INVITATION)
        self._addresses.right(address)
        return person

    async def accept(self, code: str, password: str, origin: Origin) -> tuple[str, Actor]:
        """Set the password of who was invited, and begin a session.

        Uses the invitation up, and ends the person's other sessions.  Raises Unauthenticated, TooOften, Unavailable; Invalid
        for a password that is none, and then the invitation is as good as before.
        """
        person = await self.invited(code, origin.address)
        kept = await self._passwords.hash(check_password(password, person.name))
        accepted = await self._store.accept_invitation(digest_of(code), kept, self._clock())
        if accepted is None:
            raise Unauthenticated(_NO_INVITATION)
        self._bus.publish(AccessChanged(accepted.id))
        return await self._begin(accepted, origin)

    async def session_by_password(self, name: str, password: str, origin: Origin) -> tuple[str, Actor]:
        """A session's secret for a name and its password.  Raises Unauthenticated, TooOften, Unavailable."""
        person = await self._checked(name, password, origin.address)
        return await self._begin(person, origin)

    async def change_password(self, actor: Actor, old: str, new: str, origin: Origin) -> tuple[str, Actor]:
        """Another password, and a new session; all others of the person end.

        Raises Forbidden for who has no account, Unauthenticated for a wrong old password, Invalid for the new one,
        TooOften, Unavailable.
        """
        if actor.person_id is None:
            raise Forbidden("only who has an account has a password")
        person = await self._checked(actor.name, old, origin.address)
        kept = await self._passwords.hash(check_password(new, person.name))
        await self._store.set_password(person.id, kept, ends_sessions=True)
        self._bus.publish(AccessChanged(person.id))
        return await self._begin(person, origin)

    async def _checked(self, name: str, password: str, address: str) -> Person:
        key = "name " + name.strip().lower()[:PASSWORD_MOST]
        counts = ((self._addresses, address), (self._names, key))
        for tries, who in counts:
            tries.check(who)
        for tries, who in counts:  # before the answer is known: many tries at once are many tries
            tries.wrong(who)
        person, kept = await self._store.password_of(name.strip())
        if not await self._passwords.matches(password[: PASSWORD_MOST + 1], kept) or person is None or kept is None:
            raise Unauthenticated(_WRONG)
        for tries, who in counts:
            tries.right(who)
        if self._passwords.is_outdated(kept):
            await self._store.set_password(person.id, await self._passwords.hash(password), ends_sessions=False)
        return person

    async def _begin(self, person: Person, origin: Origin) -> tuple[str, Actor]:
        actor = Actor(person.name, person.role, person.id)
        return await self._sign_in.new_session(actor, origin), actor
