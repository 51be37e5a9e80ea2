"""examples/systemd: what systemd thinks of the units, and the server as they start it."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
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

    def read(data, line=None):
        program, *arguments = shlex.split(
            (line or unit_of("sayci.service")["Service"]["ExecStart"]).replace("\\\n", " ")
        )
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


needs_activate = pytest.mark.skipif(
    not ACTIVATE, reason="systemd-socket-activate is missing: on Debian it is in the package systemd"
)


@contextmanager
def activated(name, address, start, tmp_path, **variables):
    """A server that is handed a socket of this name, which listens at the address; it must never reach an authority."""
    log = tmp_path / "log"
    variables |= {"PYTHONPATH": ROOT / "src", "PATH": os.environ["PATH"]}
    variables |= {"SAYCI_ACME_DIRECTORY": "https://127.0.0.1:9/dir"}
    environment = [f"--setenv={variable}={value}" for variable, value in variables.items()]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [ACTIVATE, f"--listen={address}", f"--fdname={name}", *environment, sys.executable, "-m", "sayci", *start],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield server, log
    finally:
        server.terminate()
        server.wait(PATIENCE)


@needs_activate
@pytest.mark.parametrize("host", ("", "ci.example"), ids=("without a name", "with a name"))
def test_the_server_answers_https_at_the_port_that_systemd_has_opened(unit_of, start_of, tmp_path, port, host):
    name = unit_of("sayci.socket")["Socket"]["FileDescriptorName"]
    data = tmp_path / "data"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the server has made it
    # A number alone, as in the unit: IPv6 and IPv4 with one socket.
    with activated(name, port, start_of(data), tmp_path, SAYCI_HOST=host) as (server, log):
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
        assert first_answer(server, client).status == 200, log.read_text()
        assert (data / "sayci.sqlite").stat().st_size > 0
        assert [path.name for path in (data / "certs").glob("*.pem")] == ([f"{host}.pem"] if host else [])


@needs_activate
def test_what_it_says_for_behind_a_proxy_serves_plain_http(examples, unit_of, start_of, tmp_path, port):
    said = (examples / "systemd" / "sayci.service").read_text()
    (line,) = re.findall(r"^#     ExecStart=(/.*)$", said, re.MULTILINE)
    name = unit_of("sayci.socket")["Socket"]["FileDescriptorName"]
    with activated(name, f"127.0.0.1:{port}", start_of(tmp_path / "data", line), tmp_path) as (server, log):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        assert first_answer(server, client).status == 200, log.read_text()
        assert not (tmp_path / "data" / "certs").exists()


@pytest.fixture
def port():
    """Of this machine, that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_answer(server, client):
    """Of the server, which is started by the first connection; before that, of the one who starts it."""
    while True:
        try:
            client.request("GET", "/healthz")
            return client.getresponse()
        except ConnectionRefusedError:
            assert server.poll() is None
        finally:
            client.close()


def test_the_port_is_asked_for_by_its_name(unit_of, start_of):
    _, after = " ".join(start_of("/data")).split("--port le:/data/certs:systemd:")
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
    data = f"/var/lib/{service['StateDirectory']}"
    assert data in service["ExecStart"].split()
    assert f" le:{data}/certs:" in service["ExecStart"]
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
