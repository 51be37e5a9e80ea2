"""cli/environment.py: plain variables may be typed, secret ones never."""

from __future__ import annotations

import json

import pytest

VARIABLE = "projects/demo/environment/TOKEN"


def test_variables_are_listed_without_secret_values(signed_in, server):
    server.variables = [
        {"name": "LEVEL", "value": "debug", "secret": False, "scope": "both"},
        {"name": "TOKEN", "value": None, "secret": True, "scope": "deploy"},
    ]
    lines = signed_in("env", "list", "demo").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "FOR", "VALUE"],
        ["LEVEL", "both", "debug"],
        ["TOKEN", "deploy", "(secret)"],
    ]
    assert json.loads(signed_in("env", "list", "demo", "--json").stdout)["items"] == server.variables


def test_no_variables_are_said(signed_in):
    assert "demo has no variables." in signed_in("env", "list", "demo").stderr


def test_plain_values_may_be_typed_several_at_once(signed_in, server):
    done = signed_in("env", "set", "demo", "LEVEL=debug", "EMPTY=", "URL=a=b")
    assert done.exit_code == 0
    assert [each.body for each in server.asked] == [{"value": "debug"}, {"value": ""}, {"value": "a=b"}]
    assert [each.path.rpartition("/")[2] for each in server.asked] == ["LEVEL", "EMPTY", "URL"]


def test_a_secret_comes_from_the_standard_input_and_is_not_printed(signed_in, server):
    done = signed_in("env", "set", "demo", "TOKEN", "--secret", given="s3cret value\n")
    assert server.bodies("PUT", VARIABLE) == [{"value": "s3cret value", "secret": True}]
    assert "s3cret" not in done.output
    assert "TOKEN is set, as a secret." in done.stderr


def test_a_value_of_several_lines_keeps_all_but_its_last_break(signed_in, server):
    signed_in("env", "set", "demo", "TOKEN", "--secret", "--for", "deploy", given="one\ntwo\n\n")
    assert server.bodies("PUT", VARIABLE) == [{"value": "one\ntwo\n", "secret": True, "scope": "deploy"}]


def test_a_name_alone_takes_its_value_from_the_pipe_and_leaves_the_rest_as_it_is(signed_in, server):
    signed_in("env", "set", "demo", "TOKEN", given="value")
    signed_in("env", "set", "demo", "TOKEN", "--plain", "--for", "both", given="value")
    assert server.bodies("PUT", VARIABLE) == [{"value": "value"}, {"value": "value", "secret": False, "scope": "both"}]


def test_a_secret_on_the_command_line_is_refused(signed_in, server):
    done = signed_in("env", "set", "demo", "TOKEN=s3cret", "--secret")
    assert done.exit_code == 2
    assert "s3cret" not in done.output
    assert server.asked == []


@pytest.mark.parametrize("given", ("", "\n"))
def test_nothing_on_the_pipe_is_refused(signed_in, server, given):
    assert signed_in("env", "set", "demo", "TOKEN", "--secret", given=given).exit_code == 2
    assert server.asked == []


def test_bytes_that_are_no_text_are_refused(signed_in, server):
    assert signed_in("env", "set", "demo", "TOKEN", "--secret", given=b"\xff\xfe").exit_code == 2
    assert server.asked == []


def test_two_values_cannot_come_through_one_pipe(signed_in, server):
    assert signed_in("env", "set", "demo", "A", "B", "--secret", given="x").exit_code == 2
    assert server.asked == []


def test_at_a_terminal_a_secret_is_asked_for_and_not_echoed(signed_in, at_terminal, server):
    done = at_terminal("env", "set", "demo", "TOKEN", "--secret", typed=[(b"TOKEN: ", b"s3cret\n")])
    assert b"TOKEN is set, as a secret." in done.shown
    assert b"s3cret" not in done.shown
    assert server.bodies("PUT", VARIABLE) == [{"value": "s3cret", "secret": True}]


def test_variables_are_removed(signed_in, server):
    assert signed_in("env", "unset", "demo", "A", "B").exit_code == 0
    assert [(each.method, each.path.rpartition("/")[2]) for each in server.asked] == [("DELETE", "A"), ("DELETE", "B")]


def test_a_variable_that_the_server_does_not_take_is_said(signed_in, server, values):
    problem = values.Answer.problem(422, "Unprocessable Entity", "sayci states this variable itself: CI")
    server.trouble("PUT", "projects/demo/environment/CI", problem)
    done = signed_in("env", "set", "demo", "CI=1")
    assert done.exit_code == 4
    assert done.stderr == "sayci: Unprocessable Entity: sayci states this variable itself: CI\n"


def test_a_strange_name_stays_one_part_of_the_address(signed_in, server):
    signed_in("env", "unset", "demo", "../../tokens/1")
    assert server.asked[-1].path == "/api/v1/projects/demo/environment/..%2F..%2Ftokens%2F1"
