"""The feed of a page that lists things: it says that something has changed, and the page's script looks again.

Nothing is told but that: what the reader may see is decided when the page is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from sayci.account import Actor, sees
from sayci.bus import Bus
from sayci.event import (
    AccessChanged,
    BuildChanged,
    DeliveryChanged,
    DeliveryRefused,
    Event,
    ProjectChanged,
    ProjectRemoved,
    StatusesDue,
)
from sayci.project import Project
from sayci.web.events import HEARTBEAT, Bell, Feeds, frame

#: Seconds between two events at least: what changes meanwhile is told by one.
PAUSE = 0.5


class Audience:
    """The projects that somebody may see, as they come and go: what happens in others is not told, not even that it does."""

    def __init__(self, actor: Actor, projects: Iterable[Project]) -> None:
        self._actor = actor
        self._seen = {project.id for project in projects if sees(actor, project.ground)}

    def sees(self, project_id: int) -> bool:
        """Whether the project is one of them."""
        return project_id in self._seen

    def hears(self, event: Event) -> bool:
        """Whether the event is for them; to be asked of every one."""
        match event:
            case BuildChanged(build):
                return build.project_id in self._seen
            case DeliveryChanged(delivery):
                return delivery.project_id in self._seen
            case ProjectChanged(project):
                before = project.id in self._seen
                now = sees(self._actor, project.ground)
                (self._seen.add if now else self._seen.discard)(project.id)
                return before or now
            case ProjectRemoved(project):
                before = project.id in self._seen
                self._seen.discard(project.id)
                return before
        # What was refused anybody may have sent: it is told where somebody looks at deliveries, and nowhere else.
        return False


class Changes:
    """Tells of changes; the feeds are counted with all others."""

    def __init__(self, feeds: Feeds, bus: Bus, clock: IReactorTime) -> None:
        self._feeds = feeds
        self._bus = bus
        self._clock = clock
        self._listeners: dict[Bell, Callable[[int], bool]] = {}

    def tell(self, project_id: int) -> None:
        """Something else than an event has changed what is shown of a project."""
        for bell, concerns in list(self._listeners.items()):
            if concerns(project_id):
                bell.ring()

    async def stream(self, request: Request, project_id: int) -> None:
        """Send ``event: change`` whenever something has changed in a project, until the reader goes.

        Raises Unavailable when too many feeds are open.
        """
        bell = Bell(self._clock)

        def hear(event: Event) -> None:
            if not isinstance(event, StatusesDue | AccessChanged):
                bell.ring()

        unsubscribe = self._bus.subscribe(hear, project_id=project_id)
        await self._tell(request, bell, unsubscribe, lambda changed: changed == project_id)

    async def stream_of_all(self, request: Request, audience: Audience, *, with_refused: bool = False) -> None:
        """The same of all projects of an audience; `with_refused` also of deliveries that were refused, of any."""
        bell = Bell(self._clock)

        def hear(event: Event) -> None:
            if audience.hears(event) or (with_refused and isinstance(event, DeliveryRefused)):
                bell.ring()

        await self._tell(request, bell, self._bus.subscribe(hear), audience.sees)

    async def _tell(
        self, request: Request, bell: Bell, unsubscribe: Callable[[], None], concerns: Callable[[int], bool]
    ) -> None:
        self._listeners[bell] = concerns
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
            del self._listeners[bell]
