"""What several commands have in common: their arguments and options, and how they read what must stay secret."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from sayci.cli.api import Api
from sayci.cli.config import account
from sayci.cli.screen import note
from sayci.cli.trouble import Misused

#: More characters than any value that the server takes.
_VALUE_LIMIT = 1_000_000

project_argument = click.argument("project", required=False)
number_argument = click.argument("number", required=False)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
limit_option = click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many."
)
wait_option = click.option(
    "-w", "--wait", "waits", is_flag=True, help="Wait for its end; the exit code says how it was."
)
follow_option = click.option(
    "-f", "--follow", "follows", is_flag=True, help="Print its log while it grows, to its end."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def examples(*lines: str) -> str:
    """What goes below the help of a command."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def api() -> Api:
    """The server that was signed in to.  Raises Shut."""
    return Api(account())


def leave(code: int) -> NoReturn:
    """End with this exit code."""
    sys.exit(code)


def agreed(question: str, *, yes: bool) -> None:
    """Ask before something cannot be taken back; raises Misused where nobody answers, and where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misused("this cannot be taken back and nobody is there to be asked", advice="say --yes")
    if not click.confirm(question, err=True):
        raise Misused("nothing was changed")


def read_value(what: str, *, secret: bool) -> str:
    """A value that is not on the command line: typed in, hidden where it is secret, or piped to the standard input.

    One line break at its end is left out.  Raises Misused.
    """
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=secret, err=True))
    try:
        text = sys.stdin.read(_VALUE_LIMIT)
    except UnicodeDecodeError:
        raise Misused("what came on the standard input is not text", what) from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Misused("nothing came on the standard input for", what)
    return value


def say_webhook(url: object, secret: object) -> None:
    """What a person enters at the forge."""
    note("At GitHub, under Settings, Webhooks, Add webhook, enter this. The secret is not shown again.")
    click.echo(f"  Payload URL   {url}")
    click.echo("  Content type  application/json")
    click.echo(f"  Secret        {secret}")
    click.echo("  Events        Just the push event.")
