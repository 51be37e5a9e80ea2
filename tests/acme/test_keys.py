"""Keys of accounts and of certificates, and requests for certificates."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sayci.acme.keys import csr_of, load_account_key, new_account_key, new_certificate_key, pem_of
from sayci.errors import Invalid


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def test_a_new_account_key_is_on_p_256_and_comes_back_from_its_pem():
    key = new_account_key()
    again = load_account_key(pem_of(key))
    assert isinstance(again, ec.EllipticCurvePrivateKey)
    assert again.curve.name == "secp256r1"
    assert again.public_key() == key.public_key()


def test_no_two_keys_are_the_same():
    keys = [new_account_key(), new_account_key(), new_certificate_key(), new_certificate_key()]
    assert len({pem_of(key) for key in keys}) == 4


@pytest.mark.parametrize("form", (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8))
def test_an_rsa_key_as_txacme_writes_it(form):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert load_account_key(pem(key, form)).public_key() == key.public_key()


@pytest.mark.parametrize("curve", (ec.SECP384R1(), ec.SECP521R1()))
def test_longer_curves_are_taken(curve):
    key = ec.generate_private_key(curve)
    assert load_account_key(pem(key)).public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    (
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - that is why
        ed25519.Ed25519PrivateKey.generate(),
    ),
    ids=("secp256k1", "rsa 1024", "ed25519"),
)
def test_keys_that_authorities_do_not_take(key):
    with pytest.raises(Invalid, match="an account key is"):
        load_account_key(pem(key))


@pytest.mark.parametrize(
    "junk", (b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff" * 100)
)
def test_what_is_no_key(junk):
    with pytest.raises(Invalid, match="not a private key"):
        load_account_key(junk)


def test_a_key_with_a_password_is_not_asked_about():
    with pytest.raises(Invalid, match="without a password"):
        load_account_key(pem(new_account_key(), encryption=BestAvailableEncryption(b"secret")))


def test_a_key_is_not_in_what_is_said_about_it():
    with pytest.raises(Invalid) as caught:
        load_account_key(b"a secret that is no key")
    assert "secret" not in str(caught.value)


def test_a_request_has_the_name_and_the_key_and_nothing_else():
    key = new_certificate_key()
    request = x509.load_der_x509_csr(csr_of("a.example", key))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    assert list(request.subject) == []
    assert len(request.extensions) == 1


def test_a_name_may_be_longer_than_a_common_name():
    name = ".".join(["a" * 60] * 4)
    assert name.encode() in csr_of(name, new_certificate_key())


def test_a_name_that_is_not_ascii():
    with pytest.raises(Invalid, match="bücher"):
        csr_of("bücher.example", new_certificate_key())
