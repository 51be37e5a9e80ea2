"""A project: where its code lives, what is built of it, with which limits and which environment."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sayci.account import Ground
from sayci.change import check_branch, ref_of
from sayci.errors import Invalid
from sayci.image import check_image
from sayci.limits import DEFAULT_TIME_LIMIT, NAMES, Limits, check_limits

VARIABLES_LIMIT = 200
VALUE_LIMIT = 32_768
SECRETS_LIMIT = 50

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,99}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
# Devices on some file systems, and names that the web floor or a shell would misread.
_RESERVED = frozenset(
    [
        "account",
        "api",
        "aux",
        "cc.xml",
        "con",
        "deliveries",
        "deploys",
        "events",
        "favicon.ico",
        "feed.atom",
        "healthz",
        "hooks",
        "metrics",
        "new",
        "nul",
        "prn",
        "projects",
        "robots.txt",
        "settings",
        "sign-in",
        "sign-out",
        "static",
        "status",
        "theme",
        "tokens",
    ]
)
# What sayci itself states for every step, and what would change how the step is started.
_OURS = frozenset(
    {"CI", "HOME", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
)


class Scope(enum.Enum):
    """Which steps are given a variable."""

    TEST = "test"
    DEPLOY = "deploy"
    BOTH = "both"

    def reaches(self, step: str) -> bool:
        """Whether a variable of this scope is given to the step called `step`."""
        return self is Scope.BOTH or self.value == step


class Visibility(enum.Enum):
    """Who may look at a project, its builds and logs."""

    PRIVATE = "private"  #: its members, and who may look at all projects
    PUBLIC = "public"  #: everybody, without signing in


class MirrorState(enum.Enum):
    """How far the copy of the project's repository is."""

    CLONING = "cloning"
    READY = "ready"
    FAILED = "failed"
    REVOKED = "revoked"  #: the repository lets sayci in no more, and what was copied of it is removed


def check_name(name: str) -> str:
    """Return `name` if it can name a project: 1 to 64 letters, digits, ``. _ -``; raises Invalid otherwise.

    A name is part of addresses, so it is plain ASCII; two names that differ only in case are one name.
    """
    if not _NAME.match(name) or name.lower() in _RESERVED or ".." in name or name.lower().endswith((".git", ".lock")):
        raise Invalid(
            "a project's name is 1 to 64 letters, digits, dots, dashes or underscores, begins and ends with a letter or "
            "digit, and is not a word that sayci uses itself",
            name[:80],
        )
    return name


def check_target(target: str) -> str:
    """Return `target` if it can be a make target on a command line: never an option, an assignment or a pattern.

    Raises Invalid otherwise.
    """
    if not _TARGET.match(target):
        raise Invalid("not a make target", target[:80])
    return target


@dataclass(frozen=True, slots=True)
class Variable:
    """One line of a project's environment.

    `value` is None where a secret is listed: it is never shown again.  Raises Invalid for a name that a shell would not
    take, that sayci states itself, or a value with a NUL or of more than VALUE_LIMIT characters.
    """

    name: str
    value: str | None = field(repr=False)
    scope: Scope = Scope.BOTH
    secret: bool = False

    def __post_init__(self) -> None:
        if not _VARIABLE.match(self.name):
            raise Invalid("not a variable's name", self.name[:80])
        if self.name in _OURS or self.name.startswith(("SAYCI_", "GIT_")):
            raise Invalid("sayci states this variable itself", self.name)
        if self.value is not None:
            if len(self.value) > VALUE_LIMIT:
                raise Invalid("a value is at most this many characters", VALUE_LIMIT, self.name)
            if "\0" in self.value or any(unicodedata.category(letter) == "Cs" for letter in self.value):
                raise Invalid("a value has no NUL and no half of a surrogate pair", self.name)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person says of a project when registering it, or later.

    `url` has passed sayci.git.check_url.  The limits are those of limits.Limits, for each step.  `deploy_branch` None means
    that the project has no deploys.  `forge_api` is the base address of the forge's API (https://api.github.com by default).
    `image` is what the steps run in where they run in containers; "" takes the server's own.
    Raises Invalid, naming the field.
    """

    name: str
    url: str
    default_branch: str = "main"
    deploy_branch: str | None = None
    test_target: str = "test"
    deploy_target: str = "deploy"
    time_limit: float = DEFAULT_TIME_LIMIT
    forge_api: str = ""
    image: str = ""
    silence_limit: float = 0.0
    output_limit: int = 0
    ends_at_output_limit: bool = False
    process_limit: int = 0
    memory_limit: int = 0
    workspace_limit: int = 0
    open_files_limit: int = 0
    visibility: Visibility = Visibility.PRIVATE

    def __post_init__(self) -> None:
        check_name(self.name)
        check_branch(self.default_branch)
        if self.deploy_branch is not None:
            check_branch(self.deploy_branch)
        check_target(self.test_target)
        check_target(self.deploy_target)
        check_limits(self.limits)
        if self.forge_api and not re.match(r"https?://[^\s@/?#]+(?:/[^\s?#]*)?\Z", self.forge_api):
            raise Invalid("forge_api is the address of an API, such as https://api.github.com", self.forge_api[:80])
        if self.image:
            check_image(self.image)

    @property
    def limits(self) -> Limits:
        """What a step of the project may take, as far as the server allows it."""
        return Limits(**{name: getattr(self, name) for name in NAMES})


@dataclass(frozen=True, slots=True)
class Project:
    """A registered project.  `id` never changes and names its directories; times are seconds since the epoch."""

    id: int
    settings: Settings
    created_at: float
    mirror: MirrorState = MirrorState.CLONING
    mirror_error: str = ""
    has_access_token: bool = False

    @property
    def name(self) -> str:
        """The project's name, as it was registered."""
        return self.settings.name

    @property
    def is_unreadable(self) -> bool:
        """Whether there is no copy of the repository, and a person has to do something about it."""
        return self.mirror in (MirrorState.FAILED, MirrorState.REVOKED)

    @property
    def ground(self) -> Ground:
        """What decides who may look at it."""
        return Ground(self.id, self.settings.visibility is Visibility.PUBLIC)

    @property
    def deploy_ref(self) -> str | None:
        """The full ref of the deploy branch; None when the project has no deploys."""
        branch = self.settings.deploy_branch
        return None if branch is None else ref_of(branch)


def environment_for(step: str, variables: Iterable[Variable]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """What `step` is given of a project's environment: the variables, and the values of those that are secret."""
    given = [variable for variable in variables if variable.scope.reaches(step) and variable.value is not None]
    return (
        {variable.name: variable.value or "" for variable in given},
        tuple(variable.value for variable in given if variable.secret and variable.value),
    )
