"""Signing in: one-time codes make sessions and tokens, and those are known again.

Only digests reach the store; what is wrong counts against the address that it came from.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

from sayci.account import TOKEN_PREFIX, Access, Actor, Token, digest_of, new_secret
from sayci.errors import Invalid, TooOften, Unauthenticated
from sayci.interfaces import Store

#: The administrator's name in records, for whoever signs in with a code.
ADMINISTRATOR = "admin"
DAY = 86_400.0
#: Seconds that a sign-in code and a session last.
CODE_LIFETIME = DAY
SESSION_LIFETIME = 30 * DAY
#: Longest name of a token in characters, longest life in days, and longest secret that is looked at.
NAME_LIMIT = 100
LONGEST_DAYS = 3650
SECRET_LIMIT = 200


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
        wait = self._debt(_network_of(address)) - (self._burst - 1) * self._refill
        if wait > 0:
            raise TooOften("too many wrong tries; seconds to wait", math.ceil(wait))

    def wrong(self, address: str) -> None:
        """Take one try from the address."""
        network = _network_of(address)
        self._full_at[network] = self._clock() + self._debt(network) + self._refill
        self._full_at.move_to_end(network)
        while len(self._full_at) > self._room:
            self._full_at.popitem(last=False)

    def right(self, address: str) -> None:
        """Give one try back: it was not wrong after all."""
        network = _network_of(address)
        if network in self._full_at:
            self._full_at[network] -= self._refill

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._full_at)

    def _debt(self, network: str) -> float:
        """Seconds until the network has all its tries again; never more than if it had none, should the clock be set back."""
        debt = self._full_at.get(network, 0.0) - self._clock()
        return min(max(0.0, debt), self._burst * self._refill)


def _network_of(address: str) -> str:
    """Whom an address stands for: itself, or the /64 of an IPv6 address, which is one customer's."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:SECRET_LIMIT]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def check_token_name(name: str) -> str:
    """Return `name`, without spaces around it, if it can name a token: 1 to NAME_LIMIT printable characters.

    Raises Invalid otherwise.
    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
        raise Invalid("a token's name is 1 to 100 printable characters", name[:80])
    return name


class SignIn:
    """Makes and knows the credentials of people and programs.

    `clock` is the seconds since the epoch.  `address` is the client's, by which wrong tries are counted.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._codes = WrongTries(clock)
        self._tokens = WrongTries(clock)

    async def new_code(self, lifetime: float = CODE_LIFETIME) -> str:
        """A one-time sign-in code for the administrator, good for `lifetime` seconds."""
        code = new_secret()
        await self._store.add_sign_in_code(digest_of(code), self._clock() + lifetime)
        return code

    async def session_by_code(self, code: str, *, address: str = "") -> tuple[str, Actor]:
        """A session's secret for a code, which is used up by it.  Raises Unauthenticated, TooOften."""
        await self._use(code, address)
        secret = new_secret()
        expires_at = self._clock() + SESSION_LIFETIME
        await self._store.add_session(digest_of(secret), ADMINISTRATOR, Access.ADMIN, expires_at)
        return secret, Actor(ADMINISTRATOR, Access.ADMIN)

    async def token_by_code(self, code: str, name: str, *, address: str = "") -> tuple[Token, str]:
        """A token with its secret for a code, which is used up by it: how the command-line client signs in.

        Raises Invalid, and then the code is as good as before; Unauthenticated, TooOften.
        """
        name = check_token_name(name)
        await self._use(code, address)
        return await self.new_token(name, Access.ADMIN, None)

    async def new_token(self, name: str, access: Access, days: int | None) -> tuple[Token, str]:
        """A token that lasts for `days`, or until it is removed, with its secret.  Raises Invalid."""
        name = check_token_name(name)
        if days is not None and not 1 <= days <= LONGEST_DAYS:
            raise Invalid("a token lasts a whole number of days, from 1 to", LONGEST_DAYS)
        now = self._clock()
        secret = new_secret(TOKEN_PREFIX)
        expires_at = None if days is None else now + days * DAY
        return await self._store.add_token(name, access, digest_of(secret), now, expires_at), secret

    async def actor_of_token(self, secret: str, *, address: str = "") -> Actor:
        """Who holds a token.  Raises Unauthenticated; TooOften, even for a right one, after too many wrong ones."""
        self._tokens.check(address)
        actor = None
        if secret.startswith(TOKEN_PREFIX) and len(secret) <= SECRET_LIMIT:
            actor = await self._store.actor_of_token(digest_of(secret), self._clock())
        if actor is None:
            self._tokens.wrong(address)
            raise Unauthenticated("the token is not known here, or has expired")
        return actor

    async def actor_of_session(self, secret: str) -> Actor | None:
        """Whose session it is; None when there is none or it has expired."""
        if not 0 < len(secret) <= SECRET_LIMIT:
            return None
        return await self._store.actor_of_session(digest_of(secret), self._clock())

    async def sign_out(self, secret: str) -> None:
        """End a session; nothing if there is none."""
        await self._store.remove_session(digest_of(secret))

    async def _use(self, code: str, address: str) -> None:
        self._codes.check(address)
        self._codes.wrong(address)  # before the answer is known: many tries at once are many tries
        if len(code) <= SECRET_LIMIT and await self._store.use_sign_in_code(digest_of(code), self._clock()):
            self._codes.right(address)
            return
        raise Unauthenticated("the code is wrong, has expired, or was used before")
