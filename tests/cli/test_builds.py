"""cli/builds.py: list, start, show, read, cancel, run again."""

from __future__ import annotations

import json

import pytest


def test_builds_are_listed_the_newest_first(signed_in, server, values):
    server.builds = {
        13: values.running(values.a_build(13), "test"),
        12: values.a_build(12, result="failure", message="evil\x1b[2J message\nbody"),
    }
    lines = signed_in("builds", "demo").stdout.splitlines()
    assert lines[0].split() == ["BUILD", "RESULT", "BRANCH", "COMMIT", "CAUSE", "TOOK", "MADE", "MESSAGE"]
    assert lines[1].split()[:3] == ["#13", "running", "main"]
    assert lines[2].split()[:6] == ["#12", "failure", "main", "c1ffee00", "push", "1:41"]
    assert lines[2].endswith("evil␛[2J message")


def test_the_list_can_be_short_and_of_one_branch(signed_in, server, values):
    server.builds = {
        number: values.a_build(number, branch="next" if number % 2 else "main") for number in range(9, 0, -1)
    }
    shown = json.loads(signed_in("builds", "demo", "-n", "2", "--branch", "next", "--json").stdout)
    assert [each["number"] for each in shown["items"]] == [9, 7]
    assert shown["next"] == "2"
    assert server.asked[-1].query == {"branch": "next", "limit": "2"}


def test_no_builds_are_said(signed_in, server):
    server.builds = {}
    assert "There are no builds." in signed_in("builds", "demo").stderr


def test_a_build_is_started_by_hand(signed_in, server):
    done = signed_in("build", "demo")
    assert done.exit_code == 0
    assert done.stdout == "demo #13 https://ci.example/demo/13\n"
    assert "sayci log demo 13 -f" in done.stderr
    signed_in("build", "demo", "--branch", "next")
    assert server.bodies("POST", "projects/demo/builds") == [{}, {"branch": "next"}]


def test_a_started_build_can_be_json(signed_in):
    assert json.loads(signed_in("build", "demo", "--json").stdout)["number"] == 13


@pytest.mark.parametrize(("result", "exit_code"), (("success", 0), ("failure", 1), ("cancelled", 1), ("unknown", 1)))
def test_waiting_for_a_build_answers_how_it_was(signed_in, server, values, result, exit_code):
    done = values.a_build(13, result=result)
    server.moves[13] = [values.running(done, "test"), done]
    assert signed_in("build", "demo", "--wait").exit_code == exit_code


def test_a_started_build_can_be_followed(signed_in, server, values):
    done = values.a_build(13)
    server.moves[13] = [values.running(done, "checkout"), values.running(done, "test"), done]
    server.logs |= {(13, "checkout"): b"fetched.\n", (13, "test"): b"passed.\n"}
    result = signed_in("build", "demo", "--follow")
    assert result.stdout == "demo #13 https://ci.example/demo/13\nfetched.\npassed.\n"
    assert result.exit_code == 0


def test_a_repository_that_does_not_answer_is_said(signed_in, server, values):
    server.trouble(
        "POST", "projects/demo/builds", values.Answer.problem(502, "Bad Gateway", "the repository is silent")
    )
    done = signed_in("build", "demo")
    assert done.exit_code == 3
    assert done.stderr.startswith("sayci: Bad Gateway: the repository is silent\n")


# -- show


def test_a_build_is_shown_with_its_steps(signed_in, server, values):
    steps = [
        values.a_step("checkout"),
        values.a_step("test", result="failure", reason="make test, exit 2", log_size=2100),
    ]
    server.builds[12] = values.a_build(
        result="failure", reason="make test, exit 2", steps=steps, source=11, asked_by="ada", attempt=2, cause="rebuild"
    )
    shown = signed_in("show", "demo", "12").stdout
    assert shown.splitlines()[0] == "demo #12 failed: make test, exit 2 (1:41)"
    assert "rebuild of #11 by ada" in shown
    assert "Count the beads" in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["checkout", "success", "0:30", "0", "bytes"],
        ["test", "failure", "0:30", "2.1", "kB", "make", "test,", "exit", "2"],
    ]


def test_without_a_number_the_newest_is_shown(signed_in, server):
    assert json.loads(signed_in("show", "demo", "--json").stdout) == server.builds[12]


def test_an_unknown_build_is_said(signed_in):
    done = signed_in("show", "demo", "99")
    assert done.exit_code == 4
    assert done.stderr == "sayci: Not Found: the project has no such build: 99\n"


def test_a_number_that_is_none_is_a_matter_of_usage(signed_in, server):
    assert signed_in("show", "demo", "twelve").exit_code == 2
    assert server.asked == []


# -- log


def test_a_log_is_printed_byte_for_byte(signed_in, server):
    server.logs[12, "test"] = bytes(range(256))
    done = signed_in("log", "demo", "12", "test")
    assert done.stdout_bytes == bytes(range(256))
    assert done.exit_code == 0


def test_the_logs_of_all_steps_follow_each_other(signed_in, server):
    done = signed_in("log", "demo")
    assert done.stdout_bytes == server.logs[12, "checkout"] + server.logs[12, "test"]
    assert done.stderr == "== checkout\n== test\n"


def test_a_reader_who_has_enough_is_fine(signed_in, command, server):
    import subprocess

    server.logs[12, "test"] = b"y\n" * 4_000_000
    line = command("log", "demo", "12", "test")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


# -- cancel, rebuild


def test_a_build_is_cancelled(signed_in, server, values):
    server.builds[12] = values.running(values.a_build(), "test")
    done = signed_in("cancel", "demo", "12")
    assert done.exit_code == 0
    assert "demo #12 is being cancelled" in done.stderr


def test_cancelling_can_wait_for_the_end(signed_in, server, values):
    server.builds[12] = values.running(values.a_build(), "test")
    server.moves[12] = [values.a_build(result="cancelled", reason="cancelled by ada")]
    done = signed_in("cancel", "demo", "12", "--wait")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1] == "demo #12 was cancelled: cancelled by ada (1:41)"


def test_what_has_ended_cannot_be_cancelled(signed_in):
    done = signed_in("cancel", "demo", "12")
    assert done.exit_code == 4
    assert done.stderr.startswith("sayci: Conflict: the build cannot do that now")


def test_which_build_is_cancelled_has_to_be_said(signed_in, server):
    assert signed_in("cancel", "demo").exit_code == 2
    assert server.asked == []


def test_a_build_is_run_again(signed_in, server, values):
    server.moves[13] = [values.a_build(13)]
    done = signed_in("rebuild", "demo", "12", "--wait")
    assert done.exit_code == 0
    assert any(each.path.endswith("builds/12/rebuild") for each in server.asked)


# -- at a terminal


def test_results_have_colours_at_a_terminal_and_nowhere_else(signed_in, at_terminal, server, values, monkeypatch):
    server.builds[12] = values.a_build(result="failure")
    assert b"\x1b[31mfailure" in at_terminal("builds", "demo").shown
    assert "\x1b" not in signed_in("builds", "demo").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert b"\x1b[" not in at_terminal("builds", "demo").shown


def test_long_messages_are_cut_at_a_terminals_edge_and_nowhere_else(
    signed_in, at_terminal, server, values, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    server.builds[12] = values.a_build(message="x" * 500)
    line = at_terminal("builds", "demo").shown.decode().splitlines()[-1]
    assert len(line) == 100
    assert line.endswith("xxx…")
    assert "x" * 500 in signed_in("builds", "demo").stdout
