"""The API of logs: the bytes of a step's log, whole or a range of it, or its live feed."""

from __future__ import annotations

from http import HTTPStatus

from twisted.internet.interfaces import IReactorTime

from sayci.account import Access
from sayci.buildlog import key_of
from sayci.interfaces import LogStore, Store
from sayci.web.answer import set_header
from sayci.web.events import CONTENT_TYPE as EVENTS
from sayci.web.events import Feeds
from sayci.web.outlet import Outlet, pour
from sayci.web.pages_logs import require_log
from sayci.web.problems import problem
from sayci.web.reading import AFTER, LAST_EVENT_ID, NUMBER, PROJECT, STEP, range_of, wants_events
from sayci.web.route import STREAMED, Call, Streamed, Table

table = Table()

#: A log is what strangers' programs print, so no browser may take it for anything but text.
PLAIN = "text/plain; charset=utf-8"


class LogsApi:
    """Logs as files and as feeds."""

    def __init__(self, store: Store, logs: LogStore, feeds: Feeds, clock: IReactorTime) -> None:
        self._store = store
        self._logs = logs
        self._feeds = feeds
        self._clock = clock

    @table.route(
        "GET",
        "/api/v1/projects/{project}/builds/{number}/steps/{step}/log",
        Access.READ,
        "Read or follow a step's log",
        PROJECT,
        NUMBER,
        STEP,
        AFTER,
        LAST_EVENT_ID,
        media=("text/plain", EVENTS),
        more=(206,),
        problems=(410, 416),
    )
    async def read_log(self, call: Call) -> Streamed | bytes:
        """Its bytes as they are, or one Range of them.  With Accept: text/event-stream the feed of a log that grows.

        The feed's events have the byte offset after them as their id, and {"start", "end", "text"} as their data;
        ``event: end`` comes last, with {"size", "result", "reason"}.  ``event: restart`` says that the step runs again:
        what was told before is void.
        """
        project = await self._store.project(call[PROJECT])
        build = await self._store.build(project.id, call[NUMBER])
        step = build.step(call[STEP]).name
        call.vary("Accept")
        require_log(self._logs, key_of(build, step))
        if not wants_events(call.request):
            return await self._send(call, key_of(build, step), f"{build.project}-{build.number}-{step}.log")
        told = call.get(LAST_EVENT_ID)
        await self._feeds.stream_log(call.request, build, step, call.get(AFTER) or 0 if told is None else told)
        return STREAMED

    async def _send(self, call: Call, key: str, name: str) -> Streamed | bytes:
        size = self._logs.size(key)
        wanted = range_of(call.request, size)
        start, length = (0, size) if wanted is None else wanted
        if wanted is not None and not length:
            return self._no_such_range(call, size)
        self._head(call, length, name)
        if wanted is not None:
            call.request.setResponseCode(206)
            set_header(call.request, "Content-Range", f"bytes {start}-{start + length - 1}/{size}")
        if not call.is_head:
            with Outlet(call.request, self._clock) as outlet:
                await pour(outlet, self._logs, key, start, length)
        return STREAMED

    def _head(self, call: Call, length: int, name: str) -> None:
        headers = {
            "Content-Type": PLAIN,
            "Content-Length": str(length),
            "Content-Disposition": f'inline; filename="{name}"',
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        for header, value in headers.items():
            set_header(call.request, header, value)

    def _no_such_range(self, call: Call, size: int) -> bytes:
        set_header(call.request, "Content-Range", f"bytes */{size}")
        return problem(
            call.request, 416, HTTPStatus(416).phrase, f"the log has {size} bytes", error="range_not_satisfiable"
        )
