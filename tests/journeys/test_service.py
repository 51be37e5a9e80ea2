"""``twist sayci`` itself: its options, its ports, its mistakes in one line, and its restarts."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from tests.gitserver import Repository
from tests.tls import self_signed

TWIST = (sys.executable, "-c", "from twisted.application.twist._twist import Twist; Twist.main()", "sayci")


def twist(*options, environment=None):
    """Run ``twist sayci`` with options with which it must not start; its end."""
    return subprocess.run(
        (*TWIST, *options),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "src", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    (
        (("--nonsense",), {}, "nonsense"),
        (("--slots", "many"), {}, "many"),
        (("--slots", "0"), {}, "0"),
        (("--public-url", "ci.example"), {}, "ci.example"),
        (("--allow-url", "ext"), {}, "ext"),
        ((), {"SAYCI_SLOTS": "few"}, "few"),
        (("something",), {}, "arguments"),
    ),
)
def test_a_bad_option_is_one_line(options, environment, words):
    end = twist(*options, environment=environment)
    assert end.returncode == 2
    assert end.stderr.startswith("sayci: ")
    assert end.stderr.count("\n") == 1
    assert words in end.stderr


def test_a_bad_port_is_one_line(tmp_path):
    for port in ("nonsense:1", "tcp:x", "tcp:99999999", f"unix:{tmp_path}/none/socket", "ssl:0:privateKey=/none"):
        end = twist("--port", port, "--data", str(tmp_path / "data"))
        assert (end.returncode, end.stderr.count("\n")) == (1, 1), end.stderr
        assert end.stderr.startswith("sayci: ")
        assert port in end.stderr


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        end = twist("--port", port, "--data", str(tmp_path / "data"))
    assert (end.returncode, end.stderr.count("\n")) == (1, 1), end.stderr
    assert "in use" in end.stderr


def test_a_data_directory_that_cannot_be_one_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for data in ("file", "file/data"):
        end = twist("--port", "tcp:0", "--data", str(tmp_path / data))
        assert (end.returncode, end.stderr.count("\n")) == (1, 1), end.stderr
        assert "data directory" in end.stderr


def test_a_data_directory_in_use_is_one_line(server_of):
    server = server_of(sign_in=False)
    end = twist("--port", "tcp:0", "--data", str(server.data), "--wait", "0")
    assert (end.returncode, end.stderr.count("\n")) == (1, 1), end.stderr
    assert "another sayci" in end.stderr
    assert f"process {server.pid}" in end.stderr


def test_a_database_that_is_none_is_one_line(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sayci.sqlite").write_bytes(b"this is no database" * 100)
    for options in ((), ("--database", "nonsense://x"), ("--database", "sqlite:////none/x.sqlite")):
        end = twist("--port", "tcp:0", "--data", str(tmp_path / "data"), *options)
        assert (end.returncode, end.stderr.count("\n")) == (1, 1), end.stderr
        assert end.stderr.startswith("sayci: ")


def test_help_teaches_every_option():
    end = twist("--help")
    assert end.returncode == 0
    for word in (
        "--port",
        "--data",
        "--database",
        "--public-url",
        "--slots",
        "--allow-url",
        "SAYCI_",
        "--sign-in-link",
    ):
        assert word in end.stdout


def test_finding_the_plugin_installs_no_reactor():
    code = "import sys, twisted.plugins.sayci; sys.exit('twisted.internet.reactor' in sys.modules)"
    subprocess.run((sys.executable, "-c", code), env={"PYTHONPATH": "src"}, check=True, timeout=60)


def test_every_option_is_also_an_environment_variable(server_of, tmp_path):
    server = server_of(
        environment={"SAYCI_PUBLIC_URL": "https://ci.example/", "SAYCI_ALLOW_URL": "file", "SAYCI_SLOTS": "3"},
        sign_in=False,
    )
    assert server.base == "https://ci.example"


def test_it_listens_at_several_ports_of_several_kinds(server_of, tmp_path):
    certificate = self_signed(tmp_path, "localhost")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        secure = probe.getsockname()[1]
    server = server_of(
        *("--port", "tcp:0:interface=127.0.0.1", "--port", f"unix:{tmp_path}/socket"),
        *("--port", f"ssl:{secure}:interface=127.0.0.1:privateKey={certificate.key}:certKey={certificate.certificate}"),
    )
    assert server.get("/healthz").code == 200

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "socket"))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")

    context = ssl.create_default_context(cafile=certificate.certificate)
    over_tls = http.client.HTTPSConnection("localhost", secure, context=context, timeout=30)
    over_tls.request("GET", "/healthz")
    assert over_tls.getresponse().status == 200
    over_tls.close()


#: Starts a program with a socket that is handed over; sh cannot, since it takes descriptors of one digit alone.
LIKE_SYSTEMD = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_it_takes_a_socket_that_systemd_has_opened(tmp_path):
    """As sd_listen_fds(3) states it: the socket is descriptor 3, and three variables say so."""
    options = ("--port", "systemd:domain=INET:index=0", "--data", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = subprocess.Popen(
            (sys.executable, "-c", LIKE_SYSTEMD, str(opened.fileno()), *TWIST, *options),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
            pass_fds=(opened.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # The connection is taken by the kernel at once, and answered when the server is there.
        client = http.client.HTTPConnection("127.0.0.1", opened.getsockname()[1], timeout=50)
        try:
            client.request("GET", "/healthz")
            assert client.getresponse().status == 200
        finally:
            client.close()
            server.terminate()
            server.wait(30)


def test_the_sign_in_link_works_once_and_is_in_no_log(server_of):
    server = server_of()
    code = server.link.rpartition("=")[2]
    assert server.post("/api/v1/sign-in", {"code": code, "name": "again"}, token=False).code == 401
    assert code not in server.log()
    server.stop()
    server.start()
    assert server.get("/api/v1/me").json["access"] == "admin"


# -- restarts


@pytest.fixture
def slow(tmp_path, commons):
    """A repository whose test prints a line, waits to be told to go on, and prints another."""
    repository = Repository(tmp_path / "slow.git")
    wait = f"while [ ! -e {commons}/go ]; do sleep 0.02; done"
    test, deploy = f"echo before; {wait}; echo after", f"echo deploys; {wait}; echo deployed"
    repository.commit({"Makefile": f".PHONY: test deploy\ntest:\n\t@{test}\ndeploy:\n\t@{deploy}\n"})
    return repository


def start_build(server, repository, **fields):
    answer = server.post("/api/v1/projects", {"name": "slow", "url": repository.url, **fields})
    assert answer.code == 201, answer.body
    answer = server.post("/api/v1/projects/slow/builds")
    assert answer.code == 201, answer.body


@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGTERM), ids=("killed", "stopped"))
def test_a_step_goes_on_without_its_server_and_the_next_one_takes_it_up(sayci_server, slow, commons, number):
    server = sayci_server
    start_build(server, slow)
    server.step_runs("slow", 1)
    server.stop(number)
    (commons / "go").touch()
    server.start()
    build = server.finished("slow", 1)
    assert (build["result"], build["attempt"]) == ("success", 1)
    assert server.log_of("slow", 1, "test") == b"before\nafter\n"
    server.wait_for(lambda: not list((server.data / "workspaces").iterdir()))


def test_a_step_that_is_still_running_is_attached_to_and_can_be_cancelled(sayci_server, slow):
    server = sayci_server
    start_build(server, slow)
    server.step_runs("slow", 1)
    server.stop(signal.SIGKILL)
    server.start()
    server.step_runs("slow", 1)
    assert server.post("/api/v1/projects/slow/builds/1/cancel").code == 202
    assert server.finished("slow", 1)["result"] == "cancelled"


def test_a_test_whose_shim_died_with_the_server_is_queued_again(sayci_server, slow, commons):
    server = sayci_server
    start_build(server, slow)
    server.step_runs("slow", 1)
    server.crash()
    (commons / "go").touch()
    server.start()
    build = server.finished("slow", 1)
    assert (build["result"], build["attempt"]) == ("success", 2)


def test_a_deploy_whose_shim_died_is_unknown_and_not_repeated(sayci_server, slow, commons):
    server = sayci_server
    (commons / "go").touch()
    start_build(server, slow, deploy_branch="main")
    assert server.finished("slow", 1)["result"] == "success"
    (commons / "go").unlink()
    assert server.post("/api/v1/projects/slow/deploys", {"build": 1}).code == 201
    server.step_runs("slow", 2, "deploy")
    server.crash()
    (commons / "go").touch()
    server.start()
    build = server.finished("slow", 2)
    assert build["result"] == "unknown"
    assert server.log_of("slow", 2, "deploy") == b"deploys\n"


def test_the_sample_is_green_on_the_first_start(server_of):
    server = server_of("--sample")
    build = server.finished("sample", 1)
    assert build["result"] == "success"
    assert b"ok - greets" in server.log_of("sample", 1, "test")
    assert build["message"] == "A sample project"
    server.stop()
    server.start()
    assert len(server.get("/api/v1/projects/sample/builds").json["items"]) == 1
