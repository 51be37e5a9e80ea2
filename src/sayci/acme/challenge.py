"""What an authority asks to see that a name is ours (RFC 8555 8), and who can show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from sayci.acme.trouble import BadAnswer

# Tokens get into paths and certificates: base64url and nothing else (RFC 8555 8.1).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One of the ways in which the authority would believe us; `kind` is "tls-alpn-01", "http-01" or another."""

    kind: str
    token: str
    url: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Challenge:
        """The challenge as the authority states it; raises BadAnswer."""
        kind, token, url = said.get("type"), said.get("token"), said.get("url")
        if not (isinstance(kind, str) and isinstance(token, str) and isinstance(url, str) and _TOKEN.match(token)):
            raise BadAnswer("the authority sent a challenge that is none", kind="answer")
        return cls(kind, token, url)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a challenge: its token and the account key's thumbprint (RFC 8555 8.1)."""

    key_authorization: str = field(repr=False)


class Responder(Protocol):
    """Shows the answer to one kind of challenge: txacme's IResponder, as types."""

    @property
    def challenge_type(self) -> str:
        """The kind of challenge."""
        ...

    def start_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[Any] | None:
        """Show it from when the Deferred fires."""
        ...

    def stop_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[Any] | None:
        """Show it no longer; safe where `start_responding` failed or was cancelled."""
        ...
