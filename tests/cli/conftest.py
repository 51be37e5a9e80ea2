"""A server that speaks sayci's API as far as the client needs it, and the client run against it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner, Result

import sayci
from sayci.cli.main import main

Json = dict[str, Any]

TOKEN = "sayci_token-of-the-client-tests"
CODE = "one-time-code"
SECRET = "webhook-secret-told-once"
COMMIT = "c1ffee00" * 5


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """An answer out of the ordinary; `code` 0 closes the connection without one."""

    code: int
    body: Any = None
    content_type: str = "application/problem+json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def problem(cls, code: int, title: str, detail: str) -> Self:
        document = {"type": "about:blank", "title": title, "status": code, "detail": detail, "error": "a_word"}
        return cls(code, document)

    @classmethod
    def html(cls, code: int) -> Self:
        return cls(code, b"<html><body>an intermediary speaks</body></html>", "text/html")


def a_project(name: str = "demo", **fields: Any) -> Json:
    """A project as the API has it."""
    return {
        "name": name,
        "url": f"https://forge.example/ada/{name}.git",
        "default_branch": "main",
        "deploy_branch": None,
        "test_target": "test",
        "deploy_target": "deploy",
        "time_limit": 3600.0,
        "forge_api": "",
        "image": "",
        "visibility": "private",
        "mirror": "ready",
        "mirror_error": "",
        "has_access_token": False,
        "webhook_url": f"https://ci.example/hooks/{name}",
        "created_at": "2026-11-20T10:00:00Z",
        "page": f"https://ci.example/{name}",
    } | fields


def a_step(name: str, state: str = "finished", result: str | None = "success", **fields: Any) -> Json:
    """A step as the API has it."""
    return {
        "name": name,
        "state": state,
        "result": result if state == "finished" else None,
        "reason": "",
        "exit_code": 0 if result == "success" else None,
        "started_at": "2026-11-20T10:00:01Z",
        "finished_at": "2026-11-20T10:00:31Z" if state == "finished" else None,
        "duration": 30.0 if state == "finished" else None,
        "log_size": 0,
    } | fields


def a_build(number: int = 12, project: str = "demo", **fields: Any) -> Json:
    """A build as the API has it; it has succeeded."""
    return {
        "project": project,
        "number": number,
        "cause": "push",
        "ref": "refs/heads/main",
        "branch": "main",
        "commit": COMMIT,
        "message": "Count the beads\n\nAll of them.",
        "author": "Ada",
        "state": "finished",
        "result": "success",
        "reason": "",
        "waiting": "",
        "source": None,
        "asked_by": "",
        "attempt": 1,
        "delivery": None,
        "created_at": "2026-11-20T10:00:00Z",
        "started_at": "2026-11-20T10:00:01Z",
        "finished_at": "2026-11-20T10:01:42Z",
        "page": f"https://ci.example/{project}/{number}",
        "steps": [a_step("checkout", log_size=9), a_step("test", log_size=18)],
    } | fields


def running(build: Json, step: str) -> Json:
    """The build while that step of it runs."""
    names = [each["name"] for each in build["steps"]]
    at = names.index(step)
    steps = [
        a_step(name) if place < at else a_step(name, "running" if place == at else "pending")
        for place, name in enumerate(names)
    ]
    return build | {"state": "running", "result": None, "finished_at": None, "steps": steps}


class FakeApi:
    """The server's part: state that tests set, and what was asked of it.

    `answers[(method, path)]` is a list of answers out of the ordinary, used up before the ordinary ones.  `moves[number]`
    are the states that a build goes through while its feed is read.  `logs[(number, step)]` are whole logs; the feed of one
    is cut after the offsets in `cuts`, one for each connection.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.projects: dict[str, Json] = {"demo": a_project()}
        self.builds: dict[int, Json] = {12: a_build()}
        self.moves: dict[int, list[Json]] = {}
        self.logs: dict[tuple[int, str], bytes] = {
            (12, "checkout"): b"fetched.\n",
            (12, "test"): b"\x1b[32mpassed\x1b[0m\n\n",
        }
        self.cuts: list[int] = []
        self.restarts: list[int] = []
        self.variables: list[Json] = []
        self.tokens: list[Json] = []
        self.deliveries: list[Json] = []
        self.looks_until_cloned = 0
        self.mirror_at_last = "ready"
        self.page_size = 1000
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.stopping = threading.Event()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def bodies(self, method: str, path: str) -> list[Any]:
        """The bodies of all requests of that method to that path below /api/v1/."""
        return [each.body for each in self.asked if (each.method, each.path) == (method, f"/api/v1/{path}")]

    def trouble(self, method: str, path: str, *answers: Answer) -> None:
        """Answer the next requests of that kind with these."""
        self.answers[method, f"/api/v1/{path}"] = list(answers)


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the standard library

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, query, dict(self.headers), json.loads(text) if text else None)
        with self.api.lock:
            self.api.asked.append(asked)
            special = self.api.answers.get((asked.method, asked.path))
            answer = special.pop(0) if special else None
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(answer) if answer else self._ordinary(asked)

    def _send(self, answer: Answer) -> None:
        if not answer.code:
            return
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.code != 204:
            self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(data) if answer.code != 204 else 0))
        self.end_headers()
        if answer.code != 204:
            self.wfile.write(data)

    def _json(self, value: Any, code: int = 200) -> None:
        self._send(Answer(code, value, "application/json"))

    def _refuse(self, code: int, title: str, detail: str) -> None:
        self._send(Answer.problem(code, title, detail))

    # -- the ordinary answers

    def _ordinary(self, asked: Asked) -> None:
        if asked.path == "/api/v1/sign-in":
            self._sign_in(asked)
        elif asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "Unauthorized", "the token is not known")
        else:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch("/api/v1/" + pattern, asked.path)
                if match and method == asked.method:
                    return answer(self, asked, *(unquote(part) for part in match.groups()))
            self._refuse(404, "Not Found", "there is nothing at this address")
        return None

    def _sign_in(self, asked: Asked) -> None:
        if asked.body.get("code") == CODE:
            self._json({"token": TOKEN, "id": 7, "name": asked.body["name"], "access": "admin"}, 201)
        else:
            self._refuse(401, "Unauthorized", "the code is not good, or not any more")

    def _me(self, asked: Asked) -> None:
        self._json({"name": "ada", "access": "admin", "version": "0.1.0"})

    def _listed(self, asked: Asked, items: list[Json]) -> None:
        start, limit = int(asked.query.get("cursor", 0)), int(asked.query.get("limit", 50))
        end = start + min(limit, self.api.page_size)
        self._json({"items": items[start:end], "next": str(end) if end < len(items) else None})

    def _projects(self, asked: Asked) -> None:
        self._listed(asked, list(self.api.projects.values()))

    def _add_project(self, asked: Asked) -> None:
        given = {name: value for name, value in asked.body.items() if name != "access_token"}
        state = "cloning" if self.api.looks_until_cloned else self.api.mirror_at_last
        project = self.api.projects[given["name"]] = a_project(**given, mirror=state)
        self._json(project | {"webhook_secret": SECRET}, 201)

    def _project(self, asked: Asked, name: str) -> None:
        found = self.api.projects.get(name)
        if found is None:
            return self._refuse(404, "Not Found", f"there is no such project: {name}")
        if found["mirror"] == "cloning":
            self.api.looks_until_cloned -= 1
            if self.api.looks_until_cloned <= 0:
                error = "the forge said no" if self.api.mirror_at_last == "failed" else ""
                found |= {"mirror": self.api.mirror_at_last, "mirror_error": error}
        self._json(found)
        return None

    def _change_project(self, asked: Asked, name: str) -> None:
        given = {key: value for key, value in asked.body.items() if key != "access_token"}
        token = {"has_access_token": bool(asked.body["access_token"])} if "access_token" in asked.body else {}
        self._json(self.api.projects[name] | given | token)

    def _gone(self, asked: Asked, *_: str) -> None:
        self._send(Answer(204))

    def _webhook_secret(self, asked: Asked, name: str) -> None:
        self._json({"webhook_url": f"https://ci.example/hooks/{name}", "webhook_secret": SECRET}, 201)

    def _environment(self, asked: Asked, name: str) -> None:
        self._json({"items": self.api.variables, "next": None})

    def _set_variable(self, asked: Asked, project: str, name: str) -> None:
        secret, scope = asked.body.get("secret", False), asked.body.get("scope", "both")
        self._json({"name": name, "value": None if secret else asked.body["value"], "secret": secret, "scope": scope})

    def _builds(self, asked: Asked, project: str) -> None:
        branch = asked.query.get("branch")
        self._listed(asked, [each for each in self.api.builds.values() if branch in (None, each["branch"])])

    def _deploys(self, asked: Asked, project: str) -> None:
        self._listed(
            asked,
            [each for each in self.api.builds.values() if any(step["name"] == "deploy" for step in each["steps"])],
        )

    def _new_build(self, asked: Asked, project: str, *_: str) -> None:
        number = max(self.api.builds) + 1
        states = self.api.moves.get(number) or [a_build(number)]
        queued = states[0] | {"state": "queued", "result": None, "waiting": "For a free slot.", "finished_at": None}
        self.api.builds[number] = queued
        self._json(queued, 201)

    def _build(self, asked: Asked, project: str, number: str) -> None:
        found = self.api.builds.get(int(number))
        if found is None:
            self._refuse(404, "Not Found", f"the project has no such build: {number}")
        elif asked.headers.get("Accept") == "text/event-stream":
            self._build_feed(int(number))
        else:
            self._json(found)

    def _cancel(self, asked: Asked, project: str, number: str) -> None:
        found = self.api.builds[int(number)]
        if found["state"] == "finished":
            self._refuse(409, "Conflict", f"the build cannot do that now: #{number} is finished, cancel")
        else:
            self._json(found | {"state": "cancelling", "reason": "cancelled by ada"}, 202)

    def _deliveries(self, asked: Asked, project: str) -> None:
        self._listed(asked, self.api.deliveries)

    def _delivery(self, asked: Asked, project: str, number: str) -> None:
        self._json(next(each for each in self.api.deliveries if each["id"] == int(number)))

    def _replay(self, asked: Asked, project: str, number: str) -> None:
        self._json({"id": int(number), "verdict": "built", "build": 13, "explanation": ""})

    def _tokens(self, asked: Asked) -> None:
        self._json({"items": self.api.tokens, "next": None})

    def _new_token(self, asked: Asked) -> None:
        self._json({"id": 8, "name": asked.body["name"], "access": asked.body["access"], "token": "sayci_fresh"}, 201)

    # -- logs and feeds

    def _log(self, asked: Asked, project: str, number: str, step: str) -> None:
        log = self.api.logs.get((int(number), step))
        if log is None:
            return self._refuse(404, "Not Found", f"the build has no such step: {step}")
        if asked.headers.get("Accept") == "text/event-stream":
            return self._log_feed(log, int(asked.headers.get("Last-Event-ID") or 0))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("Range", ""))
        data = log[int(wanted[1]) : int(wanted[2]) + 1] if wanted else log
        self._send(Answer(206 if wanted else 200, data, "text/plain; charset=utf-8"))
        return None

    def _begin_feed(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event(b"retry: 10\n\n:\n\n")

    def _event(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _end_feed(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _build_feed(self, number: int) -> None:
        self._begin_feed()
        while True:
            with self.api.lock:
                build = self.api.builds[number]
            self._event(b"event: build\ndata: " + json.dumps(build).encode() + b"\n\n")
            if build["state"] == "finished":
                return self._end_feed()
            with self.api.lock:
                moves = self.api.moves.get(number)
                if not moves:
                    break
                self.api.builds[number] = moves.pop(0)
        self.api.stopping.wait(60)
        return None

    def _log_feed(self, log: bytes, offset: int) -> None:
        self._begin_feed()
        with self.api.lock:
            end = self.api.cuts.pop(0) if self.api.cuts else len(log)
            restarts = bool(self.api.restarts)
            if restarts:
                self.api.restarts.pop(0)
        while offset < end:
            upto = min(offset + 5, end)
            data = {"start": offset, "end": upto, "text": log[offset:upto].decode("utf-8", "replace")}
            self._event(b"id: %d\ndata: %s\n\n" % (upto, json.dumps(data).encode()))
            offset = upto
        if restarts:
            self._event(b'event: restart\nid: 0\ndata: {"attempt": 2}\n\n')
        elif end == len(log):
            self._event(b'event: end\ndata: {"size": %d, "result": "success", "reason": ""}\n\n' % end)
            self._end_feed()


_PROJECT = r"projects/([^/]+)"
_BUILD = _PROJECT + r"/builds/(\d+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "me", _Handler._me),
    ("GET", "tokens", _Handler._tokens),
    ("POST", "tokens", _Handler._new_token),
    ("DELETE", r"tokens/(\d+)", _Handler._gone),
    ("GET", "me/tokens", _Handler._tokens),
    ("POST", "me/tokens", _Handler._new_token),
    ("DELETE", r"me/tokens/(\d+)", _Handler._gone),
    ("GET", "projects", _Handler._projects),
    ("POST", "projects", _Handler._add_project),
    ("GET", _PROJECT, _Handler._project),
    ("PATCH", _PROJECT, _Handler._change_project),
    ("DELETE", _PROJECT, _Handler._gone),
    ("POST", _PROJECT + "/webhook-secret", _Handler._webhook_secret),
    ("GET", _PROJECT + "/environment", _Handler._environment),
    ("PUT", _PROJECT + "/environment/([^/]+)", _Handler._set_variable),
    ("DELETE", _PROJECT + "/environment/([^/]+)", _Handler._gone),
    ("GET", _PROJECT + "/builds", _Handler._builds),
    ("POST", _PROJECT + "/builds", _Handler._new_build),
    ("GET", _BUILD, _Handler._build),
    ("GET", _BUILD + "/steps/([^/]+)/log", _Handler._log),
    ("POST", _BUILD + "/cancel", _Handler._cancel),
    ("POST", _BUILD + "/rebuild", _Handler._new_build),
    ("GET", _PROJECT + "/deploys", _Handler._deploys),
    ("POST", _PROJECT + "/deploys", _Handler._new_build),
    ("GET", _PROJECT + "/deliveries", _Handler._deliveries),
    ("GET", _PROJECT + r"/deliveries/(\d+)", _Handler._delivery),
    ("POST", _PROJECT + r"/deliveries/(\d+)/replay", _Handler._replay),
]


class Values:
    """Factories and constants for test modules, which cannot import this one."""

    TOKEN, CODE, SECRET, COMMIT = TOKEN, CODE, SECRET, COMMIT
    Answer = Answer
    a_project = staticmethod(a_project)
    a_build = staticmethod(a_build)
    a_step = staticmethod(a_step)
    running = staticmethod(running)


@pytest.fixture
def values() -> type[Values]:
    return Values


@pytest.fixture
def server() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration directory and an empty current directory; nothing of the machine's own is seen."""
    for name in ("SAYCI_SERVER", "SAYCI_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PYTHONPATH", str(Path(sayci.__file__).parents[1]))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def anonymous(home: Path) -> Callable[..., Result]:
    """The client of somebody who has not signed in."""

    def run(*arguments: str, given: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, arguments, input=given, prog_name="sayci")
        assert TOKEN not in result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def signed_in(
    server: FakeApi, anonymous: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The client of somebody who may do everything at `server`."""
    monkeypatch.setenv("SAYCI_SERVER", server.url)
    monkeypatch.setenv("SAYCI_TOKEN", TOKEN)
    return anonymous


@pytest.fixture
def command(home: Path) -> Callable[..., list[str]]:
    """The command line of the client as a program of its own; with `terminal` at one."""

    def line(*arguments: str, terminal: bool = False) -> list[str]:
        program = [sys.executable, "-m", "sayci.cli.main", *arguments]
        if not terminal:
            return program
        return [
            sys.executable,
            "-c",
            "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
            *program,
        ]

    return line


@dataclass
class Session:
    """What a program at a terminal has shown, and its exit code."""

    shown: bytes
    exit_code: int


@pytest.fixture
def at_terminal(command: Callable[..., list[str]]) -> Callable[..., Session]:
    """Run the client at a terminal.  `typed` has pairs: what has to be shown first, and what is typed then."""

    def run(*arguments: str, typed: list[tuple[bytes, bytes]] | None = None) -> Session:
        line = command(*arguments, terminal=True)
        process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))
        deadline.start()
        shown, waiting = b"", list(typed or [])
        try:
            while part := os.read(process.stdout.fileno(), 65536):
                shown += part
                while waiting and waiting[0][0] in shown:
                    process.stdin.write(waiting.pop(0)[1])
                    process.stdin.flush()
            return Session(shown.replace(b"\r\n", b"\n"), process.wait())
        finally:
            deadline.cancel()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    return run
