"""options.py: what the operator says, checked before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayci.options import DEFAULT_PORT, ContainerSettings, GitHubSettings, Options


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


SECRET = "SAYCI_GITHUB_CLIENT_SECRET"


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("from a file\n".replace(" ", "-"))
    path.chmod(0o600)
    return path


def test_nobody_signs_in_with_github_unless_it_is_said():
    assert settings().github is None
    assert (settings().github_url, settings().github_api) == ("https://github.com", "https://api.github.com")


def test_the_client_of_github_has_its_secret_from_a_file_or_the_environment(secret_file):
    said = settings("--github-client-id", "Iv1.0123", "--github-client-secret-file", str(secret_file))
    assert said.github == GitHubSettings("Iv1.0123", "from-a-file", "", 3600.0)
    more = ("--github-scope", "repo", "--github-recheck", "60")
    said = settings(*more, SAYCI_GITHUB_CLIENT_ID="Iv1.0123", **{SECRET: "stated"})
    assert said.github == GitHubSettings("Iv1.0123", "stated", "repo", 60.0)
    assert "stated" not in repr(said)


def test_enterprise_has_its_api_below_its_own_address():
    assert settings("--github-url", "https://ghe.example/").github_api == "https://ghe.example/api/v3"
    given = ("--github-url", "https://ghe.example", "--github-api", "https://api.ghe.example")
    assert settings(*given).github_api == "https://api.ghe.example"


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("--github-client-id", "Iv1.0123"), "client-secret-file"),
        (("--github-client-id", "<b>"), "client ID"),
        (("--github-client-secret-file", "{file}"), "client ID"),
        (("--github-client-id", "x", "--github-client-secret-file", "{file}", "--github-recheck", "0"), "whole number"),
        (("--github-client-id", "x", "--github-client-secret-file", "{file}", "--github-scope", "re!po"), "scope"),
        (("--github-client-id", "x", "--github-client-secret-file", "{file}.not"), "cannot be read"),
        (("--github-client-id", "x", "--github-client-secret-file", "/"), "cannot be read"),
        (("--github-client-id", "x", "--github-client-secret-file", "{open}"), "chmod 600"),
        (("--github-client-id", "x", "--github-client-secret-file", "{empty}"), "client-secret-file"),
        (("--github-url", "github.com"), "address"),
    ),
)
def test_a_client_of_github_that_cannot_be_is_one_line(arguments, words, secret_file, tmp_path, capsys):
    for name, mode in (("open", 0o644), ("empty", 0o600)):
        path = tmp_path / name
        path.write_text("everybodys-secret" if name == "open" else "")
        path.chmod(mode)
    places = {"file": str(secret_file), "open": str(tmp_path / "open"), "empty": str(tmp_path / "empty")}
    with pytest.raises(SystemExit):
        settings(*(argument.format(**places) for argument in arguments))
    said = capsys.readouterr().err
    assert words in said
    assert "everybodys-secret" not in said
    assert said.count("\n") == 1
