"""What programs of people read: Atom feeds of builds that have ended, and cctray.xml.

They know neither cookies nor forms, so a token may come as the password of HTTP Basic; never in an address.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.server import Request

from sayci.account import Access
from sayci.build import Build
from sayci.interfaces import Store
from sayci.outlook import Outlook, Outlooks, Past
from sayci.project import Project
from sayci.web import atom, cctray
from sayci.web.conditional import etag_of, is_known, not_modified, tagged
from sayci.web.frame import Answer, Frame, Visit
from sayci.web.pages_home import seen_of
from sayci.web.pages_project import ProjectPage
from sayci.web.reading import PROJECT
from sayci.web.wire import Links

#: How many builds a feed has at most.
ENTRIES = 50
#: It is looked at again each time, and kept for nobody else.
CACHING = "private, no-cache"


class FeedPages:
    """Feeds of all projects that one may see, and of one."""

    def __init__(self, store: Store, outlooks: Outlooks, project: ProjectPage, links: Links) -> None:
        self._store = store
        self._outlooks = outlooks
        self._project = project
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take the addresses."""
        frame.get_for_programs("/feed.atom", self.feed, Access.NONE, for_strangers=True)
        frame.get_for_programs("/cc.xml", self.tray, Access.NONE, for_strangers=True)
        frame.get_for_programs("/<project>/feed.atom", self.feed_of_project)
        frame.get_for_programs("/<project>/cc.xml", self.tray_of_project)

    # -- of all that one may see

    async def feed(self, visit: Visit) -> Answer:
        """The last builds that have ended."""
        seen = await self._seen(visit)
        newest = _newest(seen)
        etag = etag_of(
            self._links.base(), [(project.id, project.name, past) for project, past in newest], len(seen) == 0
        )
        if is_known(visit.request, etag):
            return not_modified(visit.request, etag, CACHING)
        entries = await self._whole(newest)
        address = f"{self._links.base()}/feed.atom"
        beginning = min((outlook.project.created_at for outlook in seen), default=0.0)
        about = atom.About(atom.id_of(address), "Builds", f"{self._links.base()}/", address, beginning)
        return tagged(visit.request, atom.CONTENT_TYPE, atom.feed(about, entries, self._links), etag, CACHING)

    async def _whole(self, newest: Sequence[tuple[Project, Past]]) -> Sequence[tuple[Project, Build]]:
        """These builds with all that is known of them; without those that were removed just now."""
        numbers: dict[int, list[int]] = {}
        for project, past in newest:
            numbers.setdefault(project.id, []).append(past.number)
        found = {key: await self._store.builds_numbered(key, each) for key, each in numbers.items()}
        return [
            (project, found[project.id][past.number]) for project, past in newest if past.number in found[project.id]
        ]

    async def tray(self, visit: Visit) -> Answer:
        """How the projects stand."""
        return self._tray(visit.request, await self._seen(visit))

    async def _seen(self, visit: Visit) -> Sequence[Outlook]:
        """The projects that the visitor may see.  Raises Unauthenticated for a stranger who may see none."""
        return seen_of(visit.actor, await self._outlooks.all())

    # -- of one project

    async def feed_of_project(self, visit: Visit, project: str) -> Answer:
        """The last of its builds that have ended; the query sifts them as that of its page does."""
        known = await self._store.project(PROJECT.read(project))
        query, builds = await self._project.ended(visit, known, ENTRIES)
        etag = etag_of(self._links.base(), known.name, query, [(build.number, build.result) for build in builds])
        if is_known(visit.request, etag):
            return not_modified(visit.request, etag, CACHING)
        page = self._links.project(known.name)
        title = f"Builds of {known.name}"
        about = atom.About(
            atom.id_of_project(known, query), title, f"{page}{query}", f"{page}/feed.atom{query}", known.created_at
        )
        entries: list[tuple[Project, Build]] = [(known, build) for build in builds]
        return tagged(visit.request, atom.CONTENT_TYPE, atom.feed(about, entries, self._links), etag, CACHING)

    async def tray_of_project(self, visit: Visit, project: str) -> Answer:
        """How it stands."""
        known = await self._store.project(PROJECT.read(project))
        return self._tray(visit.request, [await self._outlooks.of(known)])

    def _tray(self, request: Request, outlooks: Sequence[Outlook]) -> bytes:
        body = cctray.projects(sorted(outlooks, key=lambda each: each.project.name.lower()), self._links)
        etag = etag_of(body)
        if is_known(request, etag):
            return not_modified(request, etag, CACHING)
        return tagged(request, cctray.CONTENT_TYPE, body, etag, CACHING)


def _newest(outlooks: Sequence[Outlook]) -> Sequence[tuple[Project, Past]]:
    """The builds that ended last, as far as they are remembered: the last forty of each project."""
    ended = [(outlook.project, past) for outlook in outlooks for past in outlook.past if past.finished_at is not None]
    return sorted(ended, key=lambda each: each[1].finished_at or 0.0, reverse=True)[:ENTRIES]
