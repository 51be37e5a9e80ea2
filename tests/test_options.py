"""options.py: what the operator says, checked before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayci.options import DEFAULT_PORT, ContainerSettings, Options


def settings(*arguments, **environment):
    options = Options(environment)
    options.parseOptions(list(arguments))
    return options.settings


def test_everything_has_a_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = settings()
    assert said.ports == (DEFAULT_PORT,)
    assert said.data == Path(tmp_path / "var")
    assert said.database == f"sqlite:///{tmp_path}/var/sayci.sqlite"
    assert said.allowed_schemes == {"https", "ssh"}
    assert (said.slots, said.sample, said.sign_in_link) == (2, False, False)


def test_the_command_line_wins_over_the_environment():
    said = settings("--slots", "5", "--port", "tcp:1", SAYCI_SLOTS="3", SAYCI_PORT="tcp:2 tcp:3", SAYCI_GRACE="7")
    assert (said.slots, said.ports, said.grace) == (5, ("tcp:1",), 7.0)


def test_several_values_are_separated_by_spaces_in_the_environment():
    said = settings(SAYCI_PORT="tcp:2  tcp:3", SAYCI_ALLOW_URL="file http")
    assert said.ports == ("tcp:2", "tcp:3")
    assert said.allowed_schemes == {"https", "ssh", "file", "http"}


@pytest.mark.parametrize(("word", "means"), (("1", True), ("yes", True), ("0", False), ("", False)))
def test_a_flag_in_the_environment_is_a_word(word, means):
    assert settings(SAYCI_SAMPLE=word).sample is means


def test_options_may_be_repeated():
    said = settings("--port", "tcp:1", "-p", "unix:/x", "--allow-url", "file", "--allow-url", "http")
    assert said.ports == ("tcp:1", "unix:/x")
    assert said.allowed_schemes == {"https", "ssh", "file", "http"}


@pytest.mark.parametrize(
    "arguments",
    (
        ("--slots", "-1"),
        ("--slots", "1001"),
        ("--slots", "\uff11"),
        ("--grace", "1e9"),
        ("--output-limit", "12"),
        ("--public-url", "https://user@host"),
        ("--public-url", "javascript:x"),
        ("--github-api", "api.github.com"),
        ("--allow-url", "ext"),
        ("--data",),
        ("a-word",),
    ),
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        settings(*arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("sayci: ")
    assert said.count("\n") == 1


def test_a_slash_at_the_end_of_an_address_is_not_kept():
    assert settings("--public-url", "https://ci.example/sub/").public_url == "https://ci.example/sub"


def test_containers_are_asked_for_by_name():
    assert settings().containers is None
    assert settings("--launcher", "docker").containers == ContainerSettings()
    given = (
        "--docker-image",
        "ci:1",
        "--docker-network",
        "none",
        "--docker-cpus",
        "1.5",
        "--docker-socket",
        "unix:///x",
    )
    assert settings("--launcher", "docker", *given).containers == ContainerSettings(Path("/x"), "ci:1", "none", 1.5)
    assert settings(SAYCI_LAUNCHER="docker", SAYCI_DOCKER_IMAGE="ci:2").containers == ContainerSettings(image="ci:2")


@pytest.mark.parametrize(
    "arguments",
    (
        ("--launcher", "moon"),
        ("--docker-image", "--privileged"),
        ("--docker-network", "host"),
        ("--docker-network", "container:x"),
        ("--docker-cpus", "-1"),
        ("--docker-cpus", "many"),
    ),
)
def test_containers_that_cannot_be_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit):
        settings(*arguments)
    assert capsys.readouterr().err.count("\n") == 1
