"""Signed requests: JSON Web Signatures in the flattened form that RFC 8555 6.2 wants, with keys as josepy knows them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256, ES384, ES512, HS256, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from sayci.acme.keys import AccountKey
from sayci.errors import Invalid

_OF_CURVES = {"secp256r1": ES256, "secp384r1": ES384, "secp521r1": ES512}


@dataclass(frozen=True, slots=True)
class Binding:
    """The account at the authority that was made elsewhere (RFC 8555 7.3.4): its key id, and its key in base64url.

    Raises Invalid for a key that is none.
    """

    key_id: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key_id or not self.secret:
            raise Invalid("an external account has a key id and a key", self.key_id)

    @property
    def secret(self) -> bytes:
        """The key's bytes."""
        return unb64(self.key.strip())


class Signer:
    """Signs as the account with that key."""

    def __init__(self, key: AccountKey) -> None:
        self._key = key
        self._algorithm, own = _known(key)
        jwk = own.public_key()
        self._jwk: dict[str, Any] = jwk.to_json()
        self._thumbprint = b64(jwk.thumbprint())

    def key_authorization(self, token: str) -> str:
        """What shows that the account's owner answers the challenge with that token (RFC 8555 8.1)."""
        return f"{token}.{self._thumbprint}"

    def sign(self, payload: object, url: str, nonce: str, account: str = "") -> bytes:
        """The body of a request to `url`; `payload` None is a POST-as-GET (RFC 8555 6.3).

        `account` is the account's URL; without it the key itself is sent along, as for a new account.
        """
        header: dict[str, object] = {"alg": self._algorithm.name, "nonce": nonce, "url": url}
        header |= {"kid": account} if account else {"jwk": self._jwk}
        return json.dumps(_flattened(header, payload, self._algorithm, self._key)).encode()

    def bind(self, binding: Binding, url: str) -> dict[str, str]:
        """This account's key, signed with the key of the account that was made elsewhere (RFC 8555 7.3.4)."""
        header = {"alg": HS256.name, "kid": binding.key_id, "url": url}
        return _flattened(header, self._jwk, HS256, binding.secret)


def _known(key: AccountKey) -> tuple[JWASignature, JWK]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _OF_CURVES[key.curve.name], JWKEC(key=key)
    return RS256, JWKRSA(key=key)


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of base64url with or without padding, also of plain base64, which some authorities hand out.

    Raises Invalid.
    """
    text = text.rstrip("=").translate(str.maketrans("+/", "-_"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("this is not base64url") from None


def _flattened(header: Mapping[str, object], payload: object, algorithm: JWASignature, key: Any) -> dict[str, str]:
    protected = b64(json.dumps(header).encode())
    body = "" if payload is None else b64(json.dumps(payload).encode())
    signature = algorithm.sign(key, f"{protected}.{body}".encode())
    return {"protected": protected, "payload": body, "signature": b64(signature)}
