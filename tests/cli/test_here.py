"""cli/here.py: which project and build are meant, where the command line leaves it open."""

from __future__ import annotations

import subprocess

import pytest

from sayci.cli import here
from sayci.cli.api import Api
from sayci.cli.config import Account
from sayci.cli.trouble import Misused, Trouble


@pytest.fixture
def api(server, values, home):
    return Api(Account(server.url, values.TOKEN))


def clone_of(url):
    for arguments in (["init", "-q"], ["remote", "add", "origin", url]):
        subprocess.run(["git", *arguments], check=True, timeout=30)


@pytest.mark.parametrize(
    "url",
    (
        "https://forge.example/ada/demo.git",
        "https://forge.example/ada/demo",
        "https://ada@FORGE.example:443/ada/demo/",
        "ssh://git@forge.example/ada/demo.git",
        "ssh://git@forge.example:22/ada/demo.git",
        "git@forge.example:ada/demo.git",
        "forge.example:ada/demo",
    ),
)
def test_a_clone_finds_its_project_however_it_was_cloned(api, url):
    clone_of(url)
    assert here.project_of(api, None) == "demo"
    assert here.project_of(api, ".") == "demo"
    assert here.project_of(api, "other") == "other"


@pytest.mark.parametrize(
    "url", ("https://forge.example/ada/demo2", "https://other.example/ada/demo", "/srv/git/demo.git")
)
def test_a_clone_of_something_else_finds_none(api, url):
    clone_of(url)
    with pytest.raises(Misused, match="no project has this repository"):
        here.project_of(api, None)


def test_a_repository_of_several_projects_has_to_be_named(api, server, values):
    clone_of("https://forge.example/ada/demo.git")
    server.projects["twin"] = values.a_project("twin", url="ssh://git@forge.example/ada/demo")
    with pytest.raises(Misused, match="several projects have this repository: demo, twin"):
        here.project_of(api, None)


def test_outside_of_a_clone_a_project_has_to_be_named(api):
    with pytest.raises(Misused, match="no clone"):
        here.project_of(api, None)


def test_without_git_a_project_has_to_be_named(api, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Misused, match="no clone"):
        here.project_of(api, None)


def test_a_number_alone_is_a_build_of_the_project_that_one_is_in(api):
    clone_of("https://forge.example/ada/demo.git")
    assert here.build_of(api, "12", None) == ("demo", 12)
    assert here.build_of(api, "#12", None) == ("demo", 12)
    assert here.build_of(api, ".", "7") == ("demo", 7)


def test_a_project_whose_name_is_a_number_is_named_with_a_number_behind(api):
    assert here.build_of(api, "2048", "3") == ("2048", 3)


def test_no_number_is_the_newest_build_where_that_makes_sense(api, server, values):
    server.builds = {14: values.a_build(14), 13: values.a_build(13)}
    assert here.build_of(api, "demo", None, latest=True) == ("demo", 14)
    with pytest.raises(Misused, match="which build"):
        here.build_of(api, "demo", None)
    server.builds = {}
    with pytest.raises(Trouble, match="no builds yet of: demo"):
        here.build_of(api, "demo", None, latest=True)


@pytest.mark.parametrize("text", ("x", "", "-1", "1.5", "１", "1" * 19, "##1"))  # noqa: RUF001 - a digit that is none here
def test_what_is_no_number_is_refused(text):
    with pytest.raises(Misused):
        here.number_of(text)
