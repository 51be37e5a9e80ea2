"""What a request says, read strictly: its credential, its JSON, its parameters, the part of a log that it wants.

Every function raises an error of the family that the table in problems.py maps to an HTTP code.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from twisted.web.server import Request

from sayci.change import check_branch, check_commit
from sayci.errors import (
    Invalid,
    Malformed,
    Missing,
    TooLarge,
    Unauthenticated,
    UnknownBuild,
    UnknownDelivery,
    UnknownPerson,
    UnknownProject,
    UnknownToken,
    Unsupported,
)
from sayci.person import check_person_name
from sayci.project import check_name
from sayci.web.negotiation import EVENTS, form_wanted

T = TypeVar("T")

#: The longest JSON body, in bytes: a variable's longest value fits in, however it is escaped.
JSON_LIMIT = 512 * 1024
#: The longest query, in bytes, and the most parameters in one.
QUERY_LIMIT = 2000
PARAMETERS_LIMIT = 20
#: The most items in one part of a list, and how many there are when nobody says.
MOST_ITEMS, USUAL_ITEMS = 200, 50
#: Numbers are kept in 64 bits with a sign.
LARGEST = 2**63 - 1

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)
_BEARER = re.compile(rb"Bearer +([!-~]+)\Z", re.IGNORECASE)
_BASIC = re.compile(rb"Basic +([A-Za-z0-9+/]+={0,2})\Z", re.IGNORECASE)
_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})\Z", re.IGNORECASE)


# ------------------------------------------------------------------------------------------------ who asks


def bearer_of(request: Request) -> str:
    """The secret of the ``Authorization: Bearer`` header; raises Unauthenticated.

    A credential in the query is none: it would be in logs and histories.
    """
    headers = request.requestHeaders.getRawHeaders(b"authorization", [])
    match = _BEARER.match(headers[0]) if len(headers) == 1 else None
    if match is None:
        raise Unauthenticated("this takes one header Authorization: Bearer TOKEN")
    return match[1].decode("ascii")


def token_of(request: Request, *, takes_basic: bool = False) -> str | None:
    """The token that the request brings, None where it brings none; raises Unauthenticated for a Bearer that is none.

    With `takes_basic` it may also be the password of HTTP Basic (RFC 7617), whose name does not count: readers of feeds
    know no other way.  Elsewhere that header is passed over, since browsers send it by themselves once they have it.
    """
    headers = request.requestHeaders.getRawHeaders(b"authorization", [])
    if not headers:
        return None
    if len(headers) > 1 or headers[0][:6].lower() == b"bearer":
        return bearer_of(request)
    match = _BASIC.match(headers[0]) if takes_basic else None
    if match is None:
        return None
    try:
        name_and_password = base64.b64decode(match[1], validate=True).decode("utf-8")
    except ValueError:
        raise Unauthenticated("the header Authorization cannot be read") from None
    return name_and_password.partition(":")[2]


def client_of(request: Request) -> str:
    """The address that the connection came from; what headers say of it anybody can write."""
    return str(getattr(request.getClientAddress(), "host", ""))


# ------------------------------------------------------------------------------------------------ bodies


def _check_json(content_type: bytes) -> None:
    kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    if kind != b"application/json" or any(
        part not in (b"", b"charset=utf-8", b'charset="utf-8"') for part in parameters
    ):
        raise Unsupported("send JSON in UTF-8, and say so: Content-Type: application/json")


def read_json(request: Request, kind: type[T]) -> T:
    """The body as a value of `kind`.

    Raises Unsupported for another content type or charset, TooLarge, Malformed for what is no JSON, and Invalid, which
    names the place, for what is no such value.
    """
    if request.content is None:
        raise Malformed("the body is empty")
    _check_json(request.getHeader(b"content-type") or b"")
    body = request.content.read(JSON_LIMIT + 1)
    if len(body) > JSON_LIMIT:
        raise TooLarge("the body has more bytes than are taken here", JSON_LIMIT)
    # In two passes, so that what is no JSON at all is told from JSON that says something else.
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        words = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Malformed("the body is not JSON", words) from None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Invalid("the body is not what is taken here", str(error)) from None


# ------------------------------------------------------------------------------------------------ parameters


@dataclass(frozen=True, slots=True, eq=False)
class Parameter(Generic[T]):
    """A part of an address or a header: how it is read and how it is documented.

    `read` makes the value of the text, or raises; `default` is the value where there is none (a path has them all).
    """

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: Mapping[str, Any]
    read: Callable[[str], T]
    default: T | None = field(default=None)


def query_of(request: Request) -> Mapping[str, str]:
    """The query's parameters; raises Invalid for one that is there twice, too many of them, and what cannot be read."""
    query = request.uri.partition(b"?")[2]
    if len(query) > QUERY_LIMIT:
        raise Invalid("the query has more bytes than are taken here", QUERY_LIMIT)
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=PARAMETERS_LIMIT, errors="strict"
        )
    except ValueError:
        raise Invalid("the query cannot be read") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Invalid("a parameter is there twice")
    return found


def header_of(request: Request, name: str) -> str | None:
    """The one header of that name as text; raises Invalid when there are several."""
    values = request.requestHeaders.getRawHeaders(name, [])
    if len(values) > 1:
        raise Invalid("a header is there twice", name)
    return values[0] if values else None


def whole_number(text: str) -> int | None:
    """`text` as a number of 64 bits, if that is what it is: plain digits, no leading zeros."""
    number = int(text) if _NUMBER.match(text) else -1
    return number if 0 <= number <= LARGEST else None


def _read_limit(text: str) -> int:
    number = whole_number(text)
    if number is None or not 1 <= number <= MOST_ITEMS:
        raise Invalid("limit is a whole number from 1 to", MOST_ITEMS)
    return number


def cursor_for(position: int | None) -> str | None:
    """The cursor by which the part of a list after `position` is asked for; None at the end."""
    return None if position is None else base64.urlsafe_b64encode(b"%d" % position).decode("ascii").rstrip("=")


def _read_cursor(text: str) -> int:
    try:
        coded = text.encode("ascii")
        position = whole_number(
            base64.b64decode(coded + b"=" * (-len(coded) % 4), b"-_", validate=True).decode("ascii")
        )
    except (ValueError, binascii.Error):
        position = None
    if position is None or cursor_for(position) != text:
        raise Invalid("that is not a cursor of this list", text[:80])
    return position


def _read_offset(text: str) -> int:
    number = whole_number(text)
    if number is None:
        raise Invalid("an offset is a whole number of bytes", text[:80])
    return number


def _read_project(text: str) -> str:
    try:
        return check_name(text)
    except Invalid:
        raise UnknownProject("there is no such project", text[:80]) from None


def _read_person(text: str) -> str:
    try:
        return check_person_name(text)
    except Invalid:
        raise UnknownPerson("nobody has that name", text[:80]) from None


def _number_reader(kind: type[Missing]) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = whole_number(text)
        if not number:
            raise kind("there is none with that number", text[:80])
        return number

    return read


def _read_commit(text: str) -> str:
    try:
        return check_commit(text)
    except Invalid:
        raise Missing("there is no such commit", text[:80]) from None


_NUMBER_SCHEMA = {"type": "integer", "minimum": 1, "maximum": LARGEST}

PROJECT = Parameter(
    "project",
    "path",
    "The project's name; upper and lower case are the same.",
    {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", "maxLength": 64},
    _read_project,
)
NUMBER = Parameter("number", "path", "The build's number in its project.", _NUMBER_SCHEMA, _number_reader(UnknownBuild))
TOKEN = Parameter("id", "path", "The token's number.", _NUMBER_SCHEMA, _number_reader(UnknownToken))
PERSON = Parameter(
    "person",
    "path",
    "The person's name; upper and lower case are the same.",
    {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", "maxLength": 40},
    _read_person,
)
DELIVERY = Parameter("id", "path", "The delivery's number.", _NUMBER_SCHEMA, _number_reader(UnknownDelivery))
STEP = Parameter("step", "path", "The step's name, such as test.", {"type": "string", "maxLength": 100}, str)
VARIABLE = Parameter(
    "variable",
    "path",
    "The variable's name.",
    {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 100},
    str,
)
COMMIT = Parameter(
    "commit",
    "path",
    "A full commit id: 40 or 64 hexadecimal digits.",
    {"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"},
    _read_commit,
)
LIMIT = Parameter(
    "limit",
    "query",
    "The most items in the answer.",
    {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": USUAL_ITEMS},
    _read_limit,
    USUAL_ITEMS,
)
CURSOR = Parameter(
    "cursor", "query", "Where to go on: `next` of the part before.", {"type": "string", "maxLength": 40}, _read_cursor
)
BRANCH = Parameter(
    "branch", "query", "Only builds of this branch.", {"type": "string", "minLength": 1, "maxLength": 239}, check_branch
)
_OFFSET_SCHEMA = {"type": "integer", "minimum": 0, "maximum": LARGEST}
AFTER = Parameter(
    "after", "query", "The byte offset in the log after which the feed begins.", _OFFSET_SCHEMA, _read_offset
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "header",
    "The id of the last event that came: the feed goes on after it, whatever `after` says.",
    _OFFSET_SCHEMA,
    _read_offset,
)


# ------------------------------------------------------------------------------------------------ representations


def wants_events(request: Request) -> bool:
    """Whether the request asks for the live feed of its address; a HEAD never does: there is no end to count to."""
    return form_wanted(request) == EVENTS


def range_of(request: Request, size: int) -> tuple[int, int] | None:
    """The first byte and the number of bytes that the request wants of `size` bytes (RFC 9110, 14.2).

    None when it wants all: there is no Range, or one that may be ignored (several ranges, another unit, another method
    than GET).  Answers a length of 0 for a range that lies outside.
    """
    headers = request.requestHeaders.getRawHeaders(b"range", [])
    match = _RANGE.match(headers[0].replace(b" ", b"")) if len(headers) == 1 and request.method == b"GET" else None
    if match is None or match[0] == b"bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:  # the last so many bytes
        length = min(int(last), size)
        return size - length, length
    if last and int(last) < int(first):
        return None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    return start, max(0, end - start)
