"""Signing in and out, and the tokens of programs."""

from __future__ import annotations

import sys
import urllib.parse

import click

from sayci.cli import config
from sayci.cli.api import Api, path
from sayci.cli.parts import api, examples, json_option, read_value
from sayci.cli.screen import age, note, say, say_json, say_table
from sayci.cli.trouble import Misused, Trouble


def _own_name() -> str:
    """Who and where this client is, so that its token is known among the others."""
    import getpass  # noqa: PLC0415 - for this command alone
    import socket  # noqa: PLC0415 - the same

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:100]
    except (KeyError, OSError):
        return socket.gethostname()[:100]


def _code_of(link: str) -> str:
    return urllib.parse.parse_qs(urllib.parse.urlsplit(link).query).get("code", [""])[0]


@click.command(
    epilog=examples(
        "sayci login 'https://ci.example.org/sign-in?code=...'",
        "sayci login https://ci.example.org --token - < token.txt",
    )
)
@click.argument("link", required=False)
@click.option("--token", metavar="-", help='"-": read a token from the standard input, in place of a code in the link.')
@click.option("--name", help="What the new token is called; by default USER@HOST.")
@click.option("--insecure", is_flag=True, help="Send the token over the network unencrypted.")
def login(*, link: str | None, token: str | None, name: str | None, insecure: bool) -> None:
    """Sign in with the link that the server printed.

    LINK is the one-time link that the server prints when it starts; it is exchanged for a token. With a token that
    somebody made for you, give the server's address and --token -.

    Address and token are stored in $XDG_CONFIG_HOME/sayci/config.json, readable by you alone.
    """
    if token not in (None, "-"):
        raise Misused("a token on the command line can be read by others", advice="write --token - and pipe it in")
    if link is None:
        link = str(click.prompt("Sign-in link", err=True)) if sys.stdin.isatty() else ""
    server = config.server_of(link)
    if token is None:
        account = _by_code(server, _code_of(link), name or _own_name(), insecure=insecure)
    else:
        account = config.Account(server, read_value("Token", secret=True).strip(), insecure)
    me = Api(account).get(path("me"))
    place = config.save(account)
    note(f"Signed in at {server} as {me.get('name')}, with {me.get('access')} access. The token is in {place}.")


def _by_code(server: str, code: str, name: str, *, insecure: bool) -> config.Account:
    if not code:
        raise Misused("the link has no code", advice="use the whole link that the server printed, in quotes")
    answer = Api(config.Account(server, "", insecure)).post(path("sign-in"), {"code": code, "name": name})
    token, number = answer.get("token"), answer.get("id")
    if not isinstance(token, str) or not token:
        raise Trouble("the server has answered without a token", server)
    return config.Account(server, token, insecure, number if isinstance(number, int) else None)


@click.command()
def logout() -> None:
    """Forget the server and its token.

    The token that login made is revoked, too, where its access reaches so far.
    """
    account = config.stored()
    if account is None:
        note("You were not signed in.")
        return
    revoked = account.token_id is not None and _revoked(account, account.token_id)
    config.forget()
    note(f"Signed out of {account.server}. " + ("The token is revoked." if revoked else "The token itself stays good."))


def _revoked(account: config.Account, token_id: int) -> bool:
    try:
        Api(account).delete(path("tokens", token_id))
    except Trouble:
        return False
    return True


@click.group(
    epilog=examples(
        "sayci tokens list",
        "sayci tokens new release-bot --access build --days 90 > token.txt",
        "sayci tokens new laptop --mine --days 30",
        "sayci tokens revoke 3",
    )
)
def tokens() -> None:
    """List, make and revoke tokens: the server's, which takes an admin's access, or with --mine your own."""


_mine = click.option("--mine", is_flag=True, help="Your own: they act as you, with no more than you may do.")


def _tokens_path(*parts: int, mine: bool) -> str:
    return path("me", "tokens", *parts) if mine else path("tokens", *parts)


@tokens.command("list")
@_mine
@json_option
def list_tokens(*, mine: bool, as_json: bool) -> None:
    """List the tokens, without their secrets: those of everybody, or with --mine your own."""
    items, whole = api().listing(_tokens_path(mine=mine))
    if as_json:
        say_json(whole)
        return
    rows = [
        (
            str(each.get("id")),
            str(each.get("access")),
            age(each.get("created_at")),
            age(each.get("last_used_at")) or "never",
            str(each.get("expires_at") or "never"),
            str(each.get("person") or "the server"),
            str(each.get("name")),
        )
        for each in items
    ]
    say_table(("ID", "ACCESS", "MADE", "LAST USED", "EXPIRES", "OF", "NAME"), rows, "There are no tokens.")


_ACCESS = """\b
Access:
  read   look at projects, builds and logs
  build  also build, cancel, deploy, replay
  admin  also register, configure, and make tokens
"""


@tokens.command("new", epilog=_ACCESS)
@click.argument("name")
@click.option("--access", type=click.Choice(["read", "build", "admin"]), default="read", show_default=True)
@click.option("--days", type=click.IntRange(1), help="How long it lasts; by default until it is revoked.")
@_mine
@json_option
def new_token(*, name: str, access: str, days: int | None, mine: bool, as_json: bool) -> None:
    """Make a token and print it, this once."""
    body = {"name": name, "access": access} | ({} if days is None else {"days": days})
    made = api().post(_tokens_path(mine=mine), body)
    if as_json:
        say_json(made)
        return
    say(str(made.get("token")))
    note(f"Token {made.get('id')} has {access} access. It is not shown again.")


@tokens.command("revoke")
@click.argument("number", type=click.IntRange(1), metavar="ID")
@_mine
def revoke_token(number: int, *, mine: bool) -> None:
    """Revoke a token: from now on it opens nothing."""
    api().delete(_tokens_path(number, mine=mine))
    note(f"Token {number} is revoked.")
