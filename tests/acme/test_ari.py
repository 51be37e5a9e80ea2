"""Renewal information: names of certificates, and windows.  What a client does with them is in test_client.py."""

from __future__ import annotations

import pytest

from sayci.acme.ari import Window, certificate_id, id_of, window_of
from sayci.acme.jose import unb64
from sayci.errors import Invalid
from tests.tls import self_signed


def test_the_name_of_the_certificate_in_rfc_9773():
    authority = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
    assert id_of(authority, 0x87654321) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(
    ("serial", "der"), ((1, b"\x01"), (0x7F, b"\x7f"), (0x80, b"\0\x80"), (0x100, b"\1\0"), (2**159 - 1, None))
)
def test_serial_numbers_are_as_der_has_them(serial, der):
    encoded = unb64(id_of(b"a", serial).split(".")[1])
    assert encoded == (der or b"\x7f" + b"\xff" * 19)


def test_a_certificate_of_no_authority_has_no_name(tmp_path):
    assert certificate_id(self_signed(tmp_path, "a.example").certificate.read_bytes()) == ""


@pytest.mark.parametrize("junk", (b"", b"junk"))
def test_what_is_no_certificate(junk):
    with pytest.raises(Invalid):
        certificate_id(junk)


def test_a_window_with_fractions_and_offsets():
    said = {"start": "1970-01-01T00:00:01.25Z", "end": "1970-01-01T01:00:02+01:00"}
    assert window_of({"suggestedWindow": said}, 600.0) == Window(1.25, 2.0, 600.0)
