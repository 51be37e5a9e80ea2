"""Visits to the forge from which somebody is to come back: bound to one browser, good once, and not for long.

https://datatracker.ietf.org/doc/html/rfc7636 (PKCE) and RFC 9700, 2.1.1.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from sayci.account import digest_of, new_secret
from sayci.errors import Unauthenticated
from sayci.sign_in import SECRET_LIMIT

#: Seconds that somebody may stay away.
LIFETIME = 600.0
#: How many may be away at a time; beyond that those who left first have to begin again.
ROOM = 10_000


@dataclass(frozen=True, slots=True)
class Errand:
    """A visit: `where` it leads in the end, and for whom an account is to be linked, if that is what it is about."""

    state: str = field(repr=False)
    verifier: str = field(repr=False)
    where: str
    person_id: int | None
    begun_at: float

    @property
    def challenge(self) -> str:
        """What the forge is told of the verifier at first (RFC 7636, 4.2, S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


class Errands:
    """Those that are under way, in memory: who is away while the server is started anew begins again.

    `steady` are the seconds of a clock that nobody sets.
    """

    def __init__(self, steady: Callable[[], float], *, lifetime: float = LIFETIME, room: int = ROOM) -> None:
        self._steady = steady
        self._lifetime = lifetime
        self._room = room
        self._away: OrderedDict[bytes, Errand] = OrderedDict()

    def begin(self, where: str, person_id: int | None = None) -> tuple[str, Errand]:
        """A new one, and the secret that the browser keeps."""
        secret = new_secret()
        errand = Errand(new_secret(), new_secret(), where, person_id, self._steady())
        self._away[digest_of(secret)] = errand
        while len(self._away) > self._room:
            self._away.popitem(last=False)
        return secret, errand

    def end(self, secret: str, state: str) -> Errand:
        """The one that began in the browser with this secret, if the forge brings its state back.

        Raises Unauthenticated.  Right or wrong, a secret is good for one try.
        """
        errand = self._away.pop(digest_of(secret), None) if 0 < len(secret) <= SECRET_LIMIT else None
        given = state[: SECRET_LIMIT + 1].encode("utf-8", "surrogatepass")
        is_right = hmac.compare_digest((errand.state if errand else new_secret()).encode(), given)
        if errand is None or not is_right or self._steady() - errand.begun_at >= self._lifetime:
            raise Unauthenticated("this sign-in was not begun in this browser, has ended already, or took too long")
        return errand

    def __len__(self) -> int:
        """How many are away."""
        return len(self._away)
