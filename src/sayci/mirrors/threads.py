"""Work on files, away from the reactor's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sayci.errors import RepositoryUnreachable

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Threads:
    """Calls functions that block."""

    def __init__(self, reactor: IReactorFromThreads, pool: ThreadPool) -> None:
        self._reactor = reactor
        self._pool = pool

    async def call(self, function: Callable[Given, Answer], *arguments: Given.args, **keywords: Given.kwargs) -> Answer:
        """What `function` returns.  A cancelled call still waits for it: a thread cannot be stopped, and works on.

        Raises RepositoryUnreachable for what the operating system refuses: a full disk is worth another try.
        """
        work = deferToThreadPool(self._reactor, self._pool, function, *arguments, **keywords)
        answer: Deferred[Answer] = Deferred()
        over = work.addBoth(_hand_to, answer)
        try:
            return await answer
        except CancelledError:
            await over
            raise
        except OSError as error:
            raise RepositoryUnreachable("this server's disk refuses", error.strerror or str(error)) from error


def _hand_to(result: Answer | Failure, answer: Deferred[Answer]) -> None:
    if not answer.called:
        answer.callback(result)
