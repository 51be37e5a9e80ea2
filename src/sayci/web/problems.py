"""What went wrong, said to programs: RFC 9457 problem documents, and the one table from errors to HTTP codes."""

from __future__ import annotations

import math
import re
import secrets
from http import HTTPStatus

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from sayci.change import cut
from sayci.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Malformed,
    Missing,
    NotAcceptable,
    RepositoryUnreachable,
    SayciError,
    TooLarge,
    TooOften,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from sayci.web.answer import answer, set_header

CONTENT_TYPE = "application/problem+json"
#: The longest detail, in characters: errors quote what strangers sent.
DETAIL_LIMIT = 1000
#: Seconds after which it is worth trying again what could not be done now.
RETRY_AFTER = 10
LONGEST_RETRY_AFTER = 24 * 3600

_log = Logger()

#: The first class that the error is an instance of counts, so the narrow ones stand before the wide ones.
CODES: tuple[tuple[type[SayciError], int], ...] = (
    (Malformed, 400),
    (Unsupported, 415),
    (TooLarge, 413),
    (NotAcceptable, 406),
    (Invalid, 422),  # RepositoryRefused too: the address that was sent is what is wrong
    (Unauthenticated, 401),
    (Forbidden, 403),
    (TooOften, 429),
    (Gone, 410),
    (Missing, 404),
    (Conflict, 409),
    (Unavailable, 503),
    (RepositoryUnreachable, 502),
)


class Problem(msgspec.Struct, kw_only=True):
    """A problem document (RFC 9457).

    `type` is always about:blank, so `title` is the phrase of the HTTP code; `error` is the word that programs look at,
    such as "name_taken"; `detail` is a sentence for people.
    """

    type: str
    title: str
    status: int
    detail: str
    error: str


def code_of(error: BaseException) -> int:
    """The HTTP code for `error`: 500 for whatever sayci did not raise on purpose to tell its callers."""
    return next((code for kind, code in CODES if isinstance(error, kind)), 500)


def word_of(kind: type[BaseException]) -> str:
    """The class as the word that programs look at: UnknownProject is "unknown_project"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def log_mistake(failure: Failure) -> str:
    """Log what nobody foresaw; returns the id by which it is found in the log, such as "e-7f3a90"."""
    mistake = f"e-{secrets.token_hex(4)}"
    _log.failure("a request failed: {mistake}", failure, mistake=mistake)
    return mistake


def retry_after(error: SayciError) -> int | None:
    """Seconds until a new try may succeed, for an error that goes away by itself; None for the others."""
    if not isinstance(error, TooOften | Unavailable):
        return None
    told = error.args[1] if isinstance(error, TooOften) and len(error.args) > 1 else RETRY_AFTER
    seconds = told if isinstance(told, int | float) and math.isfinite(told) else RETRY_AFTER
    return max(1, min(LONGEST_RETRY_AFTER, math.ceil(seconds)))


def problem(request: Request, status: int, title: str, detail: str = "", **extra: object) -> bytes:
    """Answer with a problem document: sets the code and the headers, and returns the body.

    `extra` members are added to the document; `error` is one of them, by default the title as a word.
    """
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": cut(detail, DETAIL_LIMIT),
        "error": title.lower().replace(" ", "_"),
        **extra,
    }
    return answer(request, status, CONTENT_TYPE, msgspec.json.encode(document))


def problem_of(request: Request, error: BaseException) -> bytes:
    """Answer with what `error` means, by the table of codes.

    What is not in the table is our mistake: it is logged with its traceback under an id, and only the id is told.
    """
    code = code_of(error)
    title = HTTPStatus(code).phrase
    if code == 500:
        mistake = log_mistake(Failure(error))
        detail = "sayci made a mistake; the server's log has it under this id"
        return problem(request, code, title, detail, error="mistake", id=mistake)
    if code == 401:
        set_header(request, "WWW-Authenticate", 'Bearer realm="sayci"')
    wait = retry_after(error) if isinstance(error, SayciError) else None
    if wait is not None:
        set_header(request, "Retry-After", str(wait))
    return problem(request, code, title, str(error), error=word_of(type(error)))


def problem_of_route(request: Request, error: HTTPException) -> bytes:
    """Answer with what the router says."""
    if isinstance(error, MethodNotAllowed):
        set_header(request, "Allow", ", ".join(sorted(error.valid_methods or ())))
        return problem(request, 405, HTTPStatus(405).phrase, "this address has other methods")
    # Whatever else the router says, a redirect to an address that it likes better too, there is nothing here.
    return problem(request, 404, HTTPStatus(404).phrase, "there is nothing at this address")
