"""web/root.py: whose part is asked."""

# ruff: noqa: N815 - names of attributes are Twisted's

from __future__ import annotations

import json

import pytest
import pytest_twisted
from klein import Klein
from twisted.web.resource import Resource

from sayci.web.root import Root


class Part(Resource):
    """Answers its name, and the path that it was given."""

    isLeaf = True

    def __init__(self, name):
        super().__init__()
        self.name = name

    def render(self, request):
        return json.dumps([self.name, [part.decode("latin-1") for part in request.postpath]]).encode()


@pytest.mark.parametrize(
    ("path", "name", "rest"),
    (
        ("/", "pages", [""]),
        ("/flour/12", "pages", ["flour", "12"]),
        ("/api/v1/projects", "api", ["api", "v1", "projects"]),
        ("/api", "api", ["api"]),
        ("/apis", "pages", ["apis"]),
        ("/API/v1", "pages", ["API", "v1"]),
        ("/hooks/flour", "hooks", ["flour"]),
        ("/hooks", "hooks", []),
        ("/hooks/", "hooks", [""]),
        ("/%68ooks/flour", "hooks", ["flour"]),
        ("/flour/hooks", "pages", ["flour", "hooks"]),
        ("/a%2Fb", "pages", ["a/b"]),
    ),
)
@pytest_twisted.ensureDeferred
async def test_the_first_word_of_the_path_decides(serve, http, path, name, rest):
    served = await serve(Root(Part("hooks"), {b"api": Part("api")}, Part("pages")))
    assert await (await http.get(served.url(path))).json() == [name, rest]


@pytest_twisted.ensureDeferred
async def test_a_part_of_klein_states_its_addresses_whole(serve, http):
    app = Klein()

    @app.route("/api/v1/projects/<name>")
    async def project(request, name):
        return name

    served = await serve(Root(Part("hooks"), {b"api": app.resource()}, Part("pages")))
    assert await (await http.get(served.url("/api/v1/projects/flour"))).text() == "flour"
