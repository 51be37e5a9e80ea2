"""A long answer at the pace of its reader: the next part is made when the transport has taken the one before."""

from __future__ import annotations

from types import TracebackType
from typing import NoReturn, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.web.server import Request
from zope.interface import implementer

from sayci.interfaces import LogStore

#: Seconds that a reader may take nothing before its connection is given up.
PATIENCE = 60.0
#: How much of a file is held for one reader, in bytes.
CHUNK = 64 * 1024


class Over(Exception):
    """The feed is to end, whatever is left to tell; the argument says why: see readers.py."""


@implementer(IPushProducer)
class Outlet:
    """The way out to one reader; within its `with` block the transport says when it wants more.

    Twisted's adapter for pull producers asks again and again even when there is nothing to tell, which a feed mostly has;
    so this is a push producer that awaits :meth:`ready` before it makes anything.  What waits in memory for one reader is
    never more than the transport's own buffer and one part.
    """

    def __init__(self, request: Request, clock: IReactorTime, patience: float = PATIENCE) -> None:
        self.request = request
        self._clock = clock
        self._patience = patience
        self._paused = False
        self._waiting: Deferred[bool] | None = None
        self._over: Over | None = None

    def __enter__(self) -> Self:
        self.request.registerProducer(self, True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.request.channel is not None:
            self.request.unregisterProducer()

    def end(self, over: Over) -> None:
        """Take nothing more; a reader that has not taken what it was sent is cut off."""
        self._over = over
        self._wake(taken=False)

    def _check(self) -> None:
        if self._over is not None:
            raise self._over

    async def ready(self) -> None:
        """Wait until the reader has taken what it was sent; one that takes nothing for too long is cut off.

        Raises Over.
        """
        if not self._paused:
            self._check()
            return
        self._waiting = Deferred()
        timer = self._clock.callLater(self._patience, self._wake, taken=False)
        try:
            taken = await self._waiting
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()
        if not taken:
            await cut_off(self.request)

    def write(self, data: bytes) -> None:
        """Send `data` after what was sent before.  Raises Over."""
        self._check()
        self.request.write(data)

    def _wake(self, *, taken: bool) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(taken)

    # -- IPushProducer

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport has room again."""
        self._paused = False
        self._wake(taken=True)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is gone; Klein cancels the handler, which clears up."""
        self._paused = True


async def cut_off(request: Request) -> NoReturn:
    """Break the connection, so that nobody takes half an answer for a whole one; never returns.

    The loss of the connection cancels whoever waits for this.
    """
    ITCPTransport(request.transport).abortConnection()
    await Deferred()
    raise AssertionError("a connection that was broken is still there")


async def pour(outlet: Outlet, logs: LogStore, key: str, start: int, length: int) -> None:
    """Send `length` bytes of a log from `start`, a part at a time."""
    end = start + length
    while start < end:
        await outlet.ready()
        data = await logs.read(key, start, min(CHUNK, end - start))
        if not data:  # it was removed meanwhile, and the length has been promised
            await cut_off(outlet.request)
        outlet.write(data)
        start += len(data)
