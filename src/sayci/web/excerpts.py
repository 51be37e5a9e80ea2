"""The first error of builds that have failed, in one line each: found once, by itself, and kept in memory.

A list of hundreds of projects must not read logs while it is drawn: it shows what is known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import DeferredLock

from sayci.background import Background
from sayci.build import Build
from sayci.buildlog import key_of
from sayci.bus import Bus
from sayci.change import cut
from sayci.event import BuildChanged, Event
from sayci.loglines import Bounds, Place
from sayci.step import Result
from sayci.web.logreader import LogReader
from sayci.web.sayings import step_in_question
from sayci.web.terminal import line_of, text_of

#: Of so many builds the first error is remembered, and so long it is shown, in characters.
REMEMBERED = 1000
LONGEST = 300
_FAILED = (Result.FAILURE, Result.TIMED_OUT, Result.ERROR)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line of a step's log that says what is wrong."""

    step: str
    line: int
    text: str


class Excerpts:
    """What failed builds say.  `found` is called with a project's id when something has been found in it."""

    def __init__(self, reader: LogReader, bus: Bus, found: Callable[[int], None]) -> None:
        self._reader = reader
        self._found = found
        self._known: OrderedDict[int, Excerpt | None] = OrderedDict()
        self._background = Background()
        self._one_at_a_time = DeferredLock()
        bus.subscribe(self._heard)

    def of(self, build: Build) -> Excerpt | None:
        """The first error of a build, as far as it is known; what is not known yet is looked for from now on."""
        if build.result not in _FAILED:
            return None
        if build.id in self._known:
            self._known.move_to_end(build.id)
            return self._known[build.id]
        self._known[build.id] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._background.start(self._look(build), "looking for the first error of a build")
        return self._known.get(build.id)

    def _heard(self, event: Event) -> None:
        if isinstance(event, BuildChanged):
            self.of(event.build)

    async def _look(self, build: Build) -> None:
        step = step_in_question(build)
        if step is None or step.started_at is None:
            return
        await self._one_at_a_time.acquire()
        try:
            key = key_of(build, step.name)
            first = (await self._reader.errors(key)).first
            if first is None:
                return
            window = await self._reader.window(key, Place("from", first), Bounds(1, 4096))
        finally:
            self._one_at_a_time.release()
        text = _text(window.lines[0].data) if window.lines else ""
        if text and build.id in self._known:
            self._known[build.id] = Excerpt(step.name, first, cut(text, LONGEST))
            self._found(build.project_id)


def _text(line: bytes) -> str:
    """What is to be seen of a line."""
    return text_of(line_of(line.decode("utf-8", "replace"))[0]).strip()
