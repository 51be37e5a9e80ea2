"""Logs of steps as values: where one is kept, what must not be in it, and its bytes as text with offsets."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

from sayci.build import Build

#: Secrets shorter than this are not masked: they would be found in every other word.
SHORTEST_SECRET = 6
#: At most so many byte strings are looked for; each costs time for every byte of a log.  The secrets themselves come
#: first, their encodings after them.
PATTERNS_LIMIT = 500
#: What a step may print, in bytes, before the rest is dropped and counted.
OUTPUT_LIMIT = 256 * 1024 * 1024


def key_of(build: Build, step: str) -> str:
    """Where the log of a step of this attempt is kept, as a relative path: "12/1-test"."""
    return f"{build.id}/{build.attempt}-{step}"


def masks_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The byte strings to mask for these secrets: each as it is, its lines, and its base64, hex and URL-encoded forms.

    In base64 a secret looks different at each of three alignments; the parts that depend on neighbours are left out.
    """
    raws = [raw for raw in (secret.encode("utf-8", "replace") for secret in secrets) if len(raw) >= SHORTEST_SECRET]
    forms = [*raws, *(line.strip() for raw in raws for line in raw.splitlines())]
    for raw in raws:
        forms += [urllib.parse.quote(raw, safe="").encode(), urllib.parse.quote_plus(raw).encode()]
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + raw)
            part = coded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
            forms += [part, part.translate(bytes.maketrans(b"+/", b"-_"))]
        forms += [raw.hex().encode(), raw.hex().upper().encode()]
    found = dict.fromkeys(form for form in forms if len(form) >= SHORTEST_SECRET)
    return tuple(found)[:PATTERNS_LIMIT]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a log as text: the bytes from `start` to `end` (offsets in the log's bytes)."""

    start: int
    end: int
    text: str


def chunk_of(data: bytes, start: int, *, final: bool) -> Chunk:
    """`data`, which begins at offset `start` of a log, as text; bytes that are no UTF-8 become U+FFFD.

    A character whose last bytes have not come yet is left for the next chunk, unless this is the `final` one.
    """
    end = len(data)
    if not final:
        for back in range(1, min(4, len(data) + 1)):
            byte = data[-back]
            if byte >= 0xC0:  # the first byte of a character: is all of it here?
                length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                if back < length:
                    end -= back
                break
            if byte < 0x80:
                break
    return Chunk(start, start + end, data[:end].decode("utf-8", "replace"))
