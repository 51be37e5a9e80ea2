"""Forms that come back: their fields, read strictly, and what is wrong with each, said beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from twisted.web.server import Request

from sayci.change import check_branch
from sayci.errors import Invalid, Malformed, TooLarge, Unsupported
from sayci.image import check_image
from sayci.limits import LEAST, LONGEST_TIME_LIMIT, MOST
from sayci.project import check_name, check_target

T = TypeVar("T")

CONTENT_TYPE = b"application/x-www-form-urlencoded"
#: The longest form, in bytes: a variable's longest value fits in, however it is escaped.  And the most fields.
FORM_LIMIT = 512 * 1024
FIELDS_LIMIT = 40
#: The longest access token, in characters.
ACCESS_TOKEN_LIMIT = 1000


def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form; line breaks are newlines, however the browser sends them.

    Raises Unsupported for another content type, TooLarge, Malformed for what cannot be read and a field that is there twice.
    """
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != CONTENT_TYPE or request.content is None:
        raise Unsupported("send a form: Content-Type: application/x-www-form-urlencoded")
    body = request.content.read(FORM_LIMIT + 1)
    if len(body) > FORM_LIMIT:
        raise TooLarge("the form has more bytes than are taken here", FORM_LIMIT)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT, errors="strict")
    except ValueError:
        raise Malformed("the form cannot be read") from None
    fields = {name: value.replace("\r\n", "\n") for name, value in pairs}
    if len(fields) < len(pairs):
        raise Malformed("a field of the form is there twice")
    return fields


class Advice(dict[str, str]):
    """Field -> what to do about it; "" for a field that is all right."""

    def __missing__(self, field: str) -> str:
        return ""


class Fields:
    """The fields of a form while they are read; `errors` says beside each what to do about it."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.errors = Advice()

    def take(self, name: str, read: Callable[[str], T], advice: str, otherwise: T) -> T:
        """What `read` makes of a field without the spaces around it; `otherwise`, and `advice` beside it, if that raises."""
        try:
            return read(self.given.get(name, "").strip())
        except (Invalid, ValueError):
            self.errors[name] = advice
            return otherwise

    def project_name(self, name: str) -> str:
        """A project's name."""
        advice = (
            "Use 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit at both ends, "
            "and no word that sayci uses itself, such as new or static."
        )
        return self.take(name, check_name, advice, "")

    def branch(self, name: str) -> str:
        """A short branch name; an empty field is "main"."""
        return self.take(name, lambda text: check_branch(text or "main"), _BRANCH_ADVICE, "main")

    def branch_or_none(self, name: str) -> str | None:
        """A short branch name; None for an empty field."""
        return self.take(name, lambda text: check_branch(text) if text else None, _BRANCH_ADVICE, None)

    def target(self, name: str, usual: str) -> str:
        """A make target; an empty field is the usual one."""
        advice = f"Give one target of the Makefile, such as {usual}: letters, digits and _ . / + - alone."
        return self.take(name, lambda text: check_target(text or usual), advice, usual)

    def time_limit(self, name: str) -> float:
        """A number of minutes, as seconds; an empty field is 60 minutes."""
        most = int(LONGEST_TIME_LIMIT // 60)
        return self.take(name, _seconds, f"Give a number of minutes, up to {most} (seven days).", 3600.0)

    def image(self, name: str) -> str:
        """The name of a container image; "" for an empty field."""
        advice = "Give the name of a container image, such as python:3.13-slim or registry.example:5000/team/ci:2."
        return self.take(name, lambda text: check_image(text) if text else "", advice, "")

    def silence_limit(self, name: str) -> float:
        """A number of minutes, as seconds; 0 for an empty field."""
        most = int(LONGEST_TIME_LIMIT // 60)
        advice = f"Give a number of minutes, up to {most} (seven days), or nothing."
        return self.take(name, lambda text: _seconds(text) if text else 0.0, advice, 0.0)

    def amount(self, name: str, unit: int = 1) -> int:
        """A limit in so many of its `unit`; 0 for an empty field."""
        least = -(-LEAST[name] // unit)
        advice = f"Give a whole number, {least} at least, or nothing for what the server allows."
        return self.take(name, lambda text: _amount(text, LEAST[name], unit) if text else 0, advice, 0)

    def access_token(self, name: str) -> str:
        """A token of the forge; "" for an empty field."""
        advice = "A token is one word of plain letters, digits and signs. Copy it once more from the forge."
        return self.take(name, _token, advice, "")


_BRANCH_ADVICE = "Give the branch's name as git shows it, such as main or release/1.2."


def _seconds(text: str) -> float:
    seconds = float(text.replace(",", ".") or 60) * 60
    if not 1 <= seconds <= LONGEST_TIME_LIMIT:
        raise Invalid("not a time limit", text[:80])
    return seconds


def _amount(text: str, least: int, unit: int) -> int:
    amount = int(text) * unit if text.isascii() and text.isdecimal() and len(text) < len(str(MOST)) else 0
    if not least <= amount <= MOST:
        raise Invalid("not a limit", text[:80])
    return amount


def _token(text: str) -> str:
    if len(text) > ACCESS_TOKEN_LIMIT or any(not "!" <= letter <= "~" for letter in text):
        raise Invalid("not a token")
    return text
