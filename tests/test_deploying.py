"""deploying.py: what is live, what could be."""

from __future__ import annotations

import pytest

from sayci.build import BuildState
from sayci.deploying import Deploying
from tests.factories import a_build, commit


def build(number, of=1, state=BuildState.FINISHED):
    return a_build(state, id=number, number=number, commit=commit(of))


@pytest.mark.parametrize(
    ("live", "green", "has_next"),
    (
        (None, None, False),
        (None, build(1), True),
        (build(1), None, False),
        (build(1), build(2, of=2), True),
        (build(1), build(2, of=1), False),  # the same commit
        (build(3, of=2), build(2, of=1), False),  # what is live is newer
    ),
)
def test_what_could_be_deployed_is_green_newer_and_another_commit(live, green, has_next):
    assert Deploying(1, live=live, green=green).next == (green if has_next else None)


def test_what_runs_is_the_newest_while_it_is_open():
    assert Deploying(1).running is None
    assert Deploying(1, newest=build(1)).running is None
    waiting = build(2, state=BuildState.QUEUED)
    assert Deploying(1, newest=waiting).running == waiting
