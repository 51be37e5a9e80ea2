"""Subscribe to facts and publish them, within the process."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from twisted.logger import Logger

from sayci.event import BuildChanged, DeliveryChanged, DeliveryRefused, Event, ProjectChanged, ProjectRemoved

Listener = Callable[[Event], None]


def _project_of(event: Event) -> int | None:
    match event:
        case BuildChanged(build):
            return build.project_id
        case DeliveryChanged(delivery):
            return delivery.project_id
        case DeliveryRefused(project_id):
            return project_id
        case ProjectChanged(project) | ProjectRemoved(project):
            return project.id
    return None


def _build_of(event: Event) -> int | None:
    return event.build.id if isinstance(event, BuildChanged) else None


class Bus:
    """Hands every event to those who subscribed to its scope: everything, one project, or one build."""

    _log = Logger()

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, int | None], dict[int, Listener]] = {}
        self._keys = itertools.count()

    def subscribe(
        self, listener: Listener, *, project_id: int | None = None, build_id: int | None = None
    ) -> Callable[[], None]:
        """Call `listener` with each event of the scope from now on; returns the function that ends it (safe to repeat)."""
        scope: tuple[str, int | None] = ("everything", None)
        if build_id is not None:
            scope = ("build", build_id)
        elif project_id is not None:
            scope = ("project", project_id)
        key = next(self._keys)
        self._listeners.setdefault(scope, {})[key] = listener

        def unsubscribe() -> None:
            listeners = self._listeners.get(scope, {})
            listeners.pop(key, None)
            if not listeners:
                self._listeners.pop(scope, None)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Hand `event` to its subscribers, in the order of their subscription; one that raises does not stop the others."""
        for scope in (("everything", None), ("project", _project_of(event)), ("build", _build_of(event))):
            listeners = self._listeners.get(scope, {})
            for key, listener in list(listeners.items()):
                if key not in listeners:
                    continue  # it has unsubscribed while others were told
                with self._log.failuresHandled("a subscriber failed on {event}", event=type(event).__name__):
                    listener(event)
