"""Answers that the client may have already (RFC 9110, 13.1.2)."""

from __future__ import annotations

import hashlib

from twisted.web.server import Request

from sayci.web.answer import answer, set_header


def etag_of(*parts: object) -> str:
    """A weak tag of what an answer depends on: who has it may go on with what it has."""
    return f'W/"{hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has what `etag` is of: one of its If-None-Match is the same, weakly compared."""
    given = ",".join(request.requestHeaders.getRawHeaders("if-none-match", []))
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag.removeprefix("W/") in tags or tags == {"*"}


def not_modified(request: Request, etag: str, caching: str) -> bytes:
    """Answer that nothing has changed."""
    body = answer(request, 304, "text/plain", b"")
    request.responseHeaders.removeHeader("Content-Type")
    request.responseHeaders.removeHeader("Content-Length")
    return _tagged(request, body, etag, caching)


def tagged(request: Request, content_type: str, body: bytes, etag: str, caching: str) -> bytes:
    """Answer with `body`, which has that tag; `caching` is for Cache-Control."""
    return _tagged(request, answer(request, 200, content_type, body), etag, caching)


def _tagged(request: Request, body: bytes, etag: str, caching: str) -> bytes:
    set_header(request, "ETag", etag)
    set_header(request, "Cache-Control", caching)
    return body
