"""cli/deploys.py: a green commit is deployed when a person asks for it."""

from __future__ import annotations

import json

import pytest


def test_the_commit_of_a_build_is_deployed(signed_in, server):
    done = signed_in("deploy", "demo", "12")
    assert done.exit_code == 0
    assert server.bodies("POST", "projects/demo/deploys") == [{"build": 12}]
    assert done.stdout == "demo #13 https://ci.example/demo/13\n"


@pytest.mark.parametrize("length", (40, 64))
def test_a_commit_is_deployed_by_its_full_name(signed_in, server, length):
    commit = "1234567890" * 4 if length == 40 else "ab" * 32
    signed_in("deploy", "demo", commit)
    assert server.bodies("POST", "projects/demo/deploys") == [{"commit": commit}]


@pytest.mark.parametrize("what", ("abc123f", "HEAD", "main", "-"))
def test_a_short_name_is_not_guessed_at(signed_in, server, what):
    assert signed_in("deploy", "demo", what).exit_code == 2
    assert server.asked == []


def test_what_is_deployed_has_to_be_said(signed_in, server):
    assert signed_in("deploy").exit_code == 2
    assert signed_in("deploy", "demo").exit_code == 2
    assert server.asked == []


@pytest.mark.parametrize(("result", "exit_code"), (("success", 0), ("failure", 1), ("unknown", 1)))
def test_waiting_for_a_deploy_answers_how_it_was(signed_in, server, values, result, exit_code):
    steps = [values.a_step("checkout"), values.a_step("deploy", result=result)]
    done = values.a_build(13, result=result, cause="deploy", steps=steps)
    server.moves[13] = [values.running(done, "deploy"), done]
    assert signed_in("deploy", "demo", "12", "--wait").exit_code == exit_code


def test_a_commit_that_is_not_green_is_said(signed_in, server, values):
    problem = values.Answer.problem(409, "Conflict", "only a commit whose tests succeeded can be deployed: #12")
    server.trouble("POST", "projects/demo/deploys", problem)
    done = signed_in("deploy", "demo", "12", "--wait")
    assert done.exit_code == 4
    assert done.stderr == "sayci: Conflict: only a commit whose tests succeeded can be deployed: #12\n"


def test_deploys_are_listed(signed_in, server, values):
    server.builds[9] = values.a_build(9, cause="deploy", steps=[values.a_step("deploy")])
    lines = signed_in("deploys", "demo").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["BUILD", "#9"]
    assert json.loads(signed_in("deploys", "demo", "--json").stdout)["items"] == [server.builds[9]]


def test_no_deploys_are_said(signed_in):
    assert "There are no deploys." in signed_in("deploys", "demo").stderr
