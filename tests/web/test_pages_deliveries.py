"""pages_deliveries.py: what arrived, what became of it, and another look."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest_twisted

from sayci.account import Access
from sayci.delivery import Message, Verdict
from sayci.errors import WrongSignature
from sayci.event import DeliveryRefused, ProjectChanged
from sayci.web.pages_deliveries import DELIVERIES_SHOWN, LOOKED_INTO
from tests.factories import COMMIT, NOW, OTHER_COMMIT, a_change, new_build

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
async def test_a_replay_that_builds_nothing_leads_to_the_delivery(house):
    project = await house.project()
    await house.delivery(project, Verdict.FAILED, explanation="after is missing")
    browser = await house.signed_in()
    seen = await browser.submit("/web-shop/deliveries", "/web-shop/deliveries/1/replay")
    assert seen.path == "/web-shop/deliveries/1"
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


# -- one of them, sifted, refused


@pytest_twisted.ensureDeferred
async def test_what_was_pushed_stands_beside_the_verdict(house):
    project = await house.project()
    build = new_build(project.id, ref="refs/heads/boots", commit=COMMIT)
    await house.delivery(project, Verdict.BUILT, forge_id="a", build=build)
    house.forge.message = Message("push", a_change(ref="refs/heads/sandals", commit=OTHER_COMMIT))
    await house.delivery(project, Verdict.SUPERSEDED, forge_id="b", explanation="A newer push came.")
    await house.delivery(project, Verdict.FAILED, forge_id="c", body=b"x" * (LOOKED_INTO + 1), explanation="no")
    text = (await (await house.signed_in()).get("/web-shop/deliveries")).document.text("tbody")
    assert f"boots {COMMIT[:7]}" in text
    assert text.count(f"sandals {OTHER_COMMIT[:7]}") == 1


@pytest_twisted.ensureDeferred
async def test_one_delivery_says_what_it_was(house):
    project = await house.project()
    headers = (("x-github-event", "push"), ("user-agent", "GitHub-Hookshot/<b>"))
    body = b'{"ref": "refs/heads/main", "note": "webhook secret", "html": "<script>alert(1)</script>"}'
    await house.delivery(project, Verdict.FAILED, explanation="after is missing", headers=headers, body=body)
    house.forge.message = Message("push", a_change(message="Sell boots\n\nMany.", author="Ada"))
    browser = await house.signed_in()
    seen = await browser.get("/web-shop/deliveries/1")
    assert seen.heading == "Delivery 1 could not be used: after is missing"
    text = seen.document.text("main")
    for words in ("Sell boots by Ada", "refs/heads/main", "x-github-event : push", "GitHub-Hookshot/<b>", "2 headers"):
        assert words in text
    assert "webhook secret" not in text
    assert "<script>alert" not in seen.text
    assert [form.action for form in seen.document.forms][1] == "/web-shop/deliveries/1/replay"
    for number in ("2", "0", "x"):
        assert (await browser.get(f"/web-shop/deliveries/{number}")).code == 404


@pytest_twisted.ensureDeferred
async def test_a_delivery_whose_body_is_gone_says_so(house):
    project = await house.project()
    await house.delivery(project, Verdict.IGNORED, explanation="A tag.")
    await house.store.forget_bodies(NOW + 1, 10)
    seen = await (await house.signed_in()).get("/web-shop/deliveries/1")
    text = seen.document.text("main")
    assert "Headers and body were removed, because they are old." in text
    assert "Build the branch by hand." in text
    assert not [form for form in seen.document.forms if form.action.endswith("/replay")]


@pytest_twisted.ensureDeferred
async def test_deliveries_are_sifted_by_verdict(house):
    project = await house.project()
    await house.delivery(project, Verdict.BUILT, forge_id="a", build=new_build(project.id))
    await house.delivery(project, Verdict.IGNORED, forge_id="b", explanation="A tag.")
    await house.delivery(project, Verdict.FAILED, forge_id="c", explanation="after is missing")
    browser = await house.signed_in()
    for choice, ids in (("built", ["d1"]), ("ignored", ["d2"]), ("failed", ["d3"]), ("", ["d3", "d2", "d1"])):
        document = (await browser.get(f"/web-shop/deliveries?v={choice}")).document
        assert [each for each in document.attributes("id") if each[0] == "d"] == ids
    assert (await browser.get("/web-shop/deliveries?v=strange")).code == 422


@pytest_twisted.ensureDeferred
async def test_what_was_refused_is_seen_by_who_wonders(house):
    project = await house.project()
    await house.delivery(project, Verdict.BUILT, build=new_build(project.id))
    wrong = WrongSignature("the delivery's signature does not match")
    for _ in range(3):
        house.refusals.add(project.id, NOW + 60, wrong, "192.0.2.44", "push", "5b90-1c", 7318)
    browser = await house.signed_in()
    seen = await browser.get("/web-shop/deliveries")
    assert seen.heading == "The last delivery was refused: the signature does not match."
    assert "favicon-failure" in seen.text
    text = seen.document.text("main")
    for words in (
        "Refused since then",
        "The secret at the forge differs from the one here.",
        "192.0.2.44",
        "7.32 KB, 3 times since",
        "5b90-1c",
        "Refused 3",
    ):
        assert words in text
    assert "/web-shop/settings#webhook" in seen.document.attributes("href")
    maintainer = await (await house.signed_in(Access.BUILD, "bob")).get("/web-shop/deliveries?v=refused")
    assert "192.0.2.44" in maintainer.document.text("main")
    assert "/web-shop/settings#webhook" not in maintainer.document.attributes("href")
    await house.delivery(project, Verdict.IGNORED, forge_id="b", explanation="A tag.", received_at=NOW + 61)
    seen = await browser.get("/web-shop/deliveries")
    assert seen.heading == "The last delivery was ignored. A tag."
    assert "192.0.2.44" not in seen.text
    assert "192.0.2.44" in (await browser.get("/web-shop/deliveries?v=refused")).text


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_told_where_its_project_is_looked_at_and_nowhere_else(house, dial, until):
    project = await house.project()
    browser = await house.signed_in()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    here, home = [await dial(house.served) for _ in range(2)]
    for wire, path in ((here, "/web-shop/deliveries"), (home, "/")):
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n"
        wire.send(head.encode())
    await until(lambda: all(b"\r\n\r\n" in wire.received for wire in (here, home)))
    house.bus.publish(DeliveryRefused(project.id))
    await until(lambda: b"event: change" in here.received)
    house.bus.publish(ProjectChanged(project))
    await until(lambda: b"event: change" in home.received)
    assert home.received.count(b"event: change") == 1
