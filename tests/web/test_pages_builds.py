"""pages_builds.py: builds, and what a person may have done with them."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest
import pytest_twisted

from sayci.account import Access
from sayci.build import BuildState, Cause
from sayci.errors import RepositoryUnreachable
from sayci.step import Result
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]

EVIL = "<script>alert(1)</script>\" onload='x' \u202eevil\x1b[31m & <b>"


async def main_text(browser, path):
    seen = await browser.get(path)
    assert seen.code == 200
    return seen.document.text("main")


# -- one build


@pytest_twisted.ensureDeferred
async def test_a_failed_build_shows_why_and_with_which_words(house):
    project = await house.project(deploy_branch="main")
    logs = {"checkout": b"HEAD is now at 4f1c9aa\n", "test": b"one\n\x1b[31mtwo\x1b[0m\nmake: *** [test] Error 1\n"}
    await house.build(project, Result.FAILURE, deploys=True, logs=logs, message="Sell more\n\nMuch more.")
    seen = await (await house.signed_in()).get("/web-shop/1")
    assert seen.heading == "#1 failed in test: make test, exit 2"
    document = seen.document
    text = document.text("main")
    assert "Sell more" in text
    assert "Ada Lovelace" in text
    assert "1 one 2 two 3 make: *** [test] Error 1" in text
    assert "HEAD is now at 4f1c9aa" in text
    assert "deploy was skipped, because test failed." in text
    assert "Much more." in text
    assert ("span", {"class": "a1"}) in document.elements
    assert "/web-shop/1/test.log" in document.attributes("href")
    assert "test-3" in document.attributes("id")
    opened = [given["id"] for tag, given in document.elements if tag == "details" and "open" in given]
    assert opened == ["test"]
    assert {form.action for form in document.forms} == {"/web-shop/1", "/web-shop/1/rebuild", "/sign-out", "/theme"}
    assert not document.attributes("http-equiv")
    assert not document.attributes("data-rows-feed")
    assert "First error, line 3 of test" in document.text("h2")


@pytest_twisted.ensureDeferred
async def test_a_build_that_was_pushed_leads_to_its_delivery(house):
    project = await house.project()
    delivery = await house.delivery(project)
    await house.build(project, Result.SUCCESS, delivery_id=delivery.id)
    document = (await (await house.signed_in()).get("/web-shop/1")).document
    assert f"/web-shop/deliveries?before={delivery.id + 1}#d{delivery.id}" in document.attributes("href")


@pytest_twisted.ensureDeferred
async def test_a_running_build_is_watched_by_the_page(house):
    project = await house.project()
    await house.running(project, logs={"test": b"so far\nand"})
    seen = await (await house.signed_in()).get("/web-shop/1")
    assert seen.heading == "#1 is testing."
    document = seen.document
    assert document.attributes("http-equiv") == ["refresh"]
    assert document.attributes("data-rows-feed") == ["/web-shop/1?after=test:7"], "the last line may go on"
    assert document.attributes("data-shape") == ["1 running finished running"]
    assert {form.action for form in document.forms} == {"/web-shop/1", "/web-shop/1/cancel", "/sign-out", "/theme"}


@pytest_twisted.ensureDeferred
async def test_a_build_that_waits_says_for_what_and_is_watched(house):
    project = await house.project()
    await house.running(project)
    await house.build(project)
    seen = await (await house.signed_in()).get("/web-shop/2")
    assert seen.heading == "#2 is waiting. For web-shop #1: one build of a branch at a time."
    assert seen.document.attributes("data-rows-feed") == ["/web-shop/2"]
    assert "test has not begun." in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_build_of_which_nobody_knows_asks_a_person(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS)
    reason = "sayci was interrupted during make deploy"
    await house.build(project, Result.UNKNOWN, cause=Cause.DEPLOY, source=1, reason=reason)
    seen = await (await house.signed_in()).get("/web-shop/2")
    assert seen.heading == "Was #2 deployed? Nobody knows."
    assert f"{reason} . sayci will not guess, and will not run it twice." in seen.document.text("main")
    assert "/web-shop/1" in seen.document.attributes("href")
    assert "/web-shop/2/rebuild" not in {form.action for form in seen.document.forms}


@pytest_twisted.ensureDeferred
async def test_the_feed_of_a_build_is_at_its_own_address(house, dial):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    browser = await house.signed_in()
    seen = await browser.get("/web-shop/1", Accept="text/event-stream")
    assert seen.header("content-type") == "text/event-stream"
    assert "event: build" in seen.text
    assert '"number":1' in seen.text
    assert (await house.stranger().get("/web-shop/1", Accept="text/event-stream")).code == 401


@pytest_twisted.ensureDeferred
async def test_only_a_build_that_has_not_ended_offers_to_tell_of_its_end(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    await house.running(project)
    browser = await house.signed_in(Access.READ)
    assert "data-tell" not in (await browser.get("/web-shop/1")).text
    assert (await browser.get("/web-shop/2")).document.attributes("data-tell") == ["/web-shop/2"]
    document = (await browser.get("/web-shop")).document
    assert document.attributes("data-tell") == ["/web-shop"]
    # A script shows it: without one nothing would come of it.
    assert ("p", {"class": "tell", "hidden": ""}) in document.elements


@pytest_twisted.ensureDeferred
async def test_what_commits_say_is_inert_wherever_it_is_shown(house):
    project = await house.project()
    logs = {"test": EVIL.encode() + b"\xff\xfe]]>\n\ndata: x\n"}
    await house.build(project, Result.FAILURE, message=EVIL, author=EVIL, reason=EVIL, logs=logs)
    await house.running(project, message=EVIL, author=EVIL, branch="a<script>b", logs=logs)
    await house.build(project, message=EVIL, author=EVIL, asked_by=EVIL, cause=Cause.MANUAL)
    browser = await house.signed_in()
    for path in ("/", "/web-shop", "/web-shop/1", "/web-shop/2", "/web-shop/3"):
        seen = await browser.get(path)
        assert seen.code == 200
        assert "<script>" not in seen.text
        assert "\u202e" not in seen.text
        assert "\x1b" not in seen.text
        assert "<b>" not in seen.text or path.startswith("/web-shop/")
        scripts = [given for tag, given in seen.document.elements if tag == "script"]
        assert all(given["src"].startswith("/static/") for given in scripts)
        assert not [name for _, given in seen.document.elements for name in given if name.startswith("on")]
        assert "<script>alert(1)</script>" in seen.document.text("main")
        assert "<U+202E>evil" in seen.document.text("main")


# -- verbs


@pytest_twisted.ensureDeferred
async def test_the_default_branch_is_built_by_a_button(house):
    await house.project()
    browser = await house.signed_in()
    seen = await browser.submit("/web-shop", "/web-shop/build")
    assert (seen.code, seen.path) == (303, "/web-shop/1")
    build = await house.store.build(1, 1)
    assert (build.cause, build.commit, build.asked_by) == (Cause.MANUAL, "1" * 40, "ada")


@pytest_twisted.ensureDeferred
async def test_a_branch_that_is_not_there_is_told(house):
    await house.project(default_branch="trunk")
    seen = await (await house.signed_in()).submit("/web-shop", "/web-shop/build")
    assert (seen.code, seen.heading) == (422, "sayci cannot use that")
    assert "The repository has no such branch: trunk." in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_repository_that_does_not_answer_is_told(house):
    await house.project()
    house.sources.problems.append(RepositoryUnreachable("the repository did not answer", "timed out"))
    seen = await (await house.signed_in()).submit("/web-shop", "/web-shop/build")
    assert (seen.code, seen.heading) == (502, "The repository did not answer")
    assert (await house.store.builds(1)).items == []


@pytest_twisted.ensureDeferred
async def test_a_build_is_cancelled_by_a_button(house):
    project = await house.project()
    await house.running(project)
    await house.build(project)
    browser = await house.signed_in()
    assert (await browser.submit("/web-shop/2", "/web-shop/2/cancel")).path == "/web-shop/2"
    assert (await browser.get("/web-shop/2")).heading == "#2 was cancelled by ada"
    await browser.submit("/web-shop/1", "/web-shop/1/cancel")
    seen = await browser.get("/web-shop/1")
    assert seen.heading == "#1 is being cancelled."
    assert "/web-shop/1/cancel" not in {form.action for form in seen.document.forms}


@pytest_twisted.ensureDeferred
async def test_what_has_ended_cannot_be_cancelled(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    browser = await house.signed_in()
    token = (await browser.get("/")).document.form("/theme").fields["form_token"]
    seen = await browser.post("/web-shop/1/cancel", {"form_token": token})
    assert seen.code == 409
    assert "#1 is finished" in seen.heading
    assert "Nothing was changed." in seen.document.text("main")
    assert (await house.store.build(1, 1)).result is Result.SUCCESS


@pytest_twisted.ensureDeferred
async def test_a_build_is_run_again_by_a_button(house):
    project = await house.project()
    await house.build(project, Result.FAILURE)
    browser = await house.signed_in()
    assert (await browser.submit("/web-shop/1", "/web-shop/1/rebuild")).path == "/web-shop/2"
    build = await house.store.build(1, 2)
    assert (build.cause, build.source, build.asked_by, build.state) == (Cause.REBUILD, 1, "ada", BuildState.QUEUED)
    assert "ada, who ran #1 again" in await main_text(browser, "/web-shop/2")


@pytest_twisted.ensureDeferred
async def test_a_green_commit_is_deployed_by_a_button(house):
    project = await house.project(deploy_branch="main")
    await house.build(project, Result.SUCCESS)
    browser = await house.signed_in()
    assert (await browser.submit("/web-shop/1", "/web-shop/1/deploy")).path == "/web-shop/2"
    build = await house.store.build(1, 2)
    assert (build.cause, build.source, build.deploys) == (Cause.DEPLOY, 1, True)


@pytest.mark.parametrize(("fields", "result"), (({}, Result.SUCCESS), ({"deploy_branch": "main"}, Result.FAILURE)))
@pytest_twisted.ensureDeferred
async def test_there_is_no_button_for_a_deploy_that_cannot_be(house, fields, result):
    project = await house.project(**fields)
    await house.build(project, result)
    browser = await house.signed_in()
    document = (await browser.get("/web-shop/1")).document
    assert "/web-shop/1/deploy" not in {form.action for form in document.forms}
    token = document.form("/theme").fields["form_token"]
    assert (await browser.post("/web-shop/1/deploy", {"form_token": token})).code == 409


@pytest_twisted.ensureDeferred
async def test_a_verb_is_done_to_the_end_although_the_browser_has_gone(house, dial, until):
    from twisted.internet.defer import Deferred

    await house.project()
    browser = await house.signed_in()
    form = (await browser.get("/web-shop")).document.form("/web-shop/build").fields
    answering: Deferred[None] = Deferred()
    asked = []

    async def heads(remote):
        asked.append(remote)
        await answering
        return {"main": "2" * 40}

    house.sources.heads = heads
    channels, build_protocol = [], house.served.site.buildProtocol

    def keep(address):
        channels.append(build_protocol(address))
        return channels[-1]

    house.served.site.buildProtocol = keep
    wire = await dial(house.served)
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    wire.send(
        b"POST /web-shop/build HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Cookie: sayci_session=%s\r\nContent-Length: %d\r\n\r\n%s"
        % (browser.cookies["sayci_session"].encode(), len(body), body)
    )
    await until(lambda: asked)
    wire.transport.abortConnection()
    await until(lambda: channels[-1].transport.disconnected)  # Klein has cancelled the handler now
    assert (await house.store.builds(1)).items == []
    made: list[object] = []
    unsubscribe = house.bus.subscribe(made.append)
    answering.callback(None)
    await until(lambda: made)
    unsubscribe()
    assert (await house.store.build(1, 1)).commit == "2" * 40


@pytest_twisted.ensureDeferred
async def test_times_are_told_for_people_and_for_programs(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    document = (await (await house.signed_in()).get("/web-shop/1")).document
    assert "2026-11-21T00:00:00Z" in document.attributes("datetime")
    assert "2 minutes ago" in document.text("time")
    assert house.now[0] == NOW + 120
