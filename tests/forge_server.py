"""A real HTTP server that speaks GitHub's endpoint for commit statuses, in all its moods.

``with ForgeServer() as forge:`` and then ``forge.url`` is what a project's ``forge_api`` is set to.  It runs in threads of
its own, so that tests with and without a reactor can use it.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

STATUS_PATH = re.compile(r"/repos/([^/]+)/([^/]+)/statuses/([0-9a-f]{40}|[0-9a-f]{64})\Z")
BIG = 10**15


@dataclass(frozen=True)
class Post:
    """A request as it came, and the status code that was answered (0: none)."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    answer: int
    client: tuple[str, int]

    @property
    def commit(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def repository(self) -> str:
        return "/".join(self.path.split("/")[2:4])

    @property
    def state(self) -> str:
        return str(self.body.get("state"))

    @property
    def context(self) -> str:
        return str(self.body.get("context"))


class ForgeServer:
    """Answers as its `mood` says, one of: ok, 500, 401, 404, 422, 429, limited, secondary, redirect, hang, drip, huge, close,
    headers, nonsense; `moods` is a list of moods for the next requests, used up before `mood` is looked at.

    `token`: when given, everything else is a 401.  `tls`: a server-side SSLContext.  `elsewhere`: where a redirect leads.
    `arrived` has the paths of all requests, `posts` those that were answered or broken off.  `release()` lets hanging ones
    end with a 201.
    """

    def __init__(self, *, token: str = "", mood: str = "ok", tls: ssl.SSLContext | None = None) -> None:
        self.token = token
        self.mood = mood
        self.moods: list[str] = []
        self.elsewhere = "http://127.0.0.1:9/elsewhere"
        self.retry_after = "7"
        self.posts: list[Post] = []
        self.arrived: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._stopping = False
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def release(self) -> None:
        """Let those that hang go on, and later ones not hang at all."""
        self._released.set()

    def statuses(self) -> dict[tuple[str, str], str]:
        """What the forge shows now: (commit, context) -> state, of the accepted posts in their order."""
        return {(post.commit, post.context): post.state for post in self.posts if post.answer == 201}

    def wait(self, until: Callable[[], bool], limit: float = 30.0) -> bool:
        """Block until `until()` holds; it is asked after each change.  False when it did not within `limit` seconds."""
        with self._changed:
            return self._changed.wait_for(until, limit)

    # -- for the handler

    def came(self, path: str) -> str:
        with self._changed:
            self.arrived.append(path)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()
            return self.moods.pop(0) if self.moods else self.mood

    def answers(self, post: Post) -> None:
        with self._changed:
            self.posts.append(post)
            self._changed.notify_all()

    def left(self) -> None:
        with self._changed:
            self._at_once -= 1
            self._changed.notify_all()

    def hang(self) -> None:
        self._released.wait(60)

    @property
    def is_stopping(self) -> bool:
        return self._stopping


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or that does not trust us, is what many tests are about."""


def _handler_of(forge: ForgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.forge = forge
    return Handler


class _Handler(BaseHTTPRequestHandler):
    forge: ForgeServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        pass

    def do_POST(self) -> None:
        mood = self.forge.came(self.path)
        self.body: Any = {}
        self.recorded = False
        try:
            self.body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self._answer(mood, self.body)
        except (OSError, ValueError):
            self.close_connection = True
        finally:
            self._record(0)
            self.forge.left()

    def _record(self, code: int) -> None:
        """Before the answer goes out, so that who has seen it finds the post recorded."""
        if not self.recorded:
            self.recorded = True
            body = self.body if isinstance(self.body, dict) else {}
            self.forge.answers(Post(self.path, dict(self.headers), body, code, self.client_address))

    def _answer(self, mood: str, body: Any) -> None:
        reaction = getattr(self, f"_{mood}", None)
        if reaction is not None:
            reaction(body)
        else:
            self._say(int(mood), {"message": f"This is a {mood}."})

    def _say(self, code: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self._record(code)
        self.send_response(code)
        for name, value_of in (headers or {}).items():
            self.send_header(name, value_of)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _ok(self, body: Any) -> None:
        """What GitHub looks at."""
        state, description = body.get("state"), body.get("description") or ""
        if self.forge.token and self.headers.get("Authorization") != f"Bearer {self.forge.token}":
            self._say(401, {"message": "Bad credentials"})
        elif not STATUS_PATH.match(self.path):
            self._say(404, {"message": "Not Found"})
        elif (
            state not in ("pending", "success", "failure", "error") or len(description) > 140 or not body.get("context")
        ):
            self._say(422, {"message": "Validation Failed", "errors": [{"field": "state"}]})
        else:
            self._say(201, {"id": len(self.forge.posts) + 1, **body})

    def _401(self, body: Any) -> None:
        self._say(401, {"message": f"Bad credentials: {self.headers.get('Authorization')}"})

    def _429(self, body: Any) -> None:
        self._say(429, {"message": "Too many requests"}, {"Retry-After": self.forge.retry_after})

    def _limited(self, body: Any) -> None:
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 90)}
        self._say(403, {"message": "The limit of requests is reached"}, reset)

    def _secondary(self, body: Any) -> None:
        self._say(403, {"message": "You have exceeded a secondary rate limit"})

    def _redirect(self, body: Any) -> None:
        self._say(307, {"message": "Moved"}, {"Location": self.forge.elsewhere})

    def _hang(self, body: Any) -> None:
        self.forge.hang()
        if not self.forge.is_stopping:
            self._ok(body)

    def _drip(self, body: Any) -> None:
        """An accepted status whose answer never gets to its end."""
        self._begin(1_000_000)
        while not self.forge.is_stopping:
            self.wfile.write(b" ")
            time.sleep(0.02)

    def _headers(self, body: Any) -> None:
        """An answer of which not even the headers get to an end."""
        self.wfile.write(b"HTTP/1.1 201 Created\r\n")
        while not self.forge.is_stopping:
            self.wfile.write(b"X-Slow: 1\r\n")
            time.sleep(0.02)

    def _huge(self, body: Any) -> None:
        """An accepted status whose answer is more than anybody should read."""
        self._begin(BIG)
        while not self.forge.is_stopping:
            self.wfile.write(b"x" * 65536)

    def _begin(self, length: int) -> None:
        self._record(201)
        self.send_response(201)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _nonsense(self, body: Any) -> None:
        self.wfile.write(b"220 mail.example ESMTP ready\r\n" + formatdate().encode() + b"\r\n\r\n")
        self.close_connection = True

    def _close(self, body: Any) -> None:
        """Reset the connection instead of an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
