"""git: its command lines out, its words in; starts no process.

Addresses, refs and commits come from strangers.  They reach a command line only after :func:`check_url`,
:func:`sayci.change.check_ref` and :func:`sayci.change.check_commit`, and stand behind ``--`` even then.  The environment is
stated in full and the configuration that could run a program is switched off (git-config(1), gitattributes(5),
githooks(5)), so that nothing of the server's user, of the machine or of a repository changes what a command does.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sayci.change import branch_of, check_commit, check_ref, cut, ref_of
from sayci.errors import (
    CommitNotFound,
    Invalid,
    RepositoryDenied,
    RepositoryError,
    RepositoryRefused,
    RepositoryUnreachable,
)

# ------------------------------------------------------------------------------------------------ addresses

URL_LIMIT = 2000
#: Branches beyond this number, or an answer that is longer than the memory for it, are refused.
HEADS_LIMIT = 100_000
#: Tags beyond this number are not copied into a workspace.
TAGS_LIMIT = 20_000
#: How much of a line of git's is shown to people, in characters.
SAID_LIMIT = 300

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_ADDRESS = re.compile(rf"[a-z]+://(?:(?P<user>[^/@]*)@)?{_HOST}(?::(?P<port>[0-9]{{1,5}}))?/(?P<path>[^/].*)\Z")
_LIKE_SCP = re.compile(rf"(?P<user>[^/@:]+)@{_HOST}:(?P<path>.+)\Z")
_SCHEME = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*):(?://|:)")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_CODED_CONTROL = re.compile(r"%(?:[01][0-9a-f]|7f)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which addresses a project may have: those of a scheme, and single ones whatever their scheme."""

    allowed_schemes: frozenset[str] = frozenset({"https", "ssh"})
    allowed_urls: frozenset[str] = frozenset()


def check_url(url: str, policy: Policy) -> str:
    """Return `url`, its scheme in lower case, if a project may have it: https, ssh, or what the policy allows beside.

    ``git@host:path`` is taken as ssh.  Raises Invalid, saying what to do; an address that may hold a password is not
    repeated in it.
    """
    if url in policy.allowed_urls:
        return url
    _check_letters(url)
    if scheme := _SCHEME.match(url):
        url = scheme[1].lower() + url[scheme.end(1) :]
    _check_scheme(url, policy)
    if scheme_of(url) == "file":
        return _check_file(url)
    _check_parts(url)
    return url


def scheme_of(url: str) -> str:
    """How git would reach `url`: https, ssh, file and so on; the name before ``::`` for a remote helper."""
    if match := _SCHEME.match(url):
        return match[1]
    return "ssh" if _LIKE_SCP.match(url) else "file"


def _bad(sentence: str, url: str) -> Invalid:
    return Invalid(sentence) if "@" in url else Invalid(sentence, url[:80])


def _check_letters(url: str) -> None:
    if not url or len(url) > URL_LIMIT:
        raise Invalid("a repository's address has 1 to this many characters", URL_LIMIT)
    if any(letter.isspace() or unicodedata.category(letter)[0] == "C" for letter in url) or _CODED_CONTROL.search(url):
        raise Invalid("a repository's address has no spaces and no control characters")
    if url.startswith("-"):
        raise _bad("a repository's address does not begin with a dash", url)


def _check_scheme(url: str, policy: Policy) -> None:
    if not _SCHEME.match(url) and not _LIKE_SCP.match(url):
        raise _bad("not a repository's address; write it like https://host/path or git@host:path", url)
    if scheme_of(url) not in policy.allowed_schemes:
        allowed = ", ".join(sorted(policy.allowed_schemes))
        raise Invalid("addresses of this kind are not allowed on this server", scheme_of(url)[:80], f"use {allowed}")


def _check_file(url: str) -> str:
    if not url.startswith("file:///") or len(url) == len("file:///"):
        raise _bad("a file address is file:// and an absolute path", url)
    return url


def _check_parts(url: str) -> None:
    match = _ADDRESS.match(url) or (None if _SCHEME.match(url) else _LIKE_SCP.match(url))
    user = match["user"] if match else None
    if scheme_of(url) != "ssh" and (user is not None or re.match(r"[a-z]+://[^/]*@", url)):
        raise Invalid("leave name and password out of the address: put the token into the project's access token")
    if user is not None and ":" in user:
        raise Invalid("leave the password out of the address: ssh uses this server's key")
    if match is None or (user is not None and not _USER.match(user)):
        raise _bad(
            "the address lacks a host or a path, or has one that cannot be; write it like https://host/path", url
        )
    if not 0 < int(match.groupdict().get("port") or 22) < 65536:
        raise _bad("the address has a port that cannot be", url)
    if match["path"].startswith("-") or set("?#") & set(url):
        raise _bad("a repository's path does not begin with a dash and has no question mark and no hash sign", url)


def takes_token(url: str) -> bool:
    """Whether git asks for a user's name and a password at this address."""
    return scheme_of(url) in ("https", "http")


@dataclass(frozen=True, slots=True)
class Credential:
    """What git's askpass is asked for one server, word for word, and the user's name to answer (gitcredentials(7))."""

    user: str
    asks_user: str
    asks_password: str


def credential_of(url: str) -> Credential:
    """The questions for the server of an https or http address that has passed check_url, and for no other server."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    # Bitbucket takes the tokens of repositories under one name only; others take any name.
    user = "x-token-auth" if host == "bitbucket.org" else "x-access-token"
    return Credential(user, f"Username for '{scheme}://{host}': ", f"Password for '{scheme}://{user}@{host}': ")


# ------------------------------------------------------------------------------------------------ environment

PATH = "/usr/local/bin:/usr/bin:/bin"
#: Variables of the operator's that reach git: ways through a proxy, and whom to trust.
PASSED_ON = frozenset(
    {
        *("https_proxy", "http_proxy", "all_proxy", "no_proxy"),
        *("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)
#: The names of private keys below the ssh directory.
KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
#: The descriptor by which the askpass program is given the access token.
TOKEN_FD = 3

_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "gc.cruftPacks=true",
    "maintenance.auto=false",
    "protocol.version=2",
    # A pack is indexed aside and appears whole; unpacked objects of a killed fetch could be a commit without its tree.
    "fetch.unpackLimit=1",
    "submodule.recurse=false",
    "credential.helper=",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "init.defaultBranch=main",
    "advice.detachedHead=false",
)
_GIT = ("git", "-C", "/", *(word for item in _CONFIGURATION for word in ("-c", item)))


def environment(
    url: str = "",
    *,
    ssh: Path | None = None,
    askpass: Path | None = None,
    passed_on: Mapping[str, str] | None = None,
    traces: bool = False,
) -> dict[str, str]:
    """The whole environment of a git command that may reach `url`, or nothing when it is "".

    `askpass` is the program that answers for the credential of `url`.  With `traces` git says what it starts; it is never
    asked to say what it sends, which has credentials in it.
    """
    stated = {name: value for name, value in (passed_on or {}).items() if name in PASSED_ON} | {
        "PATH": PATH,
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": scheme_of(url) if url else "",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": ssh_command(ssh) if ssh else "/bin/false",
        "GIT_SSH_VARIANT": "ssh",
    }
    if askpass is not None:
        credential = credential_of(url)
        stated |= {
            "GIT_ASKPASS": str(askpass),
            "SAYCI_USER": credential.user,
            "SAYCI_ASKS_USER": credential.asks_user,
            "SAYCI_ASKS_PASSWORD": credential.asks_password,
        }
    return stated | ({"GIT_TRACE": "1"} if traces else {})


def ssh_command(directory: Path) -> str:
    """How git starts ssh: with the keys and the known hosts in `directory` alone, and no question asked (ssh_config(5)).

    The key of a host that was never seen is trusted and remembered; a host whose key has changed is refused.
    """
    options = (
        *("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "StrictHostKeyChecking=accept-new"),
        *("IdentitiesOnly=yes", "IdentityAgent=none"),
        f"UserKnownHostsFile={_for_ssh(directory / 'known_hosts')}",
        *(f"IdentityFile={_for_ssh(directory / name)}" for name in KEYS),
    )
    return shlex.join(("ssh", "-F", "none", *(f"-o{option}" for option in options)))


def _for_ssh(path: Path) -> str:
    return '"{}"'.format(str(path).replace("%", "%%"))


# ------------------------------------------------------------------------------------------------ command lines

#: The refs of a mirror: one for each build that may still need its commit, some newest commits that tell a server what is
#: here already, and the branches that were asked for.  They are few, because every fetch walks them.
BUILDS, RECENT, HEADS = "refs/sayci/builds", "refs/sayci/recent", "refs/sayci/heads"
RECENT_LIMIT = 16


def ls_remote(url: str) -> tuple[str, ...]:
    """Name every branch of a repository with its commit."""
    return (*_GIT, "--git-dir=/nonexistent", "ls-remote", "--heads", "--", url)


def init(mirror: Path, object_format: str) -> tuple[str, ...]:
    """Make a bare repository without hooks, whose objects are named by ``sha1`` or ``sha256``."""
    return (*_GIT, "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", str(mirror))


def fetch_commit(mirror: Path, url: str, commit: str, build_id: int) -> tuple[str, ...]:
    """Fetch exactly one commit, with its history, for a build; asks nobody when it is here and complete."""
    refs = (f"{BUILDS}/{build_id}", f"{RECENT}/{build_id % RECENT_LIMIT}")
    return (*_fetch(mirror, "--progress"), "--", url, *(f"+{check_commit(commit)}:{ref}" for ref in refs))


def fetch_branch(mirror: Path, url: str, branch: str) -> tuple[str, ...]:
    """Fetch what a branch points to."""
    ref = check_ref(ref_of(branch))
    return (*_fetch(mirror, "--quiet"), "--", url, f"+{ref}:{HEADS}/{branch}")


def fetch_heads(mirror: Path, url: str) -> tuple[str, ...]:
    """Fetch every branch, from a server that hands out nothing but what its refs point to."""
    return (*_fetch(mirror, "--progress"), "--prune", "--", url, f"+refs/heads/*:{HEADS}/*")


def fetch_tags(mirror: Path, url: str) -> tuple[str, ...]:
    """Make the mirror's tags the repository's."""
    return (*_fetch(mirror, "--quiet"), "--prune", "--", url, "+refs/tags/*:refs/tags/*")


def _fetch(mirror: Path, loudness: str) -> tuple[str, ...]:
    return (
        *(*_GIT, f"--git-dir={mirror}", "fetch", loudness, "--no-tags", "--no-recurse-submodules"),
        *("--no-write-fetch-head", "--no-auto-maintenance"),
    )


def list_tags(mirror: Path) -> tuple[str, ...]:
    """Name the mirror's tags as a packed-refs file does."""
    form = "--format=%(objectname) %(refname)"
    return (*_GIT, f"--git-dir={mirror}", "for-each-ref", f"--count={TAGS_LIMIT}", form, "refs/tags")


def read_tree(tree: Path, commit: str) -> tuple[str, ...]:
    """Write the files of a commit into a directory that has nothing but its ``.git``."""
    git = (*_GIT, f"--git-dir={tree / '.git'}", f"--work-tree={tree}")
    return (*git, "read-tree", "-m", "-u", check_commit(commit))


def forget_build(mirror: Path, build_id: int) -> tuple[str, ...]:
    """Let go of a build's commit."""
    return (*_GIT, f"--git-dir={mirror}", "update-ref", "-d", f"{BUILDS}/{build_id}")


def describe(mirror: Path, commit: str) -> tuple[str, ...]:
    """Print author and message of a commit, for description_of."""
    form = ("--no-color", "--no-show-signature", "--no-notes", "--format=%an%x00%B")
    return (*_GIT, f"--git-dir={mirror}", "log", "-1", *form, check_commit(commit), "--")


def collect(mirror: Path) -> tuple[str, ...]:
    """Put the mirror's packs into one, and drop what no ref has reached for two weeks."""
    return (*_GIT, f"--git-dir={mirror}", "gc", "--quiet", "--prune=2.weeks.ago")


def format_of(commit: str) -> str:
    """How a repository that has this commit names its objects: ``sha1`` or ``sha256``."""
    return "sha256" if len(commit) == 64 else "sha1"


# ------------------------------------------------------------------------------------------------ a hand-made .git

DOT_GIT_DIRECTORIES = ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info")

_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[gc]
\tauto = 0
"""


def dot_git(commit: str, tags: str) -> Mapping[str, str]:
    """The files of a ``.git`` that has `commit` checked out, but for its objects (gitrepository-layout(5)).

    It names no other repository, so there is nowhere to push to and no credential to find.  `tags` is what list_tags has
    printed.
    """
    sha256 = format_of(commit) == "sha256"
    config = _CONFIG.format(version=1 if sha256 else 0)
    return {
        "config": config + "[extensions]\n\tobjectformat = sha256\n" if sha256 else config,
        "HEAD": f"{check_commit(commit)}\n",
        "packed-refs": tags,
    }


# ------------------------------------------------------------------------------------------------ words


def heads_of(answer: bytes) -> dict[str, str]:
    """The branches that ls-remote has printed, each with its commit; names that no branch may have are left out.

    Raises RepositoryRefused beyond HEADS_LIMIT.
    """
    heads: dict[str, str] = {}
    for line in answer.splitlines():
        commit, _, ref = line.decode("utf-8", "replace").partition("\t")
        try:
            branch = branch_of(check_ref(ref))
            heads |= {branch: check_commit(commit)} if branch else {}
        except Invalid:
            continue
        if len(heads) > HEADS_LIMIT:
            raise too_many_heads()
    return heads


def too_many_heads() -> RepositoryRefused:
    """What is wrong with a repository whose branches nobody can count."""
    return RepositoryRefused("the repository has more branches than sayci takes", HEADS_LIMIT)


def description_of(answer: bytes) -> tuple[str, str]:
    """Message and author, of what `describe` has printed."""
    author, _, message = answer.partition(b"\0")
    return message.decode("utf-8", "replace").strip(), author.decode("utf-8", "replace").strip()


class Lines:
    """git's standard error as it comes, as whole lines for a log: of a line that overwrites itself, its last state.

    What is said of the mirror's own refs is left out.
    """

    #: A line longer than this is cut in two.
    LIMIT = 65_536

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` has completed."""
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > self.LIMIT:
            lines, rest = [*lines, rest], b""
        self._rest = b"\r".join(rest.split(b"\r")[-2:])
        return b"".join(self._shown(line) for line in lines)

    def end(self) -> bytes:
        """The line that was not completed, if there is one."""
        rest, self._rest = self._rest, b""
        return self._shown(rest) if rest else b""

    @staticmethod
    def _shown(line: bytes) -> bytes:
        last = line.rstrip().rpartition(b"\r")[2].rstrip()
        return b"" if last.startswith(b"From ") or b" -> refs/sayci/" in last else last + b"\n"


def lacks_ref(stderr: bytes) -> bool:
    """Whether a fetch has failed because the repository does not have the branch."""
    return b"couldn't find remote ref" in stderr


def hands_out_refs_only(stderr: bytes) -> bool:
    """Whether a fetch has failed because the server hands out only what its refs point to."""
    return re.search(rb"unadvertised object|want [0-9a-f]{40,64} not valid", stderr) is not None


def has_other_format(stderr: bytes) -> bool:
    """Whether a fetch has failed because the repository names its objects by another hash than the mirror."""
    return b"mismatched algorithms" in stderr


def is_shallow(stderr: bytes) -> bool:
    """Whether a fetch has done nothing, and called it a success, because the repository lacks a part of its history."""
    return b"shallow roots are not allowed to be updated" in stderr


_LATER, _NO, _DENIED = RepositoryUnreachable, RepositoryRefused, RepositoryDenied
_BROKEN = "the repository's server broke the connection"
_NOT_THERE = "there is no repository at this address, or the project's access token does not reach it"
_NO_COMMIT = "the repository does not have this commit, or not any more"
_OTHER_HOST_KEY = (
    "the repository's server shows another host key than before: make sure that it is right, then mend ssh/known_hosts in "
    "the data directory"
)
_NO_SSH_KEY = (
    "the repository's server accepts no ssh key of this server: put one into ssh/id_ed25519 in the data directory and its "
    "public half among the repository's deploy keys"
)

#: What git, curl and ssh say, what it means, and what to do about it; the first that is found is right.
_MEANINGS: tuple[tuple[type[RepositoryError], str, str], ...] = (
    (_LATER, "Could not resolve", "the name of the repository's server does not resolve"),
    (_LATER, "timed out|Timeout was|too slow|not responding", "the repository's server did not answer in time"),
    (_LATER, "Connection refused|onnect to |No route to|unreachable", "the repository's server takes no connection"),
    (_LATER, "SSL_ERROR_SYSCALL|non-properly terminated|Error in the pull function|unexpected eof", _BROKEN),
    (_NO, "[Cc]ertificate|verification failed.*CA", "the TLS certificate of the repository's server cannot be trusted"),
    (_NO, "gnutls_hand|SSL_connect|SSL: |SSL routines|TLS ", "the repository's server does not speak TLS as it should"),
    (_NO, "returned error: 30[12378]", "the repository has moved: give the project its new address"),
    (
        _DENIED,
        "Authentication failed|returned error: 401",
        "the repository does not take the access token: set a new one",
    ),
    (_DENIED, "could not read (?:User|Pass)", "the repository is private or not there: set the project's access token"),
    (_DENIED, "returned error: 403", "the project's access token may not read the repository"),
    (_DENIED, "repository '.*' not found|Repository not found|could not be found or you", _NOT_THERE),
    (_DENIED, "not appear to be a git repo|is this a git repo|returned error: (?:404|410)", _NOT_THERE),
    (_LATER, "returned error: 429", "the repository's server wants to be asked less often"),
    (_LATER, "returned error: 5..|HTTP 5..", "the repository's server has a problem of its own"),
    (_NO, "Host key verification failed|IDENTIFICATION HAS CHANGED", _OTHER_HOST_KEY),
    (_DENIED, r"Permission denied \(", _NO_SSH_KEY),
    (_NO, "cannot run ssh|ssh: (?:command )?not found", "ssh is not installed on this server"),
    (_NO, "transport '.*' not allowed", "addresses of this kind are not allowed on this server"),
    (CommitNotFound, "not our ref|unadvertised object|want [0-9a-f]+ not valid|bad object|mismatched alg", _NO_COMMIT),
    (_NO, "couldn't find remote ref", "the repository has no such branch"),
    (_LATER, "No space left|[Dd]isk quota", "this server's disk is full"),
    (_NO, "signal 25|File size limit|File too large", "the repository holds more than this server takes"),
    (_NO, "[Oo]ut of memory|signal 9|mmap failed|allocate", "the repository needs more memory than git is given here"),
    (_NO, "invalid path", "the commit has a file whose name git does not write"),
    (_NO, "shallow roots|did not send all", "the repository lacks a part of its history: it may be a shallow copy"),
    (_NO, "dubious ownership", "the repository's files belong to another user"),
    (_LATER, "early EOF|disconnect|hung up|Recv fail|Empty reply|Connection (?:reset|closed)|RPC failed|kex_", _BROKEN),
)
_QUOTED = re.compile(r"'\S+'")  # addresses and names, which may hold any word
_RULES = tuple((re.compile(pattern), kind, sentence) for kind, pattern, sentence in _MEANINGS)


def explain(stderr: bytes, exit_code: int) -> RepositoryError:
    """What a failure of git's means, in words that say what to do; `args[1]` is the line of git's that says it.

    A failure that is not known is worth another try.
    """
    lines = [line for line in map(_clean, re.split(r"[\r\n]+", stderr.decode("utf-8", "replace"))) if line]
    # What the other side has to say is not git's word, unless it is marked as an error.
    own = [line for line in lines if not line.startswith("remote: ") or "ERROR" in line]
    for rule, kind, sentence in _RULES:
        for line in own:
            if rule.search(_QUOTED.sub("''", line)):
                return kind(sentence, line)
    return RepositoryUnreachable("git failed", lines[-1] if lines else f"it ended with {exit_code}")


def out_of_time(limit: float) -> RepositoryUnreachable:
    """What it means that a command has been ended at its time limit, in seconds."""
    return RepositoryUnreachable("the repository did not answer within its time limit", f"{limit:g} s")


def _clean(line: str) -> str:
    shown = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in line)
    return cut(shown.strip(), SAID_LIMIT)
