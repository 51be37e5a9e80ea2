"""The pages on which one signs in and out, and accepts an invitation."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.server import Request

from sayci.account import Access, Actor
from sayci.errors import Invalid, Unauthenticated
from sayci.people import People
from sayci.person import PASSWORD_LEAST, Person
from sayci.sign_in import SignIn
from sayci.web.forms import read_form
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import client_of, query_of
from sayci.web.session import Sessions, local_path, origin_of
from sayci.web.troubles import sentence


class AccessPages:
    """Makes sessions, and ends them."""

    def __init__(self, sessions: Sessions, sign_in: SignIn, people: People, *, has_github: bool) -> None:
        self._has_github = has_github
        self._sessions = sessions
        self._sign_in = sign_in
        self._people = people

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.open("GET", "/sign-in", self.ask)
        frame.open("POST", "/sign-in", self.sign_in)
        frame.post("/sign-out", self.sign_out, Access.NONE)
        frame.open("GET", "/sign-in/invitation", self.welcome)
        frame.open("POST", "/sign-in/invitation", self.accept)

    async def ask(self, request: Request) -> Answer:
        """The form for name and password, and the one for a code.

        A link that holds a code only fills it in: whatever looks at links before people do cannot use the code up.
        """
        query = query_of(request)
        code, where = query.get("code", ""), local_path(query.get("next", "/"))
        if not code and await self._sessions.actor_of(request) is not None:
            return SeeOther(where)
        return self._sign_in_page(where, code=code, has_ended=self._sessions.has_ended(request))

    async def sign_in(self, request: Request) -> Answer:
        """Exchange the code, or name and password, for a session."""
        self._sessions.check_origin(request)
        form = read_form(request)
        self._sessions.check_form(request, form)
        where = local_path(form.get("next", "/"))
        try:
            secret, _ = await self._session_for(request, form)
        except Unauthenticated as error:
            told = sentence(error)
            if "code" in form:
                return self._sign_in_page(where, code_error=told)
            return self._sign_in_page(where, name=form.get("name", ""), error=told)
        await self._sessions.begin(request, secret)
        return SeeOther(where)

    def _sign_in_page(
        self,
        where: str,
        *,
        code: str = "",
        name: str = "",
        error: str = "",
        code_error: str = "",
        has_ended: bool = False,
    ) -> Page:
        values: dict[str, object] = {"code": code, "next": where, "name": name[:100]}
        values |= {"error": error, "code_error": code_error, "github": self._has_github, "has_ended": has_ended}
        return Page("sign_in.html", values, 403 if error or code_error else 200)

    async def _session_for(self, request: Request, form: Mapping[str, str]) -> tuple[str, Actor]:
        if "code" in form:
            return await self._sign_in.session_by_code(form["code"].strip(), origin_of(request))
        name, password = form.get("name", ""), form.get("password", "")
        return await self._people.session_by_password(name, password, origin_of(request))

    async def sign_out(self, visit: Visit) -> Answer:
        """End the session."""
        await self._sessions.end(visit.request)
        return SeeOther("/sign-in")

    # -- invitations

    async def welcome(self, request: Request) -> Answer:
        """The form for a first or a new password; looking at it does not use the invitation up."""
        code = query_of(request).get("code", "")
        return await self._invitation_page(request, code)

    async def _invitation_page(self, request: Request, code: str, error: str = "") -> Page:
        try:
            person = await self._people.invited(code, client_of(request))
        except Unauthenticated as refused:
            return _page_of_invitation(None, "", sentence(refused), 403)
        return _page_of_invitation(person, code, error, 422 if error else 200)

    async def accept(self, request: Request) -> Answer:
        """Set the password, and sign in."""
        self._sessions.check_origin(request)
        form = read_form(request)
        self._sessions.check_form(request, form)
        code, password = form.get("code", ""), form.get("password", "")
        if password != form.get("again", ""):
            return await self._invitation_page(request, code, "The two passwords differ. Type the same one twice.")
        try:
            secret, _ = await self._people.accept(code, password, origin_of(request))
        except (Invalid, Unauthenticated) as error:
            return await self._invitation_page(request, code, sentence(error))
        await self._sessions.begin(request, secret)
        return SeeOther("/")


def _page_of_invitation(person: Person | None, code: str, error: str, status: int) -> Page:
    return Page("invitation.html", {"person": person, "code": code, "error": error, "least": PASSWORD_LEAST}, status)
