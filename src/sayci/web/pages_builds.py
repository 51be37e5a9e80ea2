"""The pages of builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sayci.account import Access
from sayci.build import Build, BuildState
from sayci.buildlog import key_of
from sayci.errors import Invalid, Missing, UnknownBuild
from sayci.interfaces import LogStore, Store
from sayci.project import Project
from sayci.scheduler import Scheduler
from sayci.step import Step, StepState
from sayci.web.events import Feeds
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_logs import Tail, tail_of
from sayci.web.reading import NUMBER, PROJECT, wants_events, whole_number
from sayci.web.sayings import saying_of_build, step_in_question, worst
from sayci.web.wire import Links


@dataclass(frozen=True, slots=True)
class StepView:
    """A step with the end of its log; `is_open` unfolds it."""

    step: Step
    tail: Tail
    is_open: bool


def before_of(visit: Visit) -> int | None:
    """The cursor of a list, None at its beginning.  Raises Invalid."""
    text = visit.query("before")
    before = whole_number(text) if text else None
    if text and before is None:
        raise Invalid("that is not a place in this list", text[:80])
    return before


class BuildPages:
    """Looks at builds, and asks the scheduler for what a person wants done with them."""

    def __init__(
        self,
        store: Store,
        scheduler: Scheduler,
        logs: LogStore,
        feeds: Feeds,
        links: Links,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._logs = logs
        self._feeds = feeds
        self._links = links
        self._clock = clock

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/<number>", self.build)
        frame.post("/<project>/<number>/cancel", self.cancel, Access.BUILD)
        frame.post("/<project>/<number>/rebuild", self.rebuild, Access.BUILD)
        frame.post("/<project>/<number>/deploy", self.deploy, Access.BUILD)

    # -- one build

    async def build(self, visit: Visit, project: str, number: str) -> Answer:
        """What became of it, and its logs; or its feed."""
        known, build = await self._find(project, number)
        if wants_events(visit.request):
            await self._feeds.stream_build(visit.request, build)
            return None
        steps = await self._views(build)
        now = self._clock()
        waiting = self._scheduler.why_waiting(build)
        saying = saying_of_build(build, waiting, now)
        values = {
            "project": known,
            "build": build,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "steps": steps,
            "live": _live(build, steps),
            "can_deploy": known.settings.deploy_branch is not None and build.is_green and not build.is_open,
            "delivery": build.delivery_id,
        }
        return Page("build.html", values)

    async def _find(self, project: str, number: str) -> tuple[Project, Build]:
        known = await self._store.project(PROJECT.read(project))
        if not (number.isascii() and number.isdigit()):
            raise Missing("nothing is at this address")
        try:
            return known, await self._store.build(known.id, NUMBER.read(number))
        except UnknownBuild:
            newest = (await self._store.builds(known.id, limit=1)).items
            hint = f"The newest is #{newest[0].number}." if newest else "It has none yet."
            raise UnknownBuild("there is no such build", number[:20], known.name, hint) from None

    async def _views(self, build: Build) -> Sequence[StepView]:
        question = step_in_question(build)
        last = [step for step in build.steps if step.started_at is not None][-1:]
        views = []
        for step in build.steps:
            tail = await tail_of(self._logs, key_of(build, step.name))
            views.append(StepView(step, tail, is_open=step is question or (question is None and step in last)))
        return views

    async def cancel(self, visit: Visit, project: str, number: str) -> Answer:
        """End it."""
        _, build = await self._find(project, number)
        return self._to(await self._scheduler.cancel(build, visit.actor.name))

    async def rebuild(self, visit: Visit, project: str, number: str) -> Answer:
        """Run its commit again."""
        _, build = await self._find(project, number)
        return self._to(await self._scheduler.rebuild(build, visit.actor.name))

    async def deploy(self, visit: Visit, project: str, number: str) -> Answer:
        """Deploy its commit."""
        known, build = await self._find(project, number)
        return self._to(await self._scheduler.deploy(known, visit.actor.name, number=build.number))

    @staticmethod
    def _to(build: Build) -> SeeOther:
        return SeeOther(f"/{build.project}/{build.number}")


def _live(build: Build, steps: Sequence[StepView]) -> dict[str, Any] | None:
    """What the page's script has to watch: the log that grows, else the build; None once it has ended."""
    if not build.is_open:
        return None
    address = f"/{build.project}/{build.number}"
    states = " ".join([build.state.value, *(view.step.state.value for view in steps)])
    running = [view for view in steps if view.step.state is StepState.RUNNING]
    if running and build.state is BuildState.RUNNING:
        view = running[0]
        return {
            "feed": f"{address}/{view.step.name}.log?after={view.tail.end}",
            "step": view.step.name,
            "states": states,
        }
    return {"feed": address, "step": "", "states": states}
