"""A real ``twist sayci`` in a process of its own, and what it takes to speak to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
TWIST = (sys.executable, "-c", "from twisted.application.twist._twist import Twist; Twist.main()")
#: Seconds after which something that should have come is taken for missing; generous, since machines are shared.
PATIENCE = 60.0


class Answer:
    """An HTTP answer, whole."""

    def __init__(self, response):
        self.code = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A running sayci; `start` and `kill` may be called again, on the same data directory."""

    def __init__(self, data: Path, *options: str, environment=None):
        self.data = data
        self.options = options
        self.environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.base = self.link = self.token = ""

    @property
    def _log(self) -> Path:
        return self.data.parent / f"{self.data.name}.log"

    def command(self):
        ports = () if "--port" in self.options else ("--port", "tcp:0:interface=127.0.0.1")
        # Not to the standard output: nobody reads on there once the address is known, and a full pipe blocks the server.
        log = ("--log-format", "text", "--log-file", str(self._log))
        return (*TWIST, *log, "sayci", *ports, "--data", str(self.data), *self.options)

    def start(self):
        log = self._log.open("ab")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "LANG": "C.UTF-8",
            **self.environment,
        }
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
        )
        log.close()
        assert self.process.stdout is not None
        said = b""
        while b"is at http" not in said or (self.token == "" and b"Sign in" not in said):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError("sayci ended", self.log())
            said += line
        self.base = re.findall(rb"is at (http\S+)/", said)[0].decode()
        link = re.search(rb"(http\S+code=\S+)", said)
        self.link = link.group(1).decode() if link else ""
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self):
        return self._log.read_text()

    def sign_in(self):
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(self.link).query)["code"][0]
        answer = self.post("/api/v1/sign-in", {"code": code, "name": "journey"})
        assert answer.code == 201, answer.body
        self.token = answer.json["token"]
        return self

    def stop(self, number=signal.SIGTERM):
        """End it; returns the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        code, self.process = self.process.returncode, None
        return code

    def shims(self):
        """The process ids of the shims of its steps."""
        records = [path.read_text() for path in (self.data / "builds").glob("[0-9]*/*/pid")]
        return [int(re.findall(r"\bpid \d+:(\d+)", record)[0]) for record in records]

    def crash(self):
        """Kill it together with the shims of its steps: nobody writes down how they end."""
        self.stop(signal.SIGKILL)
        for shim in self.shims():
            with suppress(ProcessLookupError):
                os.kill(shim, signal.SIGKILL)

    # -- HTTP

    def _connection(self):
        scheme, _, address = self.base.partition("://")
        if scheme == "http":
            return http.client.HTTPConnection(address, timeout=PATIENCE)
        context = ssl.create_default_context()  # whose certificate it is, is for tests of that
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(address, timeout=PATIENCE, context=context)

    def request(self, method, path, body=None, headers=None, *, token=True):
        connection = self._connection()
        given = dict(headers or {})
        if isinstance(body, dict):
            body, given["Content-Type"] = json.dumps(body), "application/json"
        if token and self.token:
            given["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, given)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **keywords):
        return self.request("GET", path, **keywords)

    def post(self, path, body=None, **keywords):
        return self.request("POST", path, {} if body is None else body, **keywords)

    def build(self, project, number):
        return self.get(f"/api/v1/projects/{project}/builds/{number}").json

    def log_of(self, project, number, step):
        return self.get(f"/api/v1/projects/{project}/builds/{number}/steps/{step}/log").body

    def wait_for(self, what, patience=PATIENCE):
        """What `what()` answers, once that is true."""
        deadline = time.monotonic() + patience
        while True:
            answer = what()
            if answer:
                return answer
            assert time.monotonic() < deadline, f"it did not come to be; the server says:\n{self.log()[-4000:]}"
            time.sleep(0.02)

    def finished(self, project, number):
        """The build, once it has ended."""

        def look():
            answer = self.get(f"/api/v1/projects/{project}/builds/{number}")
            return answer.json if answer.code == 200 and answer.json["state"] == "finished" else None

        return self.wait_for(look)

    def step_runs(self, project, number, step="test"):
        """The build, once its step is running and has printed something."""

        def look():
            answer = self.get(f"/api/v1/projects/{project}/builds/{number}")
            steps = {found["name"]: found for found in answer.json["steps"]} if answer.code == 200 else {}
            return answer.json if steps.get(step, {}).get("state") == "running" and steps[step]["log_size"] else None

        return self.wait_for(look)


class FileServer(Server):
    """A server from sayci.pex, with `place` as its home, what it is in, and where its data goes.

    `python` is the interpreter that the file was made for.
    """

    def __init__(self, file: Path, place: Path, python: str, *options: str):
        self._file, self._place = file, place
        path = f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin"
        super().__init__(place / "data", *options, environment={"HOME": str(place), "PYTHONPATH": "", "PATH": path})

    def command(self):
        arguments = super().command()
        return ("env", "-C", str(self._place), str(self._file), *arguments[arguments.index("--log-format") :])
