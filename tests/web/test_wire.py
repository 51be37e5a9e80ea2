"""wire.py: values of the domain as JSON."""

from __future__ import annotations

import json

import msgspec
import pytest

from sayci.account import Access
from sayci.build import BuildState, Cause
from sayci.delivery import Verdict
from sayci.interfaces import StoredBody, ToldStatus
from sayci.project import MirrorState, Scope
from sayci.step import Result
from sayci.web import wire
from tests.factories import COMMIT, NOW, a_build, a_delivery, a_project, a_token, a_variable

LINKS = wire.Links(lambda: "https://ci.example")


def sent(value):
    """What the other side reads."""
    return json.loads(msgspec.json.encode(value))


def test_a_project_has_everything_but_its_secrets():
    project = a_project(
        deploy_branch="main", has_access_token=True, mirror=MirrorState.FAILED, mirror_error="no such host"
    )
    assert sent(wire.of_project(project, LINKS)) == {
        "name": "web-shop",
        "url": "https://git.example/team/web-shop.git",
        "default_branch": "main",
        "deploy_branch": "main",
        "test_target": "test",
        "deploy_target": "deploy",
        "time_limit": 3600.0,
        "silence_limit": 0.0,
        "output_limit": 0,
        "ends_at_output_limit": False,
        "process_limit": 0,
        "memory_limit": 0,
        "workspace_limit": 0,
        "open_files_limit": 0,
        "forge_api": "",
        "image": "",
        "visibility": "private",
        "mirror": "failed",
        "mirror_error": "no such host",
        "has_access_token": True,
        "webhook_url": "https://ci.example/hooks/web-shop",
        "created_at": "2026-11-21T00:00:00Z",
        "page": "https://ci.example/web-shop",
    }


def test_a_registered_project_has_its_webhook_secret_once():
    said = sent(wire.of_registered(a_project(), LINKS, "s3cret"))
    assert said["webhook_secret"] == "s3cret"
    assert set(said) - {"webhook_secret"} == set(sent(wire.of_project(a_project(), LINKS)))


def test_a_build_has_its_steps_with_the_sizes_of_their_logs():
    build = a_build(
        id=7,
        number=12,
        attempt=2,
        cause=Cause.REBUILD,
        result=Result.FAILURE,
        source=11,
        delivery_id=3,
        asked_by="ada",
        author="<b>Ada</b>",
    )
    said = sent(wire.of_build(build, LINKS, {"7/2-checkout": 10, "7/2-test": 99}.__getitem__, ""))
    assert said["steps"][1] == {
        "name": "test",
        "state": "finished",
        "result": "failure",
        "reason": "make test, exit 2",
        "exit_code": 2,
        "started_at": "2026-11-21T00:00:01Z",
        "finished_at": "2026-11-21T00:01:00Z",
        "duration": 59.0,
        "log_size": 99,
    }
    del said["steps"]
    assert said == {
        "project": "web-shop",
        "number": 12,
        "cause": "rebuild",
        "ref": "refs/heads/main",
        "branch": "main",
        "commit": COMMIT,
        "message": "Sell more shoes",
        "author": "<b>Ada</b>",
        "state": "finished",
        "result": "failure",
        "reason": "make test, exit 2",
        "waiting": "",
        "source": 11,
        "asked_by": "ada",
        "attempt": 2,
        "delivery": 3,
        "created_at": "2026-11-21T00:00:00Z",
        "started_at": "2026-11-21T00:00:01Z",
        "finished_at": "2026-11-21T00:01:00Z",
        "page": "https://ci.example/web-shop/12",
    }


def test_what_has_not_come_yet_is_null():
    said = sent(wire.of_build(a_build(BuildState.QUEUED), LINKS, lambda key: 0, "For a free slot."))
    assert (said["started_at"], said["result"], said["waiting"]) == (None, None, "For a free slot.")
    assert said["steps"][0]["duration"] is None


def test_a_build_of_a_ref_that_is_no_branch_has_none():
    assert wire.of_build(a_build(ref="refs/tags/v1"), LINKS, lambda key: 0, "").branch is None


def test_a_secret_is_never_shown_whatever_the_store_answers():
    secret = a_variable("KEY", "s3cret", secret=True, scope=Scope.DEPLOY)
    assert sent(wire.of_variable(secret)) == {"name": "KEY", "value": None, "secret": True, "scope": "deploy"}
    assert wire.of_variable(a_variable("LEVEL", "debug")).value == "debug"


def test_a_token_is_listed_without_its_secret():
    said = sent(wire.of_token(a_token(expires_at=NOW + 60)))
    assert said == {
        "id": 1,
        "name": "deploy-bot",
        "access": "build",
        "person": None,
        "created_at": "2026-11-21T00:00:00Z",
        "expires_at": "2026-11-21T00:01:00Z",
        "last_used_at": None,
    }
    assert sent(wire.of_issued(a_token(), "sayci_x"))["token"] == "sayci_x"


@pytest.mark.parametrize("access", (Access.READ, Access.BUILD, Access.ADMIN))
def test_every_access_has_a_word(access):
    assert Access[wire.word_of(access).upper()] is access


def test_a_delivery_is_shown_with_what_it_said():
    stored = StoredBody((("content-type", "application/json"),), b'{"author": "\xff"}')
    said = sent(wire.of_stored(a_delivery(verdict=Verdict.BUILT, build_number=4), stored))
    assert (said["verdict"], said["build"], said["size"]) == ("built", 4, 26)
    assert said["headers"] == [{"name": "content-type", "value": "application/json"}]
    assert (said["body"], said["cut"]) == ('{"author": "\ufffd"}', False)


def test_of_a_large_body_the_beginning_is_shown():
    shown = wire.of_stored(a_delivery(), StoredBody((), b"x" * (wire.BODY_SHOWN + 1)))
    assert (len(shown.body), shown.cut) == (wire.BODY_SHOWN, True)


def test_a_status_says_how_far_it_has_come():
    told = ToldStatus("sayci/test", "failure", "#1 test failed", told=False, attempts=2, error="401", retry_at=NOW)
    assert sent(wire.of_status(told)) == {
        "context": "sayci/test",
        "state": "failure",
        "description": "#1 test failed",
        "told": False,
        "attempts": 2,
        "error": "401",
        "retry_at": "2026-11-21T00:00:00Z",
    }


def test_addresses_are_made_of_the_public_one_as_it_is_when_they_are_asked_for():
    known = ["http://127.0.0.1:1"]
    links = wire.Links(lambda: known[0])
    known[0] = "https://ci.example"
    assert links.build("web-shop", 3) == "https://ci.example/web-shop/3"


def test_a_change_tells_what_is_absent_from_what_is_null():
    change = msgspec.json.decode(b'{"deploy_branch": null, "time_limit": 5}', type=wire.ProjectChange)
    assert wire.given(change) == {"deploy_branch": None, "time_limit": 5.0}
