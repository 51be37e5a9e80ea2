"""A person with an account here: the name, the role, and what a password must be."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from sayci.account import Access
from sayci.errors import Invalid

#: What people call an access when a person has it everywhere.
ROLES = {"member": Access.NONE, "viewer": Access.READ, "maintainer": Access.BUILD, "admin": Access.ADMIN}
#: The roles that somebody may have in a single project.
PROJECT_ROLES = ("viewer", "maintainer")
#: Characters that a password has, at least and at most.
PASSWORD_LEAST = 10
PASSWORD_MOST = 200

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?\Z")
# Names in the records that are nobody's: whoever signs in with a link, and the server itself.
_RESERVED = frozenset({"admin", "sayci"})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account.  `has_password` is false until an invitation was accepted; times are since the epoch."""

    id: int
    name: str
    role: Access
    created_at: float
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who may do something in a project, whatever the role elsewhere."""

    name: str
    role: Access


def role_of(word: str) -> Access:
    """The access of the role called `word`; raises Invalid."""
    try:
        return ROLES[word]
    except KeyError:
        raise Invalid("a role is one of member, viewer, maintainer, admin", word[:80]) from None


def project_role_of(word: str) -> Access:
    """The access of a role in a single project; raises Invalid."""
    if word not in PROJECT_ROLES:
        raise Invalid("a role in a project is one of viewer, maintainer", word[:80])
    return ROLES[word]


def word_of_role(role: Access) -> str:
    """What people call it."""
    return next(word for word, access in ROLES.items() if access is role)


def check_person_name(name: str) -> str:
    """Return `name`, without spaces around it, if it can name a person; raises Invalid otherwise.

    Plain ASCII, so that no two names look the same; names that differ only in case are one name.
    """
    name = name.strip()
    if not _NAME.match(name) or name.lower() in _RESERVED:
        raise Invalid(
            "a person's name is 1 to 40 letters, digits, dots, dashes or underscores, begins and ends with a letter or "
            "digit, and is neither admin nor sayci",
            name[:80],
        )
    return name


def check_password(password: str, name: str) -> str:
    """Return `password` if `name` may have it; raises Invalid, without the password, otherwise."""
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise Invalid("a password has 10 to 200 characters")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in password):
        raise Invalid("a password has no control characters")
    if name.lower() in password.lower() and len(password) < PASSWORD_LEAST + len(name):
        raise Invalid("a password is not made of the name")
    if len(set(password)) < 4:
        raise Invalid("a password has more than three different characters")
    return password
