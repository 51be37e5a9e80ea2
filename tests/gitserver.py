"""Real repositories and a real smart-HTTP git server, small enough for a test.

``Repository`` is a bare repository whose commits are the same bytes on every machine.  ``GitServer`` serves a directory
of repositories through git's own ``http-backend`` on a port of 127.0.0.1 that the kernel chose; it can ask for a token,
send clients elsewhere, speak TLS, and misbehave.  Neither sees the configuration of the person who runs the tests.
"""

from __future__ import annotations

import base64
import hmac
import random
import shutil
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import unquote, urlsplit

#: A process environment in which git behaves alike everywhere.
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
}
#: Author and committer of every commit, unless a test says otherwise.
AUTHOR = "Ada Example <ada@example.org>"
#: The first commit of a repository is made at this time, each further one a minute later.
EPOCH = 1_700_000_000


class Repository:
    """A bare repository at `path`; made if it is not there.  Commits depend on nothing but what they are given."""

    def __init__(self, path: Path, *, object_format: str = "sha1", branch: str = "main") -> None:
        self.path = path
        self._made = 0
        if not path.exists():
            run(
                "init",
                "--quiet",
                "--bare",
                "--template=",
                f"--object-format={object_format}",
                f"--initial-branch={branch}",
                str(path),
            )

    @property
    def url(self) -> str:
        """Its address as a file URL."""
        return f"file://{self.path}"

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """What git prints for these arguments, without the space around it; raises CalledProcessError."""
        return run(f"--git-dir={self.path}", *arguments, stdin=stdin)

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        message: str = "a change",
        *,
        branch: str = "main",
        parent: str | None = None,
        author: str = AUTHOR,
        executable: Iterable[str] = (),
        symlinks: Mapping[str, str] | None = None,
    ) -> str:
        """Commit `files` on top of `branch` (or of `parent`, then the branch is moved) and return the commit's id.

        A value of None removes the file.  The branch is made where there is none.
        """
        when = EPOCH + 60 * self._made
        self._made += 1
        base = parent or self.head(branch)
        stream = [b"commit refs/heads/%s\n" % branch.encode()]
        stream += [b"author %s %d +0000\ncommitter %s %d +0000\n" % (author.encode(), when, AUTHOR.encode(), when)]
        stream += [_data(message.encode()), b"from %s\n" % base.encode() if base else b""]
        for name, content in files.items():
            stream.append(_file(name, content, "100755" if name in executable else "100644"))
        for name, target in (symlinks or {}).items():
            stream.append(_file(name, target, "120000"))
        self.git("fast-import", "--quiet", "--force", stdin=b"".join(stream))
        return self.head(branch)

    def head(self, branch: str = "main") -> str:
        """The commit that `branch` points to; "" when there is no such branch."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def move(self, ref: str, commit: str) -> None:
        """Make the full ref point to `commit`, as a force push does."""
        self.git("update-ref", ref, commit)

    def delete(self, ref: str) -> None:
        """Remove the full ref."""
        self.git("update-ref", "-d", ref)

    def forget_unreachable(self) -> None:
        """Remove every object that no ref reaches, as a forge's clean-up does after a force push."""
        self.git("-c", "gc.reflogExpire=now", "gc", "--quiet", "--prune=now")


def a_repository(path: Path, files: Mapping[str, str | bytes | None] | None = None) -> tuple[Repository, str]:
    """A repository with one commit on main, and that commit: by default a Makefile whose test succeeds."""
    repository = Repository(path)
    return repository, repository.commit(files or {"Makefile": "test:\n\t@echo tested\n"}, "the first commit")


def run(*arguments: str, stdin: bytes = b"") -> str:
    """What git prints for these arguments in a stated environment."""
    done = subprocess.run(
        ("git", *arguments), input=stdin, env=ENVIRONMENT, check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def processes_mentioning(text: str) -> list[str]:
    """The command lines of the processes, dead ones aside, that have `text` in one of their arguments."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process may end at any time
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if text in line:
                found.append(f"{directory.name}: {line}")
    return found


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _file(name: str, content: str | bytes | None, mode: str) -> bytes:
    quoted = b'"%s"' % name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    if content is None:
        return b"D %s\n" % quoted
    return b"M %s inline %s\n%s" % (
        mode.encode(),
        quoted,
        _data(content.encode() if isinstance(content, str) else content),
    )


@dataclass(frozen=True)
class Request:
    """A request that the server was sent; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)


class GitServer:
    """Serves the bare repositories below `root`; use it as a context manager, or call `close`.

    What it does is set by its attributes, at any time:

    - `token`: ask for it as the password of basic authentication (401 without it, or with a wrong one).
    - `redirect_to`: answer every request with a 302 to that address plus the path that was asked for.
    - `status`: answer every request with that HTTP status and nothing else.
    - `silent`: take the request and never answer.
    - `trickle`: answer one byte per second.
    - `stall_after`: send so many bytes of a pack and then nothing more.
    - `endless`: send a pack that never ends.
    - `version_2`: False makes it speak git's protocol version 0, as old servers do.

    `requests` lists what it was asked.  `held` is set as soon as a client is kept waiting.
    """

    def __init__(self, root: Path, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.root = root
        self.token = token
        self.redirect_to: str | None = None
        self.status: int | None = None
        self.silent = False
        self.trickle = False
        self.stall_after: int | None = None
        self.endless = False
        self.version_2 = True
        self.requests: list[Request] = []
        self.held = threading.Event()
        self.closing = threading.Event()
        self._scheme = "https" if tls else "http"
        self._http = _Listener(("127.0.0.1", 0), _Handler)
        self._http.git = self
        self._http.tls = tls
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._http.server_address[1])

    @property
    def address(self) -> str:
        """Scheme, host and port, such as http://127.0.0.1:4711."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        """The address of the repository in the directory `name` below the root."""
        return f"{self.address}/{name}"

    def close(self) -> None:
        """Let every waiting client go and stop listening; safe to repeat."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    git: GitServer
    tls: ssl.SSLContext | None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:  # here, in the connection's own thread: a handshake may never come
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        if self.tls is not None:
            with suppress(OSError), request:
                request.unwrap()  # an answer without a length ends with TLS, or it is taken for a broken one

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what several tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is its base's
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        git = self.server.git
        body = self._body()
        git.requests.append(
            Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        if git.silent:
            self._hold()
        elif git.trickle:
            self._trickle()
        elif git.status is not None:
            self._plain(git.status)
        elif git.redirect_to is not None:
            self._plain(302, ("Location", git.redirect_to + self.path))
        elif not self._is_authentic():
            self._plain(401, ("WWW-Authenticate", 'Basic realm="git"'))
        else:
            self._backend(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _is_authentic(self) -> bool:
        token = self.server.git.token
        if token is None:
            return True
        scheme, _, coded = self.headers.get("Authorization", "").partition(" ")
        try:
            password = base64.b64decode(coded, validate=True).partition(b":")[2]
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(password, token.encode())

    def _plain(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _hold(self) -> None:
        self.server.git.held.set()
        self.server.git.closing.wait()

    def _trickle(self) -> None:
        self.server.git.held.set()
        answer = (
            b"HTTP/1.0 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n" + b"0" * 100_000
        )
        for byte in answer:
            self.wfile.write(bytes((byte,)))
            if self.server.git.closing.wait(1):
                return

    def _backend(self, body: bytes) -> None:
        address = urlsplit(self.path)
        environment = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(self.server.git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(address.path),
            "QUERY_STRING": address.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        if self.server.git.version_2:
            environment["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        with subprocess.Popen(
            ("git", "http-backend"),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as backend:
            assert backend.stdin is not None
            assert backend.stdout is not None
            backend.stdin.write(body)
            backend.stdin.close()
            try:
                self._relay(backend.stdout)
            finally:
                backend.kill()

    def _relay(self, answer: IO[bytes]) -> None:
        headers: dict[str, str] = {}
        while line := answer.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name] = value
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        git = self.server.git
        if self.command == "POST" and git.stall_after is not None:
            self.wfile.write(answer.read(git.stall_after))
            self._hold()
        elif self.command == "POST" and git.endless:
            self._pour(answer)
        else:
            shutil.copyfileobj(answer, self.wfile)

    def _pour(self, answer: IO[bytes]) -> None:
        """A real answer up to its pack, and then a pack of four million objects, 64 KiB each."""
        told = answer.read()
        start = told.find(b"PACK")
        if start < 0:
            self.wfile.write(told)
            return
        self.wfile.write(told[: start - 5])
        self.server.git.held.set()
        self._packet(b"PACK\0\0\0\2" + (4_000_000).to_bytes(4, "big"))
        entry = _entry(random.Random(1).randbytes(64_000))
        while not self.server.git.closing.is_set():
            self._packet(entry)

    def _packet(self, data: bytes) -> None:
        """One packet of the pack's side band."""
        self.wfile.write(b"%04x\x01%s" % (len(data) + 5, data))


def _entry(content: bytes) -> bytes:
    """A blob as it stands in a pack (gitformat-pack): its size in seven-bit groups, then zlib."""
    size, first = len(content) >> 4, 0x30 | (len(content) & 15)
    head = bytearray([first | (0x80 if size else 0)])
    while size:
        head.append((size & 0x7F) | (0x80 if size >> 7 else 0))
        size >>= 7
    return bytes(head) + zlib.compress(content)
