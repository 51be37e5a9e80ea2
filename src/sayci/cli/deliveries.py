"""Deliveries: what came by webhook, what became of it, and how to have it looked at again."""

from __future__ import annotations

import click

from sayci.cli import here
from sayci.cli.api import Json, path
from sayci.cli.parts import api, examples, json_option, limit_option, number_argument, project_argument
from sayci.cli.screen import age, coloured, note, paragraphs, say, say_facts, say_json, say_table, size, visible
from sayci.cli.trouble import Misused


@click.command(epilog=examples("sayci deliveries demo", "sayci deliveries demo 41"))
@project_argument
@click.argument("number", required=False, metavar="ID")
@limit_option
@json_option
def deliveries(*, project: str | None, number: str | None, limit: int, as_json: bool) -> None:
    """List a project's deliveries, the newest first; with an ID show that one, with its headers and body."""
    server = api()
    place = path("projects", here.project_of(server, project), "deliveries")
    if number is not None:
        found = server.get(f"{place}/{here.number_of(number)}")
        say_json(found) if as_json else _say_delivery(found)
        return
    items, whole = server.items(place, limit)
    if as_json:
        say_json(whole)
    else:
        rows = [
            (
                str(each.get("id")),
                coloured(str(each.get("verdict"))),
                f"#{each['build']}" if each.get("build") else "",
                str(each.get("event")),
                age(each.get("received_at")),
                str(each.get("explanation") or ""),
            )
            for each in items
        ]
        say_table(("ID", "VERDICT", "BUILD", "EVENT", "CAME", "EXPLANATION"), rows, "Nothing has been delivered.")


def _say_delivery(delivery: Json) -> None:
    say_facts(
        [
            ("Delivery", str(delivery.get("id"))),
            ("Forge's id", str(delivery.get("forge_id") or "")),
            ("Event", str(delivery.get("event"))),
            ("Came", age(delivery.get("received_at"))),
            ("Verdict", coloured(str(delivery.get("verdict")))),
            ("", str(delivery.get("explanation") or "")),
            ("Build", f"#{delivery['build']}" if delivery.get("build") else ""),
            ("Size", size(delivery.get("size"))),
        ]
    )
    say()
    for header in delivery.get("headers") or ():
        say(f"{visible(header.get('name'))}: {visible(header.get('value'))}")
    say()
    say(paragraphs(str(delivery.get("body") or "")))
    if delivery.get("cut"):
        note("The body is longer than what is shown.")


@click.command()
@project_argument
@number_argument
@json_option
def replay(*, project: str | None, number: str | None, as_json: bool) -> None:
    """Look at a delivery again, as if it had come now; what it builds is tested and never deployed."""
    if number is None:
        project, number = None, project
    if number is None:
        raise Misused("which delivery is meant?", advice="name its id: sayci deliveries")
    server = api()
    name = here.project_of(server, project)
    found = server.post(path("projects", name, "deliveries", here.number_of(number), "replay"))
    if as_json:
        say_json(found)
    else:
        words = f"Delivery {found.get('id')}: {visible(found.get('verdict'))}"
        note(words + (f", as #{found['build']}" if found.get("build") else "") + ".")
