"""tally.py: what happened in the last day, within bounds."""

from __future__ import annotations

import pytest

from sayci.delivery import Verdict
from sayci.retention import Keep
from sayci.step import Result
from sayci.web.pages_status import day_in_words, deliveries_in_words, keep_in_words
from sayci.web.tally import HOUR, HOURS, UNTOLD_KEPT, Day, Tally
from tests.factories import NOW, a_build


@pytest.fixture
def now():
    return [NOW]


@pytest.fixture
def tally(now):
    return Tally(lambda: now[0])


def test_what_is_older_than_a_day_is_forgotten(tally, now):
    tally.ended(a_build(result=Result.SUCCESS, created_at=NOW, started_at=NOW + 7))
    tally.decided(Verdict.BUILT)
    tally.refused()
    now[0] += 2 * HOUR
    tally.ended(a_build(result=Result.FAILURE, created_at=NOW, started_at=NOW + 3))
    day = tally.day()
    assert (day.builds, day.deliveries, day.refused) == ({"success": 1, "failure": 1}, {Verdict.BUILT: 1}, 1)
    assert (day.since, day.wait) == (NOW, 7)
    now[0] += (HOURS - 1) * HOUR
    day = tally.day()
    assert (day.builds, day.deliveries, day.refused, day.wait) == ({"failure": 1}, {}, 0, 3)
    assert day.since == now[0] - HOURS * HOUR


def test_years_make_it_no_larger(tally, now):
    for _ in range(1_000):
        now[0] += HOUR
        tally.refused()
        tally.ended(a_build(result=Result.SUCCESS, started_at=NOW))
    assert tally.day().refused == HOURS
    assert tally.day().builds == {"success": HOURS}


def test_of_each_project_it_is_known_whether_the_forge_took_the_last_status(tally):
    tally.not_told(1, "janet", 7, "bad credentials")
    tally.not_told(2, "web-shop", 8, "it did not answer")
    tally.not_told(1, "janet", 9, "bad credentials")
    assert [(each.project, each.build) for each in tally.untold()] == [("janet", 9), ("web-shop", 8)]
    tally.told(1)
    tally.told(3)
    assert [each.project for each in tally.untold()] == ["web-shop"]
    for number in range(10, UNTOLD_KEPT + 20):
        tally.not_told(number, "other", 1, "no")
    assert len(tally.untold()) == UNTOLD_KEPT


@pytest.mark.parametrize(
    ("builds", "wait", "words"),
    (
        ({}, None, "Since the start, 2 hours ago, no build ended."),
        (
            {"success": 1},
            0.2,
            "Since the start, 2 hours ago, 1 build ended, 1 of them green. Half of them waited less than 0:01.",
        ),
        (
            {"success": 3, "failure": 2},
            61.0,
            "Since the start, 2 hours ago, 5 builds ended, 3 of them green. Half of them waited less than 1:02.",
        ),
    ),
)
def test_a_day_in_words(builds, wait, words):
    assert day_in_words(Day(NOW, builds, {}, 0, wait), NOW + 7200) == words


def test_a_whole_day_in_words():
    assert day_in_words(Day(NOW, {}, {}, 0, None), NOW + 86_400) == "In the last 24 hours no build ended."


@pytest.mark.parametrize(
    ("deliveries", "refused", "unseen", "words"),
    (
        ({}, 0, 0, "None came, none was refused."),
        ({Verdict.BUILT: 1}, 1, 0, "1 delivery came, 1 made a build, 1 was refused."),
        (
            {Verdict.BUILT: 2, Verdict.IGNORED: 3},
            2,
            1,
            "5 deliveries came, 2 made a build, 2 were refused. 1 delivery waits to be looked at.",
        ),
    ),
)
def test_deliveries_in_words(deliveries, refused, unseen, words):
    assert deliveries_in_words(Day(NOW, {}, deliveries, refused, None), unseen) == words


def test_what_is_kept_in_words():
    assert keep_in_words(Keep()) == (
        "Builds are kept for 365 days, the newest 2,000 of each project; logs for 90 days, up to 20 GiB; "
        "deliveries for 90 days, what they said for 14 days."
    )
    assert keep_in_words(Keep(0, 0, 0, 0, 0, 1)) == (
        "Builds are kept for ever; logs for ever; deliveries for ever, what they said for 1 day."
    )
