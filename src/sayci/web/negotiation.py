"""Which form of what is at an address a request wants: proactive negotiation by the header Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from twisted.web.server import Request

HTML, JSON, EVENTS = "text/html", "application/json", "text/event-stream"
#: What a page may be had as.  People come first: whoever takes anything gets the page.
FORMS = (HTML, EVENTS, JSON)

_RANGE = re.compile(r"([!#$%&'*+.^_`|~\w-]+)/([!#$%&'*+.^_`|~\w-]+)\Z", re.ASCII)
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")
#: The only parameter that what is served here has.
_CHARSET = ("charset", "utf-8")


def accept_of(request: Request) -> str:
    """All that the request says of what it accepts."""
    return ", ".join(request.requestHeaders.getRawHeaders("accept", []))


def preferred(accept: str, offers: Sequence[str]) -> str | None:
    """The media type of `offers` that `accept` likes best; None where it takes none of them.

    Of those with the same weight that counts which was named more closely, then the order of `offers`: a program that
    sends ``application/json, */*`` gets JSON.  What cannot be read of the header is passed over; where nothing is left, all
    is welcome.
    """
    ranges = list(_ranges(accept))
    if not ranges:
        return offers[0]
    liked = [(_liking(ranges, offer), -place, offer) for place, offer in enumerate(offers)]
    (weight, _), _, best = max(liked)
    return best if weight > 0 else None


def form_wanted(request: Request) -> str | None:
    """The form of a page that a request wants; a HEAD never wants a feed: there is no end to count to."""
    form = preferred(accept_of(request), FORMS)
    return JSON if form == EVENTS and request.method != b"GET" else form


def _ranges(accept: str) -> Iterator[tuple[str, str, float]]:
    """The type, the subtype and the weight of each range that can be read."""
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        match = _RANGE.match(name)
        pairs = [
            (key.strip(), value.strip().strip('"')) for key, _, value in (each.partition("=") for each in parameters)
        ]
        weights = [value for key, value in pairs if key == "q"]
        others = [pair for pair in pairs if pair[0] not in ("q", "") and pair != _CHARSET]
        if match and not others and all(map(_WEIGHT.match, weights)):
            yield match[1], match[2], float(weights[0]) if weights else 1.0


def _liking(ranges: Sequence[tuple[str, str, float]], offer: str) -> tuple[float, int]:
    """The weight of an offer, and how closely it was named: the closest range counts alone."""
    kind, _, subtype = offer.partition("/")
    closeness = {(kind, subtype): 3, (kind, "*"): 2, ("*", "*"): 1}
    found = [(closeness[name, rest], weight) for name, rest, weight in ranges if (name, rest) in closeness]
    if not found:
        return 0.0, 0
    closest, weight = max(found)
    return weight, closest
