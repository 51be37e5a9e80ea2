"""What was read once, and is true until this process writes: it is the only one that does."""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """At most `most` values by key; the one that came first goes first.

    A read takes some time, and a write may be done before it ends.  So whoever reads takes the `ticket` before, and what
    was read is kept only if nothing was forgotten since.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._values: dict[Key, Value] = {}
        self._forgotten = 0

    @property
    def ticket(self) -> int:
        """To be taken before reading."""
        return self._forgotten

    def get(self, key: Key) -> Value | None:
        """The value of `key`, None when it is not known."""
        return self._values.get(key)

    def put(self, ticket: int, key: Key, value: Value) -> None:
        """Keep what was read with `ticket`."""
        if ticket != self._forgotten:
            return
        self._values[key] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def forget(self) -> None:
        """Something was written: nothing is known any more, and what is being read now may be old."""
        self._forgotten += 1
        self._values.clear()
