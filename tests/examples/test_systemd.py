"""examples/systemd: what systemd thinks of the units, and the server as they start it."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sayci.launchers.privileges import NEEDED
from sayci.options import Options
from tests.server import PATIENCE, ROOT

ANALYZE = shutil.which("systemd-analyze") or ""
ACTIVATE = shutil.which("systemd-socket-activate") or ""


@pytest.fixture
def start_of(unit_of):
    """The command of the service without its program, and with paths of the test's own."""

    def read(data):
        program, *arguments = shlex.split(unit_of("sayci.service")["Service"]["ExecStart"])
        assert program == "/usr/local/bin/sayci.pex"
        return [argument.replace("/var/lib/sayci", str(data)) for argument in arguments]

    return read


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is missing: on Debian it is in the package systemd")
def test_systemd_finds_nothing_wrong_with_the_units(examples, tmp_path):
    for unit in (examples / "systemd").iterdir():
        # It also looks whether the program is there.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/sayci.pex", sys.executable))
    units = sorted(str(path) for path in tmp_path.iterdir())
    end = subprocess.run(
        [ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    # What it does not know it only mentions, with exit code 0.
    assert (end.returncode, end.stdout, [line for line in end.stderr.splitlines() if "sayci" in line]) == (0, "", [])


@pytest.mark.skipif(
    ACTIVATE is None, reason="systemd-socket-activate is missing: on Debian it is in the package systemd"
)
def test_the_server_answers_at_the_port_that_systemd_has_opened(unit_of, start_of, tmp_path):
    name = unit_of("sayci.socket")["Socket"]["FileDescriptorName"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = [f"--setenv=PYTHONPATH={ROOT / 'src'}", f"--setenv=PATH={os.environ['PATH']}"]
    log = (tmp_path / "log").open("wb")
    # A number alone, as in the unit: IPv6 and IPv4 with one socket.
    activate = [ACTIVATE, f"--listen={port}", f"--fdname={name}", *environment]
    server = subprocess.Popen(
        [*activate, sys.executable, "-m", "sayci", *start_of(tmp_path / "data")],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    log.close()
    try:
        answer = first_answer(server, port)
        assert answer.status == 200, (tmp_path / "log").read_text()
        assert (tmp_path / "data" / "sayci.sqlite").stat().st_size > 0
    finally:
        server.terminate()
        server.wait(PATIENCE)


def first_answer(server, port):
    """Of the server, which is started by the first connection; before that, of the one who starts it."""
    while True:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            client.request("GET", "/healthz")
            return client.getresponse()
        except ConnectionRefusedError:
            assert server.poll() is None
        finally:
            client.close()


def test_the_port_is_asked_for_by_its_name(unit_of, start_of):
    _, after = " ".join(start_of("/data")).split("--port systemd:")
    assert after.startswith(f"domain=INET6:name={unit_of('sayci.socket')['Socket']['FileDescriptorName']} ")


def test_the_options_are_those_of_the_server(start_of, tmp_path):
    arguments = start_of(tmp_path)
    options = Options(environment={})
    options.parseOptions(arguments[arguments.index("sayci") + 1 :])
    assert options.settings.data == tmp_path


def test_the_server_has_the_rights_that_it_takes_and_no_others(unit_of):
    service = unit_of("sayci.service")["Service"]
    assert set(service["CapabilityBoundingSet"].split()) == {f"CAP_{name}" for name in NEEDED}


def test_its_files_are_where_the_unit_has_them_made(unit_of):
    service = unit_of("sayci.service")["Service"]
    assert f"/var/lib/{service['StateDirectory']}" in service["ExecStart"].split()
    assert service["Environment"] == f"PEX_ROOT=/var/cache/{service['CacheDirectory']}"
    assert int(service["CacheDirectoryMode"], 8) & 0o022 == 0
    # Builds pass through it, and see nothing of it.
    assert service["StateDirectoryMode"] == "0711"


def test_running_steps_survive_a_restart_of_the_server(unit_of):
    service = unit_of("sayci.service")["Service"]
    assert service["KillMode"] == "process"
    assert service["OOMPolicy"] == "continue"
    # systemd removes a private /tmp with the server, and with it what the steps have there.
    assert service["PrivateTmp"] == "no"
    assert {"/tmp", "/var/tmp"} <= {str(Path(path)) for path in service["ReadWritePaths"].split()}
