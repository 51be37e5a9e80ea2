"""What every Forge promises (interfaces.Forge), for every one that there is.

A forge is added with one `Kind`: how it signs, and payloads that it sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayci.change import Change
from sayci.errors import Invalid, Malformed, Unsupported, WrongSignature
from sayci.forges.github import GitHub
from sayci.interfaces import Forge
from tests import payloads

Headers = dict[str, list[str]]


@dataclass(frozen=True)
class Kind:
    """A forge, and its deliveries: (headers, body) of a push to main, of a branch's removal, and of its greeting."""

    forge: Forge
    signature: str
    signed: Callable[[bytes, str, str], Headers]
    push: bytes = field(repr=False)
    deletion: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    ping: tuple[str, bytes] = field(repr=False)
    unknown: str = "some_new_event"

    def headers(self, body: bytes, event: str = "push", secret: str = payloads.SECRET) -> Headers:
        return self.signed(body, event, secret)


def github_headers(body: bytes, event: str, secret: str) -> Headers:
    return payloads.many_valued(payloads.headers_of(body, event=event, secret=secret))


KINDS = {
    "github": Kind(
        GitHub(),
        "x-hub-signature-256",
        github_headers,
        push=payloads.body_of(payloads.push()),
        deletion=payloads.body_of(payloads.deletion()),
        tag=payloads.body_of(payloads.tag()),
        ping=("ping", payloads.body_of(payloads.ping())),
    )
}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


# ------------------------------------------------------------------------------------------------ labels


def test_a_delivery_calls_itself_something_also_where_it_is_not_authentic(kind):
    headers = kind.headers(kind.push, secret="wrong")
    event, identity = kind.forge.labels(headers)
    assert event == "push"
    assert identity == kind.forge.delivery_id(headers, kind.push)


def test_what_no_forge_sends_is_no_label(kind):
    assert kind.forge.labels({}) == ("", "")
    headers = {name: ["<script>\n" * 500] for name in kind.headers(kind.push)}
    assert kind.forge.labels(headers) == ("", "")


# ------------------------------------------------------------------------------------------------ signatures


def test_the_right_signature_passes(kind):
    kind.forge.verify(payloads.SECRET, kind.headers(kind.push), kind.push)


@pytest.mark.parametrize("secret", ("x", "ünï-çødé ☃", "s" * 200, " spaced ", "\N{PILE OF POO}" * 20))
def test_any_secret_but_the_empty_one_will_do(kind, secret):
    kind.forge.verify(secret, kind.headers(kind.push, secret=secret), kind.push)


def test_an_empty_secret_matches_nothing(kind):
    with pytest.raises(WrongSignature):
        kind.forge.verify("", kind.headers(kind.push, secret=""), kind.push)


def test_the_secret_of_another_project_does_not_match(kind):
    with pytest.raises(WrongSignature):
        kind.forge.verify("another secret", kind.headers(kind.push), kind.push)


def test_a_missing_signature_is_a_wrong_one(kind):
    headers = kind.headers(kind.push)
    del headers[kind.signature]
    with pytest.raises(WrongSignature):
        kind.forge.verify(payloads.SECRET, headers, kind.push)


def test_two_signatures_are_wrong_even_if_both_are_right(kind):
    headers = kind.headers(kind.push)
    headers[kind.signature] *= 2
    with pytest.raises(WrongSignature):
        kind.forge.verify(payloads.SECRET, headers, kind.push)


@pytest.mark.parametrize(
    "altered",
    (
        lambda body: body + b"\n",
        lambda body: body[:-1],
        lambda body: bytes([body[0] ^ 1]) + body[1:],
        lambda body: json.dumps(json.loads(body)).encode(),
        lambda body: body.replace(b",", b",\r\n"),
        lambda body: b"",
    ),
)
def test_a_body_that_is_not_byte_for_byte_the_signed_one_does_not_match(kind, altered):
    with pytest.raises(WrongSignature):
        kind.forge.verify(payloads.SECRET, kind.headers(kind.push), altered(kind.push))


@settings(deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(value=st.text(max_size=100))
def test_no_other_text_is_a_signature(name, value):
    kind = KINDS[name]
    headers = kind.headers(kind.push) | {kind.signature: [value]}
    with pytest.raises(WrongSignature):
        kind.forge.verify(payloads.SECRET, headers, kind.push)


@settings(deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(body=st.binary(max_size=500))
def test_any_body_can_be_signed(name, body):
    kind = KINDS[name]
    kind.forge.verify(payloads.SECRET, kind.headers(body), body)


def test_an_error_tells_nothing_of_the_secret_or_the_right_signature(kind):
    headers = kind.headers(kind.push)
    right = headers[kind.signature][0]
    empty: Headers = {}
    for given_headers in (empty, headers | {kind.signature: ["sha256=" + "0" * 64]}):
        with pytest.raises(WrongSignature) as caught:
            kind.forge.verify(payloads.SECRET, given_headers, kind.push)
        told = repr(caught.value) + repr(caught.value.__cause__)
        assert payloads.SECRET not in told
        assert right.rpartition("=")[2] not in told


# ------------------------------------------------------------------------------------------------ identities


def test_the_same_delivery_has_the_same_identity_and_another_one_another(kind):
    headers = kind.headers(kind.push)
    identity = kind.forge.delivery_id(headers, kind.push)
    assert kind.forge.delivery_id(dict(headers), bytes(kind.push)) == identity
    assert kind.forge.delivery_id(kind.headers(kind.push), kind.push) != identity


def test_without_an_identity_of_the_forge_the_body_makes_one(kind):
    one, same, other = (kind.forge.delivery_id({}, body) for body in (b"one", b"one", b"other"))
    assert one == same != other


@settings(deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(values=st.dictionaries(st.sampled_from(["x-github-delivery", "x-x"]), st.lists(st.text()), max_size=2))
def test_an_identity_is_always_short_and_printable(name, values):
    identity = KINDS[name].forge.delivery_id(values, b"body")
    assert 1 <= len(identity) <= 100
    assert identity.isascii()
    assert identity.isprintable()


# ------------------------------------------------------------------------------------------------ payloads


def test_a_push_is_a_change(kind):
    message = kind.forge.parse(kind.headers(kind.push), kind.push)
    assert message.change == Change(
        "refs/heads/main", payloads.AFTER, "Grind finer\n\nTwice as fine as before.", "Ada Quill"
    )
    assert message.explanation == ""


def test_a_pushed_tag_is_a_change_that_is_no_branchs(kind):
    message = kind.forge.parse(kind.headers(kind.tag), kind.tag)
    assert message.change is not None
    assert (message.change.ref, message.change.branch) == ("refs/tags/v1.0", None)


def test_a_deletion_is_explained(kind):
    message = kind.forge.parse(kind.headers(kind.deletion), kind.deletion)
    assert message.change is None
    assert "refs/heads/feature" in message.explanation


def test_the_greeting_is_answered_in_words(kind):
    event, body = kind.ping
    message = kind.forge.parse(kind.headers(body, event), body)
    assert message.change is None
    assert message.explanation


def test_an_event_that_nobody_knows_yet_is_explained(kind):
    message = kind.forge.parse(kind.headers(b"{}", kind.unknown), b"{}")
    assert message.change is None
    assert kind.unknown in message.explanation


BOMBS = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"x"',
    "half": b'{"ref": "refs/heads/main", "aft',
    "two": b"{}{}",
    "deep lists": b"[" * 100_000,
    "deep lists that end": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep in a field": b'{"ref":' + b"[" * 100_000,
    "deep in an unknown field": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not a number": b'{"ref": NaN}',
    "not a number in an unknown field": b'{"x": NaN}',
    "infinity": b'{"x": -Infinity}',
    "another encoding": '{"ref": "refs/heads/main"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"ref": "refs/heads/\xff\xfe", "after": "x"}',
    "half a surrogate pair": rb'{"ref": "refs/heads/\ud800"}',
    "single quotes": b"{'ref': 'refs/heads/main'}",
    "a control character": b'{"ref": "refs/heads/\x01"}',
    "binary": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("name", sorted(BOMBS))
@pytest.mark.parametrize("event", ("push", None))
def test_what_cannot_be_read_is_malformed_and_nothing_else_happens(kind, name, event):
    body = BOMBS[name]
    with pytest.raises(Malformed):
        kind.forge.parse(kind.headers(body, event or kind.ping[0]), body)


def test_the_reader_is_as_good_as_new_after_a_bomb(kind):
    for body in BOMBS.values():
        with pytest.raises(Malformed):
            kind.forge.parse(kind.headers(body), body)
    assert kind.forge.parse(kind.headers(kind.push), kind.push).change is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(st.data())
def test_whatever_a_push_has_in_its_fields_it_is_read_or_refused(name, data):
    kind = KINDS[name]
    payload = json.loads(kind.push)
    field_name = data.draw(st.sampled_from(sorted(payload)))
    payload[field_name] = data.draw(json_values)
    body = json.dumps(payload).encode()
    try:
        message = kind.forge.parse(kind.headers(body), body)
    except (Malformed, Unsupported):
        return
    assert (message.change is None) == bool(message.explanation)


@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(body=st.binary(max_size=200), event=st.text(max_size=20), kind_of_content=st.text(max_size=40))
def test_any_bytes_with_any_headers_are_read_or_refused(name, body, event, kind_of_content):
    kind = KINDS[name]
    headers = kind.headers(body) | {"x-github-event": [event], "content-type": [kind_of_content]}
    try:
        message = kind.forge.parse(headers, body)
    except (Malformed, Unsupported):
        return
    assert (message.change is None) == bool(message.explanation)


@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("name", sorted(KINDS))
@given(cut_at=st.integers(min_value=0, max_value=2000))
def test_a_push_that_was_cut_short_is_malformed(name, cut_at):
    kind = KINDS[name]
    body = kind.push[: min(cut_at, len(kind.push) - 1)]
    with pytest.raises(Malformed):
        kind.forge.parse(kind.headers(body), body)


def test_errors_are_invalid_so_that_one_table_maps_them(kind):
    assert issubclass(Malformed, Invalid)
    assert issubclass(Unsupported, Invalid)


def test_headers_are_read_not_changed(kind):
    headers: Mapping[str, tuple[str, ...]] = {name: tuple(values) for name, values in kind.headers(kind.push).items()}
    kind.forge.verify(payloads.SECRET, headers, kind.push)
    kind.forge.delivery_id(headers, kind.push)
    assert kind.forge.parse(headers, kind.push).change is not None
