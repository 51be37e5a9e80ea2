"""A whole answer: its code, its headers, its body."""

from __future__ import annotations

from twisted.web.server import Request

JSON = "application/json"


def set_header(request: Request, name: str, value: str) -> None:
    """Give the response exactly one header of that name."""
    request.responseHeaders.setRawHeaders(name, [value])


def answer(request: Request, code: int, content_type: str, body: bytes) -> bytes:
    """Make `body` the answer: sets the code and the headers that every answer of the API has, and returns it.

    The length is stated because a HEAD request has no body to count.
    """
    request.setResponseCode(code)
    set_header(request, "Content-Type", content_type)
    set_header(request, "Content-Length", str(len(body)))
    set_header(request, "Cache-Control", "no-store")
    set_header(request, "X-Content-Type-Options", "nosniff")
    return body
