"""api_builds.py: list, show, start, cancel and rebuild builds; deploys; statuses."""

from __future__ import annotations

import pytest_twisted

from sayci.account import Access
from sayci.build import Cause
from sayci.step import Result
from tests.factories import COMMIT, commit
from tests.web.api_fixtures import house

__all__ = ["house"]  # a fixture

BUILDS = "/api/v1/projects/web-shop/builds"
DEPLOYS = "/api/v1/projects/web-shop/deploys"


async def ask_to_build(house, path, **rest):
    return await house.ask("POST", path, token=house.tokens[Access.BUILD], **rest)


# -- builds


@pytest_twisted.ensureDeferred
async def test_a_queued_build_says_what_it_waits_for(house):
    await house.build(await house.project())
    reply = await house.get(f"{BUILDS}/1", token=house.tokens[Access.READ])
    assert (reply.code, reply.header("content-type")) == (200, "application/json")
    assert (reply.said["state"], reply.said["waiting"], reply.said["result"]) == ("queued", "For a free slot.", None)
    assert [step["name"] for step in reply.said["steps"]] == ["checkout", "test"]
    assert reply.header("vary") == "Accept"


@pytest_twisted.ensureDeferred
async def test_a_step_is_shown_with_the_size_of_its_log(house):
    build = await house.start(await house.build(await house.project()))
    house.write(build, "checkout", b"HEAD is now at 4f1c9aa\n")
    reply = await house.get(f"{BUILDS}/1/steps/checkout")
    assert (reply.said["state"], reply.said["log_size"]) == ("running", 23)
    assert (await house.get(f"{BUILDS}/1")).said["steps"][0] == reply.said
    missing = await house.get(f"{BUILDS}/1/steps/deploy")
    assert (missing.code, missing.said["error"]) == (404, "unknown_step")


@pytest_twisted.ensureDeferred
async def test_a_finished_build_says_how_it_ended(house):
    await house.finish(await house.build(await house.project()), Result.FAILURE)
    said = (await house.get(f"{BUILDS}/1")).said
    assert (said["state"], said["result"], said["waiting"]) == ("finished", "failure", "")
    assert said["steps"][1]["duration"] == 8.0


@pytest_twisted.ensureDeferred
async def test_builds_are_listed_in_parts_the_newest_first(house):
    project = await house.project()
    for number in range(5):
        await house.build(project, ref="refs/heads/" + ("main" if number % 2 else "topic/x"))
    first = (await house.get(f"{BUILDS}?limit=2")).said
    second = (await house.get(f"{BUILDS}?limit=3&cursor={first['next']}")).said
    assert [[build["number"] for build in part["items"]] for part in (first, second)] == [[5, 4], [3, 2, 1]]
    assert second["next"] is None
    of_branch = (await house.get(f"{BUILDS}?branch=topic%2Fx")).said
    assert [build["number"] for build in of_branch["items"]] == [5, 3, 1]
    assert (await house.get(f"{BUILDS}?branch=nothing")).said == {"items": [], "next": None}
    for query in ("branch=", "branch=-x", "branch=a..b", "branch=a%00", "cursor=nonsense", "limit=0", "page=2"):
        assert (query, (await house.get(f"{BUILDS}?{query}")).code) == (query, 422)


@pytest_twisted.ensureDeferred
async def test_the_head_of_a_branch_is_built(house):
    await house.project()
    house.sources.branches = {"main": "1" * 40, "topic": "2" * 40}
    usual = await ask_to_build(house, BUILDS, json={})
    assert (usual.code, usual.said["commit"], usual.said["cause"]) == (201, "1" * 40, "manual")
    assert (usual.said["asked_by"], usual.said["number"]) == ("build", 1)
    named = await ask_to_build(house, BUILDS, json={"branch": "topic"})
    assert (named.said["commit"], named.said["branch"]) == ("2" * 40, "topic")
    absent = await ask_to_build(house, BUILDS, json={"branch": "gone"})
    assert (absent.code, absent.said["error"]) == (422, "repository_refused")
    assert (await ask_to_build(house, BUILDS, json={"branch": "--upload-pack=x"})).code == 422
    assert (await ask_to_build(house, BUILDS)).code == 415
    empty = await ask_to_build(house, BUILDS, data=b"")
    assert (empty.code, empty.said["error"]) == (400, "malformed")


@pytest_twisted.ensureDeferred
async def test_a_build_is_cancelled_once(house):
    build = await house.build(await house.project())
    reply = await ask_to_build(house, f"{BUILDS}/1/cancel")
    assert (reply.code, reply.said["result"], reply.said["reason"]) == (202, "cancelled", "cancelled by build")
    again = await ask_to_build(house, f"{BUILDS}/1/cancel")
    assert (again.code, again.said["error"]) == (409, "illegal_move")
    assert (await house.store.build(build.project_id, 1)).result is Result.CANCELLED


@pytest_twisted.ensureDeferred
async def test_a_running_build_is_being_cancelled(house):
    await house.start(await house.build(await house.project()))
    reply = await ask_to_build(house, f"{BUILDS}/1/cancel")
    assert (reply.code, reply.said["state"], reply.said["result"]) == (202, "cancelling", None)
    assert (await ask_to_build(house, f"{BUILDS}/1/cancel")).code == 202


@pytest_twisted.ensureDeferred
async def test_an_ended_build_is_run_again(house):
    build = await house.build(await house.project())
    early = await ask_to_build(house, f"{BUILDS}/1/rebuild")
    assert (early.code, early.said["error"]) == (409, "illegal_move")
    await house.finish(build)
    reply = await ask_to_build(house, f"{BUILDS}/1/rebuild")
    assert (reply.code, reply.said["number"], reply.said["source"], reply.said["cause"]) == (201, 2, 1, "rebuild")
    assert reply.said["commit"] == COMMIT
    assert (await ask_to_build(house, f"{BUILDS}/9/rebuild")).code == 404


# -- deploys


@pytest_twisted.ensureDeferred
async def test_a_green_commit_is_deployed_by_itself_or_by_its_build(house):
    await house.finish(await house.build(await house.project()))
    by_commit = await ask_to_build(house, DEPLOYS, json={"commit": COMMIT})
    by_build = await ask_to_build(house, DEPLOYS, json={"build": 1})
    for reply, number in ((by_commit, 2), (by_build, 3)):
        assert (reply.code, reply.said["number"], reply.said["source"]) == (201, number, 1)
        assert [step["name"] for step in reply.said["steps"]] == ["checkout", "deploy"]
    listed = await house.get(f"{DEPLOYS}?limit=1")
    assert [build["number"] for build in listed.said["items"]] == [3]
    rest = await house.get(f"{DEPLOYS}?cursor={listed.said['next']}")
    assert [build["number"] for build in rest.said["items"]] == [2]


@pytest_twisted.ensureDeferred
async def test_a_deploy_is_shown_and_another_build_is_none(house):
    project = await house.project()
    await house.build(project)
    await house.build(project, cause=Cause.DEPLOY)
    assert (await house.get(f"{DEPLOYS}/2")).said["cause"] == "deploy"
    other = await house.get(f"{DEPLOYS}/1")
    assert (other.code, other.said["error"]) == (404, "unknown_build")


@pytest_twisted.ensureDeferred
async def test_what_is_not_green_is_not_deployed(house):
    await house.finish(await house.build(await house.project()), Result.FAILURE)
    for asked in ({"commit": COMMIT}, {"build": 1}, {"commit": "a" * 40}):
        reply = await ask_to_build(house, DEPLOYS, json=asked)
        assert (reply.code, reply.said["error"]) == (409, "not_green")
    assert (await ask_to_build(house, DEPLOYS, json={"build": 9})).code == 404


@pytest_twisted.ensureDeferred
async def test_a_project_without_a_deploy_branch_has_no_deploys(house):
    await house.finish(await house.build(await house.project(deploy_branch=None)))
    reply = await ask_to_build(house, DEPLOYS, json={"build": 1})
    assert (reply.code, reply.said["error"]) == (409, "nothing_to_deploy")


@pytest_twisted.ensureDeferred
async def test_exactly_one_commit_or_build_is_to_be_named(house):
    await house.project()
    for asked in (
        {},
        {"commit": COMMIT, "build": 1},
        {"commit": COMMIT[:39]},
        {"commit": COMMIT.upper()},
        {"commit": "0" * 40},
        {"commit": "HEAD"},
        {"commit": COMMIT + "\n"},
        {"commit": None},
        {"build": 0},
        {"build": 2**63},
        {"build": "1"},
    ):
        assert (asked, (await ask_to_build(house, DEPLOYS, json=asked)).code) == (asked, 422)


# -- statuses


@pytest_twisted.ensureDeferred
async def test_what_is_said_of_a_commit_is_listed(house):
    await house.finish(await house.build(await house.project()), Result.FAILURE)
    said = (await house.get(f"/api/v1/projects/web-shop/commits/{COMMIT}/statuses")).said
    assert said["next"] is None
    assert [(status["context"], status["state"], status["told"]) for status in said["items"]] == [
        ("sayci/test", "failure", False)
    ]
    nothing = await house.get(f"/api/v1/projects/web-shop/commits/{commit(7)}/statuses")
    assert (nothing.code, nothing.said) == (200, {"items": [], "next": None})
