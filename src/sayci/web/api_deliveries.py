"""The API of deliveries: which webhooks came, what became of them, and a second look."""

from __future__ import annotations

from sayci.account import Access
from sayci.inbox import Inbox
from sayci.interfaces import Store
from sayci.web import wire
from sayci.web.reading import CURSOR, DELIVERY, LIMIT, PROJECT, cursor_for
from sayci.web.route import Call, Table

table = Table()

_DELIVERIES = "/api/v1/projects/{project}/deliveries"


class DeliveriesApi:
    """What forges have sent.  Bodies may hold what only those who build may see."""

    def __init__(self, store: Store, inbox: Inbox) -> None:
        self._store = store
        self._inbox = inbox

    @table.route(
        "GET",
        _DELIVERIES,
        Access.BUILD,
        "List deliveries",
        PROJECT,
        LIMIT,
        CURSOR,
        answer=wire.Listing[wire.Delivery],
    )
    async def list_deliveries(self, call: Call) -> wire.Listing[wire.Delivery]:
        """The newest first."""
        project = await self._store.project(call[PROJECT])
        page = await self._store.deliveries(project.id, before=call.get(CURSOR), limit=call[LIMIT])
        return wire.listing(map(wire.of_delivery, page.items), cursor_for(page.next))

    @table.route(
        "GET", _DELIVERIES + "/{id}", Access.BUILD, "Show a delivery", PROJECT, DELIVERY, answer=wire.WholeDelivery
    )
    async def show_delivery(self, call: Call) -> wire.WholeDelivery:
        """With its headers and its body as text."""
        project = await self._store.project(call[PROJECT])
        return wire.of_stored(*await self._store.delivery(project.id, call[DELIVERY]))

    @table.route(
        "POST",
        _DELIVERIES + "/{id}/replay",
        Access.BUILD,
        "Look at a delivery again",
        PROJECT,
        DELIVERY,
        answer=wire.Delivery,
        problems=(409,),
    )
    async def replay_delivery(self, call: Call) -> wire.Delivery:
        """As if it had come now, but for this: what it builds never deploys."""
        project = await self._store.project(call[PROJECT])
        return wire.of_delivery(await self._inbox.replay(project, call[DELIVERY]))
