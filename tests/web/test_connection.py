"""connection.py: what is connected, what is missing, and the way to the first green build."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted

from sayci.build import BuildState
from sayci.delivery import Verdict
from sayci.errors import WrongSignature
from sayci.interfaces import ToldStatus
from sayci.outlook import Outlook, past_of
from sayci.project import MirrorState
from sayci.step import Result
from sayci.web import sayings
from sayci.web.arrivals import Light
from sayci.web.connection import (
    Connection,
    Connections,
    checks_of,
    saying_of_settings,
    saying_of_steps,
    steps_of,
)
from tests.factories import NOW, a_build, a_project, new_build

WAITING = Light("ping", "Waiting for the first ping", "The forge says hello.")
GREEN = Light("success", "Connected", "Signature and address are right.", NOW)
RED = Light("failure", "The last delivery was refused", "The signature does not match.", NOW)
DEAF = Light("error", "Connected, but not for pushes", "Only issues.", NOW)

pytest_plugins = ["tests.web.page_fixtures"]


def connection(*builds, light=GREEN, statuses=(), **fields):
    """A project with these builds, the newest first."""
    project = a_project(**fields)
    newest = builds[0] if builds else None
    outlook = Outlook(project, newest, tuple(past_of(build) for build in builds))
    return Connection(project, light, outlook, statuses)


def told(**fields):
    status = ToldStatus("sayci/test", "success", "It passes.", told=True, attempts=1, error="", retry_at=None)
    return replace(status, **fields)


def marks(checks):
    assert {check.mark for check in checks} <= set(sayings.MARKS)
    return [check.mark for check in checks]


# -- the way to the first green build


@pytest.mark.parametrize(
    ("given", "ticks", "news"),
    (
        ({"light": WAITING, "mirror": MirrorState.CLONING}, "success running queued queued queued", "is added."),
        ({"light": WAITING}, "success success queued queued queued", "is added. Now tell the forge."),
        ({"light": RED}, "success success failure queued queued", "refused what came: see the webhook."),
        ({}, "success success success queued queued", "is connected. Push something."),
        (
            {"builds": [a_build(BuildState.RUNNING)]},
            "success success success running queued",
            "is being built for the first time.",
        ),
        (
            {"builds": [a_build(result=Result.FAILURE)]},
            "success success success success failure",
            "is built, and not green yet.",
        ),
        (
            {"builds": [a_build(result=Result.SUCCESS)]},
            "success success success success success",
            "has its first green",
        ),
        (
            {"light": WAITING, "mirror": MirrorState.FAILED, "mirror_error": "it wants a password"},
            "success error queued queued queued",
            "cannot be read.",
        ),
    ),
)
def test_steps_tick_themselves(given, ticks, news):
    given = dict(given)
    found = connection(*given.pop("builds", ()), **given)
    steps = steps_of(found)
    assert marks(steps) == ["success", *ticks.split()]
    assert str(saying_of_steps(found)).startswith(f"web-shop {news}")


def test_a_first_build_that_failed_says_why_and_leads_to_it():
    last = steps_of(connection(a_build(result=Result.FAILURE, number=7, reason="make test, exit 2")))[-1]
    assert (last.text, last.more, last.path) == ("#7 did not succeed:", "make test, exit 2", "/web-shop/7")


# -- settings


@pytest.mark.parametrize(
    ("light", "words"),
    (
        (WAITING, "web-shop waits for its first ping."),
        (GREEN, "web-shop is connected."),
        (RED, "web-shop refused what came last."),
        (DEAF, "web-shop is connected, but not for pushes."),
    ),
)
def test_settings_say_whether_it_is_connected(light, words):
    assert str(saying_of_settings(connection(light=light))) == words


def test_a_repository_that_cannot_be_read_comes_first():
    for mirror in (MirrorState.FAILED, MirrorState.REVOKED):
        found = connection(mirror=mirror, mirror_error="it wants a password")
        assert str(saying_of_settings(found)).startswith("web-shop cannot be read")
        assert (checks_of(found, NOW)[0].mark, checks_of(found, NOW)[0].more) == ("error", "it wants a password")


@pytest.mark.parametrize(
    ("fields", "mark", "words"),
    (
        ({}, "queued", "No token is set, so the forge is not told how builds went."),
        ({"has_access_token": True}, "success", "A token is set; the forge will be told how builds go."),
        (
            {"has_access_token": True, "statuses": [told()]},
            "success",
            "The forge has the last one: sayci/test, success.",
        ),
        ({"has_access_token": True, "statuses": [told(told=False)]}, "running", "The forge is being told."),
        (
            {"has_access_token": True, "statuses": [told(told=False, error="no", retry_at=NOW + 120)]},
            "failure",
            "The forge did not take sayci/test. The next try is in 2 minutes.",
        ),
        (
            {"has_access_token": True, "statuses": [told(), told(told=False, error="bad credentials")]},
            "failure",
            "The forge did not take sayci/test. It was given up.",
        ),
    ),
)
def test_whether_the_forge_is_told(fields, mark, words):
    check = checks_of(connection(a_build(result=Result.SUCCESS), **fields), NOW)[3]
    assert (check.mark, check.text) == (mark, words)


@pytest.mark.parametrize(
    ("builds", "mark", "words"),
    (
        ((), "queued", "None yet. A push to main makes the first, or the button above."),
        ((a_build(BuildState.RUNNING, number=1),), "running", "#1 is checking out."),
        ((a_build(result=Result.SUCCESS, number=2),), "success", "main passes."),
        ((a_build(result=Result.FAILURE, number=2),), "failure", "main does not pass."),
        ((a_build(result=Result.CANCELLED, number=2),), "queued", "main has no result yet."),
    ),
)
def test_how_the_default_branch_stands(builds, mark, words):
    check = checks_of(connection(*builds), NOW)[2]
    assert (check.mark, check.text) == (mark, words)


def test_what_is_deployed():
    assert checks_of(connection(deploy_branch="main"), NOW)[4].text == "A push to main is deployed with make deploy."
    assert marks(checks_of(connection(), NOW))[4] == "skipped"


# -- found out


@pytest_twisted.ensureDeferred
async def test_it_is_found_out_from_what_there_is(house):
    project = await house.project()
    connections = Connections(house.store, house.outlooks, house.refusals)
    found = await connections.of(project)
    assert (found.light.mark, found.newest, found.statuses, found.is_green) == ("ping", None, (), False)
    house.refusals.add(project.id, NOW, WrongSignature("no"), "192.0.2.1")
    assert (await connections.of(project)).light.mark == "failure"
    connections.forget_refusals(project)
    await house.delivery(project, Verdict.BUILT, build=new_build(project.id))
    await house.build(project, Result.SUCCESS)
    found = await connections.of(project)
    assert (found.light.is_green, found.is_green) == (True, True)
    assert {status.context for status in found.statuses} == {"sayci/test"}
