"""The page that says whether this server is well: certificates, isolation, builds, addresses, versions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence

import twisted
from sayci.account import Access
from sayci.interfaces import Certificates, Isolation
from sayci.scheduler import Scheduler
from sayci.space import in_units
from sayci.web.frame import Answer, Frame, Page, Visit
from sayci.web.validity import mark_of_certificate, needs_a_person, saying_of_server, traffic_in_words
from sayci.web.wire import Links


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
    ) -> None:
        self._scheduler = scheduler
        self._certificates = certificates
        self._isolation = isolation
        self._links = links
        self._ports = ports
        self._clock = clock
        self._versions = (("sayci", version), ("Python", platform.python_version()), ("Twisted", twisted.__version__))

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
        now = self._clock()
        certificates = self._certificates.certificates()
        waiting, running = self._scheduler.waiting_and_running()
        lack = self._scheduler.space.lack()
        saying = saying_of_server(certificates, now, is_isolated=self._isolation.holds, has_space=not lack)
        values = {
            "saying": saying,
            "page_mark": saying.mark,
            "troubled": [each for each in certificates if mark_of_certificate(each, now) != "success"],
            "good": [each for each in certificates if mark_of_certificate(each, now) == "success"],
            "lack": lack,
            "space": [(volume.path, in_units(volume.free_bytes)) for volume in self._scheduler.space.measure()],
            "traffic": traffic_in_words(len(running), self._scheduler.slots, len(waiting)),
            "facts": [
                *self._versions,
                ("Address", self._links.base()),
                *(("Listens at", each) for each in self._ports()),
            ],
        }
        return Page("status.html", values)
