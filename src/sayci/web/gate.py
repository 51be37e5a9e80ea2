"""The one gate: who asks, for what, on which project, decides for pages and API alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from twisted.web.server import Request
from zope.interface import Interface, implementer

from sayci.account import Access, Actor, Credential, Decision, Ground, decide
from sayci.errors import Forbidden, Unauthenticated, UnknownProject
from sayci.interfaces import Store
from sayci.sign_in import SignIn
from sayci.web.reading import PROJECT


class IAdmission(Interface):
    """Under this name the gate's note is on a request."""


@implementer(IAdmission)
@dataclass(frozen=True, slots=True)
class Admission:
    """Whom the gate let pass, known by what, for what, and on which project.  A stranger is None, known by None."""

    actor: Actor | None
    credential: Credential | None
    need: Access
    ground: Ground | None = None


def admission_of(request: Request) -> Admission:
    """What the gate has noted; raises LookupError for a request that has not come through it."""
    noted = request.getComponent(IAdmission)
    if noted is None:
        raise LookupError("the request has not come through the gate", request.path)
    return cast("Admission", noted)


class Gate:
    """Lets requests pass or raises, and notes on them who passed; `name` is the project's as it stands in the address."""

    def __init__(self, store: Store, sign_in: SignIn) -> None:
        self._store = store
        self._sign_in = sign_in

    async def admit(
        self,
        request: Request,
        actor: Actor | None,
        credential: Credential | None,
        need: Access,
        name: str | None,
        *,
        for_strangers: bool = False,
    ) -> None:
        """Raises Unauthenticated for a stranger who may not, Forbidden for somebody else.

        A project that the actor may not look at is as one that is not there: UnknownProject; and for a stranger one that
        is not there is as one that may not be looked at.  With `for_strangers` they pass; each is shown what that one may
        see.
        """
        decision, ground = Decision.ALLOWED, None
        if actor is not None or not for_strangers:
            decision, ground = await self._decision(actor, need, name)
        match decision:
            case Decision.SIGN_IN:
                raise Unauthenticated("this takes one header Authorization: Bearer TOKEN")
            case Decision.FORBIDDEN:
                raise Forbidden("this takes more access than the credential has", need.name.lower())
            case Decision.HIDDEN:
                raise UnknownProject("no such project", (name or "")[:80])
        request.setComponent(IAdmission, Admission(actor, credential, need, ground))

    async def who_may(self, actor: Actor, need: Access, name: str) -> Sequence[str]:
        """The names of those who have the access `need` on a project; none where they are not the actor's business.

        They are for who was given something on the project, or may look at all of them.
        """
        project = await self._store.project(PROJECT.read(name))
        if actor.on(project.id) < Access.READ:
            return ()
        roles = {person.name: person.role for person in await self._store.people() if person.has_password}
        for member in await self._store.members(project.id):
            if member.name in roles:
                roles[member.name] = max(roles[member.name], member.role)
        return [name for name, role in roles.items() if role >= need]

    async def _decision(self, actor: Actor | None, need: Access, name: str | None) -> tuple[Decision, Ground | None]:
        if name is None:
            return decide(actor, need), None
        try:
            project = await self._store.project(PROJECT.read(name))
        except UnknownProject:
            # As if there were one that this actor may not look at; or, who may look at all of them, may not change.
            decision = decide(actor, need)
            if actor is None or (actor.access >= Access.READ and decision is Decision.FORBIDDEN):
                return decision, None
            raise
        return decide(actor, need, project.ground), project.ground

    # -- whether it still holds

    async def still(self, credential: Credential) -> Actor | None:
        """Whose credential it is by now; None when it is nobody's any more."""
        return await self._sign_in.still(credential)

    async def ground_of(self, project_id: int) -> Ground:
        """The project as it is by now.  Raises UnknownProject."""
        return (await self._store.project_by_id(project_id)).ground
