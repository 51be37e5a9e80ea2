"""A PostgreSQL server for the tests: in a temporary directory, on a socket in it, gone afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sayci.store.engine import read_url
from sayci.store.migrate import migrate

_DEADLINE = 60.0
_MODEL = "model"


class Server:
    """A server that hands out databases of their own, by their URLs."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory = directory
        self._programs = programs
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._has_model = False

    def initialise(self) -> None:
        """Make its files."""
        argv = [self._program("initdb"), "-D", "data", "-U", "sayci", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run([*_as_a_user(), *argv], cwd=self._directory, check=True, capture_output=True, timeout=_DEADLINE)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = (
            "listen_addresses=",
            "fsync=off",
            "max_connections=50",
            f"unix_socket_directories={self._directory}",
        )
        options = [word for setting in settings for word in ("-c", setting)]
        argv = [*_as_a_user(), self._program("postgres"), "-D", "data", *options]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=self._directory, stdout=log, stderr=log)
        deadline = time.monotonic() + _DEADLINE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                pytest.fail((self._directory / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once; clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=_DEADLINE)
            self._process = None

    def fresh(self, options: str = "") -> str:
        """A new database, empty unless `options` say otherwise."""
        name = f"test_{next(self._numbers)}"
        self._sql(f"CREATE DATABASE {name} {options}")
        return self._url(name)

    def migrated(self) -> str:
        """A new database with sayci's tables, without rows."""
        if not self._has_model:
            self._sql(f"CREATE DATABASE {_MODEL}")
            migrate(read_url(self._url(_MODEL)))
            self._has_model = True
        return self.fresh(f"TEMPLATE {_MODEL}")

    def _url(self, name: str) -> str:
        return f"postgresql://sayci@/{name}?host={self._directory}"

    def _sql(self, statement: str) -> None:
        argv = [self._program("psql"), "-h", str(self._directory), "-U", "sayci", "-d", "postgres", "-Xqc", statement]
        subprocess.run(argv, check=True, capture_output=True, timeout=_DEADLINE)

    def _answers(self) -> bool:
        argv = [self._program("pg_isready"), "-q", "-h", str(self._directory), "-U", "sayci", "-d", "postgres"]
        return subprocess.run(argv, check=False, timeout=_DEADLINE).returncode == 0

    def _program(self, name: str) -> str:
        return str(self._programs / name)


def _as_a_user() -> list[str]:
    """PostgreSQL refuses to run as root; and it ends with the tests, however they end."""
    user = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig=INT", "--"]


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A running server; skips the test when PostgreSQL is not installed."""
    programs = _programs()
    if programs is None or shutil.which("setpriv") is None:
        pytest.skip("no PostgreSQL server: /usr/lib/postgresql/*/bin/initdb is not there (apt-get install postgresql)")
    # Directly in /tmp: another user must get there, and the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="sayci-pg-", dir="/tmp") as directory:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server = Server(Path(directory), programs)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
