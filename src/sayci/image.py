"""References to images of containers, as people write them: ``python:3.13-slim``, ``registry.example:5000/ci@sha256:…``."""

from __future__ import annotations

import re

from sayci.errors import Invalid

#: Characters of a name without its tag and digest, and of all that a reference can have beside that.
NAME_LIMIT, REFERENCE_LIMIT = 255, 500
#: Whose an image is that names no registry.
DOCKER_HUB = "docker.io"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_WORD}(?:/{_WORD})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?\Z"
)


def check_image(reference: str) -> str:
    """Return `reference` if it names an image by the grammar of the registries; raises Invalid otherwise.

    What it takes is never an option of a program, has no blanks and is plain ASCII.
    """
    _parsed(reference)
    return reference


def pulled_as(reference: str) -> tuple[str, str]:
    """What an engine is to fetch: the name, and the tag or digest; of a reference with neither the tag ``latest``.

    Raises Invalid.
    """
    found = _parsed(reference)
    return found["name"], found["digest"] or found["tag"] or "latest"


def registry_of(reference: str) -> str:
    """The host of the registry where the image is, with its port: DOCKER_HUB if the reference names none.

    Raises Invalid.
    """
    first, slash, _ = _parsed(reference)["name"].partition("/")
    names_a_host = bool(slash) and (first == "localhost" or any(mark in first for mark in ".:") or not first.islower())
    return first if names_a_host else DOCKER_HUB


def _parsed(reference: str) -> re.Match[str]:
    found = _REFERENCE.match(reference) if len(reference) <= REFERENCE_LIMIT else None
    if found is None or len(found["name"]) > NAME_LIMIT:
        raise Invalid("image is the name of a container image, such as python:3.13-slim", reference[:80])
    return found
