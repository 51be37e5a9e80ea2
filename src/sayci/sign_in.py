"""Signing in: one-time codes make sessions and tokens, and those are known again.

Only digests reach the store; what is wrong counts against the address that it came from.
"""

from __future__ import annotations

from collections.abc import Callable

from sayci.account import TOKEN_PREFIX, Access, Actor, Credential, Origin, Token, digest_of, new_secret
from sayci.bus import Bus
from sayci.errors import Invalid, Unauthenticated
from sayci.event import AccessChanged
from sayci.interfaces import Store
from sayci.tries import WrongTries

#: The administrator's name in records, for whoever signs in with a code.
ADMINISTRATOR = "admin"
DAY = 86_400.0
#: Seconds that a sign-in code and a session last, and seconds after which a session that nobody uses ends.
CODE_LIFETIME = DAY
SESSION_LIFETIME = 30 * DAY
SESSION_IDLE = 7 * DAY
#: Longest name of a token in characters, longest life in days, and longest secret that is looked at.
NAME_LIMIT = 100
LONGEST_DAYS = 3650
SECRET_LIMIT = 200

_UNKNOWN = Origin()


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

    `clock` is the seconds since the epoch, `steady` those of a clock that nobody sets, by which wrong tries are counted.
    `address` is the client's: they are counted for each.  The bus is told what ends.
    """

    def __init__(
        self, store: Store, bus: Bus, clock: Callable[[], float], steady: Callable[[], float] | None = None
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._codes = WrongTries(steady or clock)
        self._tokens = WrongTries(steady or clock)

    async def new_code(self, lifetime: float = CODE_LIFETIME) -> str:
        """A one-time sign-in code for the administrator, good for `lifetime` seconds."""
        code = new_secret()
        await self._store.add_sign_in_code(digest_of(code), self._clock() + lifetime)
        return code

    async def session_by_code(self, code: str, origin: Origin = _UNKNOWN) -> tuple[str, Actor]:
        """A session's secret for a code, which is used up by it.  Raises Unauthenticated, TooOften."""
        await self._use(code, origin.address)
        actor = Actor(ADMINISTRATOR, Access.ADMIN)
        return await self.new_session(actor, origin), actor

    async def new_session(self, actor: Actor, origin: Origin) -> str:
        """The secret of a new session of somebody who has been recognized."""
        secret = new_secret()
        now = self._clock()
        await self._store.add_session(digest_of(secret), actor, now, now + SESSION_LIFETIME, origin)
        return secret

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
        """Who holds a token.  Raises Unauthenticated, and TooOften after too many wrong ones; a right one always passes.

        Behind a proxy all clients have one address: nobody may be locked out by what another one sends.
        """
        actor = None
        if secret.startswith(TOKEN_PREFIX) and len(secret) <= SECRET_LIMIT:
            actor = await self._store.actor_of_token(digest_of(secret), self._clock())
        if actor is None:
            self._tokens.check(address)
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
        digest = digest_of(secret)
        await self._store.remove_session(digest)
        self._bus.publish(AccessChanged(digest=digest))

    async def remove_token(self, token_id: int) -> None:
        """From now on it is not known any more.  Raises UnknownToken."""
        self._bus.publish(AccessChanged(digest=await self._store.remove_token(token_id)))

    async def still(self, credential: Credential) -> Actor | None:
        """Whose credential it is by now, None when it is nobody's any more; to ask is no use of it."""
        known = self._store.actor_of_token if credential.is_token else self._store.actor_of_session
        return await known(credential.digest, self._clock(), is_use=False)

    async def _use(self, code: str, address: str) -> None:
        self._codes.check(address)
        self._codes.wrong(address)  # before the answer is known: many tries at once are many tries
        if len(code) <= SECRET_LIMIT and await self._store.use_sign_in_code(digest_of(code), self._clock()):
            self._codes.right(address)
            return
        raise Unauthenticated("the code is wrong, has expired, or was used before")
