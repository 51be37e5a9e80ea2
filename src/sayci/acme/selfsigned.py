"""Certificates that nobody else has signed: the fallback of a port, and answers to TLS-ALPN-01 (RFC 8737)."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

#: The extension by which an authority knows its challenge (RFC 8737, 6.1).
ACME_IDENTIFIER = ObjectIdentifier("1.3.6.1.5.5.7.1.31")

_FALLBACK_LIFE = dt.timedelta(days=397)  # longer ones are refused by some clients whatever a user says
_CHALLENGE_LIFE = dt.timedelta(days=7)
_CLOCKS_DIFFER = dt.timedelta(days=1)
_OCTETS = b"\x04\x20"  # DER: a string of 32 octets follows


def fallback_pem(now: dt.datetime) -> bytes:
    """A new EC key and a self-signed certificate for this machine, as PEM: what is served while there is nothing else."""
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    return _self_signed("sayci, self-signed", names, now, _FALLBACK_LIFE)


def challenge_pem(name: str, key_authorization: str, now: dt.datetime) -> bytes:
    """A new EC key and the certificate that proves control over `name`, as PEM (RFC 8737, 3)."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    proof = x509.UnrecognizedExtension(ACME_IDENTIFIER, _OCTETS + digest)
    return _self_signed("ACME challenge", [x509.DNSName(name)], now, _CHALLENGE_LIFE, proof)


def _self_signed(
    common_name: str,
    names: list[x509.GeneralName],
    now: dt.datetime,
    life: dt.timedelta,
    proof: x509.ExtensionType | None = None,
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now - _CLOCKS_DIFFER + life)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    if proof is not None:
        builder = builder.add_extension(proof, critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
