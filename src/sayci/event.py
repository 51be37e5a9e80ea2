"""Frozen facts: what has just become true.  They travel on the bus; nothing is decided by them alone."""

from __future__ import annotations

from dataclasses import dataclass

from sayci.build import Build
from sayci.delivery import Delivery
from sayci.project import Project


@dataclass(frozen=True, slots=True)
class BuildChanged:
    """A build was made, or it or one of its steps has moved; `build` is how it is now, and it is on disk."""

    build: Build


@dataclass(frozen=True, slots=True)
class DeliveryChanged:
    """A delivery was accepted, or it is known what became of it."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class DeliveryRefused:
    """At least one delivery for a project was not taken: nothing of it is on disk, and anybody may have sent it."""

    project_id: int


@dataclass(frozen=True, slots=True)
class ProjectChanged:
    """A project was registered, or its settings or its mirror have changed."""

    project: Project


@dataclass(frozen=True, slots=True)
class ProjectRemoved:
    """A project is gone, with all that was its."""

    project: Project


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """What somebody may do has changed, or a session or token has ended.

    It is about a person, about the credential of that digest, or, with neither, about anybody.  Whoever changes access
    publishes it once the change is on disk; feeds whose readers may not read any more end by it.
    """

    person_id: int | None = None
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class StatusesDue:
    """There is at least one commit status in the outbox that may be posted now."""


Event = BuildChanged | DeliveryChanged | DeliveryRefused | ProjectChanged | ProjectRemoved | AccessChanged | StatusesDue
