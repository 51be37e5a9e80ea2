"""A thousand who watch one log, ten of whom never read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sayci.descriptors import raise_limit
from tests.server import Server
from tests.watchers import Deaf, Watcher, read_all

MANY, DEAF = 1000, 10
LOG = 2_000_000


def feeds(server: Server) -> int:
    """How many live feeds are open."""
    lines = server.get("/metrics", token=False).body.decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("sayci_feeds ")).split()[1]))


def figures(
    server: Server, place: Path, build: Callable[[str], str], memory: Callable[..., float]
) -> list[tuple[str, str]]:
    """What they cost; `build` starts a build of such a makefile and answers the path of its log, `memory` is in MiB."""
    raise_limit()  # each of them takes a descriptor here too
    go = place / "go"
    path = build(
        f".PHONY: test\ntest:\n\t@echo begun; while [ ! -e {go} ]; do sleep 0.05; done; yes loud | head -c {LOG}\n"
    )
    before = memory(server.pid)
    deaf = [Deaf(server, path) for _ in range(DEAF)]
    watchers = [Watcher(server, path) for _ in range(MANY)]
    server.wait_for(lambda: feeds(server) == MANY + DEAF)
    waiting = memory(server.pid)
    go.touch()
    began = time.monotonic()
    read_all(watchers, 600)
    seconds = time.monotonic() - began
    log: Any = server.request("GET", path).body
    whole = sum(each.is_gap_free and each.digest.digest() == hashlib.sha256(log).digest() for each in watchers)
    server.wait_for(lambda: feeds(server) == 0, 200)
    dropped = time.monotonic() - began
    for each in (*watchers, *deaf):
        each.socket.close()
    peak = memory(server.pid, "VmHWM")
    return [
        (
            f"{MANY} watch a log of 2 MB grow, {DEAF} never read",
            f"all of it told in {seconds:.1f} s, {whole} have every byte",
        ),
        ("memory: before, with all of them waiting, at most", f"{before:.0f}, {waiting:.0f}, {peak:.0f} MiB"),
        ("those who never read are dropped after", f"{dropped:.0f} s at most"),
    ]
