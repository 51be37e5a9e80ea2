"""Certificates by themselves: ties the parts of ``acme`` together for the ports that want any."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sayci.acme.client import AcmeClient
from sayci.acme.directory import CertificateDirectory
from sayci.acme.endpoint import AcmePort
from sayci.acme.jose import Binding
from sayci.acme.keeper import Keeper
from sayci.acme.port import WAITING_LIMIT, TlsFront
from sayci.acme.transport import authority_agent
from sayci.errors import CannotStart
from sayci.options import AcmeSettings, ServerSettings
from sayci.ports import Addresses
from sayci.web.plain import HttpResponder, Plain
from sayci.web.site import make_site


class Https:
    """A directory of certificates, the authority that fills it, and the TLS port that serves what is in it."""

    _log = Logger()

    def __init__(
        self, port: AcmePort, settings: ServerSettings, site: IProtocolFactory, reactor: Any, connections: int
    ) -> None:
        """Raises CannotStart for a directory that cannot be used, Invalid for what is no host name."""
        self._path = port.directory.absolute()
        self._reactor = reactor
        self.front = TlsFront(site, reactor, waiting_limit=min(WAITING_LIMIT, connections // 4))
        self._http = HttpResponder()
        self._directory = CertificateDirectory(self._path)
        self._directory.take()
        self._ask_for(settings)
        self.keeper = self._keeper(port, settings.acme)

    @property
    def first_name(self) -> str:
        """The name by which the server is reached where nothing else is stated; "" where there is none."""
        return next(iter(self._directory.names()), "")

    async def stop(self) -> None:
        """Begin nothing more, and let another server have the directory."""
        await self.keeper.stop()
        self._directory.release()  # also where the keeper has not begun

    def check(self, port: AcmePort) -> None:
        """Raises CannotStart for a second directory: one is kept."""
        if port.directory.absolute() != self._path:
            raise CannotStart("all ports with le: or lets: share one directory", self._path, port.directory)

    def plain_site(self, addresses: Addresses) -> IProtocolFactory:
        """What answers on a plain port beside: HTTP-01, and that all else is to be had by https."""
        return make_site(Plain(self._http, self.front.is_served, addresses), clock=self._reactor)

    def _ask_for(self, settings: ServerSettings) -> None:
        """Make sure that there is a file for each name that the operator has stated."""
        public = urlsplit(settings.public_url)
        hosts = list(settings.acme.hosts)
        if not hosts and not self._directory.names() and public.scheme == "https" and public.hostname:
            hosts = [public.hostname]
        for host in hosts:
            self._directory.add(host)
        if not self._directory.names():
            self._log.warn(
                "there is no name to get a certificate for, so one of our own making is served, of which browsers warn: "
                "say --host NAME (or SAYCI_HOST=NAME), a name that leads to this machine"
            )

    def _keeper(self, port: AcmePort, settings: AcmeSettings) -> Keeper:
        authority = settings.authority or port.authority_url
        staging = "" if settings.authority else port.staging_url
        # Who opens a port for HTTP-01 means it; the other way is tried when that fails, and this one again after it.
        responders = [*([self._http] if settings.http_port else ()), self.front.responder()]
        return Keeper(
            self._directory,
            self._client(authority, settings),
            self._client(staging, settings) if staging else None,
            responders,
            self.front.serve,
            self._reactor,
            time.time,
            random.random,
            authority=authority,
            profile=settings.profile,
            withdraw=self.front.withdraw,
            in_thread=self._in_thread,
        )

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _client(self, authority: str, settings: AcmeSettings) -> AcmeClient:
        return AcmeClient(
            authority_agent(self._reactor, settings.authority_certificates),
            self._reactor,
            authority,
            self._directory.account_key(authority),
            email=settings.email,
            binding=_binding_of(settings),
        )


def _binding_of(settings: AcmeSettings) -> Binding | None:
    if settings.binding is None:
        return None
    identifier, key_file = settings.binding
    try:
        return Binding(identifier, key_file.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart("the file of --acme-eab-key-file cannot be read", key_file, error) from None
