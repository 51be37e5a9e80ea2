"""``sayci health``: well, not well, silent, not there, each in words and with its exit code."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from sayci.cli import health as health_module
from tests.server import Server
from tests.tls import self_signed

WELL = {"status": "ok", "database": "ok"}


@pytest.fixture
def data(home):
    """A data directory of a server that has said where it is."""

    class Data:
        path = home / "data"

        def says(self, *lines):
            self.path.mkdir(exist_ok=True)
            (self.path / "address").write_text("".join(f"{line}\n" for line in lines))

    return Data()


@pytest.fixture
def health(anonymous, data):
    """Ask the server of the data directory."""

    def ask():
        return anonymous("health", "--data", str(data.path))

    return ask


@pytest.fixture
def answers(server, values, data):
    """A server that answers /healthz with a code and a body."""

    def set_answer(code, body):
        server.answers["GET", "/healthz"] = [values.Answer(code, body, "application/json")]
        data.says(server.url)

    return set_answer


@pytest.fixture
def silent():
    """The address of a port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed():
    """The address of a port at which nothing listens; it is kept from others meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def two_lines(result):
    """What is wrong, and what to do about it."""
    assert result.stdout == ""
    problem, advice = result.stderr.splitlines()
    assert problem.startswith("sayci: ")
    assert advice.startswith("  ")
    return problem


# -- which server


def test_the_server_of_a_data_directory_is_asked_by_whoever_is_not_signed_in(health, answers, server):
    answers(200, WELL)
    result = health()
    assert (result.exit_code, result.stdout) == (0, f"sayci is well at {server.url}\n")
    assert "Authorization" not in server.asked[0].headers


def test_the_directory_goes_before_the_server_one_is_signed_in_to(signed_in, answers, data, closed, monkeypatch):
    answers(200, WELL)
    monkeypatch.setenv("SAYCI_SERVER", closed)
    assert signed_in("health", "--data", str(data.path)).exit_code == 0


def test_without_a_directory_the_stated_server_is_asked_and_not_told_the_token(signed_in, answers, server):
    answers(200, WELL)
    assert signed_in("health").exit_code == 0
    assert "Authorization" not in server.asked[0].headers


def test_without_a_directory_the_server_of_the_login_is_asked(signed_in, answers, server, values, monkeypatch):
    assert signed_in("login", server.url, "--token", "-", given=values.TOKEN).exit_code == 0
    monkeypatch.delenv("SAYCI_SERVER")
    answers(200, WELL)
    assert signed_in("health").exit_code == 0


def test_who_is_signed_in_nowhere_hears_of_both_ways(anonymous):
    result = anonymous("health")
    assert result.exit_code == 3
    two_lines(result)
    assert "SAYCI_SERVER" in result.stderr
    assert "--data" in result.stderr


def test_a_server_with_several_addresses_is_well_when_one_of_them_answers(health, answers, server, data, closed):
    answers(200, WELL)
    data.says(closed, server.url)
    assert health().exit_code == 0


# -- not well


def test_a_server_that_is_not_well_says_what_fails(health, answers):
    answers(503, {"status": "failing", "database": "failing", "disk": "ok"})
    result = health()
    assert result.exit_code == 1
    assert two_lines(result).endswith("failing: database")


def test_an_address_that_says_it_is_not_well_is_not_outvoted_by_another(health, answers, server, data):
    answers(503, {"status": "failing", "database": "failing"})
    data.says(server.url, server.url)
    assert health().exit_code == 1


@pytest.mark.parametrize(
    ("code", "body"), ((200, b"<html>"), (200, b"[]"), (200, b"[" * 60_000), (503, b"busy"), (404, b"{}"), (301, b""))
)
def test_what_is_no_sayci_is_not_taken_for_one(health, answers, server, code, body):
    answers(code, body)
    result = health()
    assert result.exit_code == 3
    assert two_lines(result).endswith(f"not sayci: {server.url}, code {code}")


def test_the_words_of_an_ill_server_do_not_act_on_the_terminal(health, answers):
    answers(503, {"status": "failing", "\x1b[2J": "failing"})
    assert "\x1b" not in health().stderr


# -- no answer


def test_a_server_that_is_gone_is_told_from_one_that_is_wrong(health, data, closed):
    data.says(closed)
    result = health()
    assert result.exit_code == 3
    assert "has died, or is starting" in two_lines(result)


def test_a_server_that_is_gone_elsewhere_is_not_said_to_have_died(anonymous, closed, monkeypatch):
    monkeypatch.setenv("SAYCI_SERVER", closed)
    result = anonymous("health")
    assert result.exit_code == 3
    assert "cannot reach the server" in two_lines(result)


def test_a_server_that_does_not_answer_is_left_in_time(health, data, silent, monkeypatch):
    monkeypatch.setattr(health_module, "LIMIT", 0.2)
    data.says(silent)
    result = health()
    assert result.exit_code == 3
    assert "within 0.2 seconds" in two_lines(result)


def test_the_limit_is_longer_than_the_servers_own():
    from sayci.web.health import PATIENCE

    assert health_module.LIMIT > PATIENCE + 1


def test_what_does_not_speak_http_is_no_sayci(health, data):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        data.says(f"http://127.0.0.1:{listening.getsockname()[1]}")
        result = health()
        thread.join(30)
    assert result.exit_code == 3
    assert "not sayci" in two_lines(result)


# -- the file


def test_a_directory_without_a_server_says_so(health, data):
    data.path.mkdir()
    result = health()
    assert result.exit_code == 3
    assert "no server is running" in two_lines(result)


def test_a_directory_that_is_not_there_says_so(health):
    result = health()
    assert result.exit_code == 3
    assert "there is no directory" in two_lines(result)


@pytest.mark.parametrize("text", (b"nonsense\n", b"ftp://127.0.0.1\n", b"\xff\n", b"http://127.0.0.1:99999999\n"))
def test_a_damaged_file_is_not_guessed_at(health, data, text):
    data.says()
    (data.path / "address").write_bytes(text)
    result = health()
    assert result.exit_code == 3
    assert "does not say where" in two_lines(result)


def test_a_server_without_an_address_for_us_says_so(health, data):
    data.says()
    result = health()
    assert result.exit_code == 3
    assert "no address" in two_lines(result)


def test_a_file_that_is_a_directory_is_one_line(health, data):
    data.says()
    (data.path / "address").unlink()
    (data.path / "address").mkdir()
    assert health().exit_code == 3


@contextlib.contextmanager
def nobody():
    """Root can read every file: then the test is somebody else for a while."""
    before = os.getresuid()
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(*before)


def test_a_file_of_another_user_says_who_may_ask(data, silent, health):
    data.says(silent)
    (data.path / "address").chmod(0)
    with nobody():
        result = health()
    assert result.exit_code == 3
    assert "the user that runs the server" in result.stderr


def test_a_directory_of_another_user_says_who_may_ask(anonymous):
    with tempfile.TemporaryDirectory() as directory:  # into which others get, unlike tmp_path
        Path(directory).chmod(0)
        with nobody():
            result = anonymous("health", "--data", directory)
    assert result.exit_code == 3
    assert "the user that runs the server" in result.stderr


# -- TLS


@pytest.fixture
def encrypted(tmp_path):
    """The address of a server whose certificate is not to be trusted; it answers that it is well."""
    certificate = self_signed(tmp_path, "ci.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    body = b'{"status": "ok"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with listening.accept()[0] as raw:
                try:
                    with context.wrap_socket(raw, server_side=True) as connection:
                        connection.recv(65536)
                        connection.sendall(answer)
                except OSError:
                    pass  # the client does not trust us

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(30)


def test_on_this_machine_the_certificate_need_not_fit(health, data, encrypted):
    data.says(encrypted)
    assert health().exit_code == 0


def test_elsewhere_the_certificate_must_be_trusted(anonymous, encrypted, monkeypatch):
    monkeypatch.setenv("SAYCI_SERVER", encrypted)
    result = anonymous("health")
    assert result.exit_code == 3
    assert "certificate cannot be trusted" in two_lines(result)


# -- as a program


def test_it_starts_without_what_it_does_not_need(command, answers, data):
    answers(200, WELL)
    program = command("health", "--data", str(data.path))
    program[1:1] = ["-X", "importtime"]
    end = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in end.stderr.splitlines()}
    assert "http.client" in imported
    assert not [name for name in imported if name.split(".")[0] in ("twisted", "rich", "sqlalchemy", "msgspec")]


def test_a_real_server_is_well_until_it_stops(command, tmp_path, home):
    server = Server(tmp_path / "real").start()

    def asked():
        program = command("health", "--data", str(server.data))
        return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    try:
        well = asked()
    finally:
        server.stop()
    assert (well.returncode, well.stdout, well.stderr) == (
        0,
        f"sayci is well at {server.base}\n".replace("localhost", "127.0.0.1"),
        "",
    )
    assert "no server is running" in asked().stderr
