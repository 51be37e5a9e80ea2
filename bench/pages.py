"""What pages cost: the time to the last byte, and the bytes of a page with all that belongs to it."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

from bench import crowd
from tests.server import Server

PROJECTS, BUILDS, MANY = 500, 60, 100_000
TIMES = 25


def measured(directory: Path) -> dict[str, tuple[str, str]]:
    """Name of a page -> times and bytes, in words."""
    crowd.make(directory / "data", projects=PROJECTS, builds=BUILDS, many=MANY)
    server = Server(directory / "data", "--slot-uid", "0").start()
    try:
        return {
            f"home with {PROJECTS} projects": _page(server, "/"),
            "home, searched": _page(server, "/?q=team-4"),
            f"a project with {MANY:,} builds": _page(server, "/many"),
            "home as JSON": _page(server, "/", accept="application/json"),
            "deploys of all projects": _page(server, "/deploys"),
            "the Atom feed of all projects": _page(server, "/feed.atom"),
        }
    finally:
        server.stop()


def _page(server: Server, path: str, accept: str = "text/html") -> tuple[str, str]:
    headers = {"Cookie": crowd.COOKIE, "Accept-Encoding": "gzip", "Accept": accept}

    def once() -> tuple[float, bytes]:
        started = time.perf_counter()
        answer = server.get(path, headers=headers, token=False)
        if answer.code != 200:
            raise RuntimeError(path, answer.code)
        return time.perf_counter() - started, answer.body

    first, body = once()
    later = sorted(once()[0] for _ in range(TIMES))
    parts = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', body))
    rest = sum(len(server.get(part.decode(), headers=headers, token=False).body) for part in parts)
    median, slowest, cold = (1000 * seconds for seconds in (statistics.median(later), later[-1], first))
    times = f"{median:.0f} ms, slowest of {TIMES} {slowest:.0f} ms, first {cold:.0f} ms"
    return times, f"{len(body) / 1000:.0f} KB, with everything {(len(body) + rest) / 1000:.0f} KB"
