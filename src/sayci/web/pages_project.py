"""The page of a project: how it stands, how long it takes, what is deployed, and its builds, sifted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from sayci.account import Access
from sayci.build import Build, Cause
from sayci.change import branch_of, check_branch, ref_of
from sayci.errors import Invalid
from sayci.interfaces import Page as Part
from sayci.interfaces import Store
from sayci.interfaces import Wanted as Sought
from sayci.outlook import Outlook, Outlooks, Past
from sayci.project import Project, Visibility
from sayci.scheduler import Scheduler
from sayci.step import DEPLOY, Result
from sayci.usual import LIKE
from sayci.web.badge import badge, markup
from sayci.web.bars import bars_of
from sayci.web.changes import Changes
from sayci.web.conditional import etag_of, is_known, not_modified, tagged
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.pages_builds import before_of
from sayci.web.reading import PROJECT, wants_events
from sayci.web.sayings import mark_of, mark_of_project, saying_of_project, worst
from sayci.web.wire import Links

#: How many builds a part of the list has, how many branches are named at its side, and among how many deploys the one
#: that is live is looked for.
BUILDS_SHOWN = 30
BRANCHES_SHOWN = 8
DEPLOYS_LOOKED_AT = 20
#: Among how many builds of a branch the badge looks for one that says how it stands.
BADGE_LOOKS_AT = 20
#: The longest search, in characters, and the most words of one that are looked at.
LONGEST_SEARCH, MOST_WORDS = 200, 5

#: What can be chosen of results: the word in the address -> what it is called, and which those are.
RESULTS: Mapping[str, tuple[str, frozenset[Result]]] = {
    "": ("All results", frozenset()),
    "bad": ("Not success", frozenset({Result.FAILURE, Result.ERROR, Result.TIMED_OUT, Result.UNKNOWN})),
    "success": ("Success", frozenset({Result.SUCCESS})),
    "failure": ("Failure", frozenset({Result.FAILURE})),
    "error": ("Error", frozenset({Result.ERROR})),
    "timed_out": ("Timed out", frozenset({Result.TIMED_OUT})),
    "cancelled": ("Cancelled", frozenset({Result.CANCELLED})),
    "unknown": ("Unknown", frozenset({Result.UNKNOWN})),
    "deployed": ("With a deploy", frozenset()),
}
CAUSES: Mapping[str, str] = {
    "": "Any cause",
    "push": "A push",
    "manual": "By hand",
    "rebuild": "Run again",
    "deploy": "A deploy by hand",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which builds are asked for; all "" is all of them."""

    result: str = ""
    branch: str = ""
    cause: str = ""
    search: str = ""

    @property
    def sought(self) -> Sought:
        """The same for the store."""
        cause = Cause(self.cause) if self.cause else None
        return Sought(RESULTS[self.result][1], cause, tuple(self.search.split()[:MOST_WORDS]))

    def query(self, **more: Any) -> str:
        """The query of an address that asks for them."""
        asked = {"result": self.result, "branch": self.branch, "cause": self.cause, "q": self.search} | more
        given = {name: value for name, value in asked.items() if value}
        return "?" + urlencode(given) if given else ""


def _wanted(visit: Visit) -> Wanted:
    """What the address asks for.  Raises Invalid."""
    result, cause, branch = visit.query("result"), visit.query("cause"), visit.query("branch")
    if result not in RESULTS:
        raise Invalid("that is no result", result[:80])
    if cause not in CAUSES:
        raise Invalid("that is no cause", cause[:80])
    return Wanted(result, check_branch(branch) if branch else "", cause, visit.query("q").strip()[:LONGEST_SEARCH])


@dataclass(frozen=True, slots=True)
class Figures:
    """What the last builds say: `rate` is of 100, of those `told` that say something; `waited` in seconds."""

    told: int
    rate: int
    usual: float | None
    waited: float | None


def figures_of(outlook: Outlook) -> Figures:
    """What the last builds of a project say."""
    told = [past for past in outlook.past if past.is_telling]
    good = [past for past in told if past.result is Result.SUCCESS]
    tested = [past for past in good if past.cause is not Cause.DEPLOY]
    waits = sorted(past.started_at - past.created_at for past in outlook.past[:LIKE] if past.started_at is not None)
    return Figures(
        len(told),
        100 * len(good) // len(told) if told else 0,
        outlook.usual(tested[0]) if tested else None,
        max(0.0, waits[len(waits) // 2]) if waits else None,
    )


class ProjectPage:
    """Looks at one project."""

    def __init__(
        self,
        store: Store,
        outlooks: Outlooks,
        scheduler: Scheduler,
        changes: Changes,
        links: Links,
        clock: Callable[[], float],
    ) -> None:
        self._changes = changes
        self._store = store
        self._outlooks = outlooks
        self._scheduler = scheduler
        self._links = links
        self._clock = clock

    def put_on(self, frame: Frame) -> None:
        """Take the addresses."""
        frame.get("/<project>", self.project)
        frame.get("/<project>/badge.svg", self.badge)
        frame.post("/<project>/build", self.build_by_hand, Access.BUILD)

    async def project(self, visit: Visit, project: str) -> Answer:
        """How it stands, its builds, what is deployed."""
        known = await self._store.project(PROJECT.read(project))
        if wants_events(visit.request):
            await self._changes.stream(visit.request, known.id)
            return None
        wanted = _wanted(visit)
        outlook, refs = await self._outlooks.of(known), await self._store.refs(known.id)
        page = await self.listed(visit, known)
        now = self._clock()
        saying = saying_of_project(known, outlook.past, now)
        bars = bars_of(outlook.past, now, limit=len(outlook.past))
        values = {
            "project": known,
            "saying": saying,
            "page_mark": worst([saying.mark]),
            "bars": bars,
            "figures": figures_of(outlook),
            "last_success": _last_success(outlook),
            "builds": page.items,
            "next": page.next,
            "before": before_of(visit),
            "wanted": wanted,
            "changes": f"/{known.name}",
            "results": RESULTS,
            "causes": CAUSES,
            "branches": [branch for ref, _ in refs if (branch := branch_of(ref)) is not None],
            "active": _active(outlook),
            "is_open": any(past.result is None for past in outlook.past),
            "why_waiting": self._scheduler.why_waiting,
            "usual": self._outlooks.usual,
            "badges": markup(self._links.project(known.name), f"{self._links.project(known.name)}/badge.svg"),
            **await self._deployed(known),
        }
        return Page("project.html", values)

    async def listed(self, visit: Visit, project: Project) -> Part[Build]:
        """The builds of the project that are asked for.  Raises Invalid."""
        wanted, before = _wanted(visit), before_of(visit)
        return await self._store.builds(
            project.id,
            before=before,
            limit=BUILDS_SHOWN,
            ref=ref_of(wanted.branch) if wanted.branch else None,
            deploys_only=wanted.result == "deployed",
            wanted=wanted.sought,
        )

    async def ended(self, visit: Visit, project: Project, limit: int) -> tuple[str, Sequence[Build]]:
        """The newest builds of those asked for that have ended, and the query that asks for them.  Raises Invalid."""
        wanted = _wanted(visit)
        sought = wanted.sought
        page = await self._store.builds(
            project.id,
            limit=limit,
            ref=ref_of(wanted.branch) if wanted.branch else None,
            deploys_only=wanted.result == "deployed",
            wanted=replace(sought, results=sought.results or frozenset(Result)),
        )
        return wanted.query(), page.items

    async def _deployed(self, project: Project) -> dict[str, Build | None]:
        """The newest deploy, and the newest that succeeded."""
        if project.settings.deploy_branch is None:
            return {"deploy": None, "live": None}
        deploys = (await self._store.builds(project.id, deploys_only=True, limit=DEPLOYS_LOOKED_AT)).items
        begun = [build for build in deploys if build.step(DEPLOY).started_at is not None]
        live = [build for build in begun if build.step(DEPLOY).result is Result.SUCCESS]
        return {"deploy": begun[0] if begun else None, "live": live[0] if live else None}

    async def badge(self, visit: Visit, project: str) -> Answer:
        """How a branch stands, by default the default branch, as a picture.

        It is asked for by pages of others, which keep it only as long as it is true.
        """
        known = await self._store.project(PROJECT.read(project))
        branch = visit.query("branch")
        picture = badge(known.name, await self._mark_of(known, check_branch(branch) if branch else None))
        etag = etag_of(picture)
        is_public = known.settings.visibility is Visibility.PUBLIC
        caching = "no-cache" if is_public else "private, no-cache"
        if is_known(visit.request, etag):
            return not_modified(visit.request, etag, caching)
        return tagged(visit.request, "image/svg+xml", picture, etag, caching)

    async def _mark_of(self, project: Project, branch: str | None) -> str:
        """How a branch stands, as a mark."""
        if branch is None or branch == project.settings.default_branch:
            return mark_of_project(project, (await self._outlooks.of(project)).past)
        builds = (await self._store.builds(project.id, ref=ref_of(branch), limit=BADGE_LOOKS_AT)).items
        told = (build for build in builds if build.result not in (None, Result.CANCELLED, Result.SKIPPED))
        return next(map(mark_of, told), "queued")

    async def build_by_hand(self, visit: Visit, project: str) -> Answer:
        """Build a branch's head as it is now."""
        known = await self._store.project(PROJECT.read(project))
        branch = visit.form.get("branch", "").strip() or None
        build = await self._scheduler.build_by_hand(known, branch, visit.actor.name)
        return SeeOther(f"/{build.project}/{build.number}")


def _last_success(outlook: Outlook) -> Past | None:
    """The last success of the default branch, if the branch does not stand so and it is not long ago."""
    standing = outlook.standing
    if standing is None or standing.result is Result.SUCCESS:
        return None
    same = (past for past in outlook.past if past.ref == standing.ref and past.result is Result.SUCCESS)
    return next(same, None)


def _active(outlook: Outlook) -> Sequence[tuple[Past, str]]:
    """The branches of the last builds, the newest first: the newest build of each with its mark."""
    newest: dict[str, Past] = {}
    for past in outlook.past:
        newest.setdefault(past.ref, past)
    return [(past, mark_of(past)) for past in newest.values()][:BRANCHES_SHOWN]
