"""All writes: one thread commits everything that waits in one transaction, so that many share one wait for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.engine import Connection, Engine
from twisted.internet.defer import Deferred, fail

from sayci.errors import Unavailable
from sayci.store.engine import explained, is_for_all
from sayci.store.worker import Worker

Value = TypeVar("Value")
#: Calls a function in the reactor's thread, as IReactorFromThreads.callFromThread does.
CallFromThread = Callable[..., object]

#: Writes that wait; more are refused.
MOST_WAITING = 10_000
#: Writes that share a transaction, so that the first of them does not wait too long.
MOST_TOGETHER = 500


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    work: Callable[[Connection], Any]
    answer: Deferred[Any]
    when_written: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    write: _Write
    value: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.error is not None:
            self.write.answer.errback(self.error)
            return
        self.write.when_written()
        self.write.answer.callback(self.value)


class Writer:
    """Takes functions of a connection and runs them in transactions, the only ones that write.

    Such a function is pure in all but the database, and catches none of its errors: when one of those that share a
    transaction fails, all are undone, and each is run again in a transaction of its own, so that it fails alone.
    """

    def __init__(
        self, engine: Engine, worker: Worker, call_from_thread: CallFromThread, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._call_from_thread = call_from_thread
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._waiting: deque[_Write] = deque()
        self._working = False
        self._closed = False

    def do(self, work: Callable[[Connection], Value], when_written: Callable[[], None] = _nothing) -> Deferred[Value]:
        """Run `work` in a transaction; fires, in the reactor's thread, with its value once that is on disk.

        Fails with what `work` raises, or with Unavailable when the database cannot take it now, too many others wait, or
        the writer is closed; then nothing was written.  To cancel it changes nothing but the answer: `when_written` is
        called before the answer, and whoever has stopped to wait for that.
        """
        write = _Write(work, Deferred(), when_written)
        with self._lock:
            refusal = self._why_not()
            if not refusal:
                self._waiting.append(write)
                starts, self._working = not self._working, True
        if refusal:
            return fail(Unavailable(refusal))
        if starts:
            self._worker.do(self._work)
        return write.answer

    def close(self, last: Callable[[], None] = _nothing) -> Deferred[None]:
        """Take no more; fires when all that waits is written and `last` was called, where the writing is done."""
        done: Deferred[None] = Deferred()
        with self._lock:
            self._closed = True

        def end() -> None:
            last()
            self._call_from_thread(done.callback, None)

        self._worker.do(end)
        self._worker.quit()
        return done

    def _why_not(self) -> str:
        if self._closed:
            return "the store is closed"
        return "too many writes wait for the database" if len(self._waiting) >= self._most_waiting else ""

    # -- in the worker

    def _work(self) -> None:
        while writes := self._take():
            self._call_from_thread(_tell, self._run(writes))

    def _take(self) -> list[_Write]:
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
            self._working = bool(taken)
            return taken

    def _run(self, writes: Sequence[_Write]) -> list[_Outcome]:
        try:
            return self._together(writes)
        except Exception as error:  # noqa: BLE001 - each of them is told to who asked
            if len(writes) == 1 or is_for_all(error):
                return [_Outcome(write, error=_own(error)) for write in writes]
            return self._one_by_one(writes)

    def _together(self, writes: Sequence[_Write]) -> list[_Outcome]:
        with self._engine.begin() as connection:
            return [_Outcome(write, write.work(connection)) for write in writes]

    def _one_by_one(self, writes: Sequence[_Write]) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        for position, write in enumerate(writes):
            try:
                outcomes += self._together([write])
            except Exception as error:  # noqa: BLE001 - as above
                if is_for_all(error):  # the others would each wait as long, to the same end
                    return outcomes + [_Outcome(other, error=_own(error)) for other in writes[position:]]
                outcomes.append(_Outcome(write, error=explained(error)))
        return outcomes


def _own(error: Exception) -> Exception:
    """What `error` means, as an exception that is nobody else's: each is raised somewhere."""
    told = explained(error)
    return Unavailable(*told.args) if isinstance(told, Unavailable) else told


def _tell(outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        outcome.tell()
