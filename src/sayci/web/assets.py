"""The files that pages need, from the package: a style sheet, a script, icons.  Nothing else can be had by this way."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from twisted.web.server import Request

from sayci.errors import Missing
from sayci.web.answer import answer, set_header

#: Name -> content type of what is served.
SERVED: Mapping[str, str] = {
    "sayci.css": "text/css; charset=utf-8",
    "log.css": "text/css; charset=utf-8",
    "log.js": "text/javascript; charset=utf-8",
    "sayci.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "tell.js": "text/javascript; charset=utf-8",
    **{f"favicon-{state}.svg": "image/svg+xml" for state in ("attention", "failure", "idle", "running", "success")},
}
YEAR = 365 * 86_400


def packaged(name: str) -> bytes:
    """The bytes of a file in the package's ``static`` folder."""
    return files("sayci.web").joinpath("static", name).read_bytes()


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in memory; `version` changes when its bytes do."""

    name: str
    content_type: str
    version: str
    body: bytes = field(repr=False)
    squeezed: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """Where it is served; a new version has a new address, so it can be kept for ever."""
        return f"/static/{self.name}?v={self.version}"


class Assets:
    """All that is served, read once."""

    def __init__(self) -> None:
        self._all = {name: _asset(name, kind) for name, kind in SERVED.items()}

    def path(self, name: str) -> str:
        """The address of a file, with its version; KeyError for one that is not served."""
        return self._all[name].path

    def serve(self, request: Request, name: str) -> bytes:
        """Answer with a file.  Raises Missing."""
        asset = self._all.get(name)
        if asset is None:
            raise Missing("there is no such file", name[:80])
        body = answer(request, 200, asset.content_type, asset.squeezed if _takes_gzip(request) else asset.body)
        set_header(request, "Vary", "Accept-Encoding")
        if body is asset.squeezed:
            set_header(request, "Content-Encoding", "gzip")
        asked_for = request.uri.partition(b"?")[2]
        is_current = asked_for == b"v=" + asset.version.encode()
        set_header(request, "Cache-Control", f"public, max-age={YEAR}, immutable" if is_current else "no-cache")
        set_header(request, "ETag", f'"{asset.version}"')
        if request.getHeader("if-none-match") == f'"{asset.version}"':
            request.setResponseCode(304)
            request.responseHeaders.removeHeader("Content-Length")
            request.responseHeaders.removeHeader("Content-Encoding")
            return b""
        return body


def _asset(name: str, content_type: str) -> Asset:
    body = packaged(name)
    squeezed = gzip.compress(body, mtime=0)
    return Asset(name, content_type, hashlib.sha256(body).hexdigest()[:16], body, squeezed)


def _takes_gzip(request: Request) -> bool:
    """Whether the client can read gzip.  Pages are never squeezed: in them are secrets beside what strangers wrote."""
    accepted = b",".join(request.requestHeaders.getRawHeaders(b"accept-encoding", []))
    parts = [part.strip().lower().replace(b" ", b"") for part in accepted.split(b",")]
    return any(part == b"gzip" or (part.startswith(b"gzip;q=") and part[7:].strip(b"0.")) for part in parts)
