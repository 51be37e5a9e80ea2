"""People with accounts: list, invite, give a role, remove."""

from __future__ import annotations

import click

from sayci.cli.api import Json, path
from sayci.cli.parts import agreed, api, examples, json_option, yes_option
from sayci.cli.screen import age, note, say, say_json, say_table
from sayci.person import PROJECT_ROLES, ROLES

_ROLES = """\b
Roles:
  member      sees the projects in which a role is granted, and public ones
  viewer      looks at every project, its builds and logs
  maintainer  also builds, cancels, deploys, replays
  admin       also adds and configures projects, people and tokens
"""
_role_option = click.option(
    "--role", type=click.Choice(list(ROLES)), default="viewer", show_default=True, help="What the person may do."
)


@click.group(
    epilog=examples(
        "sayci people list",
        "sayci people add grace --role maintainer",
        "sayci people role grace viewer",
        "sayci people invite grace",
        "sayci people grant grace demo --role maintainer",
        "sayci people remove grace",
    )
)
def people() -> None:
    """List and invite people, and say what they may do."""


@people.command("list")
@json_option
def list_people(*, as_json: bool) -> None:
    """List the people with an account."""
    items, whole = api().listing(path("people"))
    if as_json:
        say_json(whole)
        return
    rows = [
        (
            str(each.get("name")),
            str(each.get("role")),
            "yes" if each.get("has_password") else "not yet",
            age(each.get("created_at")),
        )
        for each in items
    ]
    say_table(("NAME", "ROLE", "PASSWORD", "INVITED"), rows, "Nobody has an account.")


@people.command("add", epilog=_ROLES)
@click.argument("name")
@_role_option
@json_option
def add_person(*, name: str, role: str, as_json: bool) -> None:
    """Invite somebody: print a link by which a password is set, once."""
    _say_invited(api().post(path("people"), {"name": name, "role": role}), as_json=as_json)


@people.command("invite")
@click.argument("name")
@json_option
def invite_again(*, name: str, as_json: bool) -> None:
    """Print a link by which somebody who is there already sets a new password."""
    _say_invited(api().post(path("people", name, "invitation")), as_json=as_json)


def _say_invited(made: Json, *, as_json: bool) -> None:
    if as_json:
        say_json(made)
        return
    say(str(made.get("invitation")))
    note(f"Give this link to {made.get('name')} alone. It works once, within a week, and is not shown again.")


@people.command("role", epilog=_ROLES)
@click.argument("name")
@click.argument("role", type=click.Choice(list(ROLES)))
def set_role(*, name: str, role: str) -> None:
    """Give somebody another role."""
    api().patch(path("people", name), {"role": role})
    note(f"{name} is {role} from now on.")


@people.command("grant")
@click.argument("name")
@click.argument("project")
@click.option("--role", type=click.Choice(PROJECT_ROLES), default="viewer", show_default=True, help="The role there.")
def grant(*, name: str, project: str, role: str) -> None:
    """Give somebody a role in one project."""
    api().put(path("projects", project, "members", name), {"role": role})
    note(f"{name} is {role} in {project} from now on.")


@people.command("withdraw")
@click.argument("name")
@click.argument("project")
def withdraw(*, name: str, project: str) -> None:
    """Take back what somebody was granted in one project."""
    api().delete(path("projects", project, "members", name))
    note(f"{name} is no member of {project} any more.")


@people.command("members")
@click.argument("project")
@json_option
def members(*, project: str, as_json: bool) -> None:
    """List who was granted a role in one project."""
    items, whole = api().listing(path("projects", project, "members"))
    if as_json:
        say_json(whole)
        return
    rows = [(str(each.get("name")), str(each.get("role"))) for each in items]
    say_table(("NAME", "ROLE"), rows, "Nobody has a role for this project alone.")


@people.command("remove")
@click.argument("name")
@yes_option
def remove_person(*, name: str, yes: bool) -> None:
    """Remove somebody, with all sessions."""
    agreed(f"Remove {name}?", yes=yes)
    api().delete(path("people", name))
    note(f"{name} is removed.")
