"""Logs for pages: some of their lines as markup, what is found in them, and all of one as plain text."""

from __future__ import annotations

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from sayci.account import Access
from sayci.build import Build
from sayci.buildlog import key_of
from sayci.errors import Gone, Invalid
from sayci.interfaces import LogStore, Store
from sayci.loglines import END, HITS_LIMIT, Bounds, Place
from sayci.web.answer import answer, set_header
from sayci.web.events import Feeds
from sayci.web.frame import Frame, Visit
from sayci.web.logreader import LogReader
from sayci.web.outlet import Outlet, pour
from sayci.web.reading import LAST_EVENT_ID, NUMBER, PROJECT, header_of, range_of, wants_events, whole_number
from sayci.web.rows import rows_of
from sayci.web.words import date, visible

#: How much of a log a page carries of the step that it is about, and of the others; and how much is given for more.
SHOWN = Bounds(250, 24 * 1024)
ASIDE = Bounds(40, 4 * 1024)
MORE = Bounds(500, 64 * 1024)
#: Kinds of places, each a parameter of an address.
PLACES = ("around", "from", "until")
JSON = "application/json"


class Lines(msgspec.Struct):
    """Some lines of a log, as markup for its page; `total` is the number of all."""

    first: int
    last: int
    total: int
    is_end: bool
    html: str


class FoundLine(msgspec.Struct):
    """A line in which the words are."""

    step: str
    line: int
    excerpt: str


class FoundLines(msgspec.Struct):
    """What a search has found; `is_all`: there is no more."""

    hits: list[FoundLine]
    is_all: bool


def line_number(text: str) -> int:
    """The number of a line.  Raises Invalid."""
    number = whole_number(text)
    if not number:
        raise Invalid("lines are numbered from 1 on", text[:80])
    return number


def place_of(visit: Visit) -> tuple[str, Place] | None:
    """The step and the lines that the address of a page asks for, as in ``?around=test:148``.  Raises Invalid."""
    for kind in PLACES:
        text = visit.query(kind)
        if text:
            step, _, line = text.partition(":")
            return step, Place(kind, line_number(line))
    return None


async def search(reader: LogReader, build: Build, words: str) -> FoundLines:
    """The first lines of a build's logs in which the words are."""
    hits: list[FoundLine] = []
    is_all = True
    for step in build.steps:
        if step.started_at is not None:
            found = await reader.find(key_of(build, step.name), words, HITS_LIMIT - len(hits))
            hits += [FoundLine(step.name, hit.line, visible(hit.excerpt)) for hit in found.hits]
            is_all = is_all and found.is_all
    return FoundLines(hits, is_all)


def removal_of(logs: LogStore, key: str) -> str:
    """That the log was removed because it was old, in words; "" where it was not."""
    removed_at = None if logs.size(key) else logs.removed_at(key)
    return "" if removed_at is None else f"The log was removed by retention on {date(removed_at)}."


def require_log(logs: LogStore, key: str) -> None:
    """Raises Gone for a log that was removed because it was old."""
    removal = removal_of(logs, key)
    if removal:
        raise Gone(removal.removesuffix("."))


class LogPages:
    """The logs of steps: as plain text, whole or a range, or as their feed; and what the script of a page asks for."""

    def __init__(self, store: Store, logs: LogStore, reader: LogReader, feeds: Feeds, reactor: IReactorTime) -> None:
        self._reader = reader
        self._store = store
        self._logs = logs
        self._feeds = feeds
        self._reactor = reactor

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/<number>/<step>.log", self.log, Access.READ)
        frame.get("/<project>/<number>/<step>/lines", self.lines, Access.READ)
        frame.get("/<project>/<number>/find", self.find, Access.READ)

    async def log(self, visit: Visit, project: str, number: str, step: str) -> None:
        """A step's log."""
        build = await self._build(project, number)
        name = build.step(step).name
        set_header(visit.request, "Vary", "Accept")
        require_log(self._logs, key_of(build, name))
        if wants_events(visit.request):
            await self._feeds.stream_log(visit.request, build, name, _offset(visit))
        else:
            await self._send(visit.request, key_of(build, name))

    async def lines(self, visit: Visit, project: str, number: str, step: str) -> bytes:
        """Lines of a step's log as markup: ``?from=``, ``?until=`` or ``?around=`` a line; without one the end."""
        build = await self._build(project, number)
        name = build.step(step).name
        asked = [(kind, visit.query(kind)) for kind in PLACES if visit.query(kind)]
        place = Place(asked[0][0], line_number(asked[0][1])) if asked else END
        window = await self._reader.window(key_of(build, name), place, MORE)
        elapsed = await self._reader.elapsed(key_of(build, name))
        told = Lines(window.first, window.last, window.total, window.is_end, str(rows_of(name, window, elapsed)))
        return answer(visit.request, 200, JSON, msgspec.json.encode(told))

    async def find(self, visit: Visit, project: str, number: str) -> bytes:
        """The lines of a build's logs that have ``?words=`` in them."""
        build = await self._build(project, number)
        told = await search(self._reader, build, visit.query("words"))
        return answer(visit.request, 200, JSON, msgspec.json.encode(told))

    async def _build(self, project: str, number: str) -> Build:
        known = await self._store.project(PROJECT.read(project))
        return await self._store.build(known.id, NUMBER.read(number))

    async def _send(self, request: Request, key: str) -> None:
        size = self._logs.size(key)
        wanted = range_of(request, size)
        start, length = (0, size) if wanted is None else wanted
        set_header(request, "Content-Type", "text/plain; charset=utf-8")
        set_header(request, "Content-Security-Policy", "default-src 'none'; sandbox")
        set_header(request, "Accept-Ranges", "bytes")
        set_header(request, "Content-Length", str(length))
        if wanted is not None:
            request.setResponseCode(206 if length else 416)
            span = f"{start}-{start + length - 1}" if length else "*"
            set_header(request, "Content-Range", f"bytes {span}/{size}")
        if request.method != b"HEAD":
            with Outlet(request, self._reactor) as outlet:
                await pour(outlet, self._logs, key, start, length)


def _offset(visit: Visit) -> int:
    """Where the feed goes on: after the last event that came, else after what the page has."""
    text = header_of(visit.request, LAST_EVENT_ID.name) or visit.query("after") or "0"
    offset = whole_number(text)
    if offset is None:
        raise Invalid("an offset is a whole number of bytes", text[:80])
    return offset
