"""Deploys: of a commit whose tests succeeded, when a person asks for it."""

from __future__ import annotations

import re

import click

from sayci.cli import here
from sayci.cli.api import path
from sayci.cli.builds import say_builds, started
from sayci.cli.parts import api, examples, follow_option, json_option, limit_option, project_argument, wait_option
from sayci.cli.screen import say_json
from sayci.cli.trouble import Misused

_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


@click.command(epilog=examples("sayci deploy demo 12 --wait", "sayci deploy . $(git rev-parse HEAD)"))
@project_argument
@click.argument("what", required=False, metavar="NUMBER|COMMIT")
@wait_option
@follow_option
@json_option
def deploy(*, project: str | None, what: str | None, waits: bool, follows: bool, as_json: bool) -> None:
    """Deploy a commit whose tests succeeded: that of the build NUMBER, or a full COMMIT id."""
    if what is None:
        project, what = None, project
    if what is None:
        raise Misused("what is to be deployed?", advice="name a green build: sayci builds")
    body = {"commit": what} if _COMMIT.match(what) else {"build": here.number_of(what)}
    server = api()
    made = server.post(path("projects", here.project_of(server, project), "deploys"), body)
    started(server, made, waits=waits, follows=follows, as_json=as_json)


@click.command()
@project_argument
@limit_option
@json_option
def deploys(*, project: str | None, limit: int, as_json: bool) -> None:
    """List a project's deploys, the newest first."""
    server = api()
    items, whole = server.items(path("projects", here.project_of(server, project), "deploys"), limit)
    if as_json:
        say_json(whole)
    else:
        say_builds(items, "There are no deploys.")
