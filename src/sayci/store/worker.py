"""Where work that waits for a disk is done: in a thread of its own, or, where nothing else runs, at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

Task = Callable[[], None]


class Worker(Protocol):
    """Does tasks one after the other, in the order in which they came; tasks raise nothing."""

    def do(self, task: Task) -> None:
        """Do it later, or at once."""
        ...

    def quit(self) -> None:
        """End, after the tasks that it has; it takes no more."""
        ...


class OneThread:
    """A thread, which begins with its first task.

    It is a daemon: a process that ends without having closed its store is not held up by it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, task: Task) -> None:
        """Do it in the thread."""
        self._tasks.put(task)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def quit(self) -> None:
        """End the thread after its last task."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()


class AtOnce:
    """No thread: a task is done before `do` returns, for programs and tests without a reactor."""

    def do(self, task: Task) -> None:
        """Do it now."""
        task()

    def quit(self) -> None:
        """Nothing is left to end."""
