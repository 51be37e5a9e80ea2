"""A private key, its certificate and the chain above it, as one PEM text: what is in it, and whether it is any good; pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from sayci.errors import Invalid, Malformed

_KEY_BEGINS = b"PRIVATE KEY-----"


class Unsuitable(Invalid):
    """A certificate that cannot be served for a name; ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is known of a stored certificate: times in seconds since the epoch, `names` in lower case, `chain` as PEM."""

    pem: bytes
    chain: bytes
    names: frozenset[str]
    issuer: str
    fingerprint: str
    not_before: float
    not_after: float

    @property
    def lifetime(self) -> float:
        """Seconds from its first to its last moment."""
        return self.not_after - self.not_before

    def covers(self, name: str) -> bool:
        """Whether it is for `name`, be it by a wildcard (RFC 6125 6.4.3): certificates made elsewhere have these."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


def read_bundle(pem: bytes) -> Bundle:
    """Read key, leaf and chain, in any order but the leaf first.

    Raises Malformed where that is not what it is, Unsuitable where key and leaf do not belong together.
    """
    try:
        key = load_pem_private_key(_key_of(pem), password=None)
        leaf, *above = x509.load_pem_x509_certificates(pem)
        public = leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed("not an unencrypted private key and its certificate, as PEM") from None
    if key.public_key() != public:
        raise Unsuitable("the certificate is for another private key")
    return Bundle(
        pem=pem,
        chain=b"".join(_pem_of(certificate) for certificate in (leaf, *above)),
        names=_names_in(leaf),
        issuer=_issuer_of(leaf),
        fingerprint=leaf.fingerprint(SHA256()).hex(),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def check_issued(bundle: Bundle, name: str, now: float) -> None:
    """Look at what an authority has issued before it takes the place of another.  Raises Unsuitable.

    A certificate that begins in the future is let pass: authority and server seldom have the very same time.
    """
    if not bundle.covers(name):
        raise Unsuitable("the authority has issued a certificate for other names", *sorted(bundle.names))
    if bundle.not_after <= now:
        raise Unsuitable(
            "the authority has issued a certificate that has expired already; is this server's clock right?"
        )
    chain = x509.load_pem_x509_certificates(bundle.chain)
    if chain[0].issuer == chain[0].subject and chain[0].issuer != x509.Name([]):
        raise Unsuitable("the authority has issued a certificate that is signed by itself")
    if any(authority.not_valid_after_utc.timestamp() <= now for authority in chain[1:]):
        raise Unsuitable("the authority has issued a certificate with a chain that has expired")
    for certificate, authority in pairwise(chain):
        _check_link(certificate, authority)


def _check_link(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise Unsuitable("the authority has issued a certificate with a broken chain") from None


def _key_of(pem: bytes) -> bytes:
    """The part of a PEM text that is the private key, wherever it is.  Raises ValueError."""
    for block in pem.split(b"-----BEGIN ")[1:]:
        if block.partition(b"\n")[0].strip().endswith(_KEY_BEGINS):
            return b"-----BEGIN " + block
    raise ValueError


def _pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _names_in(leaf: x509.Certificate) -> frozenset[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return frozenset()


def _issuer_of(leaf: x509.Certificate) -> str:
    """Who has issued it, in words: the organisation and what it calls the certificate that it signs with."""
    words = [
        str(attribute.value)
        for kind in (x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME)
        for attribute in leaf.issuer.get_attributes_for_oid(kind)[:1]
    ]
    return ", ".join(words) or leaf.issuer.rfc4514_string() or "an authority without a name"
