"""What went wrong, said to people: what happened, whether anything was lost, where to go next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException

from sayci.change import cut
from sayci.errors import Conflict, SayciError, TooOften, UnknownBuild, UnknownProject
from sayci.web.problems import DETAIL_LIMIT, code_of, log_mistake, retry_after
from sayci.web.session import ForeignForm, StaleForm
from sayci.web.words import counted, duration


@dataclass(frozen=True, slots=True)
class Trouble:
    """An HTTP code, a sentence and what else there is to say; `icon` is a mark's or "refused"."""

    code: int
    heading: str
    text: str
    icon: str = "error"
    retry_after: int | None = None


_HEADINGS: dict[int, tuple[str, str]] = {
    400: ("sayci could not read that", "error"),
    401: ("Sign in first", "refused"),
    403: ("You may not do that", "refused"),
    404: ("There is no such page", "skipped"),
    405: ("That cannot be asked of this page", "refused"),
    406: ("That is not there in such a form", "refused"),
    409: ("That is not possible now", "cancelled"),
    410: ("That is not here any more", "skipped"),
    413: ("That is more than sayci takes", "error"),
    415: ("sayci could not read that", "error"),
    422: ("sayci cannot use that", "error"),
    429: ("Too many wrong tries", "refused"),
    502: ("The repository did not answer", "error"),
    503: ("sayci cannot do that now", "error"),
}
_NOTHING_CHANGED = "Nothing was changed."
#: The longest sentence that is a heading, in characters.
HEADING_LIMIT = 160


def trouble_of(failure: Failure) -> Trouble:
    """What to say of a failed request; what nobody foresaw is logged, and only its id is told."""
    error = failure.value
    if isinstance(error, HTTPException):
        return _of_route(error)
    code = code_of(error) if isinstance(error, SayciError) else 500
    if code not in _HEADINGS or not isinstance(error, SayciError):
        mistake = log_mistake(failure)
        text = "The page could not be shown. Builds go on running, and nothing that was saved is lost. "
        return Trouble(500, "sayci made a mistake", f"{text}The server's log has the details under {mistake}.")
    special = _SPECIAL.get(type(error)) or (_conflict if isinstance(error, Conflict) else None)
    if special is not None:
        return special(error)
    heading, icon = _HEADINGS[code]
    return Trouble(code, heading, cut(sentence(error), DETAIL_LIMIT), icon, retry_after(error))


def sentence(error: SayciError) -> str:
    """The error as a sentence: it begins with a capital letter and ends with a full stop."""
    words = str(error).strip()
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "?", "!", "…")) else f"{words}."


def _of_route(error: HTTPException) -> Trouble:
    code = error.code if error.code in _HEADINGS else 404
    heading, icon = _HEADINGS[code or 404]
    texts = {404: "Nothing is at this address.", 405: f"{_NOTHING_CHANGED} Use the buttons of the page."}
    return Trouble(code or 404, heading, texts.get(code or 404, _NOTHING_CHANGED), icon)


#: How many of those who may are named.
NAMED = 12
#: The access that something on a project takes -> what somebody may not who does not have it.
NEEDS = {"build": "not build or deploy it", "admin": "not configure it"}


def forbidden_here(project: str, need: str, reader: str, people: Sequence[str]) -> Trouble:
    """Somebody may read a project and not do that; `need` is the access that it takes, `people` are those who have it."""
    heading = f"You may read {project}, but {NEEDS[need]}"
    named = list(people[:NAMED])
    more = [counted(len(people) - NAMED, "other")] if len(people) > NAMED else []
    who = f"The people who may: {', '.join(named + more)}. " if named else "Whoever runs this server may. "
    return Trouble(403, heading, f"{who}Your name here is {reader}. {_NOTHING_CHANGED}", "refused")


def _conflict(error: SayciError) -> Trouble:
    """What is so already, or just now, is the news."""
    heading = cut(sentence(error), HEADING_LIMIT)
    return Trouble(409, heading.removesuffix("."), _NOTHING_CHANGED, "cancelled")


def _too_often(error: SayciError) -> Trouble:
    wait = retry_after(error) or 1
    when = counted(wait, "second") if wait < 60 else duration(wait)
    return Trouble(429, "Too many wrong tries", f"Try again in {when}.", "refused", wait)


def _stale_form(_error: SayciError) -> Trouble:
    text = f"{_NOTHING_CHANGED} Go back, reload the page, and send the form again."
    return Trouble(403, "The form is older than your sign-in", text, "refused")


def _foreign_form(_error: SayciError) -> Trouble:
    text = f"{_NOTHING_CHANGED} If it was you, do it from sayci's own page."
    return Trouble(403, "The form was sent by another site", text, "refused")


def _unknown_project(error: SayciError) -> Trouble:
    name = cut(str(error.args[-1]), 80)
    return Trouble(404, f"There is no project {name}", "It may have been renamed or removed.", "skipped")


def _unknown_build(error: SayciError) -> Trouble:
    """The error's data are the number, and where it comes from a page the project's name and a sentence."""
    _, number, *rest = (cut(str(part), 80) for part in (*error.args, ""))
    where = f" in {rest[0]}" if len(rest) > 2 else ""
    text = f"{rest[1]} What is old is removed, but no number is used twice." if where else ""
    return Trouble(404, f"There is no build #{number}{where}", text, "skipped")


_SPECIAL: dict[type[SayciError], Callable[[SayciError], Trouble]] = {
    TooOften: _too_often,
    StaleForm: _stale_form,
    ForeignForm: _foreign_form,
    UnknownBuild: _unknown_build,
    UnknownProject: _unknown_project,
}
