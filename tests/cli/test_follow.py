"""cli/follow.py: builds are followed to their end, whatever happens to the connection or to the build."""

from __future__ import annotations

import pytest

from sayci.cli.follow import sentence_of


@pytest.fixture
def moving(server, values):
    """Build 12 is queued, and runs through its steps as its feed is read."""
    done = values.a_build()
    queued = done | {"state": "queued", "result": None, "waiting": "For a free slot.", "started_at": None}
    queued["steps"] = [values.a_step(name, "pending") for name in ("checkout", "test")]
    server.builds[12] = queued
    server.moves[12] = [values.running(done, "checkout"), values.running(done, "test"), done]
    server.logs = {(12, "checkout"): b"fetched.\n", (12, "test"): b"".join(b"line %d\n" % n for n in range(10))}
    return server


def feeds(server, place):
    return [
        each for each in server.asked if each.path.endswith(place) and each.headers["Accept"] == "text/event-stream"
    ]


def test_a_build_is_followed_from_its_queue_to_its_end(signed_in, moving):
    done = signed_in("log", "demo", "12", "-f")
    assert done.exit_code == 0
    assert done.stdout.encode() == moving.logs[12, "checkout"] + moving.logs[12, "test"]
    assert done.stderr.splitlines() == [
        "demo #12 waits. For a free slot.",
        "== checkout",
        "== test",
        "demo #12 succeeded (1:41)",
    ]


def test_a_lost_connection_costs_nothing_of_the_log(signed_in, moving):
    moving.cuts = [4, 9, 0, 13, 40, 41]
    done = signed_in("log", "demo", "12", "-f")
    assert done.stdout.encode() == moving.logs[12, "checkout"] + moving.logs[12, "test"]
    assert "The connection was lost; trying again." in done.stderr
    resumed = [each.headers.get("Last-Event-ID") for each in feeds(moving, "test/log")]
    assert resumed == [None, None, "13", "40", "41"]


def test_a_build_that_fails_ends_with_one(signed_in, moving, values):
    moving.moves[12][-1] = values.a_build(result="failure", reason="make test, exit 2")
    done = signed_in("log", "demo", "12", "-f")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "demo #12 failed: make test, exit 2 (1:41)"


def test_bytes_that_are_no_text_come_through_a_pipe_as_they_are(signed_in, moving):
    moving.logs[12, "test"] = bytes(range(256)) * 2
    done = signed_in("log", "demo", "12", "-f")
    assert done.stdout_bytes == b"fetched.\n" + bytes(range(256)) * 2


def test_a_step_that_was_skipped_has_no_log_to_follow(signed_in, moving, values):
    steps = [values.a_step("checkout", result="failure"), values.a_step("test", result="skipped")]
    moving.moves[12] = [moving.moves[12][0], values.a_build(result="failure", steps=steps)]
    done = signed_in("log", "demo", "12", "-f")
    assert "== test" not in done.stderr
    assert done.exit_code == 1


def test_a_finished_build_is_followed_at_once(signed_in, server):
    done = signed_in("log", "demo", "12", "-f")
    assert done.stdout_bytes == b"fetched.\n" + server.logs[12, "test"]
    assert done.exit_code == 0


def test_one_step_is_followed_alone(signed_in, moving):
    done = signed_in("log", "demo", "12", "test", "-f")
    assert done.stdout.encode() == moving.logs[12, "test"]
    assert done.exit_code == 0


def test_a_step_that_the_build_does_not_have_is_said(signed_in, moving):
    done = signed_in("log", "demo", "12", "lint", "-f")
    assert done.exit_code == 4
    assert "no such step: lint" in done.stderr


def test_a_build_that_starts_anew_is_followed_anew(signed_in, moving, values):
    again = values.a_build(attempt=2)
    moving.moves[12] = [values.running(values.a_build(), "checkout"), values.running(again, "test"), again]
    moving.restarts = [1]
    done = signed_in("log", "demo", "12", "-f")
    assert done.exit_code == 0
    assert "demo #12 was interrupted and starts anew; what was printed before is void." in done.stderr
    checkout, test = moving.logs[12, "checkout"], moving.logs[12, "test"]
    assert done.stdout.encode() == checkout + checkout + test


def test_a_server_that_goes_away_for_good_is_said_at_last(signed_in, moving, values, monkeypatch):
    from sayci.cli import feed

    monkeypatch.setattr(feed, "PATIENCE", 0.05)
    monkeypatch.setattr(feed, "FIRST_PAUSE", 0.02)
    moving.trouble("GET", "projects/demo/builds/12/steps/test/log", *[values.Answer(0)] * 100)
    done = signed_in("log", "demo", "12", "-f")
    assert done.exit_code == 3
    assert done.stdout_bytes == b"fetched.\n"


def test_waiting_says_how_the_build_goes_on(signed_in, moving):
    moving.builds[11] = moving.builds.pop(12)
    moving.moves[12] = [moving.builds[11], *moving.moves[12]]
    done = signed_in("build", "demo", "--wait")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "demo #12 waits. For a free slot.",
        "demo #12 is running (checkout)",
        "demo #12 is running (test)",
        "demo #12 succeeded (1:41)",
    ]


# -- at a terminal


def test_at_a_terminal_colours_pass_and_nothing_else_acts(signed_in, at_terminal, moving):
    moving.logs[12, "test"] = b"\x1b[31mred\x1b[0m\x1b[2J\x1b]0;title\x07 bell\x07 \xff end\n"
    done = at_terminal("log", "demo", "12", "-f")
    assert done.exit_code == 0
    assert b"\x1b[31mred\x1b[0m bell \xef\xbf\xbd end\n\x1b[0m" in done.shown
    assert b"\x1b[2J" not in done.shown
    assert b"title" not in done.shown


@pytest.mark.parametrize("follow", ([], ["-f"]))
def test_no_colours_where_they_are_not_wanted(signed_in, at_terminal, server, follow, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = at_terminal("log", "demo", "12", "test", *follow).shown
    assert b"passed" in shown
    assert b"[32m" not in shown


def test_at_a_terminal_the_log_of_a_finished_build_is_tame_too(signed_in, at_terminal, server):
    server.logs[12, "test"] = b"\x1b[32mpassed\x1b[0m\x1b[2J\xe2\x82\xac\n"
    shown = at_terminal("log", "demo", "12", "test").shown
    assert "\x1b[32mpassed\x1b[0m€\n\x1b[0m".encode() in shown


def test_at_a_terminal_something_turns_while_a_build_is_waited_for(signed_in, at_terminal, moving):
    shown = at_terminal("log", "demo", "12", "-f").shown
    assert b"For a free slot." in shown
    assert b"\x1b[?25h" in shown  # the cursor is there again


# -- words


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({}, "demo #12 succeeded (1:41)"),
        ({"result": "timed_out", "reason": "after 10:00"}, "demo #12 timed out: after 10:00 (1:41)"),
        (
            {"result": "cancelled", "reason": "cancelled by ada", "started_at": None},
            "demo #12 was cancelled: cancelled by ada",
        ),
        ({"result": "error"}, "demo #12 could not run (1:41)"),
        ({"result": "unknown", "started_at": None}, "demo #12 needs an answer: nobody knows how it ended"),
        ({"result": "skipped", "started_at": None}, "demo #12 was skipped"),
        ({"result": "novel", "started_at": None}, "demo #12 has ended"),
        ({"state": "cancelling"}, "demo #12 is being cancelled"),
        ({"state": "queued", "waiting": ""}, "demo #12 waits."),
        ({"reason": "evil\x1b[2J\n", "started_at": None}, "demo #12 succeeded: evil␛[2J"),
        ({"steps": None, "state": "running"}, "demo #12 is running"),
    ),
)
def test_a_build_is_one_sentence(values, fields, words):
    assert sentence_of(values.a_build(**fields)) == words
