"""A project's environment: plain variables may be typed, secret ones never."""

from __future__ import annotations

import click

from sayci.cli import here
from sayci.cli.api import path
from sayci.cli.parts import api, examples, json_option, project_argument, read_value
from sayci.cli.screen import note, say_json, say_table, visible
from sayci.cli.trouble import Misused


@click.group(
    epilog=examples(
        "sayci env list demo",
        "sayci env set demo LEVEL=debug",
        "sayci env set demo COVERALLS_TOKEN --secret",
        "sayci env set demo DEPLOY_KEY --secret --for deploy < key.pem",
        "sayci env unset demo LEVEL",
    )
)
def env() -> None:
    """List, set and unset a project's environment variables.

    Secret values are typed in or piped, never on the command line, and never shown again.
    """


@env.command("list")
@project_argument
@json_option
def list_variables(*, project: str | None, as_json: bool) -> None:
    """List a project's variables; the values of secret ones are not shown."""
    server = api()
    name = here.project_of(server, project)
    items, whole = server.listing(path("projects", name, "environment"))
    if as_json:
        say_json(whole)
        return
    rows = [
        (
            str(each.get("name")),
            {"test": "test", "deploy": "deploy"}.get(str(each.get("scope")), "both"),
            "(secret)" if each.get("secret") else str(each.get("value")),
        )
        for each in items
    ]
    say_table(("NAME", "FOR", "VALUE"), rows, f"{visible(name)} has no variables.")


@env.command("set")
@click.argument("project")
@click.argument("variables", nargs=-1, required=True, metavar="NAME[=VALUE]...")
@click.option("--secret/--plain", default=None, help="Whether it is secret; a new variable is plain.")
@click.option(
    "--for", "scope", type=click.Choice(["test", "deploy", "both"]), help="Which steps get it; a new one: both."
)
def set_variables(*, project: str, variables: tuple[str, ...], secret: bool | None, scope: str | None) -> None:
    """Set variables of a project.

    The value of a NAME alone is asked for, or read from a pipe without the line break at its end. A variable that was
    secret stays secret with its new value.
    """
    pairs = [variable.partition("=") for variable in variables]
    if secret and any(mark for _, mark, _ in pairs):
        raise Misused(
            "a secret on the command line can be read by others", advice="name it alone, and pipe its value in"
        )
    if len(pairs) > 1 and not all(mark for _, mark, _ in pairs):
        raise Misused("only one value can be asked for at a time")
    server = api()
    project = here.project_of(server, project)
    for name, mark, value in pairs:
        body: dict[str, object] = {"value": value if mark else read_value(name, secret=secret is not False)}
        body |= {} if secret is None else {"secret": secret}
        body |= {} if scope is None else {"scope": scope}
        made = server.put(path("projects", project, "environment", name), body)
        note(f"{visible(name)} is set" + (", as a secret." if made.get("secret") else "."))


@env.command("unset")
@click.argument("project")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def unset_variables(project: str, names: tuple[str, ...]) -> None:
    """Remove variables of a project; builds that start from now on do not get them."""
    server = api()
    project = here.project_of(server, project)
    for name in names:
        server.delete(path("projects", project, "environment", name))
        note(f"{visible(name)} is removed.")
