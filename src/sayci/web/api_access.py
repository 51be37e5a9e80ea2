"""The API of people and programs: signing in, who one is, tokens."""

from __future__ import annotations

from sayci.account import Access, access_of
from sayci.interfaces import Store
from sayci.sign_in import SignIn
from sayci.web import wire
from sayci.web.reading import TOKEN, client_of
from sayci.web.route import Call, Table

table = Table()


class AccessApi:
    """Hands out credentials and takes them back."""

    def __init__(self, store: Store, sign_in: SignIn, version: str) -> None:
        self._store = store
        self._sign_in = sign_in
        self._version = version

    @table.route(
        "POST",
        "/api/v1/sign-in",
        None,
        "Exchange a one-time code for a token",
        body=wire.SignIn,
        answer=wire.SignedIn,
        code=201,
        problems=(401, 429),
    )
    async def sign_in(self, call: Call, body: wire.SignIn) -> wire.SignedIn:
        """No credential is needed: the code is it, and it is used up."""
        token, secret = await self._sign_in.token_by_code(body.code, body.name, address=client_of(call.request))
        return wire.SignedIn(token=secret, id=token.id, name=token.name, access=wire.word_of(token.access))

    @table.route("GET", "/api/v1/me", Access.NONE, "Who the credential belongs to", answer=wire.Me)
    async def me(self, call: Call) -> wire.Me:
        """What the credential is good for, and which version answers."""
        return wire.Me(call.actor.name, wire.reach_of(call.actor.access), self._version)

    @table.route("GET", "/api/v1/tokens", Access.ADMIN, "List the tokens", answer=wire.Listing[wire.Token])
    async def list_tokens(self, call: Call) -> wire.Listing[wire.Token]:
        """All of them at once, without their secrets."""
        return wire.listing(map(wire.of_token, await self._store.tokens()))

    @table.route(
        "POST", "/api/v1/tokens", Access.ADMIN, "Make a token", body=wire.NewToken, answer=wire.IssuedToken, code=201
    )
    async def make_token(self, call: Call, body: wire.NewToken) -> wire.IssuedToken:
        """The answer is the only place where its secret is told."""
        token, secret = await self._sign_in.new_token(body.name, access_of(body.access), body.days)
        return wire.of_issued(token, secret)

    @table.route("DELETE", "/api/v1/tokens/{id}", Access.ADMIN, "Remove a token", TOKEN, code=204)
    async def remove_token(self, call: Call) -> None:
        """From now on it is not known any more."""
        await self._sign_in.remove_token(call[TOKEN])
