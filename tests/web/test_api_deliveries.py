"""api_deliveries.py: which webhooks came, what became of them, and a second look."""

from __future__ import annotations

import pytest_twisted

from sayci.delivery import Verdict
from sayci.errors import Conflict
from tests.factories import new_delivery
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture

DELIVERIES = "/api/v1/projects/web-shop/deliveries"


async def deliver(house, project, forge_id="d-1", **fields):
    return (await house.store.accept(new_delivery(project.id, forge_id=forge_id, **fields))).delivery


@pytest_twisted.ensureDeferred
async def test_deliveries_are_listed_in_parts_the_newest_first(house):
    project = await house.project()
    kept = [await deliver(house, project, f"d-{number}") for number in range(3)]
    first = (await house.get(f"{DELIVERIES}?limit=2")).said
    second = (await house.get(f"{DELIVERIES}?cursor={first['next']}")).said
    found = [[delivery["id"] for delivery in part["items"]] for part in (first, second)]
    assert found == [[kept[2].id, kept[1].id], [kept[0].id]]
    assert second["next"] is None
    assert "body" not in first["items"][0]


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_shown_with_what_it_said(house):
    project = await house.project()
    kept = await deliver(house, project, body=b'{"ref": "<script>"}\xff', verdict=Verdict.IGNORED, explanation="a tag")
    said = (await house.get(f"{DELIVERIES}/{kept.id}")).said
    assert said == {
        "id": kept.id,
        "forge_id": "d-1",
        "event": "push",
        "received_at": "2026-11-21T00:00:00Z",
        "verdict": "ignored",
        "explanation": "a tag",
        "build": None,
        "size": 20,
        "headers": [
            {"name": "content-type", "value": "application/json"},
            {"name": "x-github-event", "value": "push"},
        ],
        "body": '{"ref": "<script>"}\ufffd',
        "cut": False,
    }


@pytest_twisted.ensureDeferred
async def test_a_delivery_of_another_project_is_not_shown(house):
    await house.project()
    kept = await deliver(house, await house.project("other"))
    for method, path in (("GET", f"{DELIVERIES}/{kept.id}"), ("POST", f"{DELIVERIES}/{kept.id}/replay")):
        reply = await house.ask(method, path)
        assert (reply.code, reply.said["error"]) == (404, "unknown_delivery")


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_looked_at_again(house):
    kept = await deliver(house, await house.project())
    reply = await house.ask("POST", f"{DELIVERIES}/{kept.id}/replay")
    assert (reply.code, reply.said["id"]) == (200, kept.id)
    assert house.inbox.transcript == [("replay", "web-shop", kept.id)]
    house.inbox.error = Conflict("it has built already", "#4")
    again = await house.ask("POST", f"{DELIVERIES}/{kept.id}/replay")
    assert (again.code, again.said["detail"]) == (409, "it has built already: #4")
