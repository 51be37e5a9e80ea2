"""The page of all tokens: the server's own, made here, and those of people."""

from __future__ import annotations

from collections.abc import Sequence

from sayci.account import Access, Token, access_of
from sayci.errors import Invalid
from sayci.interfaces import Store
from sayci.sign_in import SignIn
from sayci.web.forms import Advice
from sayci.web.frame import Answer, Frame, Page, SeeOther, Visit
from sayci.web.reading import TOKEN
from sayci.web.tokenforms import ACCESS_MEANINGS, days_of, given_token, page_of_new
from sayci.web.troubles import sentence
from sayci.web.wire import Links
from sayci.web.words import counted

_PAGE = "/settings/tokens"


def heading_of(tokens: Sequence[Token]) -> str:
    """How many there are, and whose."""
    own = sum(token.person is None for token in tokens)
    if not tokens:
        return "There are no tokens."
    if own == len(tokens):
        return f"The server has {counted(own, 'token')}."
    if not own:
        return f"People have {counted(len(tokens), 'token')}, the server none."
    return f"The server has {counted(own, 'token')}, people have {len(tokens) - own}."


class TokenPages:
    """What an admin does with tokens."""

    def __init__(self, sign_in: SignIn, store: Store, links: Links) -> None:
        self._sign_in = sign_in
        self._store = store
        self._links = links

    def put_on(self, frame: Frame) -> None:
        """Take their addresses."""
        frame.get(_PAGE, self.tokens, Access.ADMIN)
        frame.post(_PAGE, self.make, Access.ADMIN)
        frame.post(f"{_PAGE}/<token>/remove", self.remove, Access.ADMIN)

    async def tokens(self, visit: Visit) -> Answer:
        """All of them."""
        return await self._page(visit)

    async def _page(self, visit: Visit, errors: Advice | None = None) -> Page:
        tokens = await self._store.tokens()
        values = {
            "tokens": tokens,
            "heading": heading_of(tokens),
            "choices": ACCESS_MEANINGS,
            "given": given_token(visit.form),
            "errors": errors or Advice(),
        }
        return Page("tokens.html", values, 422 if errors else 200)

    async def make(self, visit: Visit) -> Answer:
        """One for a program, shown this once."""
        form = visit.form
        try:
            access, days = access_of(form.get("access", "")), days_of(form.get("days", ""))
            token, secret = await self._sign_in.new_token(form.get("name", ""), access, days)
        except Invalid as error:
            return await self._page(visit, Advice(token=sentence(error)))
        return page_of_new(token, secret, self._links, _PAGE)

    async def remove(self, visit: Visit, token: str) -> Answer:
        """Whosever it is."""
        del visit
        await self._sign_in.remove_token(TOKEN.read(token))
        return SeeOther(_PAGE)
