"""Signed requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sayci.acme.jose import Binding, Signer, b64, unb64
from sayci.acme.keys import new_account_key
from sayci.errors import Invalid

URL = "https://ca.example/order"


def opened(request):
    """The protected header, the payload's text and what was signed, with the signature."""
    said = json.loads(request)
    assert set(said) == {"protected", "payload", "signature"}
    assert "=" not in "".join(said.values())
    header = json.loads(unb64(said["protected"]))
    return header, unb64(said["payload"]), f"{said['protected']}.{said['payload']}".encode(), unb64(said["signature"])


@pytest.mark.parametrize(
    ("curve", "algorithm", "digest"),
    (
        (ec.SECP256R1(), "ES256", hashes.SHA256()),
        (ec.SECP384R1(), "ES384", hashes.SHA384()),
        (ec.SECP521R1(), "ES512", hashes.SHA512()),
    ),
)
def test_an_elliptic_key_signs_with_the_algorithm_of_its_curve(curve, algorithm, digest):
    key = ec.generate_private_key(curve)
    header, payload, signed, signature = opened(Signer(key).sign({"a": 1}, URL, "nonce", "https://ca.example/me"))
    assert header == {"alg": algorithm, "nonce": "nonce", "url": URL, "kid": "https://ca.example/me"}
    assert json.loads(payload) == {"a": 1}
    half = (curve.key_size + 7) // 8
    assert len(signature) == 2 * half
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(encode_dss_signature(r, s), signed + b"x", ec.ECDSA(digest))


def test_an_rsa_key_signs_with_rs256():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header, _, signed, signature = opened(Signer(key).sign({}, URL, "nonce", "me"))
    assert header["alg"] == "RS256"
    key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())


def test_without_an_account_the_public_key_is_sent_along():
    key = new_account_key()
    header, *_ = opened(Signer(key).sign({}, URL, "nonce"))
    numbers = key.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    assert header["jwk"] == {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    assert "kid" not in header


def test_a_post_as_get_has_an_empty_payload_and_an_answer_to_a_challenge_an_empty_object():
    signer = Signer(new_account_key())
    assert opened(signer.sign(None, URL, "nonce", "me"))[1] == b""
    assert opened(signer.sign({}, URL, "nonce", "me"))[1] == b"{}"


def test_the_key_authorization_ends_in_the_thumbprint_of_the_key():
    """RFC 7638 3: the members in the order of their names, without spaces."""
    key = new_account_key()
    jwk = opened(Signer(key).sign({}, URL, "nonce"))[0]["jwk"]
    canonical = f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    assert Signer(key).key_authorization("token") == f"token.{b64(hashlib.sha256(canonical.encode()).digest())}"


def test_a_binding_signs_our_key_with_the_key_of_the_other_account():
    secret = bytes(range(32))
    key = new_account_key()
    bound = Signer(key).bind(Binding("kid-1", b64(secret)), URL)
    header, payload, signed, signature = opened(json.dumps(bound))
    assert header == {"alg": "HS256", "kid": "kid-1", "url": URL}
    assert json.loads(payload) == opened(Signer(key).sign({}, URL, "nonce"))[0]["jwk"]
    assert hmac.compare_digest(signature, hmac.digest(secret, signed, "sha256"))


@pytest.mark.parametrize("encode", (base64.b64encode, base64.urlsafe_b64encode, lambda data: b64(data).encode()))
def test_the_key_of_the_other_account_in_every_base64(encode):
    secret = b"\xff\xfe\xfd\xfc" * 8
    assert Binding("kid", f" {encode(secret).decode()}\n").secret == secret


@pytest.mark.parametrize(("key_id", "key"), (("", "AAAA"), ("kid", ""), ("kid", "a b"), ("kid", "ü"), ("kid", "A")))
def test_a_binding_that_is_none(key_id, key):
    with pytest.raises(Invalid):
        Binding(key_id, key)


def test_a_binding_does_not_show_its_key():
    assert "c2VjcmV0" not in repr(Binding("kid", "c2VjcmV0"))


@pytest.mark.parametrize("data", (b"", b"a", b"ab", b"abc", b"\xff\xff\xff\xff"))
def test_base64url_there_and_back(data):
    assert unb64(b64(data)) == data
