"""cli/status.py: how the server is."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from sayci.cli.status import due

DAY = 86_400


def at(seconds):
    """RFC 3339 for so many seconds from now."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat().replace("+00:00", "Z")


def a_certificate(name="ci.example", **fields):
    """A certificate as the API has it."""
    return {
        "name": name,
        "issuer": "Good Authority R1",
        "not_before": at(-29 * DAY),
        "not_after": at(61 * DAY + 60),
        "renew_at": at(31 * DAY + 60),
        "error": "",
        "tries": 0,
    } | fields


@pytest.fixture
def told(server, values):
    """The server answers with this status, changed by the fields given; once each time."""

    def tell(*certificates, **fields):
        isolation = {"holds": True, "words": "Each build runs as a user of its own"}
        status = {"version": "0.9", "isolation": isolation, "certificates": list(certificates)} | fields
        server.trouble("GET", "status", values.Answer(200, status, "application/json"))
        return status

    return tell


def test_version_isolation_and_certificates_are_shown(signed_in, server, told):
    told(a_certificate(), a_certificate("git.example", renew_at=at(-5)))
    done = signed_in("status")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"Server     {server.url}",
        "Version    0.9",
        "Isolation  Each build runs as a user of its own",
        "",
        "CERTIFICATE  EXPIRES     NEXT        ISSUER",
        "ci.example   in 61 days  in 31 days  Good Authority R1",
        "git.example  in 61 days  now         Good Authority R1",
    ]


def test_without_certificates_none_are_spoken_of(signed_in, told):
    told()
    assert "CERTIFICATE" not in signed_in("status").stdout


def test_what_went_wrong_is_told_below(signed_in, told):
    told(
        a_certificate(not_after=at(-3 * DAY), error="no answer\x1b[2J", tries=7),
        a_certificate("new.example", issuer="", not_before=None, not_after=None, error="no such name", tries=1),
        a_certificate("odd.example", renew_at=None, tries=1),
    )
    lines = signed_in("status").stdout.splitlines()
    assert any(line.startswith("ci.example   expired 3 days ago  in 31 days") for line in lines)
    assert any(line.startswith("new.example  not issued yet") and line.endswith("self-signed") for line in lines)
    assert lines[-3:] == [
        "ci.example: 7 tries failed; the last: no answer␛[2J",
        "new.example: the last try failed: no such name",
        "odd.example: the last try failed: nothing says why",
    ]


def test_json_is_the_api_s(signed_in, told):
    status = told(a_certificate())
    assert json.loads(signed_in("status", "--json").stdout) == status


def test_an_older_server_refuses_in_its_own_words(signed_in):
    done = signed_in("status")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "there is nothing at this address" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "words"),
    (
        (-1, "now"),
        (30, "in less than a minute"),
        (90, "in 1 minute"),
        (119 * 60 + 30, "in 119 minutes"),
        (2 * 3600 + 5, "in 2 hours"),
        (47 * 3600 + 5, "in 47 hours"),
        (2 * DAY + 5, "in 2 days"),
    ),
)
def test_moments_to_come(seconds, words):
    assert due(at(seconds)) == words


@pytest.mark.parametrize("text", (None, "", "soon", 12))
def test_what_is_no_moment(text):
    assert due(text) == ""
