"""The page of one's own account: where one is signed in, the password, what one may do, one's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sayci.account import Access, Actor, Session, Token, access_of
from sayci.errors import Conflict, Forbidden, Invalid, Unauthenticated
from sayci.forge_people import ForgePeople
from sayci.interfaces import Store
from sayci.people import People
from sayci.person import PASSWORD_LEAST, word_of_role
from sayci.sign_in import SignIn
from sayci.web.forms import Advice
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_people import MEANINGS
from sayci.web.reading import TOKEN
from sayci.web.session import Sessions, origin_of
from sayci.web.tokenforms import ACCESS_MEANINGS, days_of, given_token, page_of_new
from sayci.web.troubles import sentence
from sayci.web.wire import Links
from sayci.web.words import counted

_PAGE = "/account"
#: What is said on the page after something was done there: by a word of its address.
_DONE = {
    "password": "Your password is changed. Wherever else you were signed in, you are not any more.",
    "ended": "That session has ended. What was open there is closed.",
    "others": "All other sessions have ended. What was open there is closed.",
    "token": "The token is removed. It opens nothing any more.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A session as it is shown: `where` are the browser and the address in words."""

    session: Session
    where: str
    is_here: bool


def places_of(sessions: Sequence[Session], here: bytes) -> list[Place]:
    """This one first, the others as they come."""
    places = [Place(each, _where(each), each.digest == here) for each in sessions]
    return sorted(places, key=lambda place: not place.is_here)


def _where(session: Session) -> str:
    browser, address = session.origin.browser or "an unknown browser", session.origin.address
    return f"{browser[:1].upper()}{browser[1:]}, {address}" if address else f"{browser[:1].upper()}{browser[1:]}"


def heading_of(places: Sequence[Place]) -> str:
    """Where one is signed in, in a sentence."""
    if [place.is_here for place in places] == [True]:
        return "You are signed in here, and nowhere else."
    return f"You are signed in in {counted(len(places), 'place')}."


def choices_of(actor: Actor) -> list[str]:
    """The accesses that a token of this person may have; one that reads reaches what will be granted, too."""
    return [word for word in ACCESS_MEANINGS if access_of(word) <= max(actor.furthest, Access.READ)]


class AccountPages:
    """What everybody does with the own account."""

    def __init__(
        self,
        sessions: Sessions,
        sign_in: SignIn,
        people: People,
        store: Store,
        links: Links,
        forge: ForgePeople | None,
    ) -> None:
        self._forge = forge
        self._sessions = sessions
        self._sign_in = sign_in
        self._people = people
        self._store = store
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get(_PAGE, self.account, Access.NONE)
        frame.post(f"{_PAGE}/password", self.change_password, Access.NONE)
        frame.post(f"{_PAGE}/sessions/end-others", self.end_others, Access.NONE)
        frame.post(f"{_PAGE}/sessions/<session>/end", self.end, Access.NONE)
        frame.post(f"{_PAGE}/tokens", self.make_token, Access.NONE)
        frame.post(f"{_PAGE}/tokens/<token>/remove", self.remove_token, Access.NONE)

    async def account(self, visit: Visit) -> Answer:
        """All of it."""
        return await self._page(visit, done=_DONE.get(visit.query("done"), ""))

    async def _page(self, visit: Visit, errors: Advice | None = None, done: str = "") -> Page:
        actor = visit.actor
        places = places_of(await self._sign_in.sessions_of(actor), self._sessions.credential_of(visit.request).digest)
        person = None if actor.person_id is None else await self._store.person(actor.name)
        names = await self._store.names_of(actor.grants)
        tokens: Sequence[Token] = await self._sign_in.own_tokens(actor)
        values = {
            "heading": heading_of(places),
            "done": done,
            "places": places,
            "person": person,
            "role": word_of_role(actor.access),
            "meaning": MEANINGS[word_of_role(actor.access)],
            "granted": sorted(
                (names[each], word_of_role(access)) for each, access in actor.grants.items() if each in names
            ),
            "github": self._forge is not None,
            "linked": await self._forge.linked(actor) if self._forge is not None else None,
            "tokens": tokens,
            "choices": {word: ACCESS_MEANINGS[word] for word in choices_of(actor)},
            "given": given_token(visit.form),
            "errors": errors or Advice(),
            "least": PASSWORD_LEAST,
            "server_address": self._links.base(),
        }
        return Page("account.html", values, 422 if errors else 200)

    # -- sessions

    async def end(self, visit: Visit, session: str) -> Answer:
        """One of the own."""
        await self._sign_in.end_session(visit.actor, session)
        return SeeOther(f"{_PAGE}?done=ended")

    async def end_others(self, visit: Visit) -> Answer:
        """All but this one."""
        await self._sign_in.end_other_sessions(visit.actor, self._sessions.credential_of(visit.request))
        return SeeOther(f"{_PAGE}?done=others")

    # -- the password

    async def change_password(self, visit: Visit) -> Answer:
        """Who knows the old one has another; this browser gets a new session, and all others end."""
        old, new = visit.form.get("old", ""), visit.form.get("new", "")
        if new != visit.form.get("again", ""):
            return await self._page(visit, Advice(again="The two passwords differ. Type the same one twice."))
        try:
            secret, _ = await self._people.change_password(visit.actor, old, new, origin_of(visit.request))
        except Unauthenticated:
            return await self._page(visit, Advice(old="That is not your password."))
        except Invalid as error:
            return await self._page(visit, Advice(new=sentence(error)))
        await self._sessions.begin(visit.request, secret)
        return SeeOther(f"{_PAGE}?done=password")

    # -- tokens

    async def make_token(self, visit: Visit) -> Answer:
        """Made, and shown this once."""
        form, by = visit.form, self._sessions.credential_of(visit.request)
        try:
            access, days = access_of(form.get("access", "")), days_of(form.get("days", ""))
            token, secret = await self._sign_in.new_own_token(visit.actor, by, form.get("name", ""), access, days)
        except (Invalid, Conflict, Forbidden) as error:
            return await self._page(visit, Advice(token=sentence(error)))
        return page_of_new(token, secret, self._links, _PAGE)

    async def remove_token(self, visit: Visit, token: str) -> Answer:
        """One of the own."""
        await self._sign_in.remove_own_token(visit.actor, TOKEN.read(token))
        return SeeOther(f"{_PAGE}?done=token")
