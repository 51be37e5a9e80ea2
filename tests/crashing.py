"""``python -m tests.crashing ORDER ...twist's arguments``: a server that kills itself where it is told to.

The file ORDER has a point, "before" or "after", and a number: the server ends by SIGKILL at so many passings of that point,
counted from when the order was first seen.  Without the file it is a server like any other.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What a server does on disk, by name: a module, a class in it, and a method of that.
POINTS = {
    "accept": ("sayci.store.sql_store", "SqlStore", "accept"),
    "settle": ("sayci.store.sql_store", "SqlStore", "settle"),
    "advance": ("sayci.store.sql_store", "SqlStore", "advance"),
    "told": ("sayci.store.sql_store", "SqlStore", "status_told"),
    "checkout": ("sayci.mirrors.sources", "GitSources", "checkout"),
    "discard": ("sayci.mirrors.sources", "GitSources", "discard"),
    "spawn": ("sayci.launchers.local", "LocalLauncher", "_spawn"),
    "result": ("sayci.launchers.local", "LocalLauncher", "result"),
    "post": ("sayci.reporters.commit_status", "GitHubStatuses", "post"),
}


class Orders:
    """Reads the order at each passing, and obeys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: Counter[str] = Counter()

    def passing(self, point: str, when: str) -> None:
        """Die here, if that is the order."""
        try:
            order = self._path.read_text()
        except FileNotFoundError:
            return
        if order.split()[:2] == [point, when]:
            self._passed[order] += 1
            if self._passed[order] >= int(order.split()[2]):
                os.kill(os.getpid(), signal.SIGKILL)


def wrapped(function: Callable[..., Any], point: str, orders: Orders) -> Callable[..., Any]:
    """The function with a point before and one after it."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*arguments: Any, **keywords: Any) -> Any:
            orders.passing(point, "before")
            answer = await function(*arguments, **keywords)
            orders.passing(point, "after")
            return answer

        return later

    @functools.wraps(function)
    def at_once(*arguments: Any, **keywords: Any) -> Any:
        orders.passing(point, "before")
        answer = function(*arguments, **keywords)
        orders.passing(point, "after")
        return answer

    return at_once


def main() -> None:
    """Be twist, with the points in place."""
    order = sys.argv.pop(1)
    orders = Orders(Path(order))
    for point, (module, name, method) in POINTS.items():
        owner = getattr(importlib.import_module(module), name)
        setattr(owner, method, wrapped(getattr(owner, method), point, orders))
    from twisted.application.twist._twist import Twist

    Twist.main()


if __name__ == "__main__":
    main()
