"""The pages of builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sayci.account import Access
from sayci.build import Build
from sayci.buildlog import key_of
from sayci.errors import Invalid, Missing, UnknownBuild
from sayci.interfaces import LogStore, Store
from sayci.loglines import END, HITS_LIMIT, Bounds, Place, Window
from sayci.project import Project
from sayci.scheduler import Scheduler
from sayci.step import Result, Step, StepState
from sayci.web.answer import set_header
from sayci.web.events import Feeds
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.history import LOOKED_AT, History, history_of, timeline
from sayci.web.logreader import LogReader
from sayci.web.pagefeed import Mark, PageFeed, shape_of
from sayci.web.pages_logs import ASIDE, SHOWN, place_of, removal_of, search
from sayci.web.reading import LAST_EVENT_ID, NUMBER, PROJECT, header_of, wants_events, whole_number
from sayci.web.rows import rows_of
from sayci.web.sayings import saying_of_build, step_in_question, worst
from sayci.web.wire import Links

#: How many lines before its end are shown of a log without errors.
LAST_LINES = 10


@dataclass(frozen=True, slots=True)
class StepView:
    """A step with some lines of its log.

    `is_open` unfolds it, `usual` are the seconds that it usually takes, `is_timed` says that the gutter has times.
    """

    step: Step
    window: Window
    rows: Markup
    is_open: bool
    usual: float | None
    is_timed: bool
    removal: str = ""

    @property
    def after(self) -> int:
        """Where the feed goes on: the last line, if it is not whole yet, is told again from its beginning."""
        return self.window.lines[-1].start if self.window.is_open else self.window.end


@dataclass(frozen=True, slots=True)
class FirstError:
    """The place in the log where its reader wants to be: an error, or (line None) the last lines before the end."""

    step: str
    line: int | None
    more: tuple[int, ...]
    rows: Markup
    is_shown: bool
    is_timed: bool


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
        reader: LogReader,
        feeds: Feeds,
        links: Links,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._logs = logs
        self._reader = reader
        self._feed = PageFeed(feeds, store, logs, reader)
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
            await self._feed.stream(visit.request, build, _mark(visit))
            return None
        history = history_of(
            (await self._store.builds(known.id, before=build.number, limit=LOOKED_AT, ref=build.ref)).items
        )
        place = place_of(visit)
        steps = await self._views(build, place, history)
        now = self._clock()
        saying = saying_of_build(build, self._scheduler.why_waiting(build), now)
        words = visit.query("find")
        usual = history.total(build)
        values = {
            "project": known,
            "build": build,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "steps": steps,
            "first": await self._first_error(build, steps),
            "before": history.before,
            "usual": usual,
            "timeline": timeline(build, usual, now),
            "words": words,
            "found": await search(self._reader, build, words) if words else None,
            "hits_limit": HITS_LIMIT,
            "feed": _feed_of(build, steps),
            "shape": shape_of(build),
            "can_deploy": known.settings.deploy_branch is not None and build.is_green and not build.is_open,
            "delivery": build.delivery_id,
        }
        set_header(visit.request, "Vary", "Accept")
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
            if newest and 0 < (whole_number(number) or 0) < newest[0].number:
                hint = "It was removed, as old builds are after a while."
            raise UnknownBuild("there is no such build", number[:20], known.name, hint) from None

    async def _views(self, build: Build, place: tuple[str, Place] | None, history: History) -> Sequence[StepView]:
        question = step_in_question(build)
        begun = [step for step in build.steps if step.started_at is not None]
        chosen = question or (begun[-1] if begun else None)
        if place is not None:
            chosen = build.step(place[0])
        views = []
        for step in build.steps:
            is_open = step is chosen
            where = place[1] if place is not None and is_open else END
            window = await self._reader.window(key_of(build, step.name), where, SHOWN if is_open else ASIDE)
            elapsed = await self._reader.elapsed(key_of(build, step.name))
            rows = rows_of(step.name, window, elapsed)
            removal = removal_of(self._logs, key_of(build, step.name))
            usual, is_timed = history.usual.get(step.name), bool(elapsed(window.end))
            views.append(StepView(step, window, rows, is_open, usual, is_timed, removal))
        return views

    async def _first_error(self, build: Build, views: Sequence[StepView]) -> FirstError | None:
        """Of a build that has failed."""
        step = step_in_question(build)
        if step is None or build.result not in (Result.FAILURE, Result.TIMED_OUT, Result.ERROR):
            return None
        key = key_of(build, step.name)
        view = next(view for view in views if view.step is step)
        errors, elapsed = await self._reader.errors(key), await self._reader.elapsed(key)
        if errors.first is None:
            if view.window.total <= LAST_LINES:
                return None
            window = await self._reader.window(key, END, Bounds(LAST_LINES, 4096))
            rows = rows_of(step.name, window, elapsed, is_named=False, folds=False)
            return FirstError(step.name, None, (), rows, is_shown=True, is_timed=view.is_timed)
        window = await self._reader.window(key, Place("from", max(1, errors.first - 2)), Bounds(8, 8192))
        rows = rows_of(step.name, window, elapsed, is_named=False, folds=False)
        is_shown = view.is_open and view.window.first <= errors.first <= view.window.last
        return FirstError(step.name, errors.first, errors.lines[1:], rows, is_shown, view.is_timed)

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


def _mark(visit: Visit) -> Mark | None:
    """Where the feed goes on: after the last event that came, else after what the page has.  Raises Invalid."""
    text = header_of(visit.request, LAST_EVENT_ID.name) or visit.query("after")
    step, _, offset = text.partition(":")
    number = whole_number(offset)
    if text and number is None:
        raise Invalid("this is no place in a build's logs", text[:80])
    return Mark(step, number) if number is not None else None


def _feed_of(build: Build, views: Sequence[StepView]) -> str:
    """The address of the feed that goes on where the page ends; "" once the build has ended."""
    if not build.is_open:
        return ""
    address = f"/{build.project}/{build.number}"
    running = [view for view in views if view.step.state is StepState.RUNNING]
    return f"{address}?after={running[0].step.name}:{running[0].after}" if running else address
