"""A GitHub of one's own: a real HTTP server with the web flow and the few parts of the API that sign-in takes.

``with GitHubServer() as github:`` and then ``github.url`` and ``github.api`` are what sayci is told.  It is as strict as
GitHub is, and stricter where GitHub only advises: each request has to have what the documentation says, a code works once,
with its verifier and its redirect_uri.  It runs in threads of its own, so that tests with and without a reactor can use it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import struct
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

CLIENT_ID, CLIENT_SECRET = "Iv1.0123456789abcdef", "the-client-secret"
LEVELS = ("pull", "triage", "push", "maintain", "admin")


@dataclass
class Repo:
    """A repository, and how far each login reaches in it: one of LEVELS."""

    name: str
    private: bool = True
    levels: dict[str, str] = field(default_factory=dict)
    installed: bool = True


@dataclass
class Grant:
    """A code or a token: whose, and with which scopes."""

    login: str
    scopes: frozenset[str]
    redirect_uri: str = ""
    challenge: str = ""
    expires_at: float = 0.0


class GitHubServer:
    """`users` are logins with ids, `repos` by "owner/name", `moved` old names to new ones.

    `visitor` is who sits at the browser, None for somebody who says no; with `asks` GitHub shows its page with a button
    first.  `is_app` says that the client is a GitHub App: tokens have no scopes, expire after `lifetime` seconds, and see
    what the app is installed on.  `moods` are used up by the next requests to the API and for tokens, one each; `mood` is
    that of all: ok, 500, hang, huge, nonsense, list, html, close, limited, secondary, 403, elsewhere, drip.
    """

    def __init__(self, *, is_app: bool = False, callback: str = "") -> None:
        self.users: dict[str, int] = {"octocat": 583231, "hubot": 480938}
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}
        self.visitor: str | None = "octocat"
        self.callback = callback
        self.is_app = is_app
        self.asks = False
        self.lifetime = 28800.0
        self.moods: list[str] = []
        self.mood = "ok"
        self.asked: list[str] = []
        self.arrived = 0
        self.wrong: list[str] = []
        self.codes: dict[str, Grant] = {}
        self.tokens: dict[str, Grant] = {}
        self.refreshes: dict[str, Grant] = {}
        self.stopping = threading.Event()
        self.clock = time.time
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api = f"{self.url}/api/v3"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def repo(self, name: str, *, private: bool = True, **levels: str) -> Repo:
        """A repository in which these logins have these levels."""
        self.repos[name] = Repo(name, private, dict(levels))
        return self.repos[name]

    def revoke(self, login: str) -> None:
        """The user withdraws the authorization."""
        for kept in (self.tokens, self.refreshes, self.codes):
            for secret in [secret for secret, grant in kept.items() if grant.login == login]:
                del kept[secret]

    def walk(self, url: str) -> str:
        """What a browser does at GitHub that agrees at once: where it is sent back to.  Raises AssertionError."""
        return self.authorize(dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)))

    # -- for the handler

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser is sent."""
        problems = [
            name
            for name, is_right in (
                ("client_id", query.get("client_id") == CLIENT_ID),
                ("redirect_uri", bool(self.callback) and query.get("redirect_uri") == self.callback),
                ("state", len(query.get("state", "")) >= 32),
                ("code_challenge_method", query.get("code_challenge_method") == "S256"),
                ("code_challenge", re.fullmatch(r"[A-Za-z0-9_-]{43}", query.get("code_challenge", "")) is not None),
                ("scope", not (self.is_app and query.get("scope"))),
            )
            if not is_right
        ]
        self.wrong += problems
        assert not problems, problems
        back = {"state": query["state"]}
        if self.visitor is None:
            answer = {"error": "access_denied", "error_description": "The user has denied your application access."}
        else:
            code = secrets.token_hex(10)
            scopes = frozenset() if self.is_app else frozenset(query.get("scope", "").split())
            challenge = query["code_challenge"]
            self.codes[code] = Grant(self.visitor, scopes, query["redirect_uri"], challenge, self.clock() + 600)
            answer = {"code": code}
        return f"{query['redirect_uri']}?{urlencode(answer | back)}"

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """What POST /login/oauth/access_token says; with 200, also when it says no."""
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return {"error": "incorrect_client_credentials"}
        if form.get("grant_type") == "refresh_token":
            grant = self.refreshes.pop(form.get("refresh_token", ""), None)
            return {"error": "bad_refresh_token"} if grant is None else self.issue(grant.login, grant.scopes)
        grant = self.codes.pop(form.get("code", ""), None)
        if grant is None or grant.expires_at < self.clock():
            return {"error": "bad_verification_code"}
        if form.get("redirect_uri") != grant.redirect_uri:
            return {"error": "redirect_uri_mismatch"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if urlsafe_b64encode(digest).rstrip(b"=").decode() != grant.challenge:
            return {"error": "bad_verification_code"}
        return self.issue(grant.login, grant.scopes)

    def issue(self, login: str, scopes: frozenset[str] = frozenset()) -> dict[str, Any]:
        """A new token."""
        token = f"{'ghu' if self.is_app else 'gho'}_{secrets.token_hex(18)}"
        self.tokens[token] = Grant(login, scopes, expires_at=self.clock() + self.lifetime if self.is_app else 1e15)
        said = {"access_token": token, "token_type": "bearer", "scope": ",".join(sorted(scopes))}
        if not self.is_app:
            return said
        refresh = f"ghr_{secrets.token_hex(38)}"
        self.refreshes[refresh] = Grant(login, scopes)
        return said | {"expires_in": self.lifetime, "refresh_token": refresh, "refresh_token_expires_in": 15897600}

    def of_api(self, path: str, grant: Grant) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Code, body and headers of an answer of the API."""
        nothing: tuple[int, dict[str, Any], dict[str, str]] = (404, {"message": "Not Found"}, {})
        if path == "/user":
            return 200, {"login": grant.login, "id": self.users[grant.login], "type": "User"}, {}
        match = re.fullmatch(r"/(?:repos/([\w.-]+/[\w.-]+)|repositories/([\w.-]+)~([\w.-]+))", path)
        if match is None:
            return nothing
        name = match[1] or f"{match[2]}/{match[3]}"
        if name in self.moved:
            place = f"{self.api}/repositories/{self.moved[name].replace('/', '~')}"
            return 301, {"message": "Moved Permanently", "url": place}, {"Location": place}
        repo = self.repos.get(name)
        if repo is None or not self._sees(repo, grant):
            return nothing
        level = repo.levels.get(grant.login, "pull")
        permissions = {each: LEVELS.index(each) <= LEVELS.index(level) for each in LEVELS}
        return 200, {"id": 1, "full_name": name, "private": repo.private, "permissions": permissions}, {}

    def _sees(self, repo: Repo, grant: Grant) -> bool:
        if not repo.private:
            return True
        return grant.login in repo.levels and (repo.installed if self.is_app else "repo" in grant.scopes)


class _Handler(BaseHTTPRequestHandler):
    github: GitHubServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/login/oauth/authorize":
            self._authorize(dict(parse_qsl(address.query, keep_blank_values=True)))
        elif address.path == "/favicon.ico":
            self._send(204, b"", {})
        elif address.path.startswith("/api/v3/"):
            self._in_mood(lambda: self._api(address.path.removeprefix("/api/v3")))
        else:
            self._say(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
        if self.path == "/login/oauth/authorize":
            self._redirect(self.github.authorize(form))
        elif self.path == "/login/oauth/access_token":
            self._in_mood(lambda: self._token(form))
        else:
            self._say(404, {"message": "Not Found"})

    def _authorize(self, query: Mapping[str, str]) -> None:
        try:
            if not self.github.asks:
                self._redirect(self.github.authorize(query))
                return
        except AssertionError as error:
            self._html(400, f"<title>GitHub</title><h1>That is wrong: {error}</h1>")
            return
        fields = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in query.items())
        page = f'<!doctype html><html lang="en"><title>GitHub</title><h1>Authorize sayci?</h1><form method="post" action="/login/oauth/authorize">{fields}<button>Authorize</button></form></html>'  # noqa: E501 - a page
        self._html(200, page)

    def _token(self, form: Mapping[str, str]) -> None:
        self.github.asked.append("token")
        if self.headers.get("Accept") != "application/json":
            self.github.wrong.append("accept")
        self._say(200, self.github.exchange(form))

    def _api(self, path: str) -> None:
        self.github.asked.append(path)
        if not self.headers.get("User-Agent") or "github" not in self.headers.get("Accept", ""):
            self.github.wrong.append("headers")
        grant = self.github.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if grant is None or grant.expires_at < self.github.clock():
            self._say(401, {"message": "Bad credentials"})
        else:
            self._say(*self.github.of_api(path, grant))

    # -- moods

    def _in_mood(self, well: Any) -> None:
        self.github.arrived += 1
        mood = self.github.moods.pop(0) if self.github.moods else self.github.mood
        try:
            well() if mood == "ok" else getattr(self, f"_{mood}")()
        except OSError:
            self.close_connection = True

    def _500(self) -> None:
        self._html(500, "<h1>Unicorn!</h1>")

    def _hang(self) -> None:
        self.github.stopping.wait(60)
        self.close_connection = True

    def _drip(self) -> None:
        self._begin(200, 10**9)
        while not self.github.stopping.wait(0.02):
            self.wfile.write(b" ")

    def _huge(self) -> None:
        self._begin(200, 10**12)
        while not self.github.stopping.is_set():
            self.wfile.write(b"x" * 65536)

    def _nonsense(self) -> None:
        self.wfile.write(b"220 mail.example ESMTP ready\r\n\r\n")
        self.close_connection = True

    def _list(self) -> None:
        self._say(200, [1, 2, 3])

    def _html(self, code: int = 200, page: str = "<h1>Sign in to this hotel's network</h1>") -> None:
        self._send(code, page.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _close(self) -> None:
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _limited(self) -> None:
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 90)}
        self._say(403, {"message": "API rate limit exceeded"}, reset)

    def _secondary(self) -> None:
        self._say(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "7"})

    def _403(self) -> None:
        self._say(403, {"message": "Resource protected by organization SAML enforcement."})

    def _451(self) -> None:
        self._say(451, {"message": "Repository access blocked"})

    def _elsewhere(self) -> None:
        self._say(301, {}, {"Location": "http://127.0.0.1:9/api/v3/user"})

    def _circle(self) -> None:
        self._say(301, {}, {"Location": self.path})

    # -- answers

    def _redirect(self, place: str) -> None:
        self._send(302, b"", {"Location": place})

    def _say(self, code: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        told = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        self._send(code, json.dumps(value).encode(), told)

    def _send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._begin(code, len(body), headers)
        self.wfile.write(body)

    def _begin(self, code: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(code)
        for name, value in {"Date": formatdate(usegmt=True), **(headers or {}), "Content-Length": length}.items():
            self.send_header(name, str(value))
        self.end_headers()
