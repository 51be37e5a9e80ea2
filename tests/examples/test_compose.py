"""examples/compose.yaml: what compose makes of it, and the server that it starts."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess

import pytest

import sayci
from sayci.launchers.privileges import NEEDED
from tests import engine

MISSING = "docker compose is missing: on Debian it is in the package docker-compose"


def found():
    """The command line of compose; none where it is missing."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            end = subprocess.run([*command, "version"], capture_output=True, check=False, timeout=60)
            if end.returncode == 0:
                return command
    return []


@pytest.fixture(scope="module")
def compose():
    """Run compose; its standard output."""
    command = found()
    if not command:
        pytest.skip(MISSING)

    def run(*arguments, environment=None):
        end = subprocess.run(
            [*command, *map(str, arguments)],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert end.returncode == 0, end.stderr
        return end.stdout

    return run


@pytest.fixture
def example(examples):
    return examples / "compose.yaml"


def test_compose_understands_it(compose, example):
    said = compose("--file", example, "config")
    assert f"image: sayci:{sayci.__version__}\n" in said
    assert "read_only: true" in said
    assert "/srv/sayci" in said


def test_version_and_address_come_from_the_environment(compose, example):
    environment = {"SAYCI_VERSION": "7.8.9", "SAYCI_HOST": "ci.example", "SAYCI_PUBLIC_URL": "https://ci.example:4443"}
    said = compose("--file", example, "config", environment=environment)
    assert "image: sayci:7.8.9\n" in said
    assert "SAYCI_HOST: ci.example\n" in said
    assert "SAYCI_PUBLIC_URL: https://ci.example:4443\n" in said


def test_what_is_left_for_the_reader_to_switch_on_is_understood_as_well(compose, example, tmp_path):
    text = re.sub(r"^( +)#([A-Za-z_]+: )", r"\1\2", example.read_text(), flags=re.MULTILINE)
    assert "\n    mem_limit: " in text
    (tmp_path / "compose.yaml").write_text(text)
    said = compose("--file", tmp_path / "compose.yaml", "config")
    for word in ("mem_limit", "cpus", "pids_limit", "shm_size", "https_proxy", "SAYCI_PORT"):
        assert f"{word}: " in said


def test_the_server_has_the_rights_that_it_takes_and_no_others(example):
    added = re.search(r"cap_add:\n((?: +- \w+\n)+)", example.read_text())
    assert added is not None
    assert set(re.findall(r"\w+", added[1])) == set(NEEDED)


def test_the_documentations_own_line_gives_the_same_rights(example):
    text = (example.parents[1] / "docs" / "installing.rst").read_text()
    assert set(re.findall(r"--cap-add (\w+)", text)) == set(NEEDED)


@pytest.fixture
def copy(example, tmp_path):
    """The example with this machine's image, a port that the kernel chooses, a volume of its own and quick probes."""
    engine.engine()
    text = example.read_text()
    for before, after in (
        (r"image: .*", f"image: {engine.built().image}"),
        (r'- "443:443"', '- "127.0.0.1::443"'),
        (r"    name: sayci$", f"    name: sayci-test-{secrets.token_hex(6)}"),
        (r"(    restart: .*)", r"\1\n    labels: [sayci.test]\n    healthcheck: {interval: 1s}"),
    ):
        text, count = re.subn(before, after, text, flags=re.MULTILINE)
        assert count >= 1, before
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_server_comes_up_well_with_its_builds_kept_from_it(compose, copy):
    project = f"sayci-test-{secrets.token_hex(6)}"
    whole = ("--file", copy, "--project-name", project)
    try:
        compose(*whole, "up", "--detach")
        container = engine.Container(compose(*whole, "ps", "--quiet").strip(), 443)
        container.ready()
        assert container.base.startswith("https://")
        assert "no name to get a certificate for" in container.logs()
        container.wait_for(lambda: container.inspect()["State"]["Health"]["Status"] == "healthy")
        host = container.inspect()["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
        assert "Each build runs as a user of its own" in container.logs()
        assert container.sign_in().get("/api/v1/me").json["access"] == "admin"
        probes = container.inspect()["State"]["Health"]["Log"]
        assert "sayci is well at https" in json.dumps(probes[-1])
        compose(*whole, "stop")
        assert container.inspect()["State"]["ExitCode"] == 0
    finally:
        compose(*whole, "down", "--volumes", "--timeout", "5")
