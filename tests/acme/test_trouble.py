"""What authorities say, in words for people."""

from __future__ import annotations

import pytest

from sayci.acme.trouble import clean, failed_validation, kind_of, refusal

NAMESPACE = "urn:ietf:params:acme:error:"


def problem(kind, detail="details", **more):
    return {"type": NAMESPACE + kind, "detail": detail, **more}


@pytest.mark.parametrize(
    ("kind", "challenge", "words"),
    (
        ("connection", "tls-alpn-01", "could not reach this server: a.example at port 443, details"),
        ("connection", "http-01", "could not reach this server: a.example at port 80, details"),
        ("unauthorized", "tls-alpn-01", "did not give the right answer: a.example at port 443, details"),
        ("tls", "tls-alpn-01", "the TLS handshake failed: a.example at port 443, details"),
        ("dns", "http-01", "in the DNS: a.example, details"),
        ("caa", "http-01", "forbids the authority to issue for this name: a.example, details"),
        ("somethingNew", "http-01", "could not see that this name is ours: a.example at port 80, details"),
    ),
)
def test_why_a_validation_failed(kind, challenge, words):
    error = failed_validation("a.example", challenge, problem(kind))
    assert str(error).endswith(words)
    assert error.kind == kind


def test_a_refusal_says_when_to_come_again():
    error = refusal(429, problem("rateLimited"), 3600.0, 1_795_219_200.0)
    assert str(error) == "the authority has had too many requests: details, not before 2026-11-21 01:00:00 UTC"
    assert error.retry_after == 3600.0


@pytest.mark.parametrize(("code", "kind"), ((429, "rateLimited"), (503, "serverInternal"), (418, "")))
def test_a_refusal_without_a_problem_document(code, kind):
    error = refusal(code, {}, None, 0.0)
    assert error.kind == kind
    assert f"HTTP {code}" in str(error)


@pytest.mark.parametrize(
    "document",
    (
        {"type": 1, "detail": 2, "subproblems": 3},
        {"subproblems": [1, None, {"identifier": 1, "type": []}]},
        {"type": "about:blank", "instance": {}},
        {"type": NAMESPACE + "userActionRequired", "instance": 5},
    ),
)
def test_a_problem_document_that_is_none_is_a_refusal_all_the_same(document):
    assert str(refusal(403, document, None, 0.0)).endswith(": HTTP 403")


def test_one_subproblem_stands_for_a_problem_that_has_several():
    assert kind_of(problem("compound", subproblems=[{"detail": "x"}, problem("caa")])) == "caa"
    assert kind_of(problem("malformed", subproblems=[problem("caa")])) == "malformed"


def test_what_an_authority_says_is_short_and_cannot_move_a_terminal():
    said = clean("one\r\ntwo \x1b[2J\u202e" + "x" * 10_000)
    assert said.isprintable()
    assert len(said) == 400
    assert said.startswith("one two")


def test_of_many_subproblems_some_are_shown():
    parts = [problem("dns", f"number {number}.") for number in range(1000)]
    assert len(str(refusal(400, problem("compound", subproblems=parts), None, 0.0))) < 1000
