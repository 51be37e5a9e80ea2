"""The API behaves as its own document says, whatever it is asked: requests made from the document, right and wrong ones."""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from sayci.git import URL_LIMIT
from tests import payloads
from tests.gitserver import a_repository

#: Requests of each kind to each operation; many more were made when this was written.
EXAMPLES = 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
#: What must stay: the token that is used, and the project that the others are asked about.
ELSEWHERE = {
    "remove_token": {"id": 1_000_000},
    "remove_project": {"project": "nothing"},
    "remove_person": {"person": "nobody"},
}
ASKED_OFTEN = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def there(sayci_server, tmp_path):
    """A project with a build, a variable and a delivery; what is there for each parameter of a path."""
    repository, commit = a_repository(tmp_path / "repository.git")
    url = repository.url
    asked = {"name": "web-shop", "url": url, "deploy_branch": "main"}
    secret = sayci_server.post("/api/v1/projects", asked).json["webhook_secret"]
    ping = payloads.body_of(payloads.ping())
    headers = payloads.headers_of(ping, secret=secret, event="ping")
    assert sayci_server.request("POST", "/hooks/web-shop", ping, headers, token=False).code < 300
    assert sayci_server.post("/api/v1/projects/web-shop/builds").code == 201
    variable = "/api/v1/projects/web-shop/environment/LEVEL"
    assert sayci_server.request("PUT", variable, {"value": "debug"}).code == 200
    assert sayci_server.finished("web-shop", 1)["result"] == "success"
    values = {"project": "web-shop", "number": 1, "step": "test", "id": 1, "variable": "LEVEL", "commit": commit}
    assert sayci_server.post("/api/v1/people", {"name": "grace"}).code == 201
    values["person"] = "grace"
    assert sayci_server.request("PUT", "/api/v1/projects/web-shop/members/grace", {"role": "viewer"}).code == 200
    return values, url


def operations_of(server):
    """The operations of the document that the server answers."""
    schema = schemathesis.openapi.from_dict(server.get("/api/openapi.json").json)
    schema.config.update(base_url=server.base)
    operations = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operations.append(found.ok())
    return operations


def kinds_of(operation, there):
    """Strategies for cases: about things that are there, about things that are made up, and with something wrong."""
    elsewhere = ELSEWHERE.get(operation.definition.raw["operationId"])
    in_path = [parameter.name for parameter in operation.path_parameters]
    fixed = elsewhere or {name: there[name] for name in in_path}
    yield operation.as_strategy(GenerationMode.POSITIVE, path_parameters=fixed)
    yield operation.as_strategy(GenerationMode.POSITIVE, path_parameters=elsewhere)
    yield operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=elsewhere)


def tamed(case, url):
    """The case, without what would ask the network for made-up repositories, or give the project another name."""
    if isinstance(case.body, dict) and isinstance(case.body.get("url"), str) and len(case.body["url"]) <= URL_LIMIT:
        case.body["url"] = url  # one that is too long is refused as it is
    if case.operation.definition.raw["operationId"] == "change_project" and isinstance(case.body, dict):
        case.body.pop("name", None)
    return case


@pytest.mark.slow
@pytest.mark.timeout(300)  # hundreds of requests, on a machine that may be busy
def test_the_api_behaves_as_its_document_says(sayci_server, there):
    values, url = there
    headers = {"Authorization": f"Bearer {sayci_server.token}"}
    successful = set()

    def check(case):
        # The addresses of pages are documented as what they are for who wants JSON.
        wanted = {} if case.operation.path.startswith("/api/") else {"Accept": "application/json"}
        response = tamed(case, url).call_and_validate(headers=headers | wanted, checks=CHECKS)
        if response.status_code < 300:
            successful.add(case.operation.label)

    operations = operations_of(sayci_server)
    for operation in operations:
        for strategy in kinds_of(operation, values):
            # Where nothing can be wrong, such as in an address without parameters, there is nothing to be asked.
            with contextlib.suppress(Unsatisfiable):
                ASKED_OFTEN(given(case=strategy)(check))()
    # Otherwise it would have been shown only that nothing is there.
    # The token is the server's, so that what is a person's own is refused to it.
    assert len(successful) >= len(operations) - 8
