"""The API of the server itself: its version, what keeps builds apart, its certificates."""

from __future__ import annotations

from sayci.account import Access
from sayci.interfaces import Certificates, Isolation
from sayci.space import Space
from sayci.web import wire
from sayci.web.route import Call, Table

table = Table()


class StatusApi:
    """Says how the server is."""

    def __init__(self, version: str, isolation: Isolation, certificates: Certificates, space: Space) -> None:
        self._version = version
        self._isolation = isolation
        self._certificates = certificates
        self._space = space

    @table.route("GET", "/api/v1/status", Access.NONE, "How the server is", answer=wire.ServerStatus)
    async def status(self, call: Call) -> wire.ServerStatus:
        """Its version, what keeps builds from it, how its certificates stand, and whether builds wait for space."""
        certificates = [wire.of_certificate(each) for each in self._certificates.certificates()]
        return wire.ServerStatus(self._version, wire.of_isolation(self._isolation), certificates, self._space.lack())
