"""The feed of a page that lists things: it says that something has changed, and the page's script looks again.

Nothing is told but that: what the reader may see is decided when the page is asked for.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from sayci.bus import Bus
from sayci.event import AccessChanged, DeliveryRefused, Event, StatusesDue
from sayci.web.events import HEARTBEAT, Bell, Feeds, frame

#: Seconds between two events at least: what changes meanwhile is told by one.
PAUSE = 0.5


class Changes:
    """Tells of changes; the feeds are counted with all others."""

    def __init__(self, feeds: Feeds, bus: Bus, clock: IReactorTime) -> None:
        self._feeds = feeds
        self._bus = bus
        self._clock = clock

    async def stream(self, request: Request, project_id: int | None = None) -> None:
        """Send ``event: change`` whenever something has changed, in one project or anywhere, until the reader goes.

        Raises Unavailable when too many feeds are open.
        """
        bell = Bell(self._clock)

        def ring(event: Event) -> None:
            # What was refused anybody may have sent: it is told where somebody looks at the project, and nowhere else.
            if not isinstance(event, StatusesDue | AccessChanged | DeliveryRefused) or project_id is not None:
                bell.ring()

        unsubscribe = self._bus.subscribe(ring, project_id=project_id)
        try:
            with self._feeds.opened(request, bell) as outlet:
                while True:
                    await outlet.ready()
                    heard = await bell.wait(HEARTBEAT)
                    if heard:
                        outlet.write(frame({}, event="change"))
                        await deferLater(self._clock, PAUSE)
                    else:
                        outlet.write(b":\n\n")
        finally:
            unsubscribe()
