"""People, programs and what they may do: scopes, tokens, one-time codes.  Only hashes of credentials are ever kept."""

from __future__ import annotations

import enum
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sayci.errors import Forbidden, Invalid


class Access(enum.IntEnum):
    """How far a credential reaches; each includes those before it."""

    NONE = 0  #: only what is granted for single projects
    READ = 1  #: look at projects, builds and logs
    BUILD = 2  #: also cancel, rebuild, deploy, replay
    ADMIN = 3  #: also register, configure, and hand out tokens


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: `name` for the records, `access` for the answer.

    `person_id` is None for who has no account.  `grants` are what a person has for single projects, by their ids.
    """

    name: str
    access: Access
    person_id: int | None = None
    grants: Mapping[int, Access] = field(default_factory=dict, hash=False)

    def on(self, project_id: int) -> Access:
        """How far this actor reaches in a project."""
        return max(self.access, self.grants.get(project_id, Access.NONE))

    @property
    def furthest(self) -> Access:
        """As far as this actor reaches anywhere."""
        return max([self.access, *self.grants.values()])

    def require(self, access: Access) -> None:
        """Raises Forbidden unless this actor's access includes `access`."""
        if self.access < access:
            raise Forbidden("this takes more access than the credential has", access.name.lower())


def capped(person: Actor, access: Access) -> Actor:
    """`person` as one of their tokens acts, which has `access`: nowhere further than the person, nor than the token."""
    grants = {project_id: min(granted, access) for project_id, granted in person.grants.items()}
    return replace(person, access=min(person.access, access), grants=grants)


class Decision(enum.Enum):
    """What becomes of a request."""

    ALLOWED = "allowed"
    SIGN_IN = "sign in"  #: somebody else might
    FORBIDDEN = "forbidden"  #: this actor may not, and may know that there is something
    HIDDEN = "hidden"  #: this actor may not know that there is anything


@dataclass(frozen=True, slots=True)
class Ground:
    """What a request is about, where that is a project."""

    project_id: int
    is_public: bool


def sees(actor: Actor | None, ground: Ground) -> bool:
    """Whether `actor` (None: a stranger) may look at a project."""
    return ground.is_public or (actor is not None and actor.on(ground.project_id) >= Access.READ)


def decide(actor: Actor | None, need: Access, ground: Ground | None = None) -> Decision:
    """Whether `actor` (None: a stranger) may do what takes the access `need`, on a project or on the whole server."""
    if ground is not None and not sees(actor, ground):
        return Decision.SIGN_IN if actor is None else Decision.HIDDEN
    if ground is not None and need <= Access.READ:
        return Decision.ALLOWED
    if actor is None:
        return Decision.SIGN_IN
    reach = actor.access if ground is None else actor.on(ground.project_id)
    return Decision.ALLOWED if reach >= need else Decision.FORBIDDEN


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a session began: the client's address, and its browser in words."""

    address: str = ""
    browser: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody is known by, as it is kept: the digest of a session's secret, or of a token's."""

    digest: bytes
    is_token: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """Where somebody is signed in, as it is listed: without the secret.  Times are seconds since the epoch.

    Of one that an old sayci has made, nobody knows when and where it began.
    """

    digest: bytes
    created_at: float | None
    seen_at: float | None
    origin: Origin

    @property
    def id(self) -> str:
        """What it is called in addresses and forms; nothing is opened by it."""
        return self.digest.hex()[:24]


@dataclass(frozen=True, slots=True)
class Token:
    """A credential of a program as it is listed: without the secret.  Times are seconds since the epoch.

    `person` is the name of whose it is, and as whom it acts; None for one of the server, which acts by its own name.
    """

    id: int
    name: str
    access: Access
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    person: str | None = None


TOKEN_PREFIX = "sayci_"  # noqa: S105 - a prefix by which leaked tokens are found, not a secret


def new_secret(prefix: str = "") -> str:
    """A fresh credential of 256 random bits, in letters that survive a URL and a shell."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What is kept of a credential: its SHA-256.  256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def access_of(word: str) -> Access:
    """The access called `word` (read, build, admin), as a credential may have it; raises Invalid."""
    found = Access.__members__.get(word.upper(), Access.NONE)
    if found is Access.NONE:
        raise Invalid("access is one of read, build, admin", word[:80])
    return found
