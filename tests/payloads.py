"""Deliveries as GitHub shapes them, of our own making, and a signer that shares no code with sayci's.

A factory answers a dictionary that a test may still change; `body_of` and `form_of` make bytes of it, `headers_of` the
headers that go with them.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
import uuid
from typing import Any

SECRET = "a secret between friends"
BEFORE = "1d3f5b79" * 5
AFTER = "4f1c9aa0" * 5
ZEROS = "0" * 40

_BLOCK = 64  # bytes that SHA-256 works on at a time

# A payload carries an address for everything that could be asked about an account and a repository.
_ACCOUNT_LINKS = ("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events")
_REPOSITORY_LINKS = (
    *("forks", "keys", "collaborators", "teams", "hooks", "issue_events", "events", "assignees", "branches", "tags"),
    *("blobs", "git_tags", "git_refs", "trees", "statuses", "languages", "stargazers", "contributors", "subscribers"),
    *("subscription", "commits", "git_commits", "comments", "issue_comment", "contents", "compare", "merges"),
    *("archive", "downloads", "issues", "pulls", "milestones", "notifications", "labels", "releases", "deployments"),
)


def hmac_sha256(key: bytes, message: bytes) -> str:
    """HMAC-SHA256 in hex, written out from RFC 2104 so that it does not repeat a mistake of the code under test."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()


def signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return f"sha256={hmac_sha256(secret.encode(), body)}"


def body_of(payload: Any) -> bytes:
    """The payload as GitHub sends it with content type application/json."""
    return json.dumps(payload, separators=(",", ":")).encode()


def form_of(payload: Any) -> bytes:
    """The payload as GitHub sends it with content type application/x-www-form-urlencoded."""
    return b"payload=" + urllib.parse.quote_plus(body_of(payload)).encode()


def headers_of(
    body: bytes,
    *,
    secret: str = SECRET,
    event: str = "push",
    delivery: str | None = None,
    content_type: str = "application/json",
) -> dict[str, str]:
    """The headers that GitHub sends with `body`; each delivery has an identity of its own unless one is given."""
    return {
        "Accept": "*/*",
        "Content-Type": content_type,
        "User-Agent": "GitHub-Hookshot/0a1b2c3",
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "400200100",
        "X-GitHub-Hook-Installation-Target-ID": "700500300",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature": "sha1=" + "5e" * 20,
        "X-Hub-Signature-256": signature(secret, body),
    }


def many_valued(headers: dict[str, str]) -> dict[str, list[str]]:
    """`headers` as sayci's Forge takes them: lower-case names, a list of values each."""
    return {name.lower(): [value] for name, value in headers.items()}


def person(name: str = "Ada Quill") -> dict[str, Any]:
    """A commit's author or committer."""
    nick = "".join(name.lower().split())[:30]
    return {"name": name, "email": f"{nick}@mill.example", "username": nick, "date": "2026-11-20T08:15:30+01:00"}


def account(login: str = "adaquill", kind: str = "User") -> dict[str, Any]:
    """A GitHub account as it appears in `sender` and `owner`."""
    api = f"https://api.github.com/users/{login}"
    return {
        "login": login,
        "id": 5550123,
        "node_id": "U_kgDOAFSwaw",
        "avatar_url": f"https://avatars.example/u/{login}",
        "gravatar_id": "",
        "url": api,
        "html_url": f"https://github.com/{login}",
        **{f"{link}_url": f"{api}/{link}" for link in _ACCOUNT_LINKS},
        "type": kind,
        "site_admin": False,
    }


def repository(full_name: str = "windmill/flour", clone_url: str = "") -> dict[str, Any]:
    """The repository of a payload; sayci never reads any of it."""
    owner, name = full_name.split("/")
    api = f"https://api.github.com/repos/{full_name}"
    return {
        "id": 910000123,
        "node_id": "R_kgDONj1lqw",
        "name": name,
        "full_name": full_name,
        "private": False,
        "owner": account(owner, "Organization"),
        "html_url": f"https://github.com/{full_name}",
        "description": "Grinds things",
        "fork": False,
        "url": api,
        **{f"{link}_url": f"{api}/{link.replace('_', '/')}{{/id}}" for link in _REPOSITORY_LINKS},
        "created_at": 1700000000,
        "updated_at": "2026-11-20T07:00:00Z",
        "pushed_at": 1795158930,
        "git_url": f"git://github.com/{full_name}.git",
        "ssh_url": f"git@github.com:{full_name}.git",
        "clone_url": clone_url or f"https://github.com/{full_name}.git",
        "homepage": None,
        "size": 812,
        "language": "C",
        "license": None,
        "topics": ["mill", "grain"],
        "visibility": "public",
        "default_branch": "main",
        "master_branch": "main",
    }


def commit(
    sha: str = AFTER, message: str = "Grind finer\n\nTwice as fine as before.", author: str = "Ada Quill"
) -> dict[str, Any]:
    """One commit of a push."""
    return {
        "id": sha,
        "tree_id": "77aa" * 10,
        "distinct": True,
        "message": message,
        "timestamp": "2026-11-20T08:15:30+01:00",
        "url": f"https://github.com/windmill/flour/commit/{sha}",
        "author": person(author),
        "committer": person("GitHub"),
        "added": [],
        "removed": ["stones/old.c"],
        "modified": ["stones/upper.c", "Makefile"],
    }


def push(
    ref: Any = "refs/heads/main",
    after: Any = AFTER,
    *,
    before: str = BEFORE,
    message: str = "Grind finer\n\nTwice as fine as before.",
    author: str = "Ada Quill",
    pusher: str = "adaquill",
    forced: bool = False,
    clone_url: str = "",
) -> dict[str, Any]:
    """A push of one commit to `ref`."""
    head = commit(after, message, author)
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "repository": repository(clone_url=clone_url),
        "pusher": {"name": pusher, "email": f"{pusher}@mill.example"},
        "sender": account(),
        "created": before == ZEROS,
        "deleted": False,
        "forced": forced,
        "base_ref": None,
        "compare": f"https://github.com/windmill/flour/compare/{before[:12]}...{str(after)[:12]}",
        "commits": [head],
        "head_commit": head,
    }


def deletion(ref: str = "refs/heads/feature") -> dict[str, Any]:
    """A push that removes `ref`."""
    return {**push(ref), "after": ZEROS, "deleted": True, "commits": [], "head_commit": None}


def tag(name: str = "v1.0") -> dict[str, Any]:
    """A push of a new tag."""
    return {**push(f"refs/tags/{name}", before=ZEROS), "commits": []}


def ping() -> dict[str, Any]:
    """What GitHub sends when the hook is made."""
    return {
        "zen": "Mind your millstones.",
        "hook_id": 400200100,
        "hook": {
            "type": "Repository",
            "id": 400200100,
            "name": "web",
            "active": True,
            "events": ["push"],
            "config": {"content_type": "json", "insecure_ssl": "0", "url": "https://ci.example/hooks/flour"},
            "updated_at": "2026-11-20T07:00:00Z",
            "created_at": "2026-11-20T07:00:00Z",
            "last_response": {"code": None, "status": "unused", "message": None},
        },
        "repository": repository(),
        "sender": account(),
    }


def created(name: str = "v1.0", kind: str = "tag") -> dict[str, Any]:
    """The `create` event, which GitHub sends beside the push of a new tag or branch."""
    return {
        "ref": name,
        "ref_type": kind,
        "master_branch": "main",
        "description": None,
        "pusher_type": "user",
        "repository": repository(),
        "sender": account(),
    }


def pull_request(*, fork: str | None = "stranger/flour", action: str = "synchronize") -> dict[str, Any]:
    """A pull request's event; `fork` is the repository that it comes from, None once that was removed."""
    head_repository = None if fork is None else repository(fork)
    return {
        "action": action,
        "number": 7,
        "pull_request": {
            "number": 7,
            "state": "open",
            "title": "Coarser, please",
            "user": account("stranger"),
            "head": {"label": "stranger:coarse", "ref": "coarse", "sha": AFTER, "repo": head_repository},
            "base": {"label": "windmill:main", "ref": "main", "sha": BEFORE, "repo": repository()},
        },
        "repository": repository(),
        "sender": account("stranger"),
    }


def padded(payload: dict[str, Any], size: int) -> bytes:
    """The payload's body with its list of commits filled up until it has at least `size` bytes."""
    payload = {**payload, "commits": list(payload["commits"])}
    body = body_of(payload)
    while len(body) < size:
        missing = size - len(body)
        if missing < 1200:
            payload["padding"] = "x" * missing
        else:
            payload["commits"].append(commit(BEFORE, "An older one", "Ned Grist"))
        body = body_of(payload)
    return body
