"""Signing in: one-time codes make sessions and tokens, and those are known again.

Only digests reach the store; what is wrong counts against the address that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sayci.account import TOKEN_PREFIX, Access, Actor, Credential, Origin, Session, Token, digest_of, new_secret
from sayci.bus import Bus
from sayci.errors import Conflict, Forbidden, Invalid, Unauthenticated, UnknownSession, UnknownToken
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
#: How many tokens a person has at most.
OWN_TOKENS = 100

_UNKNOWN = Origin()


def check_token_name(name: str) -> str:
    """Return `name`, without spaces around it, if it can name a token: 1 to NAME_LIMIT printable characters.

    Raises Invalid otherwise.
    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
        raise Invalid("a token's name is 1 to 100 printable characters", name[:80])
    return name


def _end_of(days: int | None, now: float) -> float | None:
    """When a token that lasts for `days` expires; raises Invalid."""
    if days is None:
        return None
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid("a token lasts a whole number of days, from 1 to", LONGEST_DAYS)
    return now + days * DAY


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
        """A token of the server that lasts for `days`, or until it is removed, with its secret.  Raises Invalid."""
        name, now = check_token_name(name), self._clock()
        expires_at = _end_of(days, now)
        secret = new_secret(TOKEN_PREFIX)
        return await self._store.add_token(name, access, digest_of(secret), now, expires_at), secret

    # -- what is one's own

    async def own_tokens(self, actor: Actor) -> Sequence[Token]:
        """By id; none for who has no account."""
        return [] if actor.person_id is None else await self._store.tokens(person_id=actor.person_id)

    async def new_own_token(
        self, actor: Actor, by: Credential, name: str, access: Access, days: int | None
    ) -> tuple[Token, str]:
        """A token that acts as the person who makes it, with its secret.

        One that is made with a token reaches no further than that one, and lasts no longer.  Raises Forbidden for who has
        no account or not so much access, Conflict for who has too many, Invalid.
        """
        if actor.person_id is None:
            raise Forbidden("only who has an account has tokens of their own")
        if access > max(actor.furthest, Access.READ):
            raise Forbidden("a token reaches no further than who makes it", access.name.lower())
        name, now = check_token_name(name), self._clock()
        expires_at = _end_of(days, now)
        made_with = await self._store.token(by.digest) if by.is_token else None
        if made_with is not None and made_with.expires_at is not None:
            expires_at = made_with.expires_at if expires_at is None else min(expires_at, made_with.expires_at)
        if len(await self.own_tokens(actor)) >= OWN_TOKENS:
            raise Conflict("there are too many tokens of yours; remove one first", OWN_TOKENS)
        secret = new_secret(TOKEN_PREFIX)
        digest = digest_of(secret)
        token = await self._store.add_token(name, access, digest, now, expires_at, person_id=actor.person_id)
        return token, secret

    async def remove_own_token(self, actor: Actor, token_id: int) -> None:
        """Raises UnknownToken, also for one that is somebody else's."""
        if token_id not in [token.id for token in await self.own_tokens(actor)]:
            raise UnknownToken("you have no such token", token_id)
        await self.remove_token(token_id)

    async def sessions_of(self, actor: Actor) -> Sequence[Session]:
        """Where the actor is signed in, the newest first."""
        return await self._store.sessions(actor.name, actor.person_id, self._clock())

    async def end_session(self, actor: Actor, session_id: str) -> None:
        """Raises UnknownSession, also for one that is somebody else's."""
        digest = next((each.digest for each in await self.sessions_of(actor) if each.id == session_id), None)
        if digest is None:
            raise UnknownSession("there you are not signed in", session_id[:80])
        await self._end(digest)

    async def end_other_sessions(self, actor: Actor, spared: Credential) -> None:
        """All of the actor's but this one."""
        for session in await self.sessions_of(actor):
            if session.digest != spared.digest:
                await self._end(session.digest)

    async def _end(self, digest: bytes) -> None:
        await self._store.remove_session(digest)
        self._bus.publish(AccessChanged(digest=digest))

    # -- who it is

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
        await self._end(digest_of(secret))

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
