"""The page of all deploys: what waits for a person, and what is live where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sayci.account import Access, Actor
from sayci.build import Build
from sayci.deploying import Deploying
from sayci.errors import Invalid
from sayci.interfaces import Store
from sayci.outlook import Outlook, Outlooks
from sayci.project import Project
from sayci.step import DEPLOY
from sayci.web.changes import Audience, Changes
from sayci.web.frame import Answer, Frame, Page, Visit
from sayci.web.pages_home import seen_of
from sayci.web.reading import wants_events, whole_number
from sayci.web.sayings import ATTENTION, Saying, mark_of, urgency, worst
from sayci.web.words import counted, spelled

#: How many projects, and how many questions, the page shows at once.
PROJECTS_SHOWN = 50
QUESTIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Row:
    """A project with its deploys; `may_build`: the visitor may deploy there."""

    project: Project
    deploying: Deploying
    may_build: bool

    @property
    def mark(self) -> str:
        """How its deploys stand: what a person must look at, else what moves, else what is live."""
        now = self.deploying
        if now.asked:
            return "unknown"
        if now.running is not None:
            return mark_of(now.running)
        ended = mark_of(now.newest.step(DEPLOY)) if now.newest is not None else ""
        return ended if ended in ATTENTION else "success" if now.live is not None else "queued"

    @property
    def place(self) -> tuple[int, float, str]:
        """Its place among the others, those first that need somebody."""
        newest = self.deploying.newest
        return urgency(self.mark), -(newest.created_at if newest is not None else 0.0), self.project.name.lower()


@dataclass(frozen=True, slots=True)
class Question:
    """A deploy of which nobody knows whether it arrived; `may_build`: the visitor may say it."""

    build: Build
    live: Build | None
    may_build: bool


def saying_of_all_deploys(rows: Sequence[Row]) -> Saying:
    """What there is to say of the deploys of these projects."""
    asked = sum(len(row.deploying.asked) for row in rows)
    marks = [row.mark for row in rows]
    running = [row for row in rows if row.mark in ("running", "queued") and row.deploying.running is not None]
    failed = [row for row in rows if row.mark in ATTENTION and row.mark != "unknown"]
    live = sum(row.deploying.live is not None for row in rows)
    goes = f"{spelled(len(running)).capitalize()} {'is' if len(running) == 1 else 'are'} on the way." if running else ""
    if asked:
        waits = "One deploy waits for an answer." if asked == 1 else f"{_many(asked)} deploys wait for an answer."
        return Saying("unknown", "", waits, goes)
    if failed:
        names = failed[0].project.name if len(failed) == 1 else f"{_many(len(failed))} projects"
        was = "was not deployed." if len(failed) == 1 else "were not deployed."
        return Saying(worst(marks), names, was, goes)
    if running:
        ways = "deploy is" if len(running) == 1 else "deploys are"
        return Saying("running", "", f"{_many(len(running))} {ways} on the way.")
    if live:
        return Saying("success", "", f"{counted(live, 'project')} {'is' if live == 1 else 'are'} live.")
    return Saying("queued", "", "Nothing has been deployed yet.")


def _many(number: int) -> str:
    return spelled(number).capitalize()


class AllDeploys:
    """``/deploys``: to everybody those of the projects that one may look at.

    What is known of a project's deploys is kept until something has moved in it.
    """

    def __init__(self, store: Store, outlooks: Outlooks, changes: Changes, clock: Callable[[], float]) -> None:
        self._store = store
        self._outlooks = outlooks
        self._changes = changes
        self._clock = clock
        self._known: dict[int, tuple[Outlook, Deploying]] = {}

    def put_on(self, frame: Frame) -> None:
        """Take the address."""
        frame.get("/deploys", self.deploys, Access.NONE, for_strangers=True)

    async def deploys(self, visit: Visit) -> Answer:
        """What waits for a person, and what is live where."""
        everything = await self._outlooks.all()
        if wants_events(visit.request):
            seen_of(visit.actor, everything)
            audience = Audience(visit.actor, [outlook.project for outlook in everything])
            await self._changes.stream_of_all(visit.request, audience)
            return None
        rows = await self.rows(visit.actor)
        part, shown, more = part_of(visit, rows)
        questions = [
            Question(build, row.deploying.live, row.may_build) for row in rows for build in row.deploying.asked
        ]
        saying = saying_of_all_deploys(rows)
        values = {
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "changes": "/deploys",
            "questions": questions[:QUESTIONS_SHOWN],
            "rows": shown,
            "total": len(rows),
            "part": part,
            "more": more,
            "is_open": any(row.deploying.running is not None for row in rows),
        }
        return Page("all_deploys.html", values)

    async def rows(self, actor: Actor) -> Sequence[Row]:
        """The projects with deploys that the visitor may see, those first that need somebody.

        Raises Unauthenticated for a stranger who may see no project.
        """
        seen = seen_of(actor, await self._outlooks.all())
        deploying = await self._current([outlook for outlook in seen if _deploys(outlook)])
        rows = [Row(outlook.project, now, actor.on(outlook.project.id) >= Access.BUILD) for outlook, now in deploying]
        return sorted(rows, key=lambda row: row.place)

    async def _current(self, outlooks: Sequence[Outlook]) -> Sequence[tuple[Outlook, Deploying]]:
        """The deploys of these projects; only those of which something has moved are asked for."""
        moved = [each for each in outlooks if self._known.get(each.project.id, (None,))[0] is not each]
        if moved:
            found = {each.project_id: each for each in await self._store.deploying([o.project.id for o in moved])}
            self._known |= {
                each.project.id: (each, found[each.project.id]) for each in moved if each.project.id in found
            }
        return [self._known[each.project.id] for each in outlooks if each.project.id in self._known]


def _deploys(outlook: Outlook) -> bool:
    return outlook.project.deploy_ref is not None or any(past.deploys for past in outlook.past)


def part_of(visit: Visit, rows: Sequence[Row]) -> tuple[int, Sequence[Row], bool]:
    """Which part of the list is asked for, from 1; that part; and whether there are others after it.  Raises Invalid."""
    text = visit.query("page") or "1"
    part = whole_number(text)
    if not part:
        raise Invalid("that is not a part of this list", text[:80])
    end = part * PROJECTS_SHOWN
    return part, rows[end - PROJECTS_SHOWN : end], len(rows) > end
