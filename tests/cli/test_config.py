"""cli/config.py: where the token is kept, and to whom it may be sent."""

from __future__ import annotations

import json
import stat

import pytest

from sayci.cli import config
from sayci.cli.config import Account
from sayci.cli.trouble import Shut, Trouble

ACCOUNT = Account("https://ci.example", "sayci_a-token", token_id=4)


def test_what_is_saved_is_found_again(home):
    config.save(ACCOUNT)
    assert config.stored() == ACCOUNT
    assert config.account({}) == ACCOUNT


def test_only_the_owner_can_read_the_file(home):
    path = config.save(ACCOUNT)
    assert path == home / "config" / "sayci" / "config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_replaced_by_one_that_they_cannot(home):
    path = config.path_of()
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    path.chmod(0o644)
    config.save(ACCOUNT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_but_the_file_is_left(home):
    config.save(ACCOUNT)
    config.save(ACCOUNT)
    assert [each.name for each in config.path_of().parent.iterdir()] == ["config.json"]


def test_saving_replaces_a_link_and_never_writes_through_it(home):
    path = config.path_of()
    path.parent.mkdir(parents=True)
    elsewhere = home / "elsewhere"
    elsewhere.write_text("mine")
    path.symlink_to(elsewhere)
    config.save(ACCOUNT)
    assert elsewhere.read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_said(home):
    (home / "config").write_text("a file where a directory should be")
    with pytest.raises(Shut, match="cannot be written"):
        config.save(ACCOUNT)


@pytest.mark.parametrize(
    "text", ("", "{", "[]", "7", '{"server": 1, "token": "x"}', '{"server": "https://x"}', "[" * 9999)
)
def test_a_damaged_file_says_so(home, text):
    path = config.path_of()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Shut, match="damaged"):
        config.stored()


def test_what_a_later_version_adds_to_the_file_is_ignored(home):
    config.save(ACCOUNT)
    path = config.path_of()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "green"}))
    assert config.stored() == ACCOUNT


def test_forgetting_removes_the_file(home):
    config.save(ACCOUNT)
    assert config.forget()
    assert config.stored() is None
    assert not config.forget()


def test_a_token_does_not_appear_when_an_account_is_printed():
    assert ACCOUNT.token not in repr(ACCOUNT)


# -- the environment before the file


def test_without_file_and_environment_nobody_is_signed_in(home):
    with pytest.raises(Shut, match="not signed in") as caught:
        config.account({})
    assert "sayci login" in caught.value.advice


def test_the_environment_comes_before_the_file(home):
    config.save(ACCOUNT)
    assert config.account({"SAYCI_TOKEN": "other\n"}) == Account("https://ci.example", "other")
    given = {"SAYCI_SERVER": "https://other.example/", "SAYCI_TOKEN": "other"}
    assert config.account(given) == Account("https://other.example", "other")


def test_the_token_in_the_file_is_never_for_another_server(home):
    config.save(ACCOUNT)
    with pytest.raises(Shut, match="not signed in at"):
        config.account({"SAYCI_SERVER": "https://other.example"})


def test_the_same_server_in_the_environment_finds_its_token(home):
    config.save(ACCOUNT)
    assert config.account({"SAYCI_SERVER": "https://ci.example/"}) == ACCOUNT


def test_a_relative_configuration_directory_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.path_of({"XDG_CONFIG_HOME": "relative"}) == tmp_path / ".config" / "sayci" / "config.json"


# -- addresses


@pytest.mark.parametrize(
    ("url", "server"),
    (
        ("http://localhost:8080/sign-in?code=x", "http://localhost:8080"),
        ("https://ci.example", "https://ci.example"),
        ("https://ci.example/", "https://ci.example"),
        (" https://ci.example/below/sign-in?code=x\n", "https://ci.example/below"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ),
)
def test_the_server_is_found_in_its_links(url, server):
    assert config.server_of(url) == server


@pytest.mark.parametrize(
    "url",
    (
        "",
        "ci.example",
        "ftp://ci.example",
        "https://",
        "https://x:99999",
        "https://u:p@ci.example",
        "file:///etc",
        "https://a b",
    ),
)
def test_what_is_no_address_is_refused_without_repeating_secrets(url):
    with pytest.raises(Trouble) as caught:
        config.server_of(url + "?code=s3cret")
    assert "s3cret" not in str(caught.value)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "private"),
    (
        ("https://ci.example", True),
        ("http://localhost:8080", True),
        ("http://ci.localhost", True),
        ("http://127.0.0.1:80", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:8080", True),
        ("http://ci.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://127.evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://10.0.0.1", False),
        ("http://[::2]", False),
    ),
)
def test_only_encrypted_or_local_ways_are_private(server, private):
    assert config.is_private(server) is private


def test_a_token_goes_over_an_open_network_only_if_somebody_said_so():
    with pytest.raises(Shut, match="everybody"):
        Account("http://ci.example", "x").check()
    Account("http://ci.example", "x", insecure=True).check()
