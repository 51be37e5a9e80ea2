"""HTTPS by itself: a real ``twist sayci`` and a real authority, from an empty directory to renewals under load."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests import engine
from tests.pebble import BLOCKED, running_pebble
from tests.server import PATIENCE, FileServer
from tests.slots import passable_directory

#: Certificates are renewed in here, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(200)
NAME = "ci.example"


class Visitor:
    """Speaks HTTPS to a port of this machine as if it were NAME, and believes one authority alone."""

    def __init__(self, port: int, roots: bytes, name: str = NAME):
        self._port, self._name = port, name
        self._context = ssl.create_default_context(cadata=roots.decode())

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        return self._context.wrap_socket(plain, server_hostname=self._name)

    def get(self, path, connection=None):
        """Code, headers and body."""
        client = http.client.HTTPConnection(self._name)
        client.sock = connection or self.connect()
        client.request("GET", path, headers={"Connection": "keep-alive" if connection else "close"})
        answer = client.getresponse()
        body = answer.read()
        if connection is None:
            client.close()
        return answer.status, answer.headers, body

    def serial(self):
        with self.connect() as connection:
            return connection.getpeercert()["serialNumber"]


@contextmanager
def a_free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def port():
    with a_free_port() as number:
        pass
    return number


@pytest.fixture
def authority_of(tmp_path, port):
    """An authority that looks for answers at the port."""
    with ExitStack() as stack:

        def make(name="pebble", **settings):
            directory = tmp_path / name
            directory.mkdir()
            return stack.enter_context(running_pebble(directory, tls_port=port, **settings))

        yield make


@pytest.fixture
def certificates():
    with passable_directory() as path:
        yield path / "certs"


def options(port, certificates, pebble, *more, names=(NAME,)):
    hosts = [word for name in names for word in ("--host", name)]
    return (
        *("--port", f"le:{certificates}:tcp:{port}:interface=127.0.0.1", "--port", "tcp:0:interface=127.0.0.1"),
        *("--acme-directory", pebble.directory_url, "--acme-ca-file", str(pebble.ca_file), *hosts, *more),
    )


def listed(server):
    """What the server says of its certificates, by their names."""
    return {each["name"]: each for each in server.get("/api/v1/status").json["certificates"]}


def start(server_of, *options, **keywords):
    """A server that is spoken to at its plain port."""
    server = server_of(*options, sign_in=False, **keywords)
    plain = [line for line in (server.data / "address").read_text().split() if line.startswith("http://")]
    server.base = plain[0]
    return server.sign_in()


def test_from_an_empty_directory_to_a_trusted_certificate(server_of, port, certificates, authority_of):
    pebble = authority_of(nonce_reject=15)
    server = start(server_of, *options(port, certificates, pebble))
    server.wait_for(lambda: listed(server)[NAME]["issuer"])
    code, headers, body = Visitor(port, pebble.roots()).get("/healthz")
    assert code == 200, body
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert (certificates / f"{NAME}.pem").stat().st_mode & 0o777 == 0o600
    assert certificates.stat().st_mode & 0o777 == 0o700
    said = listed(server)[NAME]
    assert "Pebble" in said["issuer"]
    assert (said["error"], said["tries"]) == ("", 0)
    assert f'sayci_certificate_failures{{name="{NAME}"}} 0.0' in server.get("/metrics").body.decode()
    # The next server serves it at once, without asking anybody.
    serial = Visitor(port, pebble.roots()).serial()
    server.stop()
    start(server_of, *options(port, certificates, pebble), name="other")
    assert Visitor(port, pebble.roots()).serial() == serial


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_one_file_issues_too(port, certificates, authority_of):
    """What it leaves out of its packages, it must not need for this."""
    pebble = authority_of()
    with passable_directory() as place:
        given = ("--slot-uid", "0", *options(port, certificates, pebble))
        server = FileServer(engine.pex(), place, engine.python(), *given)
        try:
            server.start()
            visitor = Visitor(port, pebble.roots())
            server.wait_for(lambda: trusts(visitor))
            assert visitor.get("/healthz")[0] == 200
        finally:
            server.stop()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_examiner_of_tls_finds_nothing_wrong(server_of, port, certificates, authority_of, tmp_path):
    """testssl.sh, as Debian has it; what it says of the authority's certificates and of the DNS is not ours."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if program is None:
        pytest.skip("nobody examines TLS here: testssl.sh is not installed (apt-get install testssl.sh)")
    pebble = authority_of()
    server = start(server_of, *options(port, certificates, pebble))
    server.wait_for(lambda: listed(server)[NAME]["issuer"])
    roots, report = tmp_path / "roots.pem", tmp_path / "report.json"
    roots.write_bytes(pebble.roots())
    subprocess.run(
        [program, "--quiet", "--ip", "127.0.0.1", "--add-ca", roots, "--jsonfile", report, f"{NAME}:{port}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    findings = {found["id"]: found for found in json.loads(report.read_text())}
    assert {"TLS1_3", "TLS1_2", "heartbleed", "HSTS_time", "cert_chain_of_trust"} <= {*findings}
    not_ours = {"cert_validityPeriod", "cert_revocation", "DNS_CAArecord"}
    # WARN is no finding: a probe of its own has failed, as some do on a busy machine.
    wrong = [found for found in findings.values() if found["severity"] not in ("OK", "INFO", "WARN")]
    assert [found for found in wrong if found["id"] not in not_ours] == []


def trusts(visitor):
    try:
        return visitor.serial()
    except ssl.SSLCertVerificationError:
        return ""


def test_renewals_under_load_fail_no_request(server_of, port, certificates, authority_of):
    pebble = authority_of(validity=24)
    server = start(server_of, *options(port, certificates, pebble))
    server.wait_for(lambda: listed(server)[NAME]["issuer"])
    visitor = Visitor(port, pebble.roots())
    kept = visitor.connect()
    seen, failed, over = set(), [], threading.Event()

    def hammer():
        while not over.is_set():
            try:
                assert visitor.get("/healthz")[0] == 200
                seen.add(visitor.serial())
            except (OSError, AssertionError, http.client.HTTPException) as error:
                failed.append(error)

    hammers = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
    for each in hammers:
        each.start()
    server.wait_for(lambda: len(seen) >= 3)
    over.set()
    for each in hammers:
        each.join(PATIENCE)
    assert failed == []
    assert visitor.get("/healthz", kept)[0] == 200  # a connection of the first certificate's time
    kept.close()


def test_a_name_that_fails_is_explained_and_disturbs_no_other(server_of, port, certificates, authority_of):
    pebble = authority_of()
    server = start(server_of, *options(port, certificates, pebble, names=(BLOCKED, NAME)))
    server.wait_for(lambda: listed(server)[NAME]["issuer"] and listed(server)[BLOCKED]["tries"])
    said = listed(server)[BLOCKED]
    assert said["issuer"] == ""
    assert said["error"]
    assert BLOCKED in server.log()
    assert Visitor(port, pebble.roots()).get("/healthz")[0] == 200


def test_an_authority_that_is_away_keeps_nobody_waiting(server_of, port, certificates, authority_of, tmp_path):
    pebble = authority_of()
    with a_free_port() as nobody:
        line = list(options(port, certificates, pebble))
        line[line.index("--acme-directory") + 1] = f"https://127.0.0.1:{nobody}/dir"
        server = start(server_of, *line)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=NAME) as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
        server.wait_for(lambda: listed(server)[NAME]["tries"])
        assert listed(server)[NAME]["error"]
    assert server.stop() in (0, -15)


def test_an_account_of_the_authoritys_can_be_bound(server_of, port, certificates, authority_of, tmp_path):
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    pebble = authority_of(accounts={"kid-1": key})
    (tmp_path / "eab.key").write_text(f"{key}\n")
    more = (
        "--acme-eab-kid",
        "kid-1",
        "--acme-eab-key-file",
        str(tmp_path / "eab.key"),
        "--acme-email",
        "a@example.org",
    )
    server = start(server_of, *options(port, certificates, pebble, *more))
    server.wait_for(lambda: listed(server)[NAME]["issuer"])
    assert key not in server.log()


def test_where_the_port_is_not_reached_http_does_it_and_sends_people_to_https(server_of, port, certificates, tmp_path):
    directory = tmp_path / "pebble"
    directory.mkdir()
    with running_pebble(directory) as pebble:  # it looks for TLS-ALPN-01 where nobody listens
        more = ("--acme-http", f"tcp:{pebble.http_port}:interface=127.0.0.1")
        server = start(server_of, *options(port, certificates, pebble, *more))
        server.wait_for(lambda: listed(server)[NAME]["issuer"])
        client = http.client.HTTPConnection("127.0.0.1", pebble.http_port, timeout=PATIENCE)
        client.request("GET", "/flour/1?x=y", headers={"Host": NAME})
        answer = client.getresponse()
        location = f"https://{NAME}:{port}/flour/1?x=y"
        assert (answer.status, answer.headers["Location"]) == (301, location)
        client.close()


def test_two_servers_do_not_share_the_directory(server_of, port, certificates, authority_of, tmp_path):
    pebble = authority_of()
    start(server_of, *options(port, certificates, pebble))
    with pytest.raises(AssertionError, match="sayci ended"):
        server_of(*options(0, certificates, pebble), name="second", sign_in=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("--port", "le:{certs}"), "endpoint is missing"),
        (("--port", "le:{certs}:nonsense:1"), "not a port to listen at"),
        (("--port", "le:{certs}:tcp:0", "--host", "*.example.org"), "wildcard"),
        (("--port", "le:{certs}:tcp:0", "--host", "10.0.0.1"), "not for an address"),
        (("--port", "le:{certs}:tcp:0", "--port", "le:{certs}2:tcp:0"), "share one directory"),
        (("--port", "tcp:0", "--acme-http", "tcp:0"), "le:"),
        (("--port", "le:{certs}:tcp:0", "--acme-ca-file", "/nonexistent/ca.pem"), "--acme-ca-file"),
    ),
)
def test_what_cannot_be_is_one_line(server_of, certificates, arguments, words):
    given = [word.replace("{certs}", str(certificates)) for word in arguments]
    with pytest.raises(AssertionError, match="sayci ended") as caught:
        server_of(*given, sign_in=False)
    assert words in caught.value.args[1]
    assert "Traceback" not in caught.value.args[1]


def test_plain_http_at_the_tls_port_is_told_what_to_do(server_of, port, certificates, authority_of):
    start(server_of, *options(port, certificates, authority_of()))
    began = time.monotonic()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("GET", "/")
    answer = client.getresponse()
    assert answer.status == 400
    assert b"https" in answer.read()
    assert time.monotonic() - began < PATIENCE
