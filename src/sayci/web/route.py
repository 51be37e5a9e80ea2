"""A route of the API: one declaration that registers it, guards it and documents it, so that these cannot differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.web.server import Request

from sayci.account import Access, Actor
from sayci.errors import Invalid
from sayci.web.answer import set_header
from sayci.web.reading import Parameter, header_of, query_of

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[object]])


class Streamed:
    """What a handler returns that has written its answer itself."""


STREAMED = Streamed()


@dataclass(frozen=True, slots=True)
class Route:
    """What is done, by whom, with what, and what it answers.

    `path` has its parameters in braces.  `access` None: no credential is needed.  `body` and `answer` are msgspec types,
    `code` is that of success.  `media` are representations of the answer beside JSON, `more` other codes under which
    they come, `problems` the codes of errors that are this route's own.
    """

    method: str
    path: str
    access: Access | None
    summary: str
    handler: Callable[..., Awaitable[object]]
    parameters: tuple[Parameter[Any], ...]
    body: Any = None
    answer: Any = None
    code: int = 200
    media: tuple[str, ...] = ()
    more: tuple[int, ...] = ()
    problems: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The handler's name, which names the operation too."""
        return self.handler.__name__


class Table:
    """The routes of one part of the API, in the order of their declaration."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def route(
        self, method: str, path: str, access: Access | None, summary: str, *parameters: Parameter[Any], **rest: Any
    ) -> Callable[[Handler], Handler]:
        """Declare the function below as the handler of a route; `rest` are fields of Route.

        It is called with the part that it belongs to, the Call and, where there is one, the body.
        """

        def declare(handler: Handler) -> Handler:
            self.routes.append(Route(method, path, access, summary, handler, parameters, **rest))
            return handler

        return declare


class Call:
    """One request to a route: who asks, and the values of its parameters, read before anything is done.

    Raises what the parameters' `read` raise, and Invalid for one that the route does not have; unless `is_strict` such
    are passed over: they are the page's.
    """

    def __init__(
        self, route: Route, request: Request, actor: Actor, path: Mapping[str, str], *, is_strict: bool = True
    ) -> None:
        self.request = request
        self.actor = actor
        query = query_of(request)
        self._values: dict[Parameter[Any], Any] = {}
        for parameter in route.parameters:
            text = _text_of(parameter, request, path, query)
            self._values[parameter] = parameter.default if text is None else parameter.read(text)
        unknown = set(query) - {parameter.name for parameter in route.parameters if parameter.where == "query"}
        if unknown and is_strict:
            raise Invalid("there is no such parameter here", min(unknown)[:80])

    def __getitem__(self, parameter: Parameter[T]) -> T:
        """The value of a parameter that always has one: it is part of the path, or has a default."""
        value: T = self._values[parameter]
        return value

    def get(self, parameter: Parameter[T]) -> T | None:
        """The value of a parameter, None where the request does not have it."""
        value: T | None = self._values[parameter]
        return value

    def vary(self, header: str) -> None:
        """Say that the answer depends on that header of the request."""
        set_header(self.request, "Vary", header)

    @property
    def is_head(self) -> bool:
        """Whether only the headers of the answer are wanted."""
        return self.request.method == b"HEAD"


def _text_of(
    parameter: Parameter[Any], request: Request, path: Mapping[str, str], query: Mapping[str, str]
) -> str | None:
    if parameter.where == "header":
        return header_of(request, parameter.name)
    return (path if parameter.where == "path" else query).get(parameter.name)
