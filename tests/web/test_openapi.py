"""openapi.py: the document of the API is valid, and says what is there."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from sayci.account import Access
from sayci.web.api import DOCUMENT
from sayci.web.api import routes as api_routes
from sayci.web.openapi import document
from sayci.web.pages_json import table as pages
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture


def routes():
    """Those of the API, and those of the pages that are JSON, too."""
    return [*api_routes(), *pages.routes]


@pytest.fixture
def said():
    return json.loads(json.dumps(document(routes(), "1.2.3")))


def operations(said):
    return [(path, method, operation) for path, item in said["paths"].items() for method, operation in item.items()]


def test_the_document_is_valid(said):
    validate(said, cls=OpenAPIV31SpecValidator)
    assert (said["openapi"], said["info"]["version"]) == ("3.1.0", "1.2.3")


@pytest_twisted.ensureDeferred
async def test_it_is_served_to_everybody(house, said):
    reply = await house.get(DOCUMENT, token="")
    assert (reply.code, reply.header("content-type"), reply.said) == (200, "application/json", said)


@pytest_twisted.ensureDeferred
async def test_every_route_of_the_application_is_in_it_and_nothing_else(house, said):
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in house.api.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    in_pages = {(route.path, route.method.lower()) for route in pages.routes}
    told = {(path, method) for path, method, _ in operations(said)}
    assert served - {(DOCUMENT, "get")} == told - in_pages
    assert in_pages <= told


def test_every_operation_says_what_it_does_and_has_a_name_of_its_own(said):
    names = [operation["operationId"] for _, _, operation in operations(said)]
    assert len(names) == len(set(names)) == len(routes())
    for _, _, operation in operations(said):
        assert operation["summary"]
        assert not operation["description"].startswith("\n")


def test_every_operation_takes_a_token_but_signing_in(said):
    for _, _, operation in operations(said):
        if operation["operationId"] == "sign_in":
            assert operation["security"] == []
        else:
            assert operation["security"] == [{"token": []}]
            assert {"401", "403"} <= set(operation["responses"])
    assert said["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}


def test_the_access_that_a_route_takes_is_told(said):
    told = {operation["operationId"]: operation["description"] for _, _, operation in operations(said)}
    for route in routes():
        words = f"Takes the access {Access(route.access).name.lower()}." if route.access else "No credential is needed."
        if route.access is Access.NONE:
            words = "Takes any credential."
        assert told[route.name].endswith(words)


def test_every_problem_is_a_problem_document(said):
    for _, _, operation in operations(said):
        for code, response in operation["responses"].items():
            if int(code) >= 400:
                assert list(response["content"]) == ["application/problem+json"]


def test_every_parameter_of_a_path_is_declared_with_its_limits(said):
    for path, _, operation in operations(said):
        in_path = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        declared = {item["name"]: item for item in operation.get("parameters", []) if item["in"] == "path"}
        assert set(declared) == in_path
        for item in declared.values():
            assert item["required"]
            assert {"maximum", "pattern", "maxLength"} & set(item["schema"])


def test_requests_take_no_members_that_are_not_in_it(said):
    bodies = [operation["requestBody"] for _, _, operation in operations(said) if "requestBody" in operation]
    assert len(bodies) == 11
    for body in bodies:
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert said["components"]["schemas"][name]["additionalProperties"] is False


def test_feeds_and_logs_are_documented_as_what_they_are(said):
    log = said["paths"]["/api/v1/projects/{project}/builds/{number}/steps/{step}/log"]["get"]["responses"]
    build = said["paths"]["/api/v1/projects/{project}/builds/{number}"]["get"]["responses"]
    assert set(log["200"]["content"]) == {"text/plain", "text/event-stream"}
    assert {"206", "416"} <= set(log)
    assert set(build["200"]["content"]) == {"application/json", "text/event-stream"}
