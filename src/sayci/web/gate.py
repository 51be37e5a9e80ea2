"""The one gate: who asks, for what, on which project, decides for pages and API alike."""

from __future__ import annotations

from sayci.account import Access, Actor, Decision, decide
from sayci.errors import Forbidden, Unauthenticated, UnknownProject
from sayci.interfaces import Store
from sayci.web.reading import PROJECT


class Gate:
    """Lets requests pass or raises; `name` is the project's as it stands in the address."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, actor: Actor | None, need: Access, name: str | None) -> None:
        """Raises Unauthenticated for a stranger who may not, Forbidden for somebody else.

        A project that the actor may not look at is as one that is not there: UnknownProject; and for a stranger one that
        is not there is as one that may not be looked at.
        """
        match await self._decision(actor, need, name):
            case Decision.SIGN_IN:
                raise Unauthenticated("this takes one header Authorization: Bearer TOKEN")
            case Decision.FORBIDDEN:
                raise Forbidden("this takes more access than the credential has", need.name.lower())
            case Decision.HIDDEN:
                raise UnknownProject("no such project", (name or "")[:80])

    async def _decision(self, actor: Actor | None, need: Access, name: str | None) -> Decision:
        if name is None:
            return decide(actor, need)
        try:
            project = await self._store.project(PROJECT.read(name))
        except UnknownProject:
            # As if there were one that this actor may not look at; or, who may look at all of them, may not change.
            decision = decide(actor, need)
            if actor is None or (actor.access >= Access.READ and decision is Decision.FORBIDDEN):
                return decision
            raise
        return decide(actor, need, project.ground)
