"""The OpenAPI 3.1 document, made from the routes' declarations and the very types that are read and written."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from sayci.account import Access
from sayci.web.answer import JSON
from sayci.web.problems import CONTENT_TYPE, Problem
from sayci.web.reading import Parameter
from sayci.web.route import Route

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_ABOUT = (
    "Times are RFC 3339 in UTC. Lists have `items` and `next`, the cursor of the part after them. Errors are RFC 9457 "
    "problem documents. Unknown members and unknown parameters are refused."
)
_MEANINGS = {
    400: "It cannot be read: not JSON, an empty body.",
    401: "No credential, or one that is not right.",
    403: "The credential does not reach this far.",
    404: "There is no such thing.",
    406: "It is not there in any form that the request takes.",
    409: "The thing is not in a state for it; nothing was changed.",
    410: "It was removed because it was old; the detail says when.",
    413: "More bytes than are taken here.",
    415: "Only JSON in UTF-8 is taken.",
    416: "The log does not have that range.",
    422: "It can be read, and cannot be used; the detail names the place.",
    429: "Too many wrong credentials from this address; Retry-After says how long to wait.",
    502: "The repository does not answer.",
    503: "Not now; Retry-After says when to try again.",
}


def document(routes: Iterable[Route], version: str) -> Json:
    """The document of these routes."""
    routes = list(routes)
    schemas, components = _schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "sayci", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def problems_of(route: Route) -> list[int]:
    """The codes of every problem that the route may answer."""
    codes = {422, 503, *route.problems}  # 422 at least for a parameter that there is not
    if route.access is not None:
        codes |= {401, 403, 429}
    if any(parameter.where == "path" for parameter in route.parameters):
        codes.add(404)
    if route.body is not None:
        codes |= {400, 413, 415}
    return sorted(codes)


def _schemas(routes: Sequence[Route]) -> tuple[Mapping[Any, Json], Json]:
    kinds = {kind: None for route in routes for kind in (route.body, route.answer) if kind is not None}
    types = [*kinds, Problem]
    references, components = msgspec.json.schema_components(types, ref_template=_REF)
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return dict(zip(types, references, strict=True)), components


def _operation(route: Route, schemas: Mapping[Any, Json]) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": _description(route),
        "security": [] if route.access is None else [{"token": []}],
        "responses": {
            **{str(code): _answer(route, schemas, code) for code in (route.code, *route.more)},
            **{str(code): _problem(code, schemas) for code in problems_of(route)},
        },
    }
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[route.body]}}}
    return operation


def _description(route: Route) -> str:
    words = inspect.cleandoc(route.handler.__doc__ or "")
    if route.access is None:
        needs = "No credential is needed."
    elif route.access is Access.NONE:
        needs = "Takes any credential."
    else:
        needs = f"Takes the access {route.access.name.lower()}."
    return f"{words}\n\n{needs}"


def _parameter(parameter: Parameter[Any]) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _answer(route: Route, schemas: Mapping[Any, Json], code: int) -> Json:
    content: Json = {} if route.answer is None else {JSON: {"schema": schemas[route.answer]}}
    content |= {media: {"schema": {"type": "string"}} for media in route.media}
    described: Json = {"description": HTTPStatus(code).phrase}
    return {**described, "content": content} if content else described


def _problem(code: int, schemas: Mapping[Any, Json]) -> Json:
    return {"description": _MEANINGS[code], "content": {CONTENT_TYPE: {"schema": schemas[Problem]}}}
