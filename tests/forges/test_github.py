"""forges/github.py: what is GitHub's own; what every forge promises is in contracts/test_forge.py."""

from __future__ import annotations

from typing import Any

import pytest

from sayci.change import MESSAGE_LIMIT, NAME_LIMIT
from sayci.errors import Malformed, Unsupported, WrongSignature
from sayci.forges.github import GitHub
from tests.payloads import (
    AFTER,
    SECRET,
    ZEROS,
    body_of,
    created,
    deletion,
    form_of,
    headers_of,
    hmac_sha256,
    many_valued,
    padded,
    ping,
    pull_request,
    push,
    signature,
    tag,
)

BODY = body_of(push())
FORM = "application/x-www-form-urlencoded"


def parse(body, event="push", **changes):
    headers = many_valued(headers_of(body, event=event))
    for name, values in changes.items():
        headers[name.replace("_", "-")] = values
    return GitHub().parse(headers, body)


def pushed(**changes):
    return body_of(push() | changes)


# ------------------------------------------------------------------------------------------------ signatures


def test_the_signer_of_the_tests_agrees_with_the_standards_own_example():
    # RFC 4231, test case 2.
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?") == digest


def verify(*values, body=BODY, secret=SECRET):
    GitHub().verify(secret, {"x-hub-signature-256": values}, body)


def test_hex_digits_may_be_upper_case():
    verify("sha256=" + signature(SECRET, BODY).removeprefix("sha256=").upper())


RIGHT = signature(SECRET, BODY)


@pytest.mark.parametrize(
    "value",
    (
        "",
        "sha256=",
        RIGHT.removeprefix("sha256="),
        "SHA256=" + RIGHT.removeprefix("sha256="),
        RIGHT.replace("sha256", "sha1"),
        RIGHT[:-1],
        RIGHT + "0",
        RIGHT + "\n",
        RIGHT + " ",
        " " + RIGHT,
        RIGHT[:-1] + "g",
        RIGHT[:-1] + "٣",
        "sha256=" + "0" * 64,
        f"{RIGHT},{RIGHT}",
        f"sha256=a,{RIGHT}",
        "sha256=0x" + RIGHT[9:],
    ),
)
def test_anything_but_sha256_and_64_hex_digits_is_wrong(value):
    with pytest.raises(WrongSignature):
        verify(value)


def test_a_sha1_signature_alone_is_not_enough():
    headers = many_valued(headers_of(BODY))
    del headers["x-hub-signature-256"]
    assert "x-hub-signature" in headers
    with pytest.raises(WrongSignature):
        GitHub().verify(SECRET, headers, BODY)


def test_no_header_and_two_headers_are_wrong():
    for values in ((), (RIGHT, RIGHT), (RIGHT, ""), ("", RIGHT)):
        with pytest.raises(WrongSignature):
            verify(*values)


def test_a_secret_with_half_a_surrogate_pair_does_no_harm():
    with pytest.raises(WrongSignature):
        verify(RIGHT, secret="\ud800")


def test_another_forges_signature_is_no_signature():
    headers = {"x-gitea-signature": [RIGHT.removeprefix("sha256=")], "x-gitlab-token": [SECRET]}
    with pytest.raises(WrongSignature):
        GitHub().verify(SECRET, headers, BODY)


# ------------------------------------------------------------------------------------------------ identities


@pytest.mark.parametrize("value", ("72d3162e-cc78-11e3-81ab-4c9367dc0958", "x", "!" * 100))
def test_the_identity_is_githubs_own(value):
    assert GitHub().delivery_id({"x-github-delivery": [value]}, BODY) == value


@pytest.mark.parametrize("values", ([], [""], ["x" * 101], ["a b"], ["a\n"], ["é"], ["a", "a"]))
def test_an_identity_that_cannot_be_used_is_replaced_by_the_bodys(values):
    identity = GitHub().delivery_id({"x-github-delivery": values}, BODY)
    assert identity == GitHub().delivery_id({}, BODY)
    assert identity.startswith("sha256:")


# ------------------------------------------------------------------------------------------------ content types


@pytest.mark.parametrize(
    "kind",
    ("application/json", "Application/JSON ; charset=utf-8", 'application/json;charset="UTF-8"', "application/json;"),
)
def test_json_is_taken_however_it_is_spelt(kind):
    assert parse(BODY, content_type=[kind]).change is not None


def test_a_form_is_taken():
    message = parse(form_of(push(message="100 % of a+b & c=d; ☃")), content_type=[FORM])
    assert message.change is not None
    assert message.change.message == "100 % of a+b & c=d; ☃"


def test_other_fields_of_a_form_do_not_matter():
    assert parse(b"a=b&" + form_of(push()) + b"&c", content_type=[FORM]).change is not None


@pytest.mark.parametrize(
    "body",
    (
        b"",
        b"payload",
        b"payload=",
        b"payload=null",
        form_of(push()) + b"&" + form_of(push()),
        b"payload=&" + form_of(push()),
        b"Payload=%7B%7D",
        b"pay%6Coad=%7B%7D",
        BODY,
        b"&" * 1_000_000,
        b"a=b&" * 20 + form_of(push()),
        form_of(push()) + b"&a=b" * 20 + b"&payload=",
        b"payload=%7B%ZZ%7D",
        b"payload=" + b"%5B" * 100_000,
    ),
)
def test_a_form_with_no_payload_or_several_is_malformed(body):
    with pytest.raises(Malformed):
        parse(body, content_type=[FORM])


@pytest.mark.parametrize(
    "kind",
    (
        "",
        "text/plain",
        "text/json",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json, application/json",
        "application/json; charset=utf-7",
        "application/json; charset=latin-1",
        FORM + "; charset=utf-16",
    ),
)
def test_other_content_types_are_unsupported(kind):
    with pytest.raises(Unsupported):
        parse(BODY, content_type=[kind])


def test_no_content_type_is_unsupported_and_two_are_malformed():
    with pytest.raises(Unsupported):
        parse(BODY, content_type=[])
    with pytest.raises(Malformed):
        parse(BODY, content_type=["application/json"] * 2)


# ------------------------------------------------------------------------------------------------ events


@pytest.mark.parametrize(
    "events", ([], [""], ["push", "push"], ["push", "ping"], ["Push"], ["push\n"], ["pu sh"], ["pûsh"])
)
def test_an_event_is_one_word_in_one_header(events):
    with pytest.raises(Malformed):
        parse(BODY, x_github_event=events)


def test_two_identities_are_malformed():
    with pytest.raises(Malformed):
        parse(BODY, x_github_delivery=["a", "b"])


@pytest.mark.parametrize(
    ("event", "payload", "word"),
    (
        ("pull_request", pull_request(), "Pull requests"),
        ("pull_request", pull_request(fork=None), "Pull requests"),
        ("create", created(), "push"),
        ("delete", created(), "deleted"),
        ("status", {"state": "success"}, "statuses"),
        ("issues", {"action": "opened"}, "issues"),
        ("x" * 64, {}, "x" * 64),
    ),
)
def test_other_events_say_why_they_make_no_build(event, payload, word):
    message = parse(body_of(payload), event)
    assert (message.event, message.change) == (event, None)
    assert word in message.explanation


def test_a_ping_says_that_all_is_set_up():
    assert "pushes will be built" in parse(body_of(ping()), "ping").explanation


def test_a_ping_of_a_hook_that_sends_no_pushes_says_so():
    hook = ping()["hook"] | {"events": ["issues", "release"]}
    explanation = parse(body_of(ping() | {"hook": hook}), "ping").explanation
    assert "not set up to send pushes" in explanation
    assert "issues, release" in explanation


@pytest.mark.parametrize("changes", ({"hook": None}, {"hook": {}}, {"hook": {"events": ["*"]}}, {"repository": None}))
def test_a_ping_may_be_anybodys(changes):
    assert "Hello" in parse(body_of(ping() | changes), "ping").explanation


# ------------------------------------------------------------------------------------------------ pushes


def test_a_force_push_and_a_new_branch_are_pushes():
    assert parse(body_of(push(forced=True))).change is not None
    assert parse(body_of(push("refs/heads/new", before=ZEROS))).change is not None


@pytest.mark.parametrize(
    "payload",
    (
        deletion(),
        push() | {"deleted": True},
        push(after=ZEROS),
        push(after="0" * 64),
        deletion("refs/tags/v1.0"),
    ),
)
def test_what_was_deleted_is_not_built(payload):
    message = parse(body_of(payload))
    assert message.change is None
    assert payload["ref"] in message.explanation


BAD_REFS: tuple[Any, ...] = (
    None,
    5,
    [],
    {},
    "",
    "main",
    "refs/heads/",
    "refs/heads/a\nb",
    "refs/heads/a\0b",
    "refs/heads/a..b",
    "refs/heads/a~1",
    "refs/heads/a^",
    "refs/heads/a:b",
    "-upload-pack",
    "--upload-pack=touch /tmp/p",
    "refs/heads/-x",
    "refs/heads/@{",
    "refs/heads/a b;id",
    "refs/heads/" + "x" * 1_000_000,
)


@pytest.mark.parametrize("ref", BAD_REFS, ids=lambda ref: repr(ref)[:30])
@pytest.mark.parametrize("deleted", (False, True))
def test_a_ref_that_git_would_not_take_is_malformed(ref, deleted):
    payload = {**push(), "ref": ref, "deleted": deleted}
    with pytest.raises(Malformed) as caught:
        parse(body_of(payload))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "after",
    (
        None,
        5,
        "",
        "HEAD",
        "--help",
        "a" * 39,
        "a" * 41,
        AFTER.upper(),
        "g" * 40,
        AFTER + "\n",
        "0" * 39,
        [AFTER],
        "0" * 41,
    ),
)
def test_a_commit_that_is_no_full_object_name_is_malformed(after):
    with pytest.raises(Malformed):
        parse(pushed(after=after))


def test_a_commit_may_be_of_sha256():
    change = parse(body_of(push(after="ab" * 32))).change
    assert change is not None
    assert change.commit == "ab" * 32


@pytest.mark.parametrize("missing", ("ref", "after"))
def test_a_push_without_its_ref_or_commit_is_malformed(missing):
    payload = push()
    del payload[missing]
    with pytest.raises(Malformed):
        parse(body_of(payload))


def test_a_push_needs_nothing_but_its_ref_and_commit():
    change = parse(body_of({"ref": "refs/heads/main", "after": AFTER})).change
    assert change is not None
    assert (change.message, change.author) == ("", "")


@pytest.mark.parametrize(
    ("head", "pusher", "author"),
    (
        ({"author": {"name": "Ada", "username": "quill"}}, {"name": "bob"}, "Ada"),
        ({"author": {"name": None, "username": "quill"}}, {"name": "bob"}, "quill"),
        ({"author": {"name": "", "username": ""}}, {"name": "bob"}, "bob"),
        ({"author": None}, {"name": "bob"}, "bob"),
        (None, {"name": "bob"}, "bob"),
        (None, {"username": "bob"}, "bob"),
        (None, {}, ""),
        (None, None, ""),
    ),
)
def test_the_author_is_the_head_commits_or_else_the_pusher(head, pusher, author):
    change = parse(pushed(head_commit=head, pusher=pusher)).change
    assert change is not None
    assert change.author == author


def test_only_the_head_commits_message_counts():
    payload = push(message="head")
    payload["commits"] = [{"message": "[skip ci]"}]
    change = parse(body_of(payload)).change
    assert change is not None
    assert not change.asks_to_skip
    assert change.message == "head"


def test_long_and_strange_texts_are_cut_and_kept_as_they_are():
    change = parse(body_of(push(message="m" * 1_000_000, author="<script>\u202e☃" + "a" * 1000))).change
    assert change is not None
    assert len(change.message) == MESSAGE_LIMIT
    assert len(change.author) == NAME_LIMIT
    assert change.author.startswith("<script>\u202e☃")


def test_ten_thousand_commits_and_enormous_numbers_do_no_harm():
    payload = push()
    payload["commits"] *= 10_000
    payload["number"] = 10**4000
    payload["repository"]["id"] = 10**400
    assert parse(body_of(payload)).change is not None


def test_two_fields_of_one_name_are_read_as_every_reader_of_githubs_would():
    body = BODY.replace(b'{"ref":', b'{"ref":"refs/heads/other","ref":', 1)
    change = parse(body).change
    assert change is not None
    assert change.ref == "refs/heads/main"


def test_addresses_in_the_payload_are_not_even_read():
    payload = push(clone_url="http://169.254.169.254/latest/meta-data/")
    payload["repository"] |= {"ssh_url": 5, "full_name": None, "url": ["nonsense"]}
    message = parse(body_of(payload))
    assert message.change == parse(BODY).change
    assert "169.254" not in repr(message)
    assert parse(pushed(repository=None)).change == message.change


def test_a_tag_is_a_change_of_its_own_ref():
    change = parse(body_of(tag("v2"))).change
    assert change is not None
    assert change.ref == "refs/tags/v2"


def test_the_factory_makes_bodies_of_a_size():
    body = padded(push(), 10_000)
    assert 10_000 <= len(body) < 10_100
    assert parse(body).change is not None
