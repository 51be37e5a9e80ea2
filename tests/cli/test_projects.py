"""cli/projects.py: list, register, show, change, remove."""

from __future__ import annotations

import json
import subprocess

import pytest

from sayci.cli import projects


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(projects, "LOOK", 0.01)


def test_projects_are_listed(signed_in, server, values):
    server.projects["other"] = values.a_project("other", deploy_branch="live", mirror="failed")
    lines = signed_in("projects").stdout.splitlines()
    assert lines[0].split() == ["NAME", "MIRROR", "BRANCH", "DEPLOYS", "REPOSITORY"]
    assert lines[1].split() == ["demo", "ready", "main", "-", "https://forge.example/ada/demo.git"]
    assert lines[2].split() == ["other", "failed", "main", "live", "https://forge.example/ada/other.git"]


def test_the_list_is_json_where_that_is_asked_for(signed_in, server):
    shown = json.loads(signed_in("projects", "--json").stdout)
    assert shown == {"items": list(server.projects.values()), "next": None}


def test_no_projects_are_said_with_what_to_do(signed_in, server):
    server.projects.clear()
    done = signed_in("projects")
    assert (done.stdout, done.exit_code) == ("", 0)
    assert "sayci add NAME URL" in done.stderr


# -- add


def test_add_waits_for_the_mirror_and_says_what_to_enter_at_the_forge(signed_in, server, values):
    server.looks_until_cloned = 3
    done = signed_in("add", "abacus", "https://forge.example/ada/abacus.git")
    assert done.exit_code == 0
    assert server.bodies("POST", "projects") == [{"name": "abacus", "url": "https://forge.example/ada/abacus.git"}]
    assert len(server.bodies("GET", "projects/abacus")) == 3
    assert "abacus is registered and its repository is cloned." in done.stderr
    for words in ("https://ci.example/hooks/abacus", "application/json", values.SECRET, "push event"):
        assert words in done.stdout
    assert done.stderr.count("Cloning") == 1


def test_add_sends_the_settings_that_are_given(signed_in, server):
    options = ("--branch", "trunk", "--deploy-branch", "live", "--test-target", "check", "--deploy-target", "ship")
    more = ("--memory-limit", "2G", "--process-limit", "100", "--end-at-output-limit", "--output-limit", "500k")
    limits = ("--time-limit", "600", *more, "--forge-api", "https://forge.example/api/v1", "--no-wait")
    signed_in("add", "abacus", "https://forge.example/ada/abacus.git", *options, *limits)
    assert server.bodies("POST", "projects") == [
        {
            "name": "abacus",
            "url": "https://forge.example/ada/abacus.git",
            "default_branch": "trunk",
            "deploy_branch": "live",
            "test_target": "check",
            "deploy_target": "ship",
            "time_limit": 600.0,
            "memory_limit": 2 << 30,
            "process_limit": 100,
            "ends_at_output_limit": True,
            "output_limit": 512_000,
            "forge_api": "https://forge.example/api/v1",
        }
    ]


def test_add_reads_the_access_token_from_a_pipe(signed_in, server):
    done = signed_in("add", "abacus", "https://x.example/a/b", "--access-token", given="forge-secret\n")
    assert server.bodies("POST", "projects")[0]["access_token"] == "forge-secret"
    assert "forge-secret" not in done.output


def test_add_does_not_wait_where_that_is_asked_for(signed_in, server, values):
    server.looks_until_cloned = 3
    done = signed_in("add", "abacus", "https://x.example/a/b", "--no-wait")
    assert server.bodies("GET", "projects/abacus") == []
    assert "is being cloned" in done.stderr
    assert values.SECRET in done.stdout


def test_a_repository_that_cannot_be_cloned_is_said_and_the_secret_is_told_all_the_same(signed_in, server, values):
    server.looks_until_cloned, server.mirror_at_last = 2, "failed"
    done = signed_in("add", "abacus", "https://x.example/a/b")
    assert done.exit_code == 1
    assert values.SECRET in done.stdout
    assert "could not be cloned: the forge said no" in done.stderr


def test_the_secret_is_told_although_the_server_goes_away_meanwhile(signed_in, server, values):
    server.looks_until_cloned = 3
    server.trouble("GET", "projects/abacus", values.Answer(0))
    done = signed_in("add", "abacus", "https://x.example/a/b")
    assert done.exit_code == 3
    assert values.SECRET in done.stdout


def test_add_prints_json_with_the_secret_and_the_mirror_as_it_is_at_last(signed_in, server, values):
    server.looks_until_cloned = 2
    shown = json.loads(signed_in("add", "abacus", "https://x.example/a/b", "--json").stdout)
    assert (shown["webhook_secret"], shown["mirror"]) == (values.SECRET, "ready")


def test_add_takes_the_repository_of_the_clone_that_one_is_in(signed_in, server):
    for arguments in (["init", "-q"], ["remote", "add", "origin", "git@forge.example:ada/abacus.git"]):
        subprocess.run(["git", *arguments], check=True, timeout=30)
    signed_in("add", "abacus")
    assert server.bodies("POST", "projects")[0]["url"] == "git@forge.example:ada/abacus.git"


def test_add_outside_of_a_clone_needs_an_address(signed_in, server):
    assert signed_in("add", "abacus").exit_code == 2
    assert server.asked == []


@pytest.mark.parametrize(
    ("code", "title", "exit_code"), ((409, "Conflict", 4), (422, "Unprocessable Entity", 4), (403, "Forbidden", 3))
)
def test_what_the_server_says_against_it_is_one_line(signed_in, server, values, code, title, exit_code):
    server.trouble("POST", "projects", values.Answer.problem(code, title, "there is a reason: demo"))
    done = signed_in("add", "demo", "https://x.example/a/b")
    assert done.exit_code == exit_code
    assert done.stderr.splitlines()[0] == f"sayci: {title}: there is a reason: demo"


# -- show and change


def test_a_project_is_shown(signed_in, server, values):
    server.projects["demo"] = values.a_project(
        deploy_branch="live", mirror="failed", mirror_error="no such host\x1b[2J"
    )
    shown = signed_in("project", "demo").stdout
    assert "make deploy, of branch live" in shown
    assert "1:00:00" in shown
    assert "no such host" in shown
    assert "\x1b" not in shown
    assert json.loads(signed_in("project", "demo", "--json").stdout) == server.projects["demo"]


def test_settings_are_changed(signed_in, server):
    done = signed_in(
        "project", "demo", "--rename", "abacus", "--no-deploys", "--time-limit", "90", "--url", "https://y"
    )
    assert done.exit_code == 0
    assert server.bodies("PATCH", "projects/demo") == [
        {"name": "abacus", "url": "https://y", "time_limit": 90.0, "deploy_branch": None}
    ]


def test_the_access_token_is_set_and_removed(signed_in, server):
    done = signed_in("project", "demo", "--access-token", given="forge-secret")
    assert "is set" in done.stdout
    assert "forge-secret" not in done.output
    signed_in("project", "demo", "--no-access-token")
    assert server.bodies("PATCH", "projects/demo") == [{"access_token": "forge-secret"}, {"access_token": None}]


@pytest.mark.parametrize("options", (("--no-deploys", "--deploy-branch", "x"), ("--access-token", "--no-access-token")))
def test_options_that_contradict_each_other_are_refused(signed_in, server, options):
    assert signed_in("project", "demo", *options).exit_code == 2
    assert server.asked == []


def test_an_empty_access_token_is_refused(signed_in, server):
    assert signed_in("project", "demo", "--access-token", given="\n").exit_code == 2
    assert server.asked == []


def test_an_unknown_project_is_said(signed_in):
    done = signed_in("project", "nothing")
    assert done.exit_code == 4
    assert done.stderr == "sayci: Not Found: there is no such project: nothing\n"


# -- remove and the webhook's secret


def test_a_project_is_removed_when_that_is_meant(signed_in, server):
    assert signed_in("remove", "demo").exit_code == 2
    assert server.asked == []
    assert signed_in("remove", "demo", "--yes").exit_code == 0
    assert (server.asked[-1].method, server.asked[-1].path) == ("DELETE", "/api/v1/projects/demo")


def test_at_a_terminal_removing_is_asked_about(signed_in, at_terminal, server):
    question = b"Remove demo with all its builds and logs? [y/N]"
    assert at_terminal("remove", "demo", typed=[(question, b"n\n")]).exit_code == 2
    assert server.asked == []
    assert at_terminal("remove", "demo", typed=[(question, b"y\n")]).exit_code == 0
    assert [each.method for each in server.asked] == ["DELETE"]


def test_the_webhook_secret_is_replaced_and_told(signed_in, server, values):
    assert signed_in("webhook-secret", "demo").exit_code == 2
    done = signed_in("webhook-secret", "demo", "--yes")
    assert values.SECRET in done.stdout
    assert "https://ci.example/hooks/demo" in done.stdout
    shown = json.loads(signed_in("webhook-secret", "demo", "--yes", "--json").stdout)
    assert shown["webhook_secret"] == values.SECRET


# -- without a server


def test_a_server_that_is_down_is_one_line_with_what_to_do(anonymous, monkeypatch, values):
    monkeypatch.setenv("SAYCI_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("SAYCI_TOKEN", values.TOKEN)
    done = anonymous("projects")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == [
        "sayci: cannot reach the server: http://127.0.0.1:9, Connection refused",
        "  is it running, and is the address right?",
    ]


def test_who_is_not_signed_in_is_told_how(anonymous):
    done = anonymous("projects")
    assert done.exit_code == 3
    assert "sayci login LINK" in done.stderr


@pytest.mark.parametrize(
    ("code", "exit_code", "advice"), ((401, 3, "sayci login"), (403, 3, "more access"), (503, 3, "try again later"))
)
def test_every_refusal_says_what_to_do(signed_in, server, values, code, exit_code, advice):
    server.trouble("GET", "projects", values.Answer.problem(code, "A Title", "detail"))
    done = signed_in("projects")
    assert done.exit_code == exit_code
    assert done.stderr.startswith("sayci: A Title: detail\n")
    assert advice in done.stderr


def test_a_hostile_answer_does_not_act_on_the_terminal(signed_in, server, values):
    server.trouble("GET", "projects", values.Answer.problem(404, "Bad\x1b]0;x\x07", "\x1b[2Jcleared\r\n\u202e"))
    done = signed_in("projects")
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(done.stderr)
