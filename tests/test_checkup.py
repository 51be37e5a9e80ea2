"""checkup.py: each thing that is looked at, and what is said of it."""

from __future__ import annotations

import pytest

from sayci import checkup
from sayci.checkup import Level
from sayci.space import Reserves, Volume

NOW = 1_800_000_000.0
DAY = 86_400.0
OK, WARNING, ERROR = Level


@pytest.mark.parametrize(
    ("finding", "level", "words"),
    (
        (checkup.of_git("git version 2.39.5"), OK, "2.39.5"),
        (checkup.of_git("git version 2.11.0"), WARNING, "is old"),
        (checkup.of_git(None), ERROR, "there is no git"),
        (checkup.of_make("GNU Make 4.3"), OK, "4.3"),
        (checkup.of_make(None), ERROR, "no build can run"),
        (checkup.of_disks([Volume("/srv", 100 << 30, 50 << 30)], Reserves()), OK, "50 GiB free at /srv"),
        (checkup.of_disks([Volume("/srv", 100 << 30, 7)], Reserves()), ERROR, "Builds wait"),
        (checkup.of_clock(NOW, NOW - 5, is_synchronised=True), OK, "time server"),
        (checkup.of_clock(NOW, NOW - 5, is_synchronised=None), OK, "plausible"),
        (checkup.of_clock(NOW, NOW - 5, is_synchronised=False), WARNING, "no time server"),
        (checkup.of_clock(NOW, NOW + DAY, is_synchronised=True), WARNING, "set back by 86400 s"),
        (checkup.of_clock(5.0, 0.0, is_synchronised=True), ERROR, "years behind"),
        (checkup.of_isolation(is_root=True, has_bubblewrap=False), OK, "user of its own"),
        (checkup.of_isolation(is_root=False, has_bubblewrap=True), OK, "bubblewrap"),
        (checkup.of_isolation(is_root=False, has_bubblewrap=False), WARNING, "not isolated"),
        (checkup.of_data([("", 0o711, 0), ("key", 0o600, 0), ("workspaces", 0o711, 0)], 0), OK, "only the server"),
        (checkup.of_data([("", 0o755, 0)], 0), ERROR, "others can get into"),
        (checkup.of_data([("", 0o700, 0), ("builds", 0o710, 0)], 0), ERROR, "builds"),
        (checkup.of_data([("", 0o700, 0), ("key", 0o600, 1000)], 0), WARNING, "key"),
        (checkup.of_key(""), OK, "there"),
        (checkup.of_key("others can read the key"), ERROR, "others can read"),
        (checkup.of_database([]), OK, "whole"),
        (checkup.of_database(None), OK, "PostgreSQL"),
        (checkup.of_database(["row 3 missing"]), ERROR, "row 3 missing"),
        (checkup.of_leftovers("logs", [], is_running=True), OK, "nothing"),
        (checkup.of_leftovers("logs", ["7", "5", "6", "4"], is_running=True), WARNING, "4 left over: 4, 5, 6 ..."),
        (checkup.of_foreign([]), OK, "nothing"),
        (checkup.of_foreign(["/tmp/x"]), WARNING, "1 left by builds: /tmp/x"),
        (checkup.of_server("http://localhost:8080", ""), OK, "well at http://localhost:8080"),
        (checkup.of_server("", ""), WARNING, "no server is running"),
        (checkup.of_server("", "it does not answer", "restart it"), ERROR, "does not answer"),
    ),
)
def test_each_thing_is_judged_and_what_to_do_is_said_where_something_is(finding, level, words):
    assert finding.level is level
    assert words in finding.words
    assert bool(finding.advice) == (level is not OK) or "PostgreSQL" in finding.words


def test_certificates_are_judged_by_what_is_left_of_them():
    ends = [("good", NOW + 60 * DAY), ("soon", NOW + 3 * DAY), ("past", NOW - 1), ("none", None)]
    found = checkup.of_certificates(ends, NOW)
    assert [each.level for each in found] == [OK, WARNING, ERROR, WARNING]
    assert [each.words for each in found[:2]] == ["good for 60 days", "it ends in 3 days"]


def test_only_an_error_is_not_well():
    warning = checkup.of_server("", "")
    assert checkup.is_well([warning])
    assert not checkup.is_well([warning, checkup.of_make(None)])
