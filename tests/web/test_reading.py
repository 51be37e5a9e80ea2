"""reading.py: what a request says, read strictly."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from sayci.errors import (
    Invalid,
    Malformed,
    Missing,
    TooLarge,
    Unauthenticated,
    UnknownBuild,
    UnknownProject,
    Unsupported,
)
from sayci.web import wire
from sayci.web.reading import (
    BRANCH,
    COMMIT,
    CURSOR,
    JSON_LIMIT,
    LARGEST,
    LIMIT,
    NUMBER,
    PROJECT,
    bearer_of,
    cursor_for,
    header_of,
    query_of,
    range_of,
    read_json,
    wants_events,
    whole_number,
)


def a_request(query=b"", body=b"", method=b"GET", **headers):
    request: Any = DummyRequest([b""])
    request.method = method
    request.uri = b"/" + (b"?" + query if query else b"")
    request.content = BytesIO(body)
    for name, value in headers.items():
        values = value if isinstance(value, list) else [value]
        request.requestHeaders.setRawHeaders(name.replace("_", "-"), values)
    return request


# -- who asks


def test_a_token_is_taken_from_the_header_whatever_the_case_of_its_scheme():
    assert bearer_of(a_request(authorization="Bearer sayci_x")) == "sayci_x"
    assert bearer_of(a_request(authorization="bearer  sayci_x")) == "sayci_x"


@pytest.mark.parametrize(
    "value",
    (
        [],
        "",
        "Bearer",
        "Bearer ",
        "sayci_x",
        "Basic c2F5Y2k6eA==",
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer é",
        ["Bearer a", "Bearer a"],
    ),
)
def test_anything_else_is_no_credential(value):
    with pytest.raises(Unauthenticated):
        bearer_of(a_request(authorization=value))


def test_a_token_in_the_query_is_no_credential():
    with pytest.raises(Unauthenticated):
        bearer_of(a_request(b"access_token=sayci_x&token=sayci_x"))


# -- bodies


def read(body, content_type="application/json", kind=wire.NewToken):
    return read_json(a_request(body=body, content_type=content_type), kind)


@pytest.mark.parametrize(
    "content_type",
    (
        "application/json",
        "Application/JSON",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json;",
    ),
)
def test_json_is_taken_in_utf8(content_type):
    body = '{"name": "déploy", "access": "build"}'.encode()
    assert read(body, content_type) == wire.NewToken("déploy", "build", None)


@pytest.mark.parametrize(
    "content_type",
    (
        "",
        [],
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-7",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; boundary=x",
        "application/jsonx",
    ),
)
def test_another_content_type_or_charset_is_not_taken(content_type):
    with pytest.raises(Unsupported):
        read(b'{"name": "x", "access": "build"}', content_type)


@pytest.mark.parametrize(
    "body",
    (
        b"",
        b" ",
        b"{",
        b"{'name': 'x'}",
        b'{"name": "x",}',
        b'{"name": "x"} {}',
        b"\xef\xbb\xbf{}",
        b'{"name": NaN}',
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\\ud800"}',
        b'{"days": 1' + b"0" * 5000 + b"}",
        b'{"days": 1e999}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"name":' * 50_000 + b"1" + b"}" * 50_000,
        b"<x/>",
    ),
)
def test_what_is_no_json_is_malformed(body):
    with pytest.raises(Malformed):
        read(body)


@pytest.mark.parametrize(
    ("body", "place"),
    (
        (b"null", ""),
        (b"[]", ""),
        (b'"x"', ""),
        (b"{}", "name"),
        (b'{"name": "x", "access": "root"}', "$.access"),
        (b'{"name": null, "access": "build"}', "$.name"),
        (b'{"name": ["x"], "access": "build"}', "$.name"),
        (b'{"name": "", "access": "build"}', "$.name"),
        (b'{"name": "x", "access": "build", "days": "3"}', "$.days"),
        (b'{"name": "x", "access": "build", "days": true}', "$.days"),
        (b'{"name": "x", "access": "build", "days": 0}', "$.days"),
        (b'{"name": "x", "access": "build", "admin": true}', "admin"),
    ),
)
def test_json_that_says_something_else_is_invalid_and_the_place_is_named(body, place):
    with pytest.raises(Invalid) as caught:
        read(body)
    assert not isinstance(caught.value, Malformed)
    assert place in str(caught.value)


def test_a_body_beyond_the_limit_is_too_large_and_not_read_further():
    request = a_request(body=b'"' + b"x" * 10_000_000, content_type="application/json")
    with pytest.raises(TooLarge):
        read_json(request, wire.NewToken)
    assert request.content.tell() == JSON_LIMIT + 1


def test_a_million_keys_are_too_large():
    body = b"{" + b",".join(b'"%d":0' % number for number in range(1_000_000)) + b"}"
    with pytest.raises(TooLarge):
        read(body)


def test_the_longest_value_of_a_variable_fits_however_it_is_escaped():
    body = b'{"value": "' + b"\\ud83d\\ude00" * 32_768 + b'"}'
    assert len(read(body, kind=wire.NewValue).value) == 32_768


# -- numbers


@pytest.mark.parametrize(
    "text",
    (
        "",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e9",
        " 1",
        "1 ",
        "1\n",
        "1_0",
        "0x1",
        "\uff11",
        "\u0663",
        "\u00b2",
        "1" + "0" * 400,
        str(LARGEST + 1),
        "NaN",
    ),
)
def test_what_is_not_plain_digits_of_64_bits_is_no_number(text):
    assert whole_number(text) is None
    with pytest.raises(UnknownBuild):
        NUMBER.read(text)
    with pytest.raises(Invalid):
        LIMIT.read(text)


@given(st.integers(0, LARGEST))
def test_every_number_of_64_bits_is_read_as_it_is_written(number):
    assert whole_number(str(number)) == number


def test_nothing_is_listed_by_the_number_zero():
    with pytest.raises(UnknownBuild):
        NUMBER.read("0")


# -- parameters


@pytest.mark.parametrize("text", ("0", "201", "1000000000"))
def test_a_part_of_a_list_has_one_to_two_hundred_items(text):
    assert (LIMIT.read("1"), LIMIT.read("200")) == (1, 200)
    with pytest.raises(Invalid):
        LIMIT.read(text)


@given(st.integers(0, LARGEST))
def test_a_cursor_leads_back_to_its_place(position):
    cursor = cursor_for(position)
    assert cursor is not None
    assert CURSOR.read(cursor) == position


def test_the_end_of_a_list_has_no_cursor():
    assert cursor_for(None) is None


@given(st.text(max_size=60))
def test_a_made_up_cursor_is_refused_or_is_one_of_ours(text):
    try:
        position = CURSOR.read(text)
    except Invalid:
        return
    assert cursor_for(position) == text


@pytest.mark.parametrize("text", ("", "x", "MTA=", "MTA==", "LTE", "MDE", "' OR 1=1--", "é", "M T A", "MTA\n"))
def test_such_cursors_are_refused(text):
    with pytest.raises(Invalid):
        CURSOR.read(text)


@pytest.mark.parametrize("name", ("", "..", ".git", "a/b", "a\0b", "api", "CON", "x" * 300, "a\u202eb", "web-shop\n"))
def test_what_cannot_be_a_name_is_an_unknown_project(name):
    with pytest.raises(UnknownProject):
        PROJECT.read(name)


@pytest.mark.parametrize("commit", ("HEAD", "--help", "a" * 39, "a" * 41, "A" * 40, "0" * 40, ""))
def test_what_cannot_be_a_commit_is_missing(commit):
    with pytest.raises(Missing):
        COMMIT.read(commit)


def test_a_branch_is_a_well_formed_one():
    assert BRANCH.read("feature/x") == "feature/x"
    with pytest.raises(Invalid):
        BRANCH.read("--upload-pack=x")


def test_a_query_is_read():
    assert query_of(a_request(b"branch=a%2Fb+c&empty=&%C3%A9=1")) == {"branch": "a/b c", "empty": "", "é": "1"}
    assert query_of(a_request()) == {}


def test_a_parameter_that_is_there_twice_is_refused():
    with pytest.raises(Invalid):
        query_of(a_request(b"limit=1&limit=1"))


@pytest.mark.parametrize("query", (b"a=%ff", b"a=\xff", b"&".join(b"p%d=1" % number for number in range(30))))
def test_a_query_that_cannot_be_read_is_refused(query):
    with pytest.raises(Invalid):
        query_of(a_request(query))


def test_a_long_query_is_refused():
    with pytest.raises(Invalid):
        query_of(a_request(b"a=" + b"x" * 3000))


def test_a_header_that_is_there_twice_is_refused():
    assert header_of(a_request(last_event_id="3"), "Last-Event-ID") == "3"
    assert header_of(a_request(), "Last-Event-ID") is None
    with pytest.raises(Invalid):
        header_of(a_request(last_event_id=["3", "4"]), "Last-Event-ID")


# -- representations


@pytest.mark.parametrize(
    "accept",
    ("text/event-stream", "Text/Event-Stream;q=1", "application/json, text/event-stream", ["x/y", "text/event-stream"]),
)
def test_who_accepts_events_gets_the_feed(accept):
    assert wants_events(a_request(accept=accept))
    assert not wants_events(a_request(accept=accept, method=b"HEAD"))


@pytest.mark.parametrize(
    "accept", ([], "*/*", "text/*", "application/json", "text/event-streams", "x;text/event-stream")
)
def test_who_does_not_name_events_gets_no_feed(accept):
    assert not wants_events(a_request(accept=accept))


@pytest.mark.parametrize(
    ("header", "wanted"),
    (
        ([], None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=0-1000", (0, 100)),
        ("bytes=10-19", (10, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=0-", (0, 100)),
        ("bytes=-10", (90, 10)),
        ("bytes=-1000", (0, 100)),
        ("bytes= 5-6", (5, 2)),
        ("bytes=100-", (100, 0)),
        ("bytes=100-200", (100, 0)),
        ("bytes=-0", (100, 0)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=--1", None),
        ("bytes=0-" + "9" * 400, None),
        ("lines=0-1", None),
        (["bytes=0-1", "bytes=2-3"], None),
        ("Bytes=0-1", (0, 2)),
    ),
)
def test_a_range_of_a_hundred_bytes(header, wanted):
    assert range_of(a_request(range=header), 100) == wanted


def test_a_range_is_for_get_alone():
    assert range_of(a_request(range="bytes=0-1", method=b"HEAD"), 100) is None


@given(st.integers(0, 50), st.one_of(st.none(), st.integers(0, 60)), st.one_of(st.none(), st.integers(0, 60)))
def test_a_range_never_leaves_the_log(size, first, last):
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    wanted = range_of(a_request(range=header), size)
    if wanted is not None:
        start, length = wanted
        assert length >= 0
        assert start + length <= size or not length
