"""cli/access.py: signing in and out, and tokens; no secret on a command line or where it need not be."""

from __future__ import annotations

import json
import re

import pytest

from sayci.cli import config


def stored():
    return json.loads(config.path_of().read_text())


# -- login


def test_the_link_of_the_server_signs_in(anonymous, server, values):
    done = anonymous("login", f"{server.url}/sign-in?code={values.CODE}")
    assert done.exit_code == 0
    assert f"Signed in at {server.url} as ada, with admin access." in done.stderr
    assert stored() == {"server": server.url, "token": values.TOKEN, "insecure": False, "token_id": 7}
    [asked] = server.bodies("POST", "sign-in")
    assert asked["code"] == values.CODE
    assert re.fullmatch(r".+@.+", asked["name"])


def test_signed_in_once_all_commands_work(anonymous, server, values):
    anonymous("login", f"{server.url}/sign-in?code={values.CODE}", "--name", "laptop")
    assert server.bodies("POST", "sign-in") == [{"code": values.CODE, "name": "laptop"}]
    assert anonymous("projects").exit_code == 0


def test_a_code_is_good_once_and_a_failed_login_changes_nothing(anonymous, server, values):
    anonymous("login", f"{server.url}/sign-in?code={values.CODE}")
    before = stored()
    done = anonymous("login", f"{server.url}/sign-in?code=used")
    assert done.exit_code == 3
    assert "sayci: Unauthorized: the code is not good, or not any more" in done.stderr
    assert stored() == before


def test_a_token_is_read_from_the_standard_input(anonymous, server, values):
    done = anonymous("login", server.url, "--token", "-", given=f"{values.TOKEN}\n")
    assert done.exit_code == 0
    assert stored() == {"server": server.url, "token": values.TOKEN, "insecure": False, "token_id": None}
    assert server.bodies("POST", "sign-in") == []


def test_a_wrong_token_is_not_kept(anonymous, server):
    done = anonymous("login", server.url, "--token", "-", given="wrong\n")
    assert done.exit_code == 3
    assert not config.path_of().exists()


def test_a_token_on_the_command_line_is_refused_and_not_repeated(anonymous, server):
    done = anonymous("login", server.url, "--token", "sayci_oops")
    assert done.exit_code == 2
    assert "sayci_oops" not in done.output
    assert server.asked == []


@pytest.mark.parametrize("link", ("https://ci.example", "https://ci.example/sign-in?code="))
def test_a_link_without_a_code_is_a_matter_of_usage(anonymous, link):
    done = anonymous("login", link)
    assert done.exit_code == 2
    assert "the whole link" in done.stderr


def test_without_a_terminal_the_link_is_not_asked_for(anonymous):
    assert anonymous("login").exit_code == 4


def test_signing_in_over_an_open_network_has_to_be_asked_for(anonymous):
    done = anonymous("login", "http://ci.example.invalid/sign-in?code=x")
    assert done.exit_code == 3
    assert "login --insecure" in done.stderr
    done = anonymous("login", "--insecure", "http://ci.example.invalid/sign-in?code=x")
    assert "cannot reach the server" in done.stderr


def test_that_the_network_is_open_is_remembered(home, anonymous, server, values):
    config.save(config.Account("http://ci.example.invalid", values.TOKEN, insecure=True))
    assert "cannot reach the server" in anonymous("projects").stderr
    config.save(config.Account("http://ci.example.invalid", values.TOKEN))
    assert "everybody" in anonymous("projects").stderr


def test_a_server_that_answers_without_a_token_is_said(anonymous, server, values):
    server.trouble("POST", "sign-in", values.Answer(201, {}, "application/json"))
    assert anonymous("login", f"{server.url}/sign-in?code=x").exit_code == 4


def test_at_a_terminal_the_token_is_asked_for_and_not_shown(at_terminal, server, values):
    done = at_terminal("login", server.url, "--token", "-", typed=[(b"Token: ", values.TOKEN.encode() + b"\n")])
    assert b"Signed in at" in done.shown
    assert values.TOKEN.encode() not in done.shown
    assert stored()["token"] == values.TOKEN


def test_at_a_terminal_the_link_is_asked_for(at_terminal, server, values):
    link = f"{server.url}/sign-in?code={values.CODE}\n".encode()
    assert b"Signed in at" in at_terminal("login", typed=[(b"Sign-in link: ", link)]).shown


# -- logout


def test_signing_out_revokes_the_token_that_login_made(anonymous, server, values):
    anonymous("login", f"{server.url}/sign-in?code={values.CODE}")
    done = anonymous("logout")
    assert "The token is revoked." in done.stderr
    assert not config.path_of().exists()
    assert server.asked[-1].path == "/api/v1/tokens/7"


def test_signing_out_leaves_a_token_that_somebody_else_made(anonymous, server, values):
    anonymous("login", server.url, "--token", "-", given=values.TOKEN)
    done = anonymous("logout")
    assert "stays good" in done.stderr
    assert not any(each.method == "DELETE" for each in server.asked)


def test_signing_out_works_without_the_server(home, anonymous, values):
    config.save(config.Account("http://127.0.0.1:9", values.TOKEN, token_id=7))
    assert anonymous("logout").exit_code == 0
    assert not config.path_of().exists()


def test_signing_out_twice_is_fine(anonymous):
    assert anonymous("logout").exit_code == 0


# -- tokens


def test_tokens_are_listed_without_their_secrets(signed_in, server):
    server.tokens = [
        {
            "id": 3,
            "name": "bot",
            "access": "build",
            "created_at": "2026-01-01T00:00:00Z",
            "expires_at": None,
            "last_used_at": None,
        }
    ]
    shown = signed_in("tokens", "list").stdout
    assert re.search(r"^3 +build .*never +never +the server +bot$", shown, re.MULTILINE)
    assert json.loads(signed_in("tokens", "list", "--json").stdout) == {"items": server.tokens, "next": None}


def test_a_new_token_is_printed_alone_so_that_it_can_be_piped(signed_in, server):
    done = signed_in("tokens", "new", "bot", "--access", "build", "--days", "90")
    assert done.stdout == "sayci_fresh\n"
    assert "not shown again" in done.stderr
    assert server.bodies("POST", "tokens") == [{"name": "bot", "access": "build", "days": 90}]


def test_a_new_token_lasts_until_it_is_revoked_and_may_only_read(signed_in, server):
    signed_in("tokens", "new", "bot")
    assert server.bodies("POST", "tokens") == [{"name": "bot", "access": "read"}]
    assert json.loads(signed_in("tokens", "new", "bot", "--json").stdout)["token"] == "sayci_fresh"


def test_a_token_is_revoked_by_its_number(signed_in, server):
    assert signed_in("tokens", "revoke", "3").exit_code == 0
    assert (server.asked[-1].method, server.asked[-1].path) == ("DELETE", "/api/v1/tokens/3")
    assert signed_in("tokens", "revoke", "three").exit_code == 2


def test_ones_own_tokens_are_listed_made_and_revoked(signed_in, server):
    server.tokens = [{"id": 3, "name": "laptop", "access": "read", "person": "ada"}]
    assert re.search(r"^3 +read .* ada +laptop$", signed_in("tokens", "list", "--mine").stdout, re.MULTILINE)
    assert server.asked[-1].path.startswith("/api/v1/me/tokens")
    assert signed_in("tokens", "new", "laptop", "--mine").stdout == "sayci_fresh\n"
    assert server.bodies("POST", "me/tokens") == [{"name": "laptop", "access": "read"}]
    assert signed_in("tokens", "revoke", "3", "--mine").exit_code == 0
    assert (server.asked[-1].method, server.asked[-1].path) == ("DELETE", "/api/v1/me/tokens/3")
