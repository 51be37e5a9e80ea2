"""Which queued build may start now, and why the others wait."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sayci.build import Build, BuildState


def why_waiting(build: Build, running: Collection[Build], slots: int) -> str:
    """Why a queued build cannot start beside those that run, as a sentence; empty when it can.

    One build of a branch at a time, so that its builds end in the order of its pushes; one build with a deploy in it at a
    time for each project, so that deploys never overlap; and no more builds than slots.
    """
    for other in running:
        if other.project_id != build.project_id:
            continue
        if other.deploys and build.deploys:
            return f"For {other.project} #{other.number}: one deploy of a project at a time."
        if other.ref == build.ref:
            return f"For {other.project} #{other.number}: one build of a branch at a time."
    if len(running) >= slots:
        return "For a free slot."
    return ""


def startable(open_builds: Iterable[Build], slots: int) -> list[Build]:
    """The queued builds that may start now, the oldest first; one that waits keeps its place before later ones of its ref."""
    builds = sorted(open_builds, key=lambda build: build.id)
    running = [build for build in builds if build.state is not BuildState.QUEUED]
    chosen: list[Build] = []
    passed: list[Build] = []
    for build in builds:
        if build.state is not BuildState.QUEUED:
            continue
        if len(running) >= slots:
            break
        if why_waiting(build, [*running, *passed], slots=len(running) + len(passed) + 1):
            passed.append(build)
            continue
        running.append(build)
        chosen.append(build)
    return chosen
