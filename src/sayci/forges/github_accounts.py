"""People's accounts at GitHub: an interfaces.ForgeAccounts by its web flow and its API.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app,
https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps (the same flow for OAuth apps, with
scopes), https://docs.github.com/en/rest/users/users and https://docs.github.com/en/rest/repos/repos
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from sayci.account import Access
from sayci.errors import ForgeAway, ForgeDenied, ForgeMisconfigured
from sayci.forges.asking import Asking, Reply
from sayci.identity import ForgePlace, ForgeToken, Identity, Repository, access_by

#: The longest token that is believed, in characters.
TOKEN_LIMIT = 2000
# The errors that say that this server is set up wrongly, not that the person is.
_OURS = frozenset({"incorrect_client_credentials", "redirect_uri_mismatch", "application_suspended", "invalid_client"})
_AWAY = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


@dataclass(frozen=True, slots=True)
class Client:
    """How this server is known to GitHub.

    `scope` is what is asked for, "" for nothing: a GitHub App has permissions of its own instead, and of an OAuth app it
    is enough for public repositories.
    """

    id: str
    secret: str = field(repr=False)
    scope: str = ""


class GitHubAccounts:
    """An interfaces.ForgeAccounts; `clock` answers the seconds since the epoch."""

    def __init__(self, place: ForgePlace, client: Client, asking: Asking, clock: Callable[[], float]) -> None:
        self._place = place
        self._client = client
        self._asking = asking
        self._clock = clock

    def authorize_url(self, state: str, challenge: str, back: str) -> str:
        """Where GitHub asks."""
        query = {
            "client_id": self._client.id,
            "redirect_uri": back,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "allow_signup": "false",
        }
        scope = {"scope": self._client.scope} if self._client.scope else {}
        return f"{self._place.url}/login/oauth/authorize?{urlencode(query | scope)}"

    async def token_for(self, code: str, verifier: str, back: str) -> ForgeToken:
        """By POST /login/oauth/access_token."""
        return await self._token({"code": code, "code_verifier": verifier, "redirect_uri": back})

    async def renewed(self, token: ForgeToken) -> ForgeToken:
        """The refresh token is good once, and another one comes with the answer."""
        return await self._token({"grant_type": "refresh_token", "refresh_token": token.refresh_token})

    async def _token(self, fields: Mapping[str, str]) -> ForgeToken:
        ours = {"client_id": self._client.id, "client_secret": self._client.secret}
        reply = await self._asking.post(f"{self._place.url}/login/oauth/access_token", {**ours, **fields})
        _check_passing(reply)
        said = reply.json()
        error = said.get("error")
        if isinstance(error, str) and error:
            if error in _AWAY:
                raise ForgeAway("the forge has a problem of its own", error)
            kind = ForgeMisconfigured if error in _OURS else ForgeDenied
            raise kind("the forge refuses", error[:80])
        if reply.code in (401, 404):  # 404: what GitHub says to a client that it does not know
            raise ForgeMisconfigured("the forge does not know this server's client", reply.code)
        if reply.code != 200:
            raise ForgeAway("the forge answered", reply.code)
        return self._token_of(said)

    def _token_of(self, said: Mapping[str, Any]) -> ForgeToken:
        access, refresh = said.get("access_token"), said.get("refresh_token", "")
        lasts = said.get("expires_in")
        if not isinstance(access, str) or not isinstance(refresh, str) or not _is_token(access, refresh):
            raise ForgeAway("the forge's answer has no token in it")
        try:
            expires_at = None if lasts is None else self._clock() + float(lasts)
        except (TypeError, ValueError):
            raise ForgeAway("the forge's answer does not say how long the token lasts") from None
        return ForgeToken(access, expires_at, refresh)

    async def identity(self, token: ForgeToken) -> Identity:
        """By GET /user."""
        said = await self._get(f"{self._place.api}/user", token)
        if said is None:
            raise ForgeDenied("the forge does not say whose token it is")
        number, login = said.get("id"), said.get("login")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**63:
            raise ForgeAway("the forge's answer does not say who that is")
        if not isinstance(login, str) or not 0 < len(login) <= 200:
            raise ForgeAway("the forge's answer does not say who that is")
        return Identity(number, login)

    async def access(self, token: ForgeToken, repository: Repository) -> Access:
        """By GET /repos/OWNER/NAME; one that was renamed is found where it is now."""
        path = f"{quote(repository.owner, safe='')}/{quote(repository.name, safe='')}"
        said = await self._get(f"{self._place.api}/repos/{path}", token)
        if said is None:
            return Access.NONE
        permissions = said.get("permissions", {})
        if not isinstance(permissions, dict) or not isinstance(said.get("private"), bool):
            raise ForgeAway("the forge's answer does not say what somebody may do")
        return access_by(permissions, is_private=said["private"])

    async def _get(self, url: str, token: ForgeToken) -> dict[str, Any] | None:
        """What is there; None for what is not, or not for the token's owner.

        403 is what an organization says that wants single sign-on, 451 what was taken down.
        """
        reply = await self._asking.get(url, token.access_token)
        if reply.code == 401:
            raise ForgeDenied("the forge does not take the token any more")
        _check_passing(reply)
        if reply.code in (403, 404, 410, 451):
            return None
        if reply.code != 200:
            raise ForgeAway("the forge answered", reply.code)
        return reply.json()


def _check_passing(reply: Reply) -> None:
    """Raises ForgeAway for an answer that will be another one later."""
    pause = reply.pause()
    if pause is not None:
        raise ForgeAway("the forge wants to be asked less often", reply.code, retry_after=pause)
    if reply.code >= 500:
        raise ForgeAway("the forge has a problem of its own", reply.code)


def _is_token(access: str, refresh: str) -> bool:
    both = access + refresh
    return bool(access) and len(both) <= 2 * TOKEN_LIMIT and both.isascii() and both.isprintable()
