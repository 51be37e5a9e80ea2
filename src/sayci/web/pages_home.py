"""The first page: how all projects stand, what runs, and what waits for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sayci.account import Access, Actor, sees
from sayci.build import Build
from sayci.errors import Invalid, Unauthenticated
from sayci.outlook import Outlook, Outlooks
from sayci.project import Project
from sayci.scheduler import Scheduler
from sayci.step import Result
from sayci.usual import starts
from sayci.web.bars import Bar, bars_of
from sayci.web.changes import Audience, Changes
from sayci.web.connection import Connection, Connections, saying_of_steps, steps_of
from sayci.web.excerpts import Excerpt, Excerpts
from sayci.web.frame import NOBODY, Answer, Frame, Page, Visit
from sayci.web.reading import wants_events, whole_number
from sayci.web.sayings import (
    ATTENTION,
    mark_in_list,
    mark_of_project,
    saying_of_home,
    standing_in_words,
    urgency,
    what_is_wrong,
    worst,
)

#: How many projects the first page lists at once, and how many builds that run or wait.
PROJECTS_SHOWN = 40
TRAFFIC_SHOWN = 30
#: With more projects than these there is something to search by.
FEW = 8
#: The longest search that is looked at, in characters.
LONGEST_SEARCH = 200
#: Which projects can be asked for, and in which order.
SHOWS = ("all", "attention", "running")
SORTS = ("attention", "name")


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project as the first page lists it: `shown` is the icon, `wrong` or `error` what to say in a box below."""

    project: Project
    shown: str
    words: str
    newest: Build | None
    bars: Sequence[Bar]
    wrong: str
    error: Excerpt | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which projects are asked for, in which order, and which part of them (from 1)."""

    search: str = ""
    show: str = "all"
    sort: str = "attention"
    part: int = 1

    def address(self, **changes: Any) -> str:
        """The address of the page with something else asked for."""
        asked = {"q": self.search, "show": self.show, "sort": self.sort, "page": self.part} | changes
        usual = {"q": "", "show": "all", "sort": "attention", "page": 1}
        query = {name: value for name, value in asked.items() if value != usual[name]}
        return "/?" + urlencode(query) if query else "/"


def _wanted(visit: Visit) -> Wanted:
    """What the address asks for.  Raises Invalid."""
    show, sort = visit.query("show") or "all", visit.query("sort") or "attention"
    part = whole_number(visit.query("page") or "1")
    if show not in SHOWS or sort not in SORTS or not part:
        raise Invalid("that is not a part of this list", visit.request.uri.decode("ascii", "replace")[:80])
    return Wanted(visit.query("q").strip()[:LONGEST_SEARCH], show, sort, part)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the list asks of every project: `mark` is how it stands, `shown` the icon, `text` what is searched."""

    outlook: Outlook
    mark: str
    shown: str
    runs: bool
    text: str

    @property
    def place(self) -> tuple[int, float]:
        """Its place among the others, those first that need somebody."""
        newest = self.outlook.newest
        return urgency(self.shown), -(newest.created_at if newest is not None else self.outlook.project.created_at)


def summary_of(outlook: Outlook) -> Summary:
    """What the list asks of a project."""
    project, past = outlook.project, outlook.past
    mark = mark_of_project(project, past)
    runs = any(each.result is None for each in past)
    text = f"{project.name} {project.settings.url}".lower()
    return Summary(outlook, mark, mark_in_list(mark, past) if runs else mark, runs, text)


_CHOICES: Mapping[str, Callable[[Summary], bool]] = {
    "all": lambda _: True,
    "attention": lambda summary: summary.mark in ATTENTION,
    "running": lambda summary: summary.runs,
}


def chosen(summaries: Sequence[Summary], wanted: Wanted) -> list[Summary]:
    """The projects that are asked for, in the order that is asked for: else those first that need somebody."""
    words = wanted.search.lower().split()
    is_chosen = _CHOICES[wanted.show]
    found = [each for each in summaries if is_chosen(each) and all(word in each.text for word in words)]
    if wanted.sort == "name":
        return sorted(found, key=lambda each: each.outlook.project.name.lower())
    return sorted(found, key=lambda each: each.place)


@dataclass(frozen=True, slots=True)
class Listed:
    """Those `found` of the projects that a visitor has `seen`; `is_first`: nobody has registered any."""

    wanted: Wanted
    seen: Sequence[Summary]
    found: Sequence[Summary]
    is_first: bool

    @property
    def _end(self) -> int:
        return self.wanted.part * PROJECTS_SHOWN

    @property
    def part(self) -> Sequence[Summary]:
        """The part that is asked for."""
        return self.found[self._end - PROJECTS_SHOWN : self._end]

    @property
    def has_more(self) -> bool:
        """Whether there are others after it."""
        return len(self.found) > self._end


def seen_of(actor: Actor, outlooks: Sequence[Outlook]) -> Sequence[Outlook]:
    """The projects that a visitor may see.  Raises Unauthenticated for a stranger who may see none."""
    seen = [outlook for outlook in outlooks if sees(actor, outlook.project.ground)]
    if not seen and actor is NOBODY:
        raise Unauthenticated("there is nothing here that is public")
    return seen


class HomePage:
    """``/``: to everybody the projects that one may look at."""

    def __init__(
        self,
        outlooks: Outlooks,
        scheduler: Scheduler,
        changes: Changes,
        excerpts: Excerpts,
        connections: Connections,
        clock: Callable[[], float],
    ) -> None:
        self._outlooks = outlooks
        self._excerpts = excerpts
        self._connections = connections
        self._changes = changes
        self._scheduler = scheduler
        self._clock = clock
        self._summaries: dict[int, Summary] = {}

    def put_on(self, frame: Frame) -> None:
        """Take the address."""
        frame.get("/", self.home, Access.NONE, for_strangers=True)

    async def home(self, visit: Visit) -> Answer:
        """How all projects stand, what runs and what waits."""
        if wants_events(visit.request):
            await self.listed(visit)  # a stranger may ask where something is public, as for the page
            projects = [outlook.project for outlook in await self._outlooks.all()]
            await self._changes.stream_of_all(visit.request, Audience(visit.actor, projects))
            return None
        listed = await self.listed(visit)
        wanted, summaries, found = listed.wanted, listed.seen, listed.found
        if not summaries and listed.is_first and visit.actor.access is Access.ADMIN:
            return self._first_run()
        if not summaries:
            return Page("no_projects.html", {"is_first": listed.is_first, "changes": "/"})
        seen = {each.outlook.project.id for each in summaries}
        open_builds = self._scheduler.waiting_and_running()
        waiting, running = ([build for build in builds if build.project_id in seen] for builds in open_builds)
        now = self._clock()
        marks = {each.outlook.project.name: each.mark for each in summaries}
        way = await self._way(visit.actor, summaries)
        values = {
            "saying": saying_of_steps(way) if way is not None else saying_of_home(marks),
            "way": way,
            "steps": steps_of(way) if way is not None else (),
            "page_mark": worst([*set(marks.values()), *(["running"] if running else [])]),
            "rows": [self._row(summary, now) for summary in listed.part],
            "wanted": wanted,
            "changes": "/",
            "found": len(found),
            "more": listed.has_more,
            "is_searchable": len(summaries) > FEW or wanted != Wanted(),
            "counts": {show: sum(map(choice, summaries)) for show, choice in _CHOICES.items()},
            "builds_running": running[:TRAFFIC_SHOWN],
            "builds_waiting": waiting[:TRAFFIC_SHOWN],
            "slots": self._scheduler.slots,
            "why_waiting": self._scheduler.why_waiting,
            "usual": self._outlooks.usual,
            "starts": starts([*open_builds[1], *open_builds[0]], self._scheduler.slots, self._outlooks.usual, now),
        }
        return Page("home.html", values)

    def _first_run(self) -> Page:
        """Before the first project: what to type."""
        values = {"lack": self._scheduler.space.lack(), "slots": self._scheduler.slots, "changes": "/"}
        return Page("first_run.html", values)

    async def _way(self, actor: Actor, seen: Sequence[Summary]) -> Connection | None:
        """How far the only project is from its first green build, for who can act on it; None once it is there."""
        if len(seen) != 1 or actor.access is not Access.ADMIN or _is_green(seen[0]):
            return None
        return await self._connections.of(seen[0].outlook.project)

    async def listed(self, visit: Visit) -> Listed:
        """The projects that are asked for, among those that the visitor may see.

        Raises Invalid, and Unauthenticated for a stranger who may see none.
        """
        wanted = _wanted(visit)
        everything = self._summaries_of(await self._outlooks.all())
        visible = {outlook.project.id for outlook in seen_of(visit.actor, [each.outlook for each in everything])}
        seen = [each for each in everything if each.outlook.project.id in visible]
        return Listed(wanted, seen, chosen(seen, wanted), is_first=not everything)

    def _row(self, summary: Summary, now: float) -> ProjectRow:
        outlook = summary.outlook
        project, past, newest = outlook.project, outlook.past, outlook.newest
        wrong = what_is_wrong(project, newest)
        return ProjectRow(
            project,
            summary.shown,
            standing_in_words(project, past, newest, now),
            newest,
            bars_of(past, now),
            wrong,
            self._excerpts.of(newest) if wrong and newest is not None else None,
        )

    def _summaries_of(self, outlooks: Sequence[Outlook]) -> Sequence[Summary]:
        """Those of all projects; made again only for those that have moved."""
        known, self._summaries = self._summaries, {}
        for outlook in outlooks:
            summary = known.get(outlook.project.id)
            is_same = summary is not None and summary.outlook is outlook
            self._summaries[outlook.project.id] = summary if summary and is_same else summary_of(outlook)
        return list(self._summaries.values())


def _is_green(summary: Summary) -> bool:
    """Whether a build of the project has ever succeeded, among those that are remembered."""
    return any(past.result is Result.SUCCESS for past in summary.outlook.past)
