"""People, programs and what they may do: scopes, tokens, one-time codes.  Only hashes of credentials are ever kept."""

from __future__ import annotations

import enum
import hashlib
import secrets
from dataclasses import dataclass

from sayci.errors import Forbidden, Invalid


class Access(enum.IntEnum):
    """How far a credential reaches; each includes those before it."""

    READ = 1  #: look at projects, builds and logs
    BUILD = 2  #: also cancel, rebuild, deploy, replay
    ADMIN = 3  #: also register, configure, and hand out tokens


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: `name` for the records, `access` for the answer.  `person_id` is None for who has no account."""

    name: str
    access: Access
    person_id: int | None = None

    def require(self, access: Access) -> None:
        """Raises Forbidden unless this actor's access includes `access`."""
        if self.access < access:
            raise Forbidden("this takes more access than the credential has", access.name.lower())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a session began: the client's address, and its browser in words."""

    address: str = ""
    browser: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A credential of a program as it is listed: without the secret.  Times are seconds since the epoch."""

    id: int
    name: str
    access: Access
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None


TOKEN_PREFIX = "sayci_"  # noqa: S105 - a prefix by which leaked tokens are found, not a secret


def new_secret(prefix: str = "") -> str:
    """A fresh credential of 256 random bits, in letters that survive a URL and a shell."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What is kept of a credential: its SHA-256.  256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def access_of(word: str) -> Access:
    """The access called `word` (read, build, admin); raises Invalid."""
    try:
        return Access[word.upper()]
    except KeyError:
        raise Invalid("access is one of read, build, admin", word[:80]) from None
