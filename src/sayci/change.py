"""What happened in a repository, whoever said so.

Names of refs and commits come from strangers and end in git's argument lists, so nothing becomes a :class:`Change`
that has not passed :func:`check_ref` and :func:`check_commit`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sayci.errors import Invalid

#: Longest message and longest name that are kept, in characters: more is cut, with an ellipsis.
MESSAGE_LIMIT = 4000
NAME_LIMIT = 200
REF_LIMIT = 250

_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SKIP = re.compile(r"\[(?:skip ci|ci skip)\]", re.IGNORECASE)
# The rules of git-check-ref-format(1), and no component that begins with "-": it could be taken for an option.
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|/-|\.lock(?:/|\Z)|/\Z|\.\Z")


def check_commit(commit: str) -> str:
    """Return `commit` if it is a full object name (40 or 64 lower-case hex digits, not all zero).

    Raises Invalid otherwise.
    """
    if not _COMMIT.match(commit) or not commit.strip("0"):
        raise Invalid("not a full commit id", commit[:80])
    return commit


def check_ref(ref: str) -> str:
    """Return `ref` if it is a full, well-formed ref name (git-check-ref-format) of at most REF_LIMIT characters.

    Raises Invalid otherwise.
    """
    if len(ref) > REF_LIMIT or not ref.startswith("refs/") or ref.count("/") < 2 or _BAD_IN_REF.search(ref):
        raise Invalid("not a ref name", ref[:80])
    return ref


def check_branch(branch: str) -> str:
    """Return `branch`, a short branch name, if ``refs/heads/BRANCH`` is a well-formed ref; raises Invalid otherwise."""
    try:
        check_ref(f"refs/heads/{branch}")
    except Invalid:
        raise Invalid("not a branch name", branch[:80]) from None
    return branch


def ref_of(branch: str) -> str:
    """The full ref of a short branch name."""
    return f"refs/heads/{branch}"


def branch_of(ref: str) -> str | None:
    """The short branch name of a full ref; None when the ref is not a branch."""
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, with an ellipsis where something went; lone surrogates are replaced."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Change:
    """A ref now points to a commit.

    `ref` is a full ref, `commit` a full object name; `message` and `author` are as the author wrote them, cut to
    MESSAGE_LIMIT and NAME_LIMIT: unsafe to print unescaped.
    """

    ref: str
    commit: str
    message: str = field(default="")
    author: str = field(default="")

    def __post_init__(self) -> None:
        check_ref(self.ref)
        check_commit(self.commit)
        object.__setattr__(self, "message", cut(self.message, MESSAGE_LIMIT))
        object.__setattr__(self, "author", cut(self.author, NAME_LIMIT))

    @property
    def branch(self) -> str | None:
        """The short name of the branch, None when the ref is not a branch."""
        return branch_of(self.ref)

    @property
    def asks_to_skip(self) -> bool:
        """Whether the message says ``[skip ci]`` or ``[ci skip]``, in any case."""
        return bool(_SKIP.search(self.message))
