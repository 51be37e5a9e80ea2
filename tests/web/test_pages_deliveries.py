"""pages_deliveries.py: what arrived, what became of it, and another look."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest_twisted

from sayci.delivery import Message, Verdict
from sayci.web.pages_deliveries import DELIVERIES_SHOWN
from tests.factories import a_change, new_build

pytest_plugins = ["tests.web.page_fixtures"]


@pytest_twisted.ensureDeferred
async def test_before_the_first_delivery(house):
    await house.project()
    seen = await (await house.signed_in()).get("/web-shop/deliveries")
    assert seen.heading == "No delivery has arrived yet. The forge says hello when a webhook is made."
    assert f"{house.served.url('')}/hooks/web-shop" in seen.document.text("main")


@pytest_twisted.ensureDeferred
async def test_every_delivery_has_its_verdict_in_words(house):
    project = await house.project()
    await house.delivery(project, Verdict.BUILT, forge_id="a", build=new_build(project.id))
    await house.delivery(project, Verdict.IGNORED, forge_id="b", explanation="A <b>tag</b>.", event="<push>")
    await house.delivery(project, Verdict.SUPERSEDED, forge_id="c", explanation="A newer push came.")
    await house.delivery(project, Verdict.FAILED, forge_id="d", explanation="after is missing")
    await house.delivery(project, forge_id="e")
    seen = await (await house.signed_in()).get("/web-shop/deliveries")
    assert seen.heading == "The last delivery is being looked at."
    text = seen.document.text("table")
    assert "Built: as #1." in text
    assert "Ignored: A <b>tag</b>." in text
    assert "<push>" in text
    assert "Not built: A newer push came." in text
    assert "Failed: after is missing" in text
    assert "Received: It is on disk, and will be looked at." in text
    assert "/web-shop/1" in seen.document.attributes("href")
    replays = [form.action for form in seen.document.forms if form.action.endswith("/replay")]
    assert replays == [f"/web-shop/deliveries/{number}/replay" for number in (4, 3, 2)]


@pytest_twisted.ensureDeferred
async def test_older_deliveries_are_on_further_pages(house):
    project = await house.project()
    for number in range(DELIVERIES_SHOWN + 1):
        await house.delivery(project, forge_id=str(number))
    browser = await house.signed_in()
    document = (await browser.get("/web-shop/deliveries")).document
    (older,) = [link for link in document.attributes("href") if "before=" in link]
    assert "d1" not in document.attributes("id")
    second = await browser.get(older)
    assert "d1" in second.document.attributes("id")
    assert second.heading == "The last delivery is being looked at."
    assert "No older deliveries." in (await browser.get("/web-shop/deliveries?before=1")).document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_was_not_built_can_be_replayed(house):
    project = await house.project()
    await house.delivery(project, Verdict.FAILED, explanation="after is missing")
    browser = await house.signed_in()
    house.forge.message = Message("push", a_change())
    seen = await browser.submit("/web-shop/deliveries", "/web-shop/deliveries/1/replay")
    assert (seen.code, seen.path) == (303, "/web-shop/1")
    assert (await house.store.delivery(project.id, 1))[0].verdict is Verdict.BUILT
    assert not (await house.store.build(project.id, 1)).deploys


@pytest_twisted.ensureDeferred
async def test_a_replay_that_builds_nothing_leads_back_to_the_list(house):
    project = await house.project()
    await house.delivery(project, Verdict.FAILED, explanation="after is missing")
    browser = await house.signed_in()
    seen = await browser.submit("/web-shop/deliveries", "/web-shop/deliveries/1/replay")
    assert seen.path == "/web-shop/deliveries#d1"
    assert "Nothing of ours." in (await browser.get("/web-shop/deliveries")).document.text("table")


@pytest_twisted.ensureDeferred
async def test_what_was_built_is_not_replayed(house):
    project = await house.project()
    await house.delivery(project, Verdict.BUILT, build=new_build(project.id))
    browser = await house.signed_in()
    token = (await browser.get("/")).document.form("/theme").fields["form_token"]
    seen = await browser.post("/web-shop/deliveries/1/replay", {"form_token": token})
    assert seen.code == 409
    assert "rebuild that build" in seen.document.text("main")
    for number in ("2", "0", "x", "-1", "9" * 400):
        assert (await browser.post(f"/web-shop/deliveries/{number}/replay", {"form_token": token})).code == 404


@pytest_twisted.ensureDeferred
async def test_a_delivery_of_another_project_is_none_of_this_one(house):
    await house.project("janet")
    await house.delivery(await house.project(), Verdict.IGNORED, explanation="A tag.")
    browser = await house.signed_in()
    token = (await browser.get("/")).document.form("/theme").fields["form_token"]
    assert (await browser.post("/janet/deliveries/1/replay", {"form_token": token})).code == 404
    assert "A tag." not in (await browser.get("/janet/deliveries")).document.text("main")
