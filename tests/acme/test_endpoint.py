"""Endpoint strings with certificates of their own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString

from sayci.acme.endpoint import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, AcmePort, is_acme, parse
from sayci.errors import Invalid


def test_le_is_lets_encrypt_with_retries_at_its_staging():
    assert parse("le:/srv/certs:tcp:443") == AcmePort(Path("/srv/certs"), LETS_ENCRYPT, "tcp:443", LETS_ENCRYPT_STAGING)


def test_lets_is_the_staging_itself():
    assert parse("lets:certs:tcp:443") == AcmePort(Path("certs"), LETS_ENCRYPT_STAGING, "tcp:443")


def test_what_is_after_the_directory_stays_as_it_is():
    assert parse(r"le:/a:unix:/run/a\:b:mode=660").sub_endpoint == r"unix:/run/a\:b:mode=660"
    sub_endpoint = parse("le:/a:tcp:0:interface=127.0.0.1").sub_endpoint
    assert isinstance(serverFromString(reactor, sub_endpoint), TCP4ServerEndpoint)
    assert parse(r"le:/a:tcp:443:interface=\:\:").sub_endpoint == r"tcp:443:interface=\:\:"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_directory_can_be_written(directory):
    escaped = directory.replace("\\", "\\\\").replace(":", "\\:")
    assert parse(f"le:{escaped}:tcp:443").directory == Path(directory)


@given(st.text())
def test_any_text_is_parsed_or_refused(text):
    for description in (text, f"le:{text}"):
        with suppress(Invalid):
            assert isinstance(parse(description), AcmePort)


@pytest.mark.parametrize("description", ("le:/a:tcp:443", "lets:/a:tcp:443", "le:", "lets"))
def test_ours_are_known_by_their_prefix(description):
    assert is_acme(description)


@pytest.mark.parametrize("description", ("tcp:443", "ssl:443", "let:/a:tcp:1", "LE:/a:tcp:1", "", "8080", "/le:x"))
def test_others_are_not_ours(description):
    assert not is_acme(description)
    with pytest.raises(Invalid):
        parse(description)


@pytest.mark.parametrize(
    ("description", "words"),
    (
        ("le", "a directory for the certificates is missing"),
        ("le:", "a directory for the certificates is missing"),
        ("le::tcp:443", "a directory for the certificates is missing"),
        ("le:/srv/certs", "an endpoint is missing after the directory"),
        ("le:/srv/certs:", "an endpoint is missing after the directory"),
        (r"le:/srv/certs\:tcp", "an endpoint is missing after the directory"),
        ("le:/srv\0:tcp:443", "zero byte"),
        ("le:/srv/certs:ssl:443", "bring TLS themselves"),
        ("le:/srv/certs:le:/srv/certs:tcp:443", "bring TLS themselves"),
    ),
)
def test_what_is_missing_is_said(description, words):
    with pytest.raises(Invalid, match=words):
        parse(description)
