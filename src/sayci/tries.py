"""How often somebody may be wrong: a token bucket for each client address."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

from sayci.errors import TooOften

#: What is kept of an address that is none, such as a socket's path, in characters.
NAME_LIMIT = 200


class WrongTries:
    """How many wrong tries each client address has left: a token bucket for each (`burst`, one more every `refill` seconds).

    At most `room` addresses are remembered, those that tried last; the others have all their tries again.
    """

    def __init__(self, clock: Callable[[], float], *, burst: int = 20, refill: float = 6.0, room: int = 10_000) -> None:
        self._clock = clock
        self._burst = burst
        self._refill = refill
        self._room = room
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises TooOften, with the whole seconds to wait, when the address has no try left."""
        wait = self._debt(network_of(address)) - (self._burst - 1) * self._refill
        if wait > 0:
            raise TooOften("too many wrong tries; seconds to wait", math.ceil(wait))

    def wrong(self, address: str) -> None:
        """Take one try from the address."""
        network = network_of(address)
        self._full_at[network] = self._clock() + self._debt(network) + self._refill
        self._full_at.move_to_end(network)
        while len(self._full_at) > self._room:
            self._full_at.popitem(last=False)

    def right(self, address: str) -> None:
        """Give one try back: it was not wrong after all."""
        network = network_of(address)
        if network in self._full_at:
            self._full_at[network] -= self._refill

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._full_at)

    def _debt(self, network: str) -> float:
        """Seconds until the network has all its tries again; never more than if it had none, should the clock be set back."""
        debt = self._full_at.get(network, 0.0) - self._clock()
        return min(max(0.0, debt), self._burst * self._refill)


def network_of(address: str) -> str:
    """Whom an address stands for: itself, or the /64 of an IPv6 address, which is one customer's."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:NAME_LIMIT]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
