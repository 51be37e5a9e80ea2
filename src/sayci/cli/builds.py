"""Builds: list, start, show, read, cancel, run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from sayci.cli import here
from sayci.cli.api import Api, Json, path
from sayci.cli.follow import (
    follow,
    is_finished,
    name_of,
    path_of,
    print_logs,
    sentence_of,
    steps_of,
    wait,
    wait_for,
)
from sayci.cli.parts import (
    api,
    examples,
    follow_option,
    json_option,
    leave,
    limit_option,
    number_argument,
    project_argument,
    wait_option,
)
from sayci.cli.screen import (
    Cell,
    age,
    between,
    coloured,
    note,
    say,
    say_facts,
    say_json,
    say_table,
    size,
    span,
    visible,
)


def word_of(build: Json) -> Cell:
    """The build's result, or the state of one that has none, in its colour."""
    return coloured(str(build.get("result") if is_finished(build) else build.get("state")))


def say_builds(builds: Sequence[Json], empty: str) -> None:
    """Builds as a table."""
    rows = [
        (
            f"#{build.get('number')}",
            word_of(build),
            str(build.get("branch") or build.get("ref")),
            str(build.get("commit"))[:8],
            str(build.get("cause")),
            span(between(build.get("started_at"), build.get("finished_at"))),
            age(build.get("created_at")),
            str(build.get("message") or "").partition("\n")[0],
        )
        for build in builds
    ]
    say_table(("BUILD", "RESULT", "BRANCH", "COMMIT", "CAUSE", "TOOK", "MADE", "MESSAGE"), rows, empty)


def started(server: Api, build: Json, *, waits: bool, follows: bool, as_json: bool) -> None:
    """Say that there is a new build, and stay with it where that was asked for."""
    project, number = str(build.get("project")), int(build.get("number") or 0)
    if as_json:
        say_json(build)
    else:
        say(f"{name_of(build)} {visible(build.get('page'))}")
    if follows:
        stay(follow, server, project, number)
    elif waits:
        stay(wait, server, project, number)
    elif not as_json:
        note(f"Follow it with: sayci log {project} {number} -f")


def stay(until_its_end: Callable[[Api, str, int], int], server: Api, project: str, number: int) -> NoReturn:
    """End with the build, and with the exit code that says how it was."""
    try:
        leave(until_its_end(server, project, number))
    except KeyboardInterrupt:
        note(f"\nThe build goes on. Cancel it with: sayci cancel {project} {number}")
        raise


@click.command(
    epilog=examples(
        "sayci builds demo", "sayci builds demo --branch main -n 5", "sayci builds demo --json | jq '.items[0].result'"
    )
)
@project_argument
@click.option("--branch", help="Only builds of this branch.")
@limit_option
@json_option
def builds(*, project: str | None, branch: str | None, limit: int, as_json: bool) -> None:
    """List a project's builds, the newest first."""
    server = api()
    name = here.project_of(server, project)
    items, whole = server.items(path("projects", name, "builds"), limit, {"branch": branch})
    if as_json:
        say_json(whole)
    else:
        say_builds(items, "There are no builds.")


@click.command(
    epilog=examples(
        "sayci build demo", "sayci build demo --branch next --follow", "sayci build demo --wait && echo green"
    )
)
@project_argument
@click.option("--branch", help="The branch; by default the project's default branch.")
@wait_option
@follow_option
@json_option
def build(*, project: str | None, branch: str | None, waits: bool, follows: bool, as_json: bool) -> None:
    """Build the head of a branch now.

    It is tested, and never deployed.
    """
    server = api()
    name = here.project_of(server, project)
    made = server.post(path("projects", name, "builds"), {} if branch is None else {"branch": branch})
    started(server, made, waits=waits, follows=follows, as_json=as_json)


@click.command(epilog=examples("sayci show demo 12", "sayci show demo --json"))
@project_argument
@number_argument
@json_option
def show(*, project: str | None, number: str | None, as_json: bool) -> None:
    """Show a build and its steps; without a NUMBER the newest."""
    server = api()
    found = server.get(path_of(*here.build_of(server, project, number, latest=True)))
    if as_json:
        say_json(found)
        return
    say(sentence_of(found))
    say()
    say_facts(
        [
            ("Commit", str(found.get("commit"))),
            ("Branch", str(found.get("branch") or found.get("ref"))),
            ("Message", str(found.get("message") or "").partition("\n")[0]),
            ("Author", str(found.get("author") or "")),
            ("Cause", _cause_of(found)),
            ("Made", age(found.get("created_at"))),
            ("Attempt", str(found.get("attempt")) if found.get("attempt") != 1 else ""),
            ("Page", str(found.get("page"))),
        ]
    )
    say()
    say_table(("STEP", "RESULT", "TOOK", "LOG", "REASON"), [_row_of(step) for step in steps_of(found)], "No steps.")


def _cause_of(build: Json) -> str:
    words = [str(build.get("cause"))]
    words += [f"of #{build['source']}"] if build.get("source") else []
    words += [f"by {build['asked_by']}"] if build.get("asked_by") else []
    words += [f"by delivery {build['delivery']}"] if build.get("delivery") else []
    return " ".join(words)


def _row_of(step: Json) -> tuple[Cell, ...]:
    duration = step.get("duration")
    took = duration if isinstance(duration, int | float) else between(step.get("started_at"), step.get("finished_at"))
    return (
        str(step.get("name")),
        coloured(str(step.get("result") or step.get("state"))),
        span(took),
        size(step.get("log_size")),
        str(step.get("reason") or ""),
    )


@click.command(epilog=examples("sayci log demo 12 test > test.log", "sayci log demo -f"))
@project_argument
@number_argument
@click.argument("step", required=False)
@follow_option
def log(*, project: str | None, number: str | None, step: str | None, follows: bool) -> None:
    """Print a build's log, or follow it live; without a NUMBER that of the newest build.

    All steps one after the other, or one STEP: checkout, test, deploy. The log goes to the standard output byte for
    byte; on a terminal its colours pass, and no other control sequence does. What is said beside it goes to the
    standard error.

    With --follow it goes on until the build has ended, also after a lost connection, and the exit code says how it was.
    """
    server = api()
    name, which = here.build_of(server, project, number, latest=True)
    if follows:
        stay(lambda server, name, which: follow(server, name, which, step), server, name, which)
    print_logs(server, server.get(path_of(name, which)), step)


@click.command()
@project_argument
@number_argument
@wait_option
@json_option
def cancel(*, project: str | None, number: str | None, waits: bool, as_json: bool) -> None:
    """Cancel a build that waits or runs.

    Its processes are ended, by force where they do not end themselves. With --wait until they are gone.
    """
    server = api()
    name, which = here.build_of(server, project, number)
    found = server.post(path_of(name, which, "cancel"))
    if waits:
        found = wait_for(server, name, which, is_finished)
    if as_json:
        say_json(found)
    else:
        note(sentence_of(found))


@click.command()
@project_argument
@number_argument
@wait_option
@follow_option
@json_option
def rebuild(*, project: str | None, number: str | None, waits: bool, follows: bool, as_json: bool) -> None:
    """Run a build's commit again, as a new build."""
    server = api()
    made = server.post(path_of(*here.build_of(server, project, number), "rebuild"))
    started(server, made, waits=waits, follows=follows, as_json=as_json)
