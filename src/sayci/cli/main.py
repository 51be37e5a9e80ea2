"""The command ``sayci``: what there is to type, and how every trouble ends as one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

from sayci import __version__
from sayci.cli.trouble import INTERRUPTED, Trouble
from sayci.errors import SayciError

#: Section, command, the module that has it, and its line in the list; the modules are imported when they are needed.
COMMANDS = (
    ("Begin and end", "login", "access", "Sign in with the link that the server printed."),
    ("Begin and end", "logout", "access", "Forget the server and its token."),
    ("Projects", "projects", "projects", "List the projects."),
    ("Projects", "add", "projects", "Register a repository as a project."),
    ("Projects", "project", "projects", "Show a project, or change its settings."),
    ("Projects", "remove", "projects", "Remove a project with its builds and logs."),
    ("Projects", "env", "environment", "List, set and unset a project's environment variables."),
    ("Projects", "webhook-secret", "projects", "Make a new webhook secret for a project."),
    ("Builds", "builds", "builds", "List a project's builds, the newest first."),
    ("Builds", "build", "builds", "Build the head of a branch now."),
    ("Builds", "show", "builds", "Show a build and its steps."),
    ("Builds", "log", "builds", "Print a build's log, or follow it live."),
    ("Builds", "cancel", "builds", "Cancel a build that waits or runs."),
    ("Builds", "rebuild", "builds", "Run a build's commit again."),
    ("Deploys", "deploy", "deploys", "Deploy a commit whose tests succeeded."),
    ("Deploys", "deploys", "deploys", "List a project's deploys, the newest first."),
    ("Webhooks", "deliveries", "deliveries", "List a project's deliveries, or show one."),
    ("Webhooks", "replay", "deliveries", "Look at a delivery again."),
    ("Access", "people", "people", "List and invite people, and say what they may do."),
    ("Access", "tokens", "access", "List, make and revoke tokens."),
    ("Server", "health", "health", "Say whether the server is well."),
    ("Server", "status", "status", "Show the server's version, isolation and certificates."),
    ("Server", "doctor", "doctor", "Examine a server's place, and say what to do."),
    ("Server", "backup", "backup", "Copy what a server must not lose, while it runs."),
    ("Server", "restore", "restore", "Make a data directory from a backup."),
)

EPILOG = """\b
In a clone of a project's repository the PROJECT may be left out, or be "."
where something follows it; of a build the number alone is enough.

\b
Examples:
  sayci login 'https://ci.example.org/sign-in?code=...'
  sayci add demo https://github.com/ada/demo.git
  sayci env set demo COVERALLS_TOKEN --secret
  sayci build demo --branch main --wait && echo green
  sayci log demo 12 -f
  sayci deploy demo 12 --wait

\b
The server is started by sayci as the first word after sayci.pex, or python -m sayci:
  ./sayci.pex sayci --port tcp:8080

\b
Exit codes:
  0  done; a build or deploy that was waited for succeeded
  1  the build or deploy that was waited for did not succeed; the server is not well
  2  the command line cannot be understood
  3  the server cannot be reached, or does not let you in
  4  the server refuses: there is no such thing, or it is not in a state for it
  130  interrupted; builds go on

\b
Environment:
  SAYCI_SERVER, SAYCI_TOKEN  before what login has stored
  XDG_CONFIG_HOME            where login stores it: sayci/config.json there
  SSL_CERT_FILE              certificates to trust, in place of the system's
  NO_COLOR                   no colours
"""


def _ended(error: SayciError) -> NoReturn:
    """Say the trouble as one line, and what to do about it; end with its exit code."""
    from sayci.cli.screen import note, visible  # noqa: PLC0415 - not for the list of commands

    trouble = error if isinstance(error, Trouble) else Trouble(*error.args)
    note(f"sayci: {visible(trouble)}")
    if trouble.advice:
        note(f"  {visible(trouble.advice)}")
    sys.exit(trouble.exit_code)


class Commands(click.Group):
    """The commands, in the order in which they are needed; each is imported when it is."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As in COMMANDS."""
        return [name for _, name, _, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        for _, name, module, _ in COMMANDS:
            if name == cmd_name:
                command = getattr(importlib.import_module(f"sayci.cli.{module}"), name.replace("-", "_"))
                return command if isinstance(command, click.Command) else None
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, section by section, without importing one of them."""
        for section in dict.fromkeys(section for section, *_ in COMMANDS):
            with formatter.section(section):
                formatter.write_dl([(name, line) for where, name, _, line in COMMANDS if where == section])

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what goes wrong on purpose becomes one line."""
        try:
            return super().invoke(ctx)
        except SayciError as error:
            _ended(error)
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nsayci: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="sayci %(version)s")
def main() -> None:
    """The client of sayci, a CI/CD server for projects with a Makefile.

    sayci COMMAND --help says more about each command.
    """


if __name__ == "__main__":
    main()
