"""The API of people and programs: signing in, who one is, one's own tokens and those of the server."""

from __future__ import annotations

from sayci.account import Access, Credential, access_of
from sayci.interfaces import Store
from sayci.sign_in import SignIn
from sayci.web import wire
from sayci.web.gate import admission_of
from sayci.web.reading import TOKEN, client_of
from sayci.web.route import Call, Table

table = Table()

_MINE = "/api/v1/me/tokens"


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
        actor, token = call.actor, await self._store.token(_credential_of(call).digest)
        granted = {each: access for each, access in actor.grants.items() if access > actor.access}
        names = await self._store.names_of(granted)
        return wire.Me(
            name=actor.name,
            access=wire.reach_of(actor.access),
            is_person=actor.person_id is not None,
            projects=[
                wire.Granted(names[each], wire.word_of(granted[each])) for each in sorted(names, key=names.__getitem__)
            ],
            token=None if token is None else wire.of_held(token),
            version=self._version,
        )

    @table.route("GET", _MINE, Access.NONE, "List one's own tokens", answer=wire.Listing[wire.Token])
    async def list_own_tokens(self, call: Call) -> wire.Listing[wire.Token]:
        """All of them at once, without their secrets; none for a token of the server, which is nobody's."""
        return wire.listing(map(wire.of_token, await self._sign_in.own_tokens(call.actor)))

    @table.route(
        "POST",
        _MINE,
        Access.NONE,
        "Make a token of one's own",
        body=wire.NewToken,
        answer=wire.IssuedToken,
        code=201,
        problems=(409,),
    )
    async def make_own_token(self, call: Call, body: wire.NewToken) -> wire.IssuedToken:
        """It acts as the person who makes it, and reaches no further than both.

        It reaches no further than the token that it is made with, and lasts no longer.  The answer is the only place
        where its secret is told.
        """
        by, access = _credential_of(call), access_of(body.access)
        token, secret = await self._sign_in.new_own_token(call.actor, by, body.name, access, body.days)
        return wire.of_issued(token, secret)

    @table.route("DELETE", _MINE + "/{id}", Access.NONE, "Remove a token of one's own", TOKEN, code=204)
    async def remove_own_token(self, call: Call) -> None:
        """From now on it is not known any more; it may be the one that this is asked with."""
        await self._sign_in.remove_own_token(call.actor, call[TOKEN])

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


def _credential_of(call: Call) -> Credential:
    """What the request was known by; raises LookupError for a stranger, whom the gate does not let pass."""
    credential = admission_of(call.request).credential
    if credential is None:
        raise LookupError("a stranger has come through the gate", call.request.path)
    return credential
