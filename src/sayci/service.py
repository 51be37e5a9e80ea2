"""Ties the knot: every part is built here and handed its neighbours; no other file knows more than its own."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorCore
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from sayci.background import Background
from sayci.errors import CannotStart, SayciError
from sayci.options import Options, Settings

__all__ = ["Options", "Sayci", "makeService"]


class DataDirectory:
    """The server's own directory, private to it, and locked against a second server for as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    def take(self) -> None:
        """Make it, and make sure that it is ours alone.  Raises CannotStart."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("mirrors", "builds", "workspaces"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
            self._lock = (self.path / "lock").open("ab")
        except OSError as error:
            raise CannotStart("the data directory cannot be used", self.path, error.strerror or error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart("another sayci is using this data directory", self.path) from None

    def release(self) -> None:
        """Let another server have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Sayci(Service):
    """The whole server as one Twisted service."""

    name = "sayci"  # type: ignore[assignment]  # Service declares None
    _log = Logger()

    def __init__(self, settings: Settings, reactor: IReactorCore) -> None:
        self.settings = settings
        self._reactor = reactor
        self._data = DataDirectory(settings.data)
        self._ports: list[IListeningPort] = []
        self._stoppers: list[Callable[[], Deferred[None]]] = []
        self._background = Background()

    def startService(self) -> None:
        """Open everything and listen; a problem is one line on the standard error, and the end."""
        try:
            self._start()
        except SayciError as error:
            sys.stderr.write(f"sayci: {error}\n")
            raise SystemExit(1) from None
        super().startService()

    def _start(self) -> None:
        self._data.take()
