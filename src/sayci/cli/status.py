"""How the server is: its version, what keeps builds apart, its certificates."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from sayci.cli.api import Json, path
from sayci.cli.parts import api, examples, json_option
from sayci.cli.screen import Cell, age, moment, say, say_facts, say_json, say_table, visible

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


@click.command(epilog=examples("sayci status", "sayci status --json"))
@json_option
def status(*, as_json: bool) -> None:
    """Show the server's version, isolation and certificates."""
    server = api()
    found = server.get(path("status"))
    if as_json:
        say_json(found)
        return
    isolation = found.get("isolation")
    say_facts(
        [
            ("Server", server.account.server),
            ("Version", str(found.get("version"))),
            ("Isolation", _isolation(isolation if isinstance(isolation, Mapping) else {})),
            *([("Builds", (str(lack), "red"))] if (lack := found.get("no_space")) else []),
        ]
    )
    certificates = found.get("certificates") or []
    if certificates:
        say()
        say_table(("CERTIFICATE", "EXPIRES", "NEXT", "ISSUER"), [_row(each) for each in certificates], "")
        _say_failures(certificates)


def _isolation(isolation: Mapping[str, object]) -> Cell:
    return str(isolation.get("words") or ""), "" if isolation.get("holds") else "red"


def _row(certificate: Json) -> tuple[Cell, ...]:
    return (
        str(certificate.get("name")),
        _expiry(certificate),
        due(certificate.get("renew_at")),
        str(certificate.get("issuer") or "self-signed"),
    )


def _expiry(certificate: Json) -> Cell:
    """When it ends; red where it has, or where there is none."""
    then = moment(certificate.get("not_after"))
    if then is None:
        return "not issued yet", "red"
    if then <= time.time():
        return f"expired {age(certificate.get('not_after'))}", "red"
    return due(certificate.get("not_after"))


def _say_failures(certificates: list[Json]) -> None:
    for each in certificates:
        if each.get("error") or each.get("tries"):
            tries = each.get("tries")
            times = f"{tries} tries failed; the last" if isinstance(tries, int) and tries > 1 else "the last try failed"
            say(f"{visible(each.get('name'))}: {times}: {visible(each.get('error') or 'nothing says why')}")


def due(text: object) -> str:
    """When a moment will come, in words: "in 61 days"; "now" once it has; "" where there is none."""
    then = moment(text)
    if then is None:
        return ""
    left = then - time.time()
    for length, unit in _UNITS:
        if left >= 2 * length or (unit == "minute" and left >= length):
            number = int(left // length)
            return f"in {number} {unit}{'' if number == 1 else 's'}"
    return "in less than a minute" if left > 0 else "now"
