"""Keys of accounts and of certificates, and the request for a certificate (PKCS #10)."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sayci.errors import Invalid

AccountKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
#: The curves that JWS has algorithms for (RFC 7518 3.1).
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS = range(2048, 8193)


def load_account_key(pem: bytes) -> AccountKey:
    """The account's key: elliptic, as made here, or RSA, as txacme makes them.

    Raises Invalid for what is no key in PEM without a password, and for one that authorities do not take.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Invalid("this is not a private key in PEM without a password") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return key
    raise Invalid("an account key is on the curve P-256, P-384 or P-521, or RSA of 2048 to 8192 bits")


def new_account_key() -> ec.EllipticCurvePrivateKey:
    """A key for a new account: on P-256, which every authority takes."""
    return ec.generate_private_key(ec.SECP256R1())


def new_certificate_key() -> ec.EllipticCurvePrivateKey:
    """A key for a new certificate; never the account's (RFC 8555 11.1)."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: AccountKey) -> bytes:
    """The key as PEM (PKCS #8), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def csr_of(name: str, key: AccountKey) -> bytes:
    """The request for a certificate for `name` in ASCII, as DER.

    Without a subject: names are in subjectAltName, and a common name could not hold more than 64 letters.
    Raises Invalid for what is no name in ASCII.
    """
    try:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
    except ValueError:
        raise Invalid("this is not a host name in ASCII", name) from None
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
