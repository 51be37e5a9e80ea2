"""Builds that have ended as an Atom feed (RFC 4287)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from sayci.build import Build
from sayci.project import Project
from sayci.web.sayings import first_line, saying_of_build
from sayci.web.wire import Links
from sayci.web.words import stamp
from sayci.web.xml import document, element

CONTENT_TYPE = "application/atom+xml; charset=utf-8"
_NAMESPACE = "http://www.w3.org/2005/Atom"
# The space of our names for uuid5: made once, and never changed, since ids are for ever (RFC 4287, 4.2.6).
_OURS = uuid.UUID("8d1e3c0a-6f0f-4a55-9a41-6ad0c1f0a7e2")


@dataclass(frozen=True, slots=True)
class About:
    """What a feed says of itself: `page` is its address for people, `address` its own, `beginning` when there was nothing."""

    id: str
    title: str
    page: str
    address: str
    beginning: float


def id_of(*names: object) -> str:
    """An id that stays what it is wherever the server moves and however the project is called then."""
    return f"urn:uuid:{uuid.uuid5(_OURS, '/'.join(map(str, names)))}"


def id_of_project(project: Project, query: str = "") -> str:
    """The id of a project's feed, or of a part of it."""
    return id_of(project.id, project.created_at, query)


def feed(about: About, entries: Sequence[tuple[Project, Build]], links: Links) -> bytes:
    """The feed of these builds, the newest first."""
    updated = max((_ended_at(build) for _, build in entries), default=about.beginning)
    root = element("feed", xmlns=_NAMESPACE)
    root.append(element("id", about.id))
    root.append(element("title", about.title))
    root.append(element("updated", stamp(updated)))
    root.append(element("link", rel="self", type="application/atom+xml", href=about.address))
    root.append(element("link", rel="alternate", type="text/html", href=about.page))
    root.append(element("generator", "sayci"))
    root.extend([_entry(project, build, links) for project, build in entries])
    return document(root)


def _ended_at(build: Build) -> float:
    return build.finished_at or build.created_at


def _entry(project: Project, build: Build, links: Links) -> ET.Element:
    saying = str(saying_of_build(build, "", _ended_at(build)))
    entry = element("entry")
    entry.append(element("id", id_of(project.id, project.created_at, build.number)))
    entry.append(element("title", f"{project.name} {saying}"))
    entry.append(element("updated", stamp(_ended_at(build))))
    entry.append(element("published", stamp(build.created_at)))
    entry.append(element("link", rel="alternate", type="text/html", href=links.build(project.name, build.number)))
    author = element("author")
    author.append(element("name", build.author.strip() or "unknown"))
    entry.append(author)
    if build.result is not None:
        entry.append(element("category", term=build.result.value))
    commit = f"{build.branch or build.ref}, {build.commit[:7]}: {first_line(build.message) or 'no message'}"
    entry.append(element("summary", f"{saying}\n{commit}"))
    return entry
