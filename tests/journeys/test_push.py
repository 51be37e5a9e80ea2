"""From a signed push to a green commit: a real repository over HTTP, a real server, real make, a real forge's API."""

from __future__ import annotations

import concurrent.futures
import json
import os
from functools import partial

import pytest

from tests import payloads

MAKEFILE = """\
.PHONY: test deploy
test:
\t@echo testing $$SAYCI_PROJECT $$SAYCI_BRANCH $$SAYCI_COMMIT in $$SAYCI_BUILD, level $$LEVEL
\t@echo deploy key in test: $${DEPLOY_KEY:-none}
\t@echo coverage token: $$COVERAGE_TOKEN
\t@touch built-by-test
deploy: built-by-test
\t@echo deploying with $$DEPLOY_KEY
"""


@pytest.fixture
def registered(origin, forge, server_of):
    """A server, and the secret of the project that is registered there."""
    server = server_of("--allow-url", "http", "--github-api", forge.url)
    answer = server.post(
        "/api/v1/projects",
        {
            "name": "flour",
            "url": origin[1],
            "deploy_branch": "main",
            "access_token": "the-forge-token",
            "forge_api": forge.url,
        },
    )
    assert answer.code == 201, answer.body
    return server, answer.json["webhook_secret"]


def deliver(server, secret, payload, project="flour", **keywords):
    body = payloads.body_of(payload)
    return server.request(
        "POST", f"/hooks/{project}", body, payloads.headers_of(body, secret=secret, **keywords), token=False
    )


def test_a_push_is_tested_deployed_and_told_to_the_forge(registered, origin, forge):
    server, secret = registered
    for name, variable in (
        ("LEVEL", {"value": "high"}),
        ("COVERAGE_TOKEN", {"value": "covers-it-all", "secret": True, "scope": "test"}),
        ("DEPLOY_KEY", {"value": "opens-the-door", "secret": True, "scope": "deploy"}),
    ):
        assert server.request("PUT", f"/api/v1/projects/flour/environment/{name}", variable).code == 200
    commit = origin[0].commit({"grain": "wheat"}, "Grind wheat")

    answer = deliver(server, secret, payloads.push(after=commit, message="Grind wheat", author="Ada Quill"))
    assert answer.code == 202, answer.body
    build = server.finished("flour", 1)

    assert (build["result"], build["commit"], build["message"], build["author"]) == (
        "success",
        commit,
        "Grind wheat",
        "Ada Quill",
    )
    assert [(step["name"], step["result"]) for step in build["steps"]] == [
        ("checkout", "success"),
        ("test", "success"),
        ("deploy", "success"),
    ]
    test = server.log_of("flour", 1, "test").decode()
    assert f"testing flour main {commit} in 1, level high" in test
    assert "deploy key in test: none" in test
    assert "coverage token: ***" in test
    assert server.log_of("flour", 1, "deploy").decode() == "deploying with ***\n"
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/deploy")) == "success")
    assert forge.statuses()[commit, "sayci/test"] == "success"
    assert {post.repository for post in forge.posts} == {"windmill/flour"}
    secrets = (b"opens-the-door", b"covers-it-all", b"the-forge-token", secret.encode(), server.token.encode())
    for path in server.data.parent.rglob("*"):
        if path.is_file() and "repositories" not in path.parts:
            for value in secrets:
                assert value not in path.read_bytes(), path


def test_a_failing_test_is_told_and_not_deployed(registered, origin, forge):
    server, secret = registered
    commit = origin[0].commit({"Makefile": MAKEFILE.replace("@touch built-by-test", "false")}, "Break it")
    deliver(server, secret, payloads.push(after=commit))
    build = server.finished("flour", 1)
    assert (build["result"], build["reason"]) == ("failure", "make test, exit 2")
    assert {step["name"]: step["result"] for step in build["steps"]}["deploy"] == "skipped"
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/test")) == "failure")
    assert (commit, "sayci/deploy") not in forge.statuses()


@pytest.mark.parametrize(
    ("files", "words"),
    (
        ({"Makefile": None}, "no Makefile"),
        ({"Makefile": "all:\n\ttrue\n"}, "no target test"),
        ({"Makefile": "all:\n\ttrue\n", "test/x": ""}, "ran nothing"),
        ({"Makefile": "test:\n"}, "ran nothing"),
        ({"Makefile": "this is no makefile\n"}, "exit 2"),
    ),
)
def test_a_commit_that_tests_nothing_is_never_green(registered, origin, files, words):
    server, secret = registered
    commit = origin[0].commit(files, "Nothing to test")
    deliver(server, secret, payloads.push("refs/heads/topic", after=commit))
    build = server.finished("flour", 1)
    assert build["result"] == "failure"
    assert words in build["reason"]


def test_a_commit_that_is_not_there_is_an_error(registered, forge):
    server, secret = registered
    deliver(server, secret, payloads.push(after="ab" * 20))
    build = server.finished("flour", 1)
    assert build["result"] == "error"
    assert "commit" in build["reason"]
    assert forge.wait(lambda: forge.statuses().get(("ab" * 20, "sayci/test")) == "error")


def test_the_same_delivery_twice_and_at_once_is_one_build(registered, origin):
    server, secret = registered
    payload = payloads.push(after=origin[0].head())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deliver(server, secret, payload, delivery="the-same"), range(8)))
    assert {answer.code for answer in answers} <= {200, 202}
    server.finished("flour", 1)
    assert len(server.get("/api/v1/projects/flour/builds").json["items"]) == 1
    assert len(server.get("/api/v1/projects/flour/deliveries").json["items"]) == 1


@pytest.mark.parametrize(
    ("payload", "event", "words"),
    (
        (payloads.ping(), "ping", ""),
        (payloads.deletion(), "push", ""),
        (payloads.tag(), "push", "branch"),
        (payloads.pull_request(), "pull_request", ""),
        (payloads.push(message="Quick fix [skip ci]"), "push", "skip"),
    ),
)
def test_what_is_not_built_is_accepted_recorded_and_explained(registered, payload, event, words):
    server, secret = registered
    assert deliver(server, secret, payload, event=event).code == 200
    (delivery,) = server.get("/api/v1/projects/flour/deliveries").json["items"]
    assert delivery["verdict"] == "ignored"
    assert delivery["explanation"]
    assert words in delivery["explanation"].lower()
    assert server.get("/api/v1/projects/flour/builds").json["items"] == []


def test_a_wrong_signature_leaves_nothing(registered, origin):
    server, _ = registered
    answer = deliver(server, "another secret", payloads.push(after=origin[0].head()))
    assert answer.code == 401
    assert deliver(server, "another secret", payloads.push(), project="unknown").body == answer.body
    assert server.get("/api/v1/projects/flour/deliveries").json["items"] == []


def test_an_ignored_delivery_is_replayed_and_never_deploys(registered, origin):
    server, secret = registered
    payload = payloads.push(after=origin[0].head(), message="Later [skip ci]")
    deliver(server, secret, payload)
    (delivery,) = server.get("/api/v1/projects/flour/deliveries").json["items"]
    again = server.post(f"/api/v1/projects/flour/deliveries/{delivery['id']}/replay")
    assert again.code == 200
    assert again.json["verdict"] == "ignored"

    deliver(server, secret, payloads.push(after=origin[0].head()))
    server.finished("flour", 1)
    newest = server.get("/api/v1/projects/flour/deliveries").json["items"][0]
    assert (newest["verdict"], newest["build"]) == ("built", 1)
    assert server.post(f"/api/v1/projects/flour/deliveries/{newest['id']}/replay").code == 409


def test_a_green_commit_is_deployed_by_hand_and_a_red_one_is_not(registered, origin):
    server, secret = registered
    green = origin[0].commit({"x": "1"}, "On a topic", branch="topic", parent=origin[0].head())
    deliver(server, secret, payloads.push("refs/heads/topic", after=green))
    assert {step["name"] for step in server.finished("flour", 1)["steps"]} == {"checkout", "test"}
    answer = server.post("/api/v1/projects/flour/deploys", {"commit": green})
    assert answer.code == 201, answer.body
    deployed = server.finished("flour", answer.json["number"])
    assert server.get(f"/api/v1/projects/flour/deploys/{deployed['number']}").json["result"] == deployed["result"]
    # The test's product is not there: a deploy by hand starts from a fresh checkout.
    assert deployed["result"] == "failure"

    red = origin[0].commit({"Makefile": "test:\n\tfalse\ndeploy:\n\ttrue\n"}, "Red", branch="red", parent=green)
    deliver(server, secret, payloads.push("refs/heads/red", after=red))
    server.finished("flour", 3)
    assert server.post("/api/v1/projects/flour/deploys", {"commit": red}).code == 409
    assert server.post("/api/v1/projects/flour/deploys", {"build": 3}).code == 409


def test_cancel_ends_every_process_and_rebuild_runs_it_again(registered, origin, commons):
    server, secret = registered
    script = f"test:\n\t@echo started; sleep 1000 & echo $$! > {commons}/pid; wait\n"
    commit = origin[0].commit({"Makefile": script}, "Slow")
    deliver(server, secret, payloads.push(after=commit))
    server.step_runs("flour", 1)
    answer = server.post("/api/v1/projects/flour/builds/1/cancel")
    assert answer.code == 202, answer.body
    build = server.finished("flour", 1)
    assert (build["result"], "cancelled by" in build["reason"]) == ("cancelled", True)
    sleeper = int((commons / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(sleeper, 0)
    assert server.post("/api/v1/projects/flour/builds/1/cancel").code == 409

    again = server.post("/api/v1/projects/flour/builds/1/rebuild")
    assert again.code == 201
    assert again.json["commit"] == commit
    server.step_runs("flour", 2)
    server.post("/api/v1/projects/flour/builds/2/cancel")
    assert server.finished("flour", 2)["source"] == 1


def test_a_dead_forge_holds_up_no_build_and_hears_the_newest_in_the_end(registered, origin, forge):
    server, secret = registered
    forge.mood = "hang"
    commit = origin[0].commit({"x": "2"})
    deliver(server, secret, payloads.push(after=commit))
    assert server.finished("flour", 1)["result"] == "success"
    forge.mood = "ok"
    forge.release()
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/deploy")) == "success", 60)


def is_there(server, number):
    return server.get(f"/api/v1/projects/flour/builds/{number}").code == 200


def test_a_newer_push_supersedes_a_queued_one(registered, origin, commons):
    server, secret = registered
    blocker = f"test:\n\t@echo started; while [ ! -e {commons}/go ]; do sleep 0.05; done\n"
    first = origin[0].commit({"Makefile": blocker}, "Blocks")
    deliver(server, secret, payloads.push(after=first))
    server.step_runs("flour", 1)
    for number, message in ((2, "Second"), (3, "Third")):
        commit = origin[0].commit({"x": message}, message)
        assert deliver(server, secret, payloads.push(after=commit, message=message)).code == 202
        server.wait_for(partial(is_there, server, number))
    second = server.finished("flour", 2)
    assert (second["result"], second["reason"]) == ("cancelled", "superseded by #3, a newer push to main")
    assert "flour #1" in server.build("flour", 3)["waiting"]
    (commons / "go").touch()
    assert server.finished("flour", 1)["result"] == "failure"  # its Makefile has no deploy target
    assert server.finished("flour", 3)["result"] == "failure"


def test_the_clone_url_of_a_payload_is_never_used(registered, origin, tmp_path):
    server, secret = registered
    payload = payloads.push(after=origin[0].head(), clone_url="http://169.254.169.254/latest")
    payload["repository"]["git_url"] = payload["repository"]["ssh_url"] = f"--upload-pack=touch {tmp_path}/owned"
    deliver(server, secret, payload)
    assert server.finished("flour", 1)["result"] == "success"
    assert not (tmp_path / "owned").exists()


def test_registering_says_what_is_wrong(sayci_server, origin, tmp_path):
    _, url = origin
    cases = (
        ({"url": url}, 422, "token"),
        ({"url": url, "access_token": "wrong"}, 422, "token"),
        ({"url": url.replace("flour", "bran"), "access_token": "the-forge-token"}, 422, ""),
        ({"url": url, "access_token": "the-forge-token", "default_branch": "trunk"}, 422, "trunk"),
        ({"url": "ext::sh -c id"}, 422, ""),
        ({"url": "http://127.0.0.1:9/x/y.git"}, 502, ""),
        ({"url": f"file://{tmp_path}/none"}, 422, ""),
        ({"url": "https://user:password@git.example/x.git"}, 422, "token"),
    )
    for number, (fields, code, words) in enumerate(cases):
        answer = sayci_server.post("/api/v1/projects", {"name": f"case{number}", **fields})
        assert answer.code == code, (fields, answer.body)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert words in answer.json["detail"], answer.json
        assert "the-forge-token" not in json.dumps(answer.json)
    assert sayci_server.get("/api/v1/projects").json["items"] == []
