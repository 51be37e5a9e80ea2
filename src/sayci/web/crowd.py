"""Who is connected: not more than there are descriptors for, and nobody is kept out by those who only hold on."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

#: An address that holds more than this share of all connections loses its own when room is needed, as one part of so many.
SHARE = 4


class Guest(Protocol):
    """A connection; `network` says whose."""

    network: str

    def drop(self) -> None:
        """End it at once."""
        ...


class Crowd:
    """Connections, at most `limit` at a time: where one more comes, the one that has waited longest has to go.

    One waits from its beginning, or from the end of an answer, until its next request is complete: who has a request to make
    has made it long before he is the oldest, and who sends a byte a second has not.  One that is being answered stays.  An
    address with more than its share makes room for itself, so that those of others stay.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: OrderedDict[Guest, None] = OrderedDict()
        self._waiting_of: dict[str, OrderedDict[Guest, None]] = {}
        self._counts: dict[str, int] = {}
        self._here: set[Guest] = set()
        self.dropped = 0

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._here)

    def arrived(self, guest: Guest) -> bool:
        """Another one; whether there is room for it."""
        if len(self._here) >= self._limit and not self._make_room(guest.network):
            self.dropped += 1
            return False
        self._here.add(guest)
        self._counts[guest.network] = self._counts.get(guest.network, 0) + 1
        self.waits(guest)
        return True

    def waits(self, guest: Guest) -> None:
        """It has nothing to be answered."""
        if guest in self._here:
            self._waiting[guest] = None
            self._waiting_of.setdefault(guest.network, OrderedDict())[guest] = None

    def asks(self, guest: Guest) -> None:
        """Its request is complete, and being answered."""
        self._waiting.pop(guest, None)
        own = self._waiting_of.get(guest.network)
        if own is not None:
            own.pop(guest, None)
            if not own:
                del self._waiting_of[guest.network]

    def left(self, guest: Guest) -> None:
        """It has ended; safe to repeat."""
        if guest not in self._here:
            return
        self.asks(guest)
        self._here.discard(guest)
        self._counts[guest.network] -= 1
        if not self._counts[guest.network]:
            del self._counts[guest.network]

    def _make_room(self, network: str) -> bool:
        is_greedy = self._counts.get(network, 0) > self._limit // SHARE
        own = self._waiting_of.get(network) if is_greedy else None
        longest = next(iter(own or self._waiting), None)
        if longest is None:
            return False
        self.left(longest)
        self.dropped += 1
        longest.drop()
        return True
