"""People who sign in through GitHub, and what becomes of them when GitHub takes something back."""

from __future__ import annotations

import http.client
import re
from urllib.parse import urlencode, urlsplit

import pytest

from tests.github_server import CLIENT_ID, CLIENT_SECRET, GitHubServer
from tests.gitserver import a_repository

pytestmark = pytest.mark.timeout(300)
#: Seconds between two looks.
RECHECK = "1"


class Browser:
    """Keeps cookies and follows where it is led, like a browser, at sayci and at GitHub."""

    def __init__(self, server):
        self.server = server
        self.cookies: dict[str, str] = {}

    def ask(self, method, path, fields=None):
        connection = http.client.HTTPConnection(urlsplit(self.server.base).netloc, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if fields is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.server.base}
        try:
            connection.request(method, path, None if fields is None else urlencode(fields), headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.pop(name, None) if "max-age=0" in line.lower() else self.cookies.update({name: value})
        return answer.status, answer.headers.get("Location", ""), body

    def get(self, path):
        return self.ask("GET", path)

    def sign_in(self, github):
        """By the button; where it leads in the end."""
        _, _, page = self.get("/sign-in?next=/secrets")
        form = page.partition('action="/sign-in/github"')[2]
        (token, *_) = re.findall(r'name="form_token" value="([0-9a-f]+)"', form)
        code, _, page = self.ask("POST", "/sign-in/github", {"form_token": token, "next": "/secrets"})
        assert code == 200
        (url,) = re.findall(r'http-equiv="refresh" content="0;url=([^"]+)"', page)
        back = github.walk(url.replace("&amp;", "&"))
        code, place, body = self.get(back.removeprefix(self.server.base))
        assert (code, body) == (303, "")
        return place


@pytest.fixture
def github():
    with GitHubServer() as server:
        server.repo("acme/secrets", octocat="push")
        server.repo("acme/shop", octocat="pull", hubot="pull")
        yield server


@pytest.fixture
def server(server_of, github, tmp_path):
    for name in ("secrets", "shop"):
        a_repository(tmp_path / "acme" / f"{name}.git")
    secret = tmp_path / "client-secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    secret.chmod(0o600)
    server = server_of(
        *("--allow-url", "file", "--github-url", github.url, "--github-client-id", CLIENT_ID),
        *("--github-client-secret-file", str(secret), "--github-scope", "repo", "--github-recheck", RECHECK),
    )
    github.callback = f"{server.base}/sign-in/github/callback"
    for name in ("secrets", "shop"):
        body = {"name": name, "url": f"file://{tmp_path}/acme/{name}.git", "forge_api": github.api}
        assert server.post("/api/v1/projects", body).code == 201
    return server


def test_access_follows_the_repository_and_goes_with_it(server, github):
    octocat = Browser(server)
    assert octocat.get("/secrets")[0] == 303
    assert octocat.sign_in(github) == "/secrets"
    code, _, page = octocat.get("/secrets")
    assert (code, 'action="/secrets/build"' in page) == (200, True)  # may push there, so may build here
    code, _, page = octocat.get("/shop")
    assert (code, 'action="/shop/build"' in page) == (200, False)
    assert octocat.get("/secrets/settings")[0] == 403

    github.repos["acme/secrets"].levels.pop("octocat")
    server.wait_for(lambda: octocat.get("/secrets")[0] == 404)
    assert octocat.get("/shop")[0] == 200
    assert "secrets" not in octocat.get("/")[2]

    github.repos["acme/shop"].levels.pop("octocat")
    server.wait_for(lambda: octocat.get("/status")[0] == 303)
    assert octocat.sign_in(github) == "/sign-in/github/refused?why=nobody"

    github.repos["acme/shop"].levels["octocat"] = "admin"
    assert octocat.sign_in(github) == "/secrets"
    assert octocat.get("/secrets")[0] == 404
    code, _, page = octocat.get("/shop")
    assert (code, 'action="/shop/build"' in page) == (200, True)
    assert [person["name"] for person in server.get("/api/v1/people").json["items"]] == ["octocat"]


def test_a_feed_ends_with_the_access(server, github):
    octocat = Browser(server)
    octocat.sign_in(github)
    connection = http.client.HTTPConnection(urlsplit(server.base).netloc, timeout=60)
    cookies = "; ".join(f"{name}={value}" for name, value in octocat.cookies.items())
    connection.request("GET", "/secrets", headers={"Cookie": cookies, "Accept": "text/event-stream"})
    feed = connection.getresponse()
    assert (feed.status, feed.headers["Content-Type"]) == (200, "text/event-stream")
    github.repos["acme/secrets"].levels.pop("octocat")
    feed.read()  # comes to its end
    connection.close()
    assert octocat.get("/secrets")[0] == 404


def test_who_revokes_the_authorization_is_signed_out(server, github):
    octocat, hubot = Browser(server), Browser(server)
    octocat.sign_in(github)
    github.visitor = "hubot"
    assert hubot.sign_in(github) == "/secrets"
    github.revoke("octocat")
    server.wait_for(lambda: octocat.get("/status")[0] == 303)
    assert hubot.get("/shop")[0] == 200
    github.visitor = "octocat"
    assert octocat.sign_in(github) == "/secrets"
    assert octocat.get("/secrets")[0] == 200


def test_a_forge_in_trouble_and_a_server_started_anew_change_nothing(server, github):
    octocat = Browser(server)
    octocat.sign_in(github)
    github.mood = "500"
    before = github.arrived
    server.wait_for(lambda: github.arrived >= before + 6)
    assert octocat.get("/secrets")[0] == 200
    server.stop()
    server.start()
    assert octocat.get("/secrets")[0] == 200
    github.mood = "ok"
    github.repos["acme/secrets"].levels["octocat"] = "pull"
    server.wait_for(lambda: 'action="/secrets/build"' not in octocat.get("/secrets")[2])


def test_where_it_is_not_set_up_any_more_nothing_of_it_holds(server, github):
    octocat = Browser(server)
    octocat.sign_in(github)
    server.stop()
    server.options = server.options[: server.options.index("--github-url")]
    server.start()
    server.wait_for(lambda: octocat.get("/status")[0] == 303)
    assert "GitHub" not in octocat.get("/sign-in")[2]


def test_secrets_are_nowhere_to_be_read(server, github):
    octocat = Browser(server)
    octocat.sign_in(github)
    (token,) = github.tokens
    kept = b"".join(path.read_bytes() for path in server.data.rglob("*") if path.is_file())
    kept += server.log().encode()
    for secret in (token, CLIENT_SECRET, *octocat.cookies.values()):
        assert secret.encode() not in kept
