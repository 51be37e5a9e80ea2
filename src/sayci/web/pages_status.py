"""The page that says whether this server is well: whether builds can run safely now, and what fails next."""

from __future__ import annotations

import platform
import sqlite3
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import twisted
from sayci.account import Access, Actor
from sayci.delivery import Verdict
from sayci.interfaces import Certificates, Isolation
from sayci.outlook import Outlooks
from sayci.retention import Keep
from sayci.scheduler import Scheduler
from sayci.space import in_units
from sayci.step import Result
from sayci.web.changes import Audience, Changes
from sayci.web.frame import Answer, Frame, Page, Visit
from sayci.web.reading import wants_events
from sayci.web.tally import Day, Tally, Untold
from sayci.web.validity import mark_of_certificate, needs_a_person, saying_of_server, traffic_in_words
from sayci.web.wire import Links
from sayci.web.words import counted, duration, lasting


async def _all_well() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Insides:
    """What the page asks of other parts.

    `tally` is what happened in the last day; `states` says of each part whether it answers ("ok"), `unseen` how many
    deliveries nobody has looked at yet; `keep` is what is kept for how long; `tools` answers programs and their versions.
    """

    tally: Tally
    states: Callable[[], Awaitable[Mapping[str, str]]] = _all_well
    unseen: Callable[[], int] = lambda: 0
    keep: Keep = field(default_factory=Keep)
    tools: Callable[[], Sequence[tuple[str, str]]] = tuple


#: Parts of which the page says more in their own rows.
_SAID_ELSEWHERE = ("space",)


def day_in_words(day: Day, now: float) -> str:
    """What happened in the last day, or since the server started."""
    span = "In the last 24 hours" if now - day.since > 86_000 else f"Since the start, {lasting(now - day.since)} ago,"
    builds, green = sum(day.builds.values()), day.builds.get(Result.SUCCESS.value, 0)
    if not builds:
        return f"{span} no build ended."
    said = f"{span} {counted(builds, 'build')} ended, {green} of them green."
    return said if day.wait is None else f"{said} Half of them waited less than {duration(day.wait + 1)}."


def deliveries_in_words(day: Day, unseen: int) -> str:
    """What came, what was refused, and what nobody has looked at yet."""
    came = sum(day.deliveries.values())
    said = f"{counted(came, 'delivery')} came" if came else "None came"
    built = day.deliveries.get(Verdict.BUILT, 0)
    refused = f"{day.refused or 'none'} {'was' if day.refused < 2 else 'were'} refused"
    parts = [f"{built} made a build" if came else "", refused]
    waits = f" {counted(unseen, 'delivery')} {'waits' if unseen == 1 else 'wait'} to be looked at." if unseen else ""
    return f"{', '.join(part for part in (said, *parts) if part)}.{waits}"


def keep_in_words(keep: Keep) -> str:
    """What is kept, and for how long."""

    def days(number: int) -> str:
        return f"for {counted(number, 'day')}" if number else "for ever"

    builds = f", the newest {keep.builds:,} of each project" if keep.builds else ""
    logs = f", up to {in_units(keep.log_bytes)}" if keep.log_bytes else ""
    return (
        f"Builds are kept {days(keep.days)}{builds}; logs {days(keep.log_days)}{logs}; "
        f"deliveries {days(keep.delivery_days)}, what they said {days(keep.body_days)}."
    )


class StatusPage:
    """``/status``, for everybody who has signed in.

    `ports` answers where this server listens, in words; it may be known only once it does.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        certificates: Certificates,
        isolation: Isolation,
        links: Links,
        ports: Callable[[], Sequence[str]],
        clock: Callable[[], float],
        version: str,
        insides: Insides,
        outlooks: Outlooks,
        changes: Changes,
    ) -> None:
        self._insides = insides
        self._outlooks = outlooks
        self._changes = changes
        self._scheduler = scheduler
        self._certificates = certificates
        self._isolation = isolation
        self._links = links
        self._ports = ports
        self._clock = clock
        self._versions = (("sayci", version), ("Python", platform.python_version()), ("Twisted", twisted.__version__))
        self._others = (
            ("SQLite", sqlite3.sqlite_version),
            ("OpenSSL", ssl.OPENSSL_VERSION.removeprefix("OpenSSL ")),
            ("System", f"{platform.system()} {platform.release()}"),
        )

    def put_on(self, frame: Frame) -> None:
        """Add the address."""
        frame.get("/status", self.status, Access.NONE)

    def needs_a_person(self) -> bool:
        """Whether there is a certificate that somebody must look after, or no space for builds."""
        now = self._clock()
        return bool(self._scheduler.space.lack()) or any(
            needs_a_person(certificate, now) for certificate in self._certificates.certificates()
        )

    async def status(self, visit: Visit) -> Answer:
        """Whether it is well, and what needs a person."""
        if wants_events(visit.request):
            projects = [outlook.project for outlook in await self._outlooks.all()]
            await self._changes.stream_of_all(visit.request, Audience(visit.actor, projects))
            return None
        now = self._clock()
        certificates = self._certificates.certificates()
        waiting, running = self._scheduler.waiting_and_running()
        lack = self._scheduler.space.lack()
        states = await self._insides.states()
        failing = [name for name, state in states.items() if state != "ok" and name not in _SAID_ELSEWHERE]
        untold = self._untold_for(visit.actor)
        saying = saying_of_server(
            certificates,
            now,
            is_isolated=self._isolation.holds,
            has_space=not lack,
            failing=failing,
            untold=[each.project for each in untold],
        )
        day = self._insides.tally.day()
        values = {
            "saying": saying,
            "page_mark": saying.mark,
            "changes": "/status",
            "failing": failing,
            "checked": [name for name in states if name not in _SAID_ELSEWHERE],
            "untold": untold,
            "troubled": [each for each in certificates if mark_of_certificate(each, now) != "success"],
            "good": [each for each in certificates if mark_of_certificate(each, now) == "success"],
            "lack": lack,
            "volumes": [
                (volume.path, in_units(volume.free_bytes), in_units(volume.bytes), volume)
                for volume in self._scheduler.space.measure()
            ],
            "traffic": traffic_in_words(len(running), self._scheduler.slots, len(waiting)),
            "day": day_in_words(day, now),
            "deliveries": deliveries_in_words(day, self._insides.unseen()),
            "keep": keep_in_words(self._insides.keep),
            "up": lasting(now - self._insides.tally.since),
            "base": self._links.base(),
            "facts": [
                *self._versions,
                *self._others,
                *self._insides.tools(),
                ("Address", self._links.base()),
                *(("Listens at", each) for each in self._ports()),
            ],
        }
        return Page("status.html", values)

    def _untold_for(self, actor: Actor) -> Sequence[Untold]:
        """Those of the projects that are the actor's."""
        return [each for each in self._insides.tally.untold() if actor.on(each.project_id) >= Access.READ]
