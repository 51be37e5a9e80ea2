"""cli/deliveries.py: what came by webhook, and how to have it looked at again."""

from __future__ import annotations

import json

import pytest

DELIVERY = {
    "id": 41,
    "forge_id": "f-1",
    "event": "push",
    "received_at": "2026-11-20T10:00:00Z",
    "verdict": "failed",
    "explanation": "sayci could not decide\x1b[2J",
    "build": None,
    "size": 1500,
}
WHOLE = DELIVERY | {
    "headers": [{"name": "X-Event", "value": "push\x1b"}],
    "body": '{\n  "a": "\x1b]0;x\x07"\n}',
    "cut": True,
}


@pytest.fixture(autouse=True)
def _delivered(server):
    server.deliveries = [WHOLE, DELIVERY | {"id": 40, "verdict": "built", "build": 12, "explanation": ""}]


def test_deliveries_are_listed(signed_in):
    lines = signed_in("deliveries", "demo").stdout.splitlines()
    assert lines[0].split() == ["ID", "VERDICT", "BUILD", "EVENT", "CAME", "EXPLANATION"]
    assert lines[1].split()[:2] == ["41", "failed"]
    assert lines[1].endswith("sayci could not decide␛[2J")
    assert lines[2].split()[:4] == ["40", "built", "#12", "push"]


def test_the_list_is_json_where_that_is_asked_for(signed_in, server):
    assert json.loads(signed_in("deliveries", "demo", "--json").stdout)["items"] == server.deliveries


def test_one_delivery_is_shown_with_its_headers_and_body_made_harmless(signed_in):
    done = signed_in("deliveries", "demo", "41")
    assert "X-Event: push␛" in done.stdout
    assert '  "a": "␛]0;x␇"' in done.stdout
    assert "\x1b" not in done.output
    assert "longer than what is shown" in done.stderr
    assert json.loads(signed_in("deliveries", "demo", "41", "--json").stdout) == WHOLE


def test_nothing_delivered_is_said(signed_in, server):
    server.deliveries = []
    assert "Nothing has been delivered." in signed_in("deliveries", "demo").stderr


def test_a_delivery_is_replayed(signed_in, server):
    done = signed_in("replay", "demo", "41")
    assert done.exit_code == 0
    assert done.stderr == "Delivery 41: built, as #13.\n"
    assert json.loads(signed_in("replay", "demo", "41", "--json").stdout)["build"] == 13


def test_what_has_built_already_is_not_replayed(signed_in, server, values):
    problem = values.Answer.problem(409, "Conflict", "the delivery has made a build already: #12")
    server.trouble("POST", "projects/demo/deliveries/40/replay", problem)
    done = signed_in("replay", "demo", "40")
    assert done.exit_code == 4
    assert "has made a build already: #12" in done.stderr


def test_which_delivery_is_replayed_has_to_be_said(signed_in, server):
    assert signed_in("replay").exit_code == 2
    assert signed_in("replay", "demo").exit_code == 2
    assert server.asked == []
