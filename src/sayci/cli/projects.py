"""Projects: list, register, show, change, remove."""

from __future__ import annotations

import re
import time

import click

from sayci.cli import here
from sayci.cli.api import Api, Json, path
from sayci.cli.parts import (
    agreed,
    api,
    examples,
    json_option,
    leave,
    project_argument,
    read_value,
    say_webhook,
    yes_option,
)
from sayci.cli.screen import age, coloured, note, say_facts, say_json, say_table, span, visible, waiting
from sayci.cli.trouble import NO, Misused
from sayci.limits import in_bytes

#: Seconds between two looks at a mirror that is being cloned.
LOOK = 1.0


@click.command()
@json_option
def projects(*, as_json: bool) -> None:
    """List the projects."""
    items, whole = api().items(path("projects"))
    if as_json:
        say_json(whole)
        return
    rows = [
        (
            str(each.get("name")),
            coloured(str(each.get("mirror"))),
            str(each.get("default_branch")),
            str(each.get("deploy_branch") or "-"),
            str(each.get("url")),
        )
        for each in items
    ]
    say_table(
        ("NAME", "MIRROR", "BRANCH", "DEPLOYS", "REPOSITORY"), rows, "There are no projects yet: sayci add NAME URL"
    )


_LIMITS = {
    "memory_limit": "{} of memory",
    "process_limit": "{} processes",
    "workspace_limit": "{} on the disk",
    "open_files_limit": "{} open files",
    "output_limit": "{} of output",
}
_SIZES = ("memory_limit", "workspace_limit", "output_limit")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """A number of bytes, or of larger units: 500M, 2G."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes."""
        found = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"{value} is no size such as 500M or 2G", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]


SIZE = Size()
_SETTINGS = (
    click.option("--branch", "default_branch", help="The default branch."),
    click.option("--visibility", type=click.Choice(["private", "public"]), help="Public: read without signing in."),
    click.option("--deploy-branch", help="Deploy what is green on this branch."),
    click.option("--test-target", metavar="TARGET", help='What make makes to test; "test" by default.'),
    click.option("--deploy-target", metavar="TARGET", help='What make makes to deploy; "deploy" by default.'),
    click.option("--time-limit", type=click.FloatRange(1), metavar="SECONDS", help="The most that one step may take."),
    click.option(
        "--silence-limit", type=click.FloatRange(0), metavar="SECONDS", help="Stop a step that prints nothing."
    ),
    click.option("--memory-limit", type=SIZE, help="Memory of a step's processes together; 0: what the server allows."),
    click.option("--process-limit", type=click.IntRange(0), metavar="N", help="Processes and threads of a step."),
    click.option("--workspace-limit", type=SIZE, help="What a build may have on the disk."),
    click.option("--open-files-limit", type=click.IntRange(0), metavar="N", help="Open files of each process."),
    click.option("--output-limit", type=SIZE, help="What is kept of a step's output."),
    click.option(
        "--end-at-output-limit/--go-on-at-output-limit",
        "ends_at_output_limit",
        default=None,
        help="Whether a step with more output is stopped.",
    ),
    click.option("--forge-api", metavar="URL", help="The forge's API, where it is not https://api.github.com."),
    click.option("--image", help="What steps run in, where the server runs them in containers: python:3.13-slim."),
    click.option("--access-token", is_flag=True, help="Ask for the forge's access token, or read it from a pipe."),
)


def _settings(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command(
    epilog=examples(
        "sayci add demo https://github.com/ada/demo.git",
        "sayci add demo --deploy-branch main --access-token < token.txt",
    )
)
@click.argument("name")
@click.argument("url", required=False)
@_settings
@click.option("--no-wait", is_flag=True, help="Do not wait until the repository is cloned.")
@json_option
def add(*, name: str, url: str | None, access_token: bool, no_wait: bool, as_json: bool, **settings: object) -> None:
    """Register a repository as a project.

    URL is its https or ssh address; by default that of the clone you are in. A private repository, and commit statuses
    at the forge, take an access token: it is asked for, or read from a pipe, and never on the command line.

    Prints what to enter at the forge so that it delivers pushes; the secret is shown this once.
    """
    url = url or here.origin()
    if url is None:
        raise Misused("no repository is named, and the current directory is no clone", advice="sayci add NAME URL")
    body = {"name": name, "url": url} | {key: value for key, value in settings.items() if value is not None}
    if access_token:
        body["access_token"] = read_value("Access token", secret=True).strip()
    server = api()
    project = server.post(path("projects"), body)
    secret = project.get("webhook_secret")
    try:
        if not no_wait:
            project = _cloned(server, project)
    finally:  # whatever happens while waiting, this is the only time that the secret is told
        _say_added({**project, "webhook_secret": secret}, as_json=as_json)
    if project.get("mirror") in ("failed", "revoked"):
        note(f"sayci: the repository could not be cloned: {visible(project.get('mirror_error'))}")
        leave(NO)


def _cloned(server: Api, project: Json) -> Json:
    """The project once its mirror is there, or cannot be."""
    name = str(project.get("name"))
    with waiting() as waited:
        while project.get("mirror") == "cloning":
            waited.update(f"Cloning {project.get('url')}")
            time.sleep(LOOK)
            project = server.get(path("projects", name))
    return project


def _say_added(project: Json, *, as_json: bool) -> None:
    if as_json:
        say_json(project)
        return
    state = {"ready": "and its repository is cloned", "cloning": "and its repository is being cloned"}
    note(f"{visible(project.get('name'))} is registered {state.get(str(project.get('mirror')), '')}".rstrip() + ".")
    say_webhook(project.get("webhook_url"), project.get("webhook_secret"))


@click.command(
    epilog=examples(
        "sayci project demo",
        "sayci project demo --deploy-branch main --time-limit 600",
        "sayci project demo --access-token < token.txt",
    )
)
@project_argument
@click.option("--rename", "name", metavar="NAME", help="Call it otherwise.")
@click.option("--url", help="Where its repository is now.")
@_settings
@click.option("--no-deploys", is_flag=True, help="Deploy nothing any more.")
@click.option("--no-access-token", is_flag=True, help="Forget the forge's access token.")
@json_option
def project(
    *,
    project: str | None,
    access_token: bool,
    no_deploys: bool,
    no_access_token: bool,
    as_json: bool,
    **settings: object,
) -> None:
    """Show a project, or change its settings.

    Without options it is shown.
    """
    if (no_deploys and settings.get("deploy_branch")) or (access_token and no_access_token):
        raise Misused("these options contradict each other")
    body = {key: value for key, value in settings.items() if value is not None}
    if no_deploys:
        body["deploy_branch"] = None
    if access_token:
        body["access_token"] = read_value("Access token", secret=True).strip()
    if no_access_token:
        body["access_token"] = None
    server = api()
    place = path("projects", here.project_of(server, project))
    found = server.patch(place, body) if body else server.get(place)
    if as_json:
        say_json(found)
    else:
        _say_project(found)


def _limits(project: Json) -> str:
    """Those of a project's limits that are its own."""
    silence = project.get("silence_limit")
    own = [f"{span(silence)} without output"] if isinstance(silence, int | float) and silence else []
    for name, words in _LIMITS.items():
        value = project.get(name)
        if isinstance(value, int) and value:
            own.append(words.format(in_bytes(value) if name in _SIZES else value))
    if project.get("ends_at_output_limit"):
        own.append("a step with more output is stopped")
    return ", ".join(own) or "what the server allows"


def _say_project(project: Json) -> None:
    limit = project.get("time_limit")
    deploys = project.get("deploy_branch")
    say_facts(
        [
            ("Name", str(project.get("name"))),
            ("Repository", str(project.get("url"))),
            ("Mirror", coloured(str(project.get("mirror")))),
            ("", str(project.get("mirror_error") or "")),
            ("Default branch", str(project.get("default_branch"))),
            ("Tests", f"make {project.get('test_target')}"),
            ("Deploys", f"make {project.get('deploy_target')}, of branch {deploys}" if deploys else "none"),
            ("Time limit", span(limit) if isinstance(limit, int | float) else ""),
            ("Other limits", _limits(project)),
            ("Forge's API", str(project.get("forge_api") or "the server's own default")),
            *([("Image", str(project["image"]))] if project.get("image") else []),
            ("Visibility", str(project.get("visibility") or "private")),
            ("Access token", "is set" if project.get("has_access_token") else "none: the forge is told nothing"),
            ("Webhook", str(project.get("webhook_url"))),
            ("Registered", age(project.get("created_at"))),
            ("Page", str(project.get("page"))),
        ]
    )


@click.command()
@click.argument("project")
@yes_option
def remove(*, project: str, yes: bool) -> None:
    """Remove a project with its builds and logs.

    Not while builds of it wait or run. The repository itself is left alone.
    """
    agreed(f"Remove {visible(project)} with all its builds and logs?", yes=yes)
    api().delete(path("projects", project))
    note(f"{visible(project)} is removed.")


@click.command("webhook-secret")
@project_argument
@json_option
@yes_option
def webhook_secret(*, project: str | None, as_json: bool, yes: bool) -> None:
    """Make a new webhook secret for a project.

    The old one is worth nothing from then on: enter the new one at the forge at once.
    """
    server = api()
    name = here.project_of(server, project)
    agreed(f"Replace the webhook secret of {visible(name)}? Deliveries are refused until the forge has it.", yes=yes)
    made = server.post(path("projects", name, "webhook-secret"))
    if as_json:
        say_json(made)
    else:
        say_webhook(made.get("webhook_url"), made.get("webhook_secret"))
