"""When an authority wants a certificate to be renewed: ACME Renewal Information (RFC 9773)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from sayci.acme.jose import b64
from sayci.acme.trouble import BadAnswer
from sayci.errors import Invalid

#: Seconds until the authority is asked again where it does not say (RFC 9773 4.3.2 suggests about this), and its bounds.
ASK_AGAIN = 6 * 3600.0
ASK_AGAIN_SOONEST = 60.0
ASK_AGAIN_LATEST = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """The certificate is to be renewed at a moment between `start` and `end`, in seconds since the epoch.

    The authority may change its mind: ask again in `retry_after` seconds.
    """

    start: float
    end: float
    retry_after: float = ASK_AGAIN


def certificate_id(certificate_pem: bytes) -> str:
    """How RFC 9773 4.1 names a certificate, the first in `certificate_pem`; "" for one that has no such name.

    Raises Invalid for what is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    except ValueError:
        raise Invalid("this is not a certificate in PEM") from None
    return id_of(authority, certificate.serial_number) if authority else ""


def id_of(authority_key: bytes, serial: int) -> str:
    """The name made of the authority key identifier and the serial number as DER has it, with its sign bit."""
    return f"{b64(authority_key)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def window_of(said: Mapping[str, Any], retry_after: float | None) -> Window:
    """What the authority suggests; raises BadAnswer, also for a window that ends before it starts (RFC 9773 4.2)."""
    suggested = said.get("suggestedWindow")
    try:
        start, end = (_moment(suggested[edge]) for edge in ("start", "end"))  # type: ignore[index]  # see below
    except (TypeError, KeyError, ValueError, OverflowError):
        start, end = 0.0, 0.0
    if start >= end:
        raise BadAnswer("the authority sent a renewal window that is none", kind="answer", retry_after=retry_after)
    again = ASK_AGAIN if retry_after is None else min(max(retry_after, ASK_AGAIN_SOONEST), ASK_AGAIN_LATEST)
    return Window(start, end, again)


def _moment(text: str) -> float:
    """A timestamp of RFC 3339, which always has an offset."""
    when = dt.datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(text)
    return when.timestamp()
