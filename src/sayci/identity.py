"""Who somebody is at the forge, and what the forge lets that person do in repositories: values and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from sayci.account import Access
from sayci.errors import Invalid
from sayci.person import Person, check_person_name
from sayci.project import Settings

#: Names that are tried for somebody whose login is somebody else's name here.
NAMES_TRIED = 100

_PART = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^@/:]+):(?!//)(.+)\Z")
_USUAL_PORTS = {"http": 80, "https": 443}
#: github.com answers git under these names too (docs.github.com, "Using SSH over the HTTPS port").
_ALIASES = {"www.github.com": "github.com", "ssh.github.com": "github.com"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody at the forge: `id` is for ever, `login` can be changed, and be somebody else's later."""

    id: int
    login: str


@dataclass(frozen=True, slots=True)
class ForgeToken:
    """What the forge has given out to ask it in a person's name; `expires_at` is in seconds since the epoch.

    With `refresh_token`, "" where there is none, another one is had after that.
    """

    access_token: str = field(repr=False)
    expires_at: float | None = None
    refresh_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Linked:
    """A person with an identity at the forge; `has_token` is false once the person has revoked the authorization."""

    person: Person
    identity: Identity
    has_token: bool


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at the forge, as its API names it."""

    owner: str
    name: str


def place_of(url: str) -> tuple[str, str, Repository]:
    """Scheme, host and name of a repository by the address under which it is registered.

    https, ssh and scp-like addresses, with or without ".git", need exactly an owner and a name.  The host is in lower
    case, with its port if that is not the scheme's own, and without for ssh; of a repository on this machine's own disk
    it is "", and owner and name are the last two parts.  Raises Invalid.
    """
    scp_like = _SCP_LIKE.match(url)
    if scp_like:
        scheme, host, path = "ssh", scp_like[1].lower(), scp_like[2]
    else:
        try:
            parts = urlsplit(url)
            scheme, host, path = parts.scheme.lower(), (parts.hostname or "").lower(), unquote(parts.path)
            if scheme in _USUAL_PORTS and parts.port not in (None, _USUAL_PORTS[scheme]):
                host = f"{host}:{parts.port}"
        except ValueError:
            scheme, host, path = "", "", ""
    names = path.strip("/").removesuffix(".git").split("/")
    if not host:
        names = names[-2:]
    if len(names) != 2 or not all(_PART.match(name) and name.strip(".") for name in names):
        raise Invalid("the repository's address does not end in OWNER/NAME, as the forge needs it")
    return scheme, _ALIASES.get(host, host), Repository(*names)


@dataclass(frozen=True, slots=True)
class ForgePlace:
    """Where the forge is: `url` for people and git, `api` for programs, both without a slash at the end."""

    url: str
    api: str

    def repository_of(self, settings: Settings) -> Repository | None:
        """The repository of a project if it is at this forge: by its `forge_api`, or else by its address."""
        try:
            scheme, host, repository = place_of(settings.url)
        except Invalid:
            return None
        if settings.forge_api:
            return repository if settings.forge_api.rstrip("/") == self.api else None
        own = urlsplit(self.url)
        if scheme == "ssh":
            return repository if host == own.hostname else None
        usual = f"{own.hostname}:{own.port}" if own.port not in (None, _USUAL_PORTS.get(own.scheme)) else own.hostname
        return repository if host and host == usual else None


def access_by(permissions: Mapping[str, object], *, is_private: bool) -> Access:
    """What the forge's permissions in a repository amount to here.

    Who may push builds too, and who may read a private repository looks.  A public one everybody in the world may read:
    that alone is no reason to show its builds, which its project can do for everybody (Visibility.PUBLIC).
    """

    def has(*words: str) -> bool:
        return any(permissions.get(word) is True for word in words)

    if has("push", "maintain", "admin"):
        return Access.BUILD
    return Access.READ if has("triage") or (is_private and has("pull")) else Access.NONE


def names_for(login: str) -> Iterator[str]:
    """Names that somebody with this login may have here, the best first; nothing in them but what a name may have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", login).strip("._-")[:36].strip("._-") or "github"
    for number in range(1, NAMES_TRIED + 1):
        try:
            yield check_person_name(plain if number == 1 else f"{plain}-{number}")
        except Invalid:
            continue
