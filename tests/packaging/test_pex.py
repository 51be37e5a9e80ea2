"""sayci.pex, alone in an empty directory: the client, and a server that builds."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests import engine
from tests.server import Server

pytestmark = engine.MARKS


class PexServer(Server):
    """A server from a file, in the directory where that is."""

    def __init__(self, pex: Path, data: Path, *options: str, environment):
        super().__init__(data, *options, environment={**environment, "PYTHONPATH": ""})
        self.pex = pex

    def command(self):
        log, rest = super().command()[3:], ("env", f"--chdir={self.pex.parent}", str(self.pex))
        return (*rest, *log)


@pytest.fixture
def pex(tmp_path):
    """The file, in a directory where nothing else is."""
    place = tmp_path / "place"
    place.mkdir()
    return Path(shutil.copy2(engine.pex(), place / "sayci.pex"))


@pytest.fixture
def environment(tmp_path):
    """A home where nothing is; of PATH only what has Python, git and make."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": f"{Path(engine.python()).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}


@pytest.fixture
def server_of(pex, tmp_path, environment):
    servers = []

    def make(*options, **others):
        given = {**environment, **others}
        server = PexServer(pex, tmp_path / "data", *options, environment=given)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def client(pex, environment):
    def call(*arguments):
        command = [str(pex), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=pex.parent)

    return call


def test_it_is_the_client(client):
    assert client("--version").stdout.startswith("sayci 0.0.")
    assert "./sayci.pex sayci --port" in client("--help").stdout
    ended = client("projects")
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert client("projetcs").returncode == 2


def test_in_an_empty_directory_it_builds_a_project_and_the_client_follows(server_of, client):
    server = server_of("--sample")
    assert client("login", server.link).returncode == 0
    server.wait_for(lambda: "sample" in client("projects").stdout)
    ended = client("build", "sample", "--wait")
    assert ended.returncode == 0, (ended, server.log())
    assert "greeting" in client("log", "sample").stdout


def test_it_leaves_nothing_in_its_directory(server_of, pex):
    assert server_of().get("/healthz").code == 200
    assert [path.name for path in pex.parent.iterdir()] == ["sayci.pex"]


def test_without_a_place_for_its_cache_it_starts_in_the_temporary_directory():
    made = engine.built()
    place = ["--volume", f"{made.pex}:/sayci.pex:ro", "--read-only", "--tmpfs", "/tmp:exec", "--user", "10000:10000"]
    line = "sayci", "--port", "tcp:8080", "--data", "/tmp/data", "--sample"
    with engine.run(*line, options=place, image=made.base, entrypoint="/sayci.pex") as container:
        container.ready().sign_in()
        build = container.wait_for(lambda: container.get("/api/v1/projects/sample/builds").json.get("items"))[0]
        assert container.finished("sample", build["number"])["result"] == "success", container.logs()
        assert container.stop() == 0


def test_the_callers_python_settings_do_not_reach_it(server_of, tmp_path):
    (tmp_path / "twisted.py").write_text("raise SystemExit('this is not Twisted')")
    server = server_of(PYTHONPATH=str(tmp_path))
    assert server.get("/healthz").code == 200


def timed(server):
    begun = time.monotonic()
    server.start()
    assert server.get("/healthz").code == 200
    taken = time.monotonic() - begun
    server.stop()
    return taken


def changed_in(cache):
    """When each file was changed, but for what only says when it was used."""
    return {path: os.lstat(path).st_mtime_ns for path in cache.rglob("*") if path.name != ".last-access"}


def test_the_second_start_unpacks_nothing(pex, tmp_path, environment, record_property):
    server = PexServer(pex, tmp_path / "data", environment=environment)
    first = timed(server)
    warm = [timed(server)]
    cache = Path(environment["HOME"]) / ".cache"
    unpacked = changed_in(cache)
    warm += [timed(server) for _ in range(6)]
    assert changed_in(cache) == unpacked
    record_property("seconds to the first answer, cold", first)
    record_property("seconds to the first answer, warm (median of 7)", statistics.median(warm))
    assert statistics.median(warm) < first
