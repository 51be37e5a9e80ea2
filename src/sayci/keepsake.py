"""What a backup has of a data directory, and what has to be said of builds when it is taken back: pure rules."""

from __future__ import annotations

from dataclasses import replace

from sayci.build import Build, BuildState
from sayci.step import DEPLOY, Result, StepState

#: The file in a backup that says what it is.
MANIFEST = "backup.json"
FORMAT = 1
#: The database's name in a backup.
DATABASE = "sayci.sqlite"
#: What comes again by itself, is the running server's alone, or is copied in another way.
_LEFT_OUT = frozenset({"mirrors", "workspaces", "lock", "address", MANIFEST})

WAITED = "it waited when the backup was made, and may have been deployed since; deploy by hand"
RAN = "it ran when the backup was made; nobody knows how it ended"


def is_kept(path: str, *, logs: bool) -> bool:
    """Whether a file of a data directory belongs into a backup, by its path in it: ``builds/12/1-test/log``."""
    first, *rest = path.split("/")
    name = rest[-1] if rest else first
    if first in _LEFT_OUT or name.endswith((".new", ".part")) or first.startswith((DATABASE, ".")):
        return False
    if first == "builds":  # of a step's files only what it printed: the others are about processes
        return logs and name in ("log", "log.gz", "times", "removed")
    return True


def taken_back(build: Build, now: float) -> Build:
    """A build that was open when the backup was made, as it is to be in the restored server.

    The server that the backup is of has gone on: what ran has ended there, whatever became of it, and a deploy that waited
    may have happened.  Neither is run again.  A test that waited is: to test twice harms nobody.
    """
    if build.state is BuildState.QUEUED:
        return build.cancelled(now, WAITED) if build.deploys else build
    deploy = next((step for step in build.steps if step.name == DEPLOY), None)
    if deploy is not None and deploy.state is StepState.RUNNING:
        build = build.with_step(deploy.finished(now, Result.UNKNOWN, RAN))
        return build.finished(now, Result.UNKNOWN, RAN)
    for step in build.steps:
        if step.state is StepState.RUNNING:
            build = build.with_step(step.finished(now, Result.ERROR, RAN))
    return replace(build, reason="").finished(now, Result.ERROR, RAN)
