"""A real ACME authority for tests: Debian's pebble, and the DNS server that comes with it.

``running_pebble`` starts both, with a certificate authority of their own, on ports of 127.0.0.1 that nobody uses; they end
with the test, however it ends.  Every name has the address 127.0.0.1, where pebble looks for the answers to challenges
at `http_port` and `tls_port`: listen there, or hand in the ports at which something listens.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: A name for which no certificate is issued, unless a test says otherwise.
BLOCKED = "blocked.example"
#: How often other ports are tried when somebody else was quicker.
_TRIES = 6
_DEADLINE = 30.0


@dataclass(frozen=True)
class Pebble:
    """A running authority."""

    directory_url: str
    #: The root of the certificate of the authority's own HTTPS, as PEM.
    ca_file: Path
    #: Where the authority looks for the answers to http-01 and to tls-alpn-01.
    http_port: int
    tls_port: int
    #: What it has printed.
    log: Path
    _manage: str
    _dns: str

    def roots(self) -> bytes:
        """The root of the certificates that it issues, as PEM; another one for each authority."""
        return self._get(f"{self._manage}/roots/0")

    def intermediates(self) -> bytes:
        """The certificate between that root and the issued ones, as PEM."""
        return self._get(f"{self._manage}/intermediates/0")

    def resolve(self, name: str, *addresses: str) -> None:
        """The name has these addresses from now on."""
        self._tell("add-a", host=name, addresses=addresses)

    def do_not_resolve(self, name: str) -> None:
        """Questions about the name fail from now on."""
        self._tell("set-servfail", host=name)

    def forbid(self, name: str) -> None:
        """A CAA record allows another authority alone to issue for the name."""
        self._tell("add-caa", host=name, policies=[{"tag": "issue", "value": "elsewhere.example"}])

    def _tell(self, what: str, **data: object) -> None:
        body = json.dumps(data).encode()
        urllib.request.urlopen(f"{self._dns}/{what}", body, timeout=_DEADLINE).close()

    def _get(self, url: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(url, timeout=_DEADLINE, context=context) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def running_pebble(
    directory: Path,
    *,
    http_port: int | None = None,
    tls_port: int | None = None,
    nonce_reject: int = 0,
    validity: int | None = None,
    blocked: Collection[str] = (BLOCKED,),
    accounts: Mapping[str, str] | None = None,
    reuse: int = 0,
    sleep: float = 0.0,
    strict: bool = False,
) -> Iterator[Pebble]:
    """An authority whose files are in `directory`; the test is skipped where pebble is not installed.

    `nonce_reject` and `reuse` are percentages: of the nonces that are refused, of the authorizations that are valid again
    without a challenge.  `validity` is in seconds, of the certificates.  With `accounts`, from key ids to keys in base64url,
    only those who have one of these accounts may use it.  `sleep` is the most seconds that a validation is put off.
    """
    missing = [program for program in ("pebble", "pebble-challtestsrv") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no ACME authority to test with: {missing[0]} is not there (apt-get install pebble)")
    _certify(directory)
    settings: dict[str, object] = {"domainBlocklist": sorted(blocked), "ocspResponderURL": ""}
    settings |= {"certificate": str(directory / "cert.pem"), "privateKey": str(directory / "key.pem")}
    settings |= {"certificateValidityPeriod": validity} if validity else {}
    settings |= {"externalAccountBindingRequired": accounts is not None, "externalAccountMACKeys": accounts or {}}
    environment = {"PATH": os.environ["PATH"], "PEBBLE_WFE_NONCEREJECT": str(nonce_reject)}
    environment |= {"PEBBLE_AUTHZREUSE": str(reuse), "PEBBLE_VA_NOSLEEP": "0" if sleep else "1"}
    environment |= {"PEBBLE_VA_SLEEPTIME": f"{sleep:.0f}"} if sleep else {}
    for _ in range(_TRIES):
        with contextlib.ExitStack() as processes:
            ports = (http_port or _reserved_port(processes), tls_port or _reserved_port(processes))
            pebble = _start(processes, directory, settings, environment, ports, strict)
            if pebble is not None:
                yield pebble
                return
    pytest.fail((directory / "pebble.log").read_text() + (directory / "dns.log").read_text())


def _start(
    processes: contextlib.ExitStack,
    directory: Path,
    settings: Mapping[str, object],
    environment: Mapping[str, str],
    validated: tuple[int, int],
    strict: bool,
) -> Pebble | None:
    """Both of them, or None when one could not listen."""
    acme, manage, dns, manage_dns = _free_ports(4)
    http, tls = validated
    ports: dict[str, object] = {"httpPort": http, "tlsPort": tls}
    ports |= {"listenAddress": f"127.0.0.1:{acme}", "managementListenAddress": f"127.0.0.1:{manage}"}
    (directory / "config.json").write_text(json.dumps({"pebble": {**settings, **ports}}))
    # Without the empty flags it takes further ports; with an IPv6 address pebble would try that one alone.
    resolver = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{manage_dns}"]
    resolver += ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]
    authority = ["pebble", "-config", str(directory / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    running = [
        _run(processes, directory / "dns.log", resolver, environment),
        _run(processes, directory / "pebble.log", [*authority, *(["-strict"] if strict else [])], environment),
    ]
    pebble = Pebble(
        f"https://localhost:{acme}/dir",
        directory / "ca.pem",
        http,
        tls,
        directory / "pebble.log",
        f"https://localhost:{manage}",
        f"http://127.0.0.1:{manage_dns}",
    )
    deadline = time.monotonic() + _DEADLINE
    while not _answers(pebble):
        if time.monotonic() > deadline or any(process.poll() is not None for process in running):
            return None
        time.sleep(0.02)
    return None if any(process.poll() is not None for process in running) else pebble


def _run(
    processes: contextlib.ExitStack, log: Path, argv: list[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    # They end with the tests, however those end.
    bound = ["setpriv", "--pdeathsig=KILL", "--"] if shutil.which("setpriv") else []
    with log.open("ab") as output:
        process = subprocess.Popen([*bound, *argv], env=dict(environment), stdout=output, stderr=output)
    processes.callback(process.wait, timeout=_DEADLINE)
    processes.callback(process.kill)  # it takes two seconds to end when it is asked politely
    return process


def _answers(pebble: Pebble) -> bool:
    try:
        pebble._get(pebble.directory_url)
        pebble.roots()
        pebble._tell("clear-a", host="nobody.example")
    except OSError:
        return False
    return True


def _reserved_port(until: contextlib.ExitStack) -> int:
    """A port that the kernel gives to nobody else, and at which those can listen who ask for it by its number.

    Until somebody does, connections to it are refused.
    """
    holder = until.enter_context(socket.socket())
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return int(holder.getsockname()[1])


def _free_ports(number: int) -> list[int]:
    """Ports of which none was in use, for TCP and for UDP, a moment ago."""
    with contextlib.ExitStack() as sockets:
        found: list[int] = []
        while len(found) < number:
            tcp = sockets.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp = sockets.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                found.append(port)
        return found


def _certify(directory: Path) -> None:
    """Make ca.pem, and cert.pem and key.pem for localhost."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the root of a test")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = _certificate(root, root, root_key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    ca = ca.add_extension(usage, critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = _certificate(subject, root, key.public_key()).add_extension(names, critical=False)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.sign(root_key, hashes.SHA256()).public_bytes(pem))
    (directory / "cert.pem").write_bytes(leaf.sign(root_key, hashes.SHA256()).public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(secret)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
    return made.not_valid_after(now + dt.timedelta(days=7))
