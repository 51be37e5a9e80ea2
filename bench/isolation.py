"""What the isolation of builds costs each of them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from typing import Any

from tests.slots import passable_directory, some_numbers

ROUNDS = 10


def measure(bench: Callable[..., Any], trivial: str, say: Callable[[str, str], None]) -> None:
    """POST to the end of a trivial build, with each way to isolate it; `bench` makes a Bench."""
    ways = ("none", "users", "bubblewrap") if os.geteuid() == 0 else ("none", "bubblewrap")
    for way in ways:
        users = ("--slot-uid", str(some_numbers().first)) if way == "users" else ()
        with passable_directory() as directory:
            measured = bench(directory, "--isolation", way, *users)
            measured.server.start().sign_in()
            try:
                measured.register()
                measured.build(measured.commit({"Makefile": trivial}))
                took = [measured.build(measured.commit({"Makefile": trivial}))[1] for _ in range(ROUNDS)]
            finally:
                measured.server.stop()
        say(f"a trivial build, isolation {way}", f"{statistics.median(took) * 1000:.0f} ms (median of {ROUNDS})")
