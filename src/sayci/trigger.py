"""Change x project -> builds: pure matching, no state but its arguments."""

from __future__ import annotations

from dataclasses import replace

from sayci.build import Build, Cause, NewBuild
from sayci.change import Change
from sayci.errors import IllegalMove, NotGreen, NothingToDeploy
from sayci.project import Project
from sayci.step import DEPLOY, plan


def why_ignored(change: Change) -> str:
    """Why a push makes no build, as a sentence; empty when it makes one."""
    if change.branch is None:
        return f"Only pushes to branches are built; this one was to {change.ref}."
    if change.asks_to_skip:
        return "The head commit's message asks to skip CI."
    return ""


def build_of_push(project: Project, change: Change, delivery_id: int | None, *, is_new: bool = True) -> NewBuild:
    """The build that a push makes: a test, and on the deploy branch a deploy after it.

    It supersedes and deploys only where `is_new`: a delivery that is replayed, or tells of a commit that has been built on
    its branch before, may be old, and what is deployed may be newer.
    """
    deploys = change.ref == project.deploy_ref and is_new
    return NewBuild(
        project.id,
        Cause.PUSH,
        change.ref,
        change.commit,
        plan(tests=True, deploys=deploys),
        change.message,
        change.author,
        delivery_id=delivery_id,
        supersedes=is_new,
    )


def build_of_find(project: Project, change: Change) -> NewBuild:
    """The build of a branch's head that was found by asking the repository: what the push that nobody told of would make.

    It is for a commit that was never built on its branch, and is the branch's head now: so it deploys what is newest.
    """
    return replace(build_of_push(project, change, None), cause=Cause.CATCH_UP)


def build_by_hand(project: Project, change: Change, asked_by: str) -> NewBuild:
    """The build of a branch's head that a person asks for: a test, and never a deploy."""
    steps = plan(tests=True, deploys=False)
    return NewBuild(
        project.id, Cause.MANUAL, change.ref, change.commit, steps, change.message, change.author, asked_by=asked_by
    )


def rebuild_of(project: Project, old: Build, asked_by: str, *, is_newest: bool) -> NewBuild:
    """The build that runs an ended one again.

    It deploys only where the old one was to deploy and never began to, the project still deploys that branch, and no
    newer commit of it has been built (`is_newest`): an old commit never replaces a newer one by the way.
    Raises IllegalMove while the old one has not ended.
    """
    if old.is_open:
        raise IllegalMove("the build has not ended yet", f"#{old.number} is {old.state.value}")
    never_deployed = old.deploys and old.step(DEPLOY).started_at is None
    if not old.tests:
        raise IllegalMove("a deploy is not run again by a rebuild: ask for the deploy of its commit", f"#{old.number}")
    deploys = never_deployed and is_newest and old.ref == project.deploy_ref
    return NewBuild(
        project.id,
        Cause.REBUILD,
        old.ref,
        old.commit,
        plan(tests=True, deploys=deploys),
        old.message,
        old.author,
        source=old.number,
        asked_by=asked_by,
    )


def deploy_of(project: Project, green: Build, asked_by: str) -> NewBuild:
    """The build that deploys the commit of a green one.

    Raises NothingToDeploy when the project has no deploy branch, NotGreen when the tests of that build did not succeed.
    """
    if project.deploy_ref is None:
        raise NothingToDeploy("the project has no deploy branch; set one to deploy", project.name)
    if not green.is_green:
        raise NotGreen("only a commit whose tests succeeded can be deployed", f"#{green.number}")
    return NewBuild(
        project.id,
        Cause.DEPLOY,
        green.ref,
        green.commit,
        plan(tests=False, deploys=True),
        green.message,
        green.author,
        source=green.number,
        asked_by=asked_by,
    )
