"""The way to GitHub and back: signing in by an account there, and linking one.

The way there is a page that leads on by itself, rather than a redirect: browsers hold a form's redirects to the policy of
the page that it is on (Content-Security-Policy, form-action), and a company's forge may lead on to where nobody here knows.
The way back ends in a redirect, whatever comes of it, so that no code stays in an address.
"""

from __future__ import annotations

from twisted.logger import Logger
from twisted.web.server import Request

from sayci.account import Access
from sayci.errors import (
    Conflict,
    Forbidden,
    ForgeAway,
    ForgeDenied,
    ForgeMisconfigured,
    Missing,
    NoAccess,
    SayciError,
    Unauthenticated,
)
from sayci.forge_people import ForgePeople
from sayci.web.forms import read_form
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import query_of
from sayci.web.session import Sessions, local_path, origin_of
from sayci.web.wire import Links

BEGIN, BACK, REFUSED = "/sign-in/github", "/sign-in/github/callback", "/sign-in/github/refused"
LINK, UNLINK = "/account/github", "/account/github/remove"

_AGAIN = "Begin again from the page for signing in."
_NOBODY = (
    "It may read the repository of no project on this server; of a public repository that is the right to triage or push. "
    "Ask whoever keeps the repository at GitHub, or ask whoever runs this server for an invitation."
)
_SETUP = (
    "The client, its secret or the callback address is not as it was registered. Whoever runs this server can correct it; "
    "what GitHub said is in the server's log."
)
#: What went wrong, by the word that the address has for it: the HTTP code, a heading, and what to do about it.
REASONS = {
    "cancelled": (403, "GitHub did not let sayci know who you are", f"You, or GitHub, said no. {_AGAIN}"),
    "stale": (403, "That sign-in has ended", f"It began in another browser, was over, or took ten minutes. {_AGAIN}"),
    "code": (403, "GitHub did not take the code", f"A code works once, within ten minutes. {_AGAIN}"),
    "nobody": (403, "Your GitHub account has no access here", _NOBODY),
    "taken": (
        409,
        "That GitHub account is somebody else's here",
        "Whoever runs this server can remove the other person.",
    ),
    "away": (
        503,
        "GitHub cannot be asked now",
        "It did not answer as it should. Nothing was changed; try again in a while.",
    ),
    "setup": (503, "GitHub does not take this server", _SETUP),
}
_WORDS: tuple[tuple[type[SayciError], str], ...] = (
    (NoAccess, "nobody"),
    (ForgeDenied, "code"),
    (ForgeMisconfigured, "setup"),
    (ForgeAway, "away"),
    (Unauthenticated, "stale"),
    (Conflict, "taken"),
)


class GitHubPages:
    """Leads people to GitHub, and takes them back; `forge` is None where nobody can sign in that way."""

    _log = Logger()

    def __init__(self, sessions: Sessions, forge: ForgePeople | None, links: Links) -> None:
        self._sessions = sessions
        self._forge = forge
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.open("POST", BEGIN, self.begin)
        frame.open("GET", BACK, self.back)
        frame.open("GET", REFUSED, self.refused)
        frame.post(LINK, self.link, Access.NONE)
        frame.post(UNLINK, self.unlink, Access.NONE)

    def _people(self) -> ForgePeople:
        if self._forge is None:
            raise Missing("nobody can sign in with GitHub here")
        return self._forge

    @property
    def _back(self) -> str:
        return self._links.base() + BACK

    async def begin(self, request: Request) -> Answer:
        """Somebody wants to sign in."""
        people = self._people()
        self._sessions.check_origin(request)
        form = read_form(request)
        self._sessions.check_form(request, form)
        return self._leave(request, people, local_path(form.get("next", "/")), None)

    async def link(self, visit: Visit) -> Answer:
        """Somebody who is signed in wants to link an account."""
        people = self._people()
        if visit.actor.person_id is None:
            raise Forbidden("only who has an account here can have one linked")
        return self._leave(visit.request, people, local_path(visit.form.get("next", "/")), visit.actor.person_id)

    async def unlink(self, visit: Visit) -> Answer:
        """Somebody wants it to be forgotten."""
        await self._people().unlink(visit.actor)
        return SeeOther(local_path(visit.form.get("next", "/")))

    def _leave(self, request: Request, people: ForgePeople, where: str, person_id: int | None) -> Page:
        leaving = people.leave(where, self._back, person_id)
        self._sessions.keep_errand(request, leaving.secret)
        return Page("github_leave.html", {"url": leaving.url})

    async def back(self, request: Request) -> Answer:
        """Somebody comes back."""
        people = self._people()
        query = query_of(request)
        secret = self._sessions.take_errand(request)
        error = query.get("error", "")[:80]
        actor = await self._sessions.actor_of(request)
        try:
            arrived = await people.arrive(
                *(secret, query.get("state", ""), query.get("code", "") if not error else ""),
                *(self._back, actor, origin_of(request)),
            )
        except tuple(kind for kind, _ in _WORDS) as refused:
            word = next(word for kind, word in _WORDS if isinstance(refused, kind))
            if error and word == "code":
                word = "cancelled" if error == "access_denied" else "setup"
            if word in ("away", "setup"):
                self._log.warn("signing in with GitHub failed: {words}", words=f"{refused} {error}".strip())
            return SeeOther(f"{REFUSED}?why={word}")
        if arrived.session:
            await self._sessions.begin(request, arrived.session)
        return SeeOther(arrived.where)

    async def refused(self, request: Request) -> Answer:
        """Why somebody could not come in."""
        self._people()
        code, heading, text = REASONS.get(query_of(request).get("why", ""), REASONS["stale"])
        return Page("github_refused.html", {"heading": heading, "text": text}, code)
