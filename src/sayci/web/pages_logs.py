"""Logs on pages: the end of one in a page, and all of it as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from sayci.account import Access
from sayci.buildlog import chunk_of, key_of
from sayci.errors import Invalid
from sayci.interfaces import LogStore, Store
from sayci.web.answer import set_header
from sayci.web.events import Feeds
from sayci.web.frame import Frame, Visit
from sayci.web.outlet import Outlet, pour
from sayci.web.reading import LAST_EVENT_ID, NUMBER, PROJECT, header_of, range_of, wants_events, whole_number
from sayci.web.terminal import Line, lines_of

#: How much of a log's end a page carries, in lines and in bytes.
LINES_SHOWN = 500
BYTES_SHOWN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log.

    `first` is the number of its first line, None when so much comes before it that nobody has counted.  `end` is the
    offset after it; `is_cut` says that there is more before it, `is_open` that its last line may go on.
    """

    lines: Sequence[Line]
    first: int | None
    end: int
    size: int
    is_cut: bool
    is_open: bool


async def tail_of(logs: LogStore, key: str) -> Tail:
    """The last lines of a log."""
    size = logs.size(key)
    start = max(0, size - BYTES_SHOWN)
    chunk = chunk_of(await logs.read(key, start, BYTES_SHOWN), start, final=False)
    text = chunk.text
    if start:
        text = text.partition("\n")[2] or text
    shown = "\n".join(text.removesuffix("\n").split("\n")[-LINES_SHOWN:])
    left_out = text.removesuffix("\n").count("\n") - shown.count("\n")
    return Tail(
        lines_of(shown),
        None if start else left_out + 1,
        chunk.end,
        size,
        is_cut=bool(start or left_out),
        is_open=bool(text) and not text.endswith("\n"),
    )


class LogPages:
    """The logs of steps as plain text, whole or a range, or as their feed."""

    def __init__(self, store: Store, logs: LogStore, feeds: Feeds, reactor: IReactorTime) -> None:
        self._store = store
        self._logs = logs
        self._feeds = feeds
        self._reactor = reactor

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get("/<project>/<number>/<step>.log", self.log, Access.READ)

    async def log(self, visit: Visit, project: str, number: str, step: str) -> None:
        """A step's log."""
        known = await self._store.project(PROJECT.read(project))
        build = await self._store.build(known.id, NUMBER.read(number))
        name = build.step(step).name
        set_header(visit.request, "Vary", "Accept")
        if wants_events(visit.request):
            await self._feeds.stream_log(visit.request, build, name, _offset(visit))
        else:
            await self._send(visit.request, key_of(build, name))

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
