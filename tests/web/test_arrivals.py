"""arrivals.py: what is said of deliveries, of those that were refused, and of the webhook's light."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.delivery import Verdict
from sayci.errors import Malformed, NoSignature, WrongSignature
from sayci.refusals import Refusal, why_of
from sayci.web import arrivals, sayings
from sayci.web.arrivals import BODY_SHOWN, HIDDEN, shown_body
from tests.factories import NOW, a_delivery

HELLO = "Hello received: signature and address are right, and pushes will be built."
DEAF = "Hello received, but GitHub is not set up to send pushes here, which are what is built, only: issues."


def refused(error=None, **fields):
    error = error or WrongSignature("the delivery's signature does not match")
    return Refusal(NOW + 60, NOW + 60, why_of(error), str(error), "192.0.2.1", **fields)


@pytest.mark.parametrize(
    ("fields", "told", "news"),
    (
        ({"verdict": Verdict.RECEIVED}, "Received: It is on disk, and will be looked at.", "is being looked at."),
        ({"verdict": Verdict.BUILT, "build_number": 7}, "Built: as #7.", "was built as #7."),
        ({"verdict": Verdict.IGNORED, "explanation": "A tag."}, "Ignored: A tag.", "was ignored. A tag."),
        (
            {"verdict": Verdict.SUPERSEDED, "explanation": "Newer."},
            "Not built: Newer.",
            "was overtaken by a newer push.",
        ),
        ({"verdict": Verdict.FAILED, "explanation": "no push"}, "Failed: no push", "could not be used: no push"),
        (
            {"verdict": Verdict.IGNORED, "event": "ping", "explanation": HELLO},
            f"Answered: {HELLO}",
            "was the forge's hello. signature and address are right, and pushes will be built.",
        ),
        (
            {"verdict": Verdict.IGNORED, "event": "ping", "explanation": DEAF},
            f"Answered: {DEAF}",
            f"was the forge's hello. {DEAF}",
        ),
    ),
)
def test_what_became_of_a_delivery(fields, told, news):
    delivery = a_delivery(**fields)
    mark, word, sentence = arrivals.verdict(delivery)
    assert f"{word}: {sentence}" == told
    assert mark in sayings.MARKS
    assert str(arrivals.saying_of_deliveries(delivery)) == f"The last delivery {news}"


def test_what_can_be_replayed():
    can = {verdict for verdict in Verdict if arrivals.can_be_replayed(a_delivery(verdict=verdict))}
    assert can == {Verdict.IGNORED, Verdict.SUPERSEDED, Verdict.FAILED}
    assert not arrivals.can_be_replayed(a_delivery(verdict=Verdict.IGNORED, event="ping"))


def test_no_deliveries():
    assert str(arrivals.saying_of_deliveries(None)).startswith("No delivery has arrived yet.")


@pytest.mark.parametrize(
    ("error", "words"),
    (
        (None, "The signature does not match. The secret at the forge differs from the one here."),
        (NoSignature("none"), "It is not signed. Give the webhook at the forge the secret that sayci has shown."),
        (
            Malformed("the payload is nested too deeply"),
            "It cannot be read, though the secret is right: the payload is nested too deeply.",
        ),
    ),
)
def test_a_refusal_says_why_and_what_to_do(error, words):
    refusal = refused(error)
    assert arrivals.why_refused(refusal) == words
    assert arrivals.is_about_the_secret(refusal) is (error is None or isinstance(error, NoSignature))
    saying = arrivals.saying_of_deliveries(a_delivery(received_at=NOW), refusal)
    assert saying.mark == "failure"
    assert str(saying) == f"The last delivery was refused: {arrivals.reason_of(refusal)}"
    assert words.lower().startswith(arrivals.reason_of(refusal))


def test_a_refusal_before_the_last_delivery_is_no_news():
    newest = a_delivery(verdict=Verdict.BUILT, build_number=7, received_at=NOW + 61)
    assert str(arrivals.saying_of_deliveries(newest, refused())) == "The last delivery was built as #7."
    assert arrivals.light_of(newest, [refused()]).is_green


@pytest.mark.parametrize(
    ("fields", "mark", "news"),
    (
        (None, "ping", "Waiting for the first ping"),
        ({"verdict": Verdict.IGNORED, "event": "ping", "explanation": HELLO}, "success", "Connected"),
        ({"verdict": Verdict.IGNORED, "event": "ping", "explanation": DEAF}, "error", "Connected, but not for pushes"),
        ({"verdict": Verdict.BUILT, "build_number": 1}, "success", "Connected"),
        ({"verdict": Verdict.IGNORED, "explanation": "A tag."}, "success", "Connected"),
    ),
)
def test_the_light(fields, mark, news):
    delivery = None if fields is None else a_delivery(**fields)
    light = arrivals.light_of(delivery, [])
    assert (light.mark, light.news, light.is_green) == (mark, news, mark == "success")
    assert light.at == (None if fields is None else NOW)
    red = arrivals.light_of(delivery, [refused(count=3), refused()])
    assert (red.mark, red.news) == ("failure", "The last delivery was refused")
    assert red.rest.endswith("differs from the one here. 3 deliveries of that sender so far.")


# -- bodies


def test_a_body_is_set_out_in_lines_without_credentials():
    body = json.dumps({"ref": "refs/heads/main", "secret": 'swordfish"x', "hook": {"token": "t0ps3cret"}}).encode()
    shown, is_cut = shown_body(body, "the webhook's")
    assert json.loads(shown) == {"ref": "refs/heads/main", "secret": HIDDEN, "hook": {"token": HIDDEN}}
    assert '\n "ref": "refs/heads/main"' in shown
    assert not is_cut


def test_the_webhook_s_secret_is_never_shown():
    assert shown_body(b'{"config": "hush-hush"}', "hush-hush")[0] == f'{{\n "config": "{HIDDEN}"\n}}'
    assert "hush-hush" not in shown_body(b"no json: hush-hush", "hush-hush")[0]


def test_a_form_is_shown_as_what_is_in_it():
    assert shown_body(b"payload=%7B%22a%22%3A+1%7D&x=y", "")[0] == '{\n "a": 1\n}'


def test_a_large_body_is_cut():
    shown, is_cut = shown_body(b'{"a": "' + b"x" * (5 * BODY_SHOWN) + b'"}', "secret")
    assert (len(shown), is_cut) == (BODY_SHOWN, True)


def test_what_is_nested_deeply_is_shown_as_it_is():
    body = b"[" * 5_000 + b"]" * 5_000
    assert shown_body(body, "") == (body.decode(), False)


@given(st.binary(max_size=300))
def test_any_body_is_shown(body):
    shown, _ = shown_body(body, "secret")
    assert "secret" not in shown
    assert len(shown) <= BODY_SHOWN
