"""api_status.py: the server itself, for programs."""

from __future__ import annotations

import pytest_twisted

from sayci.account import Access
from sayci.certificate import Certificate
from sayci.web.words import DAY
from tests.factories import NOW
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture


@pytest_twisted.ensureDeferred
async def test_everybody_with_a_token_learns_how_the_server_is(house):
    for access in (Access.READ, Access.BUILD, Access.ADMIN):
        reply = await house.get("/api/v1/status", token=house.tokens[access])
        assert reply.code == 200
        assert reply.said == {
            "version": "1.2.3",
            "isolation": {"holds": True, "words": "Each build runs as a user of its own"},
            "certificates": [],
            "no_space": "",
        }
    assert (await house.get("/api/v1/status", token="")).code == 401


@pytest_twisted.ensureDeferred
async def test_certificates_are_told_with_their_times(house):
    house.listed = [
        Certificate("ci.example", "Good Authority R1", NOW - DAY, NOW + 89 * DAY, NOW + 60 * DAY),
        Certificate("new.example", not_before=NOW, not_after=NOW + DAY, renew_at=NOW + 60, error="no answer", tries=2),
        Certificate("old.example", "Good Authority R1", NOW - 9 * DAY, NOW),
    ]
    first, second, third = (await house.get("/api/v1/status")).said["certificates"]
    assert first == {
        "name": "ci.example",
        "issuer": "Good Authority R1",
        "not_before": "2026-11-20T00:00:00Z",
        "not_after": "2027-02-18T00:00:00Z",
        "renew_at": "2027-01-20T00:00:00Z",
        "error": "",
        "tries": 0,
    }
    assert second == {
        "name": "new.example",
        "issuer": "",
        "not_before": None,
        "not_after": None,
        "renew_at": "2026-11-21T00:01:00Z",
        "error": "no answer",
        "tries": 2,
    }
    assert third["renew_at"] is None


@pytest_twisted.ensureDeferred
async def test_they_are_told_as_they_are_when_somebody_asks(house):
    assert (await house.get("/api/v1/status")).said["certificates"] == []
    house.listed = [Certificate("ci.example")]
    assert [each["name"] for each in (await house.get("/api/v1/status")).said["certificates"]] == ["ci.example"]
