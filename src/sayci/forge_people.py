"""People who sign in through the forge: who may come in, what follows from what the forge lets them do, and until when.

What somebody may do in a repository is asked of the forge in that person's own name: at signing in, and then again and
again.  A definite answer counts at once; where there is none, what was seen holds for a day and no longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sayci.account import Access, Actor, Origin
from sayci.background import Background
from sayci.bus import Bus
from sayci.errand import Errands
from sayci.errors import Forbidden, ForgeAway, ForgeDenied, ForgeMisconfigured, NoAccess, Unauthenticated
from sayci.event import AccessChanged, Event, ProjectChanged
from sayci.identity import ForgePlace, ForgeToken, Linked, Repository, names_for
from sayci.interfaces import ForgeAccounts, Identities, Store
from sayci.person import Member
from sayci.sign_in import DAY, SignIn

#: How long what the forge has said holds while it says nothing, in seconds.
GOOD_FOR = DAY
#: Questions that are asked side by side for one person, and people who are looked at side by side.
ASKED_AT_ONCE = 8
PEOPLE_AT_ONCE = 4
#: A token is renewed so many seconds before it expires.
RENEWED_BEFORE = 300.0
#: Seconds after which everybody is looked at when a project is new or has another repository.
SOON = 3.0
#: The longest pause that the forge may ask for, in seconds: what was seen must not lapse because of it.
LONGEST_OBEDIENCE = 3600.0
#: The most seconds between two people, so that not all is asked at once.
PAUSE = 2.0

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody who is on the way to the forge: where that is, and the secret that the browser keeps until then."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrived:
    """Somebody who has come back and may come in.  `session` is the secret of a new one, "" where there is one already."""

    where: str
    session: str = field(default="", repr=False)


class ForgePeople:
    """Lets people in through the forge, and looks every `interval` seconds, more or less, whether that still holds.

    `wall` answers the seconds since the epoch, `random` 0 to 1.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        identities: Identities,
        forge: ForgeAccounts,
        place: ForgePlace,
        sign_in: SignIn,
        bus: Bus,
        clock: IReactorTime,
        *,
        wall: Callable[[], float],
        interval: float,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._identities = identities
        self._forge = forge
        self._place = place
        self._sign_in = sign_in
        self._bus = bus
        self._clock = clock
        self._wall = wall
        self._interval = interval
        self._random = random
        self._errands = Errands(clock.seconds)
        self._background = Background()
        self._unsubscribe: Callable[[], None] = lambda: None
        #: Where each project's code is, as it was when anybody was looked at: another place is a reason to look again.
        self._places: dict[int, Repository] = {}
        self._soon = False
        #: One round at a time: a token is renewed once.
        self._looking = DeferredLock()
        #: Until when the forge wants to hear nothing more in a person's name.
        self._quiet: dict[int, float] = {}

    # -- its life

    async def start(self) -> None:
        """Look at everybody now, and then again and again.  Raises Unavailable."""
        await self._lapse()
        self._unsubscribe = self._bus.subscribe(self._heard)
        self._background.start(self._rounds(), "looking what people may do at the forge")

    async def stop(self) -> None:
        """Look no more; the next server does."""
        self._unsubscribe()
        self._background.cancel()
        await self._background.idle()

    # -- signing in

    def leave(self, where: str, back: str, person_id: int | None = None) -> Leaving:
        """Begin a visit to the forge, from which somebody comes to the address `back`, and then to our page `where`.

        With `person_id` it is about linking that person's account, else about signing in.
        """
        secret, errand = self._errands.begin(where, person_id)
        return Leaving(self._forge.authorize_url(errand.state, errand.challenge, back), secret)

    async def arrive(
        self, secret: str, state: str, code: str, back: str, actor: Actor | None, origin: Origin
    ) -> Arrived:
        """Somebody comes back with a code, "" if the forge has given none; `actor` is who is signed in there.

        Raises Unauthenticated for a visit that was not begun like that, ForgeDenied for one without a code or with a wrong
        one, NoAccess for somebody who has access to nothing here, IdentityTaken, NameTaken, ForgeAway and ForgeMisconfigured.
        """
        errand = self._errands.end(secret, state)
        if not code:
            raise ForgeDenied("the forge was told not to let this server know who it is")
        token = await self._forge.token_for(code, errand.verifier, back)
        identity = await self._forge.identity(token)
        if errand.person_id is not None:
            if actor is None or actor.person_id != errand.person_id:
                raise Unauthenticated("somebody else has signed in meanwhile, or nobody is signed in any more")
            await self._identities.link(errand.person_id, identity, token, self._wall())
            self._bus.publish(AccessChanged(errand.person_id))
            await self._see(errand.person_id, token)
            return Arrived(errand.where)
        person = await self._identities.person_of(identity.id)
        if person is None:
            answers, trouble = await self._ask(token)
            if not any(answers.values()):
                raise trouble or NoAccess("that account may read the repository of no project here", identity.login)
            names = names_for(identity.login)
            person = await self._identities.add_person(names, identity, token, answers, self._wall())
            self._log.info("{person} is new here, by an account at the forge", person=person.name)
        else:
            await self._identities.link(person.id, identity, token, self._wall())
            trouble = await self._see(person.id, token)
            if not await self._identities.has_anything(person.id):
                raise trouble or NoAccess(
                    "that account may read the repository of no project here any more", identity.login
                )
        actor = Actor(person.name, person.role, person.id)
        return Arrived(errand.where, await self._sign_in.new_session(actor, origin))

    async def linked(self, actor: Actor) -> Linked | None:
        """Who somebody is at the forge, as far as that is known."""
        return None if actor.person_id is None else await self._identities.linked(actor.person_id)

    async def logins(self) -> Mapping[int, str]:
        """What those are called at the forge who are somebody there, by the person's id."""
        return {each.person.id: each.identity.login for each in await self._identities.all_linked()}

    async def members(self, project_id: int) -> Sequence[Member]:
        """Who may do something in a project because of the forge, by name."""
        return await self._identities.members(project_id)

    async def unlink(self, actor: Actor) -> None:
        """Forget it, with what followed from it.  Raises Forbidden for who could not come in any more."""
        if actor.person_id is None:
            raise Forbidden("only who has an account here can have one linked")
        person = await self._store.person(actor.name)
        if not person.has_password:
            raise Forbidden("set a password first: there would be no way to sign in any more")
        await self._identities.unlink(actor.person_id)
        self._bus.publish(AccessChanged(actor.person_id))

    # -- looking again

    def _heard(self, event: Event) -> None:
        if not isinstance(event, ProjectChanged) or self._soon:
            return
        project = event.project
        place = self._place.repository_of(project.settings)
        if place is not None and self._places.get(project.id) != place:
            self._soon = True
            self._background.start(self._look_soon(), "looking what people may do in a new project")

    async def _look_soon(self) -> None:
        try:
            await deferLater(self._clock, SOON)
        finally:
            self._soon = False
        await self.look()

    async def _rounds(self) -> None:
        while True:
            try:
                await self.look()
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the next round must come; it is logged
                self._log.failure("looking what people may do at the forge failed")
            await deferLater(self._clock, self._interval * (0.75 + self._random() / 2))

    async def look(self) -> None:
        """Look at everybody who is somebody at the forge.  Raises what the store raises."""
        await self._looking.acquire()
        try:
            people = [each for each in await self._identities.all_linked() if each.has_token]
            pause = min(PAUSE, self._interval / 4 / (len(people) or 1) * PEOPLE_AT_ONCE)

            async def look_at(linked: Linked) -> None:
                await self._surely(linked)
                if wait := pause * self._random():
                    await deferLater(self._clock, wait)

            await _side_by_side(people, PEOPLE_AT_ONCE, look_at)
            await self._lapse()
        finally:
            self._looking.release()

    async def _lapse(self) -> None:
        lapsed = await self._identities.lapse(self._wall() - GOOD_FOR)
        for person_id in lapsed:
            self._bus.publish(AccessChanged(person_id))
        if lapsed:
            self._log.warn(
                "the forge has said nothing for a day of {count} people: what it gave has lapsed", count=len(lapsed)
            )

    async def _surely(self, linked: Linked) -> None:
        """Look at somebody; whatever is wrong with one is no reason to leave out the others."""
        person_id = linked.person.id
        if self._clock.seconds() < self._quiet.get(person_id, 0.0):
            return
        used: list[ForgeToken | None] = []
        trouble: ForgeAway | None = None
        try:
            used.append(await self._identities.token(person_id))
            used.append(await self._renewed(person_id, used[0]))
            trouble = None if used[1] is None else await self._see(person_id, used[1])
        except CancelledError:
            raise
        except ForgeDenied:
            if await self._identities.token(person_id) in used:  # else there is another one, by a new sign-in
                self._log.info("{person} has revoked the authorization at the forge", person=linked.person.name)
                await self._identities.revoke(person_id)
                self._bus.publish(AccessChanged(person_id))
        except ForgeAway as error:
            trouble = error
        except ForgeMisconfigured as error:
            self._log.error("the forge does not take this server: {error}", error=error)
        except Exception:  # noqa: BLE001 - the others' turn must come; it is logged
            self._log.failure("looking what {person} may do at the forge failed", person=linked.person.name)
        self._quiet.pop(person_id, None)
        if trouble is not None and trouble.retry_after is not None:
            self._quiet[person_id] = self._clock.seconds() + min(trouble.retry_after, LONGEST_OBEDIENCE)

    async def _renewed(self, person_id: int, token: ForgeToken | None) -> ForgeToken | None:
        """The token, or another one where that is about to expire.  Raises ForgeDenied where there can be none."""
        if token is None or token.expires_at is None or token.expires_at - self._wall() > RENEWED_BEFORE:
            return token
        if not token.refresh_token:
            raise ForgeDenied("the forge's token has expired")
        renewed = await self._forge.renewed(token)
        await self._identities.keep_token(person_id, renewed)
        return renewed

    async def _see(self, person_id: int, token: ForgeToken) -> ForgeAway | None:
        """Ask what a person may do, and keep it; what could not be had, if anything.  Raises ForgeDenied."""
        answers, trouble = await self._ask(token)
        gone = {
            project_id: Access.NONE
            for project_id in await self._identities.access(person_id)
            if project_id not in self._places
        }
        if await self._identities.set_access(person_id, {**gone, **answers}, self._wall()):
            self._bus.publish(AccessChanged(person_id))
        return trouble

    async def _ask(self, token: ForgeToken) -> tuple[Mapping[int, Access], ForgeAway | None]:
        """What the token's owner may do in each project at the forge, and why some are left out.  Raises ForgeDenied.

        Once the forge wants to be left alone nothing more is asked.
        """
        repositories = await self._repositories()
        told: dict[Repository, Access] = {}
        troubles: list[ForgeAway] = []
        denied: list[ForgeDenied] = []

        async def ask(repository: Repository) -> None:
            if denied or any(trouble.retry_after is not None for trouble in troubles):
                return
            try:
                told[repository] = await self._forge.access(token, repository)
            except ForgeAway as error:
                troubles.append(error)
            except ForgeDenied as error:
                denied.append(error)

        await _side_by_side(set(repositories.values()), ASKED_AT_ONCE, ask)
        if denied:
            raise denied[0]
        troubles.sort(key=lambda trouble: -(trouble.retry_after or 0.0))
        answers = {project_id: told[where] for project_id, where in repositories.items() if where in told}
        return answers, troubles[0] if troubles else None

    async def _repositories(self) -> Mapping[int, Repository]:
        """Of every project whose repository is at the forge."""
        found: dict[int, Repository] = {}
        after: int | None = 0
        while after is not None:
            page = await self._store.projects(after=after, limit=500)
            for project in page.items:
                repository = self._place.repository_of(project.settings)
                if repository is not None:
                    found[project.id] = repository
            after = page.next
        self._places = dict(found)
        return found


async def _side_by_side(items: Collection[Item], most: int, work: Callable[[Item], Awaitable[None]]) -> None:
    """Do `work` with each of the items, at most so many at a time."""
    left = iter(items)

    async def one_after_the_other() -> object:
        for item in left:
            await work(item)
        return None

    workers: list[Deferred[object]] = [
        Deferred.fromCoroutine(one_after_the_other()) for _ in range(min(most, len(items)))
    ]
    for _, outcome in await DeferredList(workers, consumeErrors=True):
        if isinstance(outcome, Failure):  # also when all are cancelled
            outcome.raiseException()
