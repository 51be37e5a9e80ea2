"""What the pages on which tokens are made have in common: the form, and the one time when a secret is shown."""

from __future__ import annotations

from collections.abc import Mapping

from sayci.account import Token
from sayci.errors import Invalid
from sayci.sign_in import LONGEST_DAYS
from sayci.web.frame import Page
from sayci.web.wire import Links

#: What each access may do, for who chooses.
ACCESS_MEANINGS = {
    "read": "looks at projects, builds and logs",
    "build": "also builds, cancels, deploys, replays",
    "admin": "also configures projects, people and tokens",
}
#: Days that a token lasts where nobody says otherwise: a forgotten one ends.
USUAL_DAYS = "90"


def days_of(text: str) -> int | None:
    """The days that a token lasts; None for an empty field.  Raises Invalid."""
    text = text.strip()
    if not text:
        return None
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid("a token lasts a whole number of days, from 1 to", LONGEST_DAYS)
    return days


def given_token(form: Mapping[str, str]) -> Mapping[str, str]:
    """What the form is filled with: what came back, or what is usual."""
    return {
        "name": form.get("name", "")[:100],
        "access": form.get("access", "read"),
        "days": form.get("days", USUAL_DAYS)[:10],
    }


def page_of_new(token: Token, secret: str, links: Links, back: str) -> Page:
    """The page with the secret; `back` is where the list of tokens is."""
    return Page("new_token.html", {"token": token, "secret": secret, "api": f"{links.base()}/api/v1/me", "back": back})
