"""All reads: a few threads with connections in which nothing can be written, each read in a snapshot of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import Connection, Engine
from twisted.internet.defer import Deferred, DeferredList, execute, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sayci.errors import Unavailable
from sayci.store.engine import explained

Value = TypeVar("Value")


class Run(Protocol):
    """Calls a function somewhere else; fires with its value in the reactor's thread."""

    def __call__(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Fails with what `function` raises."""
        ...


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    """A Run without threads."""
    return execute(function)


class _Daemons(ThreadPool):
    """A process that ends without having closed its store is not held up by these."""

    threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment] # noqa: N815 - Twisted's name


class Pool:
    """A Run in a few threads, which begin with the first read."""

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._reactor = reactor
        self._threads = _Daemons(minthreads=0, maxthreads=threads, name="sayci-reader")

    def __call__(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Call it in one of the threads."""
        if not self._threads.started:
            self._threads.start()
        return deferToThreadPool(self._reactor, self._threads, function)

    def stop(self) -> None:
        """End the threads; quick when no read is running."""
        if self._threads.started:
            self._threads.stop()


class Readers:
    """Runs functions of a connection, each of which sees what was committed when it began, and nothing half."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._running: set[Deferred[None]] = set()
        self._closed = False

    def do(self, work: Callable[[Connection], Value]) -> Deferred[Value]:
        """Fires with what `work` makes of a connection.

        Fails with what it raises, or with Unavailable when the database does not answer or the readers are closed.
        """
        if self._closed:
            return fail(Unavailable("the store is closed"))
        answer: Deferred[Value] = Deferred()
        ended: Deferred[None] = Deferred()
        self._running.add(ended)

        def end(outcome: Any) -> None:
            self._running.discard(ended)
            answer.callback(outcome)  # of a Failure it is an errback; nothing, if nobody waits for it any more
            ended.callback(None)

        self._run(lambda: self._read(work)).addBoth(end)
        return answer

    async def close(self) -> None:
        """Take no more, and wait for those that run."""
        self._closed = True
        await DeferredList(self._running)

    def _read(self, work: Callable[[Connection], Value]) -> Value:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except Exception as error:
            told = explained(error)
            if told is error:
                raise
            raise told from error
