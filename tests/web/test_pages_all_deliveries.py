"""pages_all_deliveries.py: which deliveries need a look, and what arrived last, of all projects; for admins."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import json

import msgspec
import pytest_twisted

from sayci.account import Access
from sayci.delivery import Verdict
from sayci.errors import WrongSignature
from sayci.event import DeliveryRefused
from sayci.web import wire
from sayci.web.pages_all_deliveries import DELIVERIES_SHOWN
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]

PAGE = "/deliveries"


@pytest_twisted.ensureDeferred
async def test_nothing_has_arrived(house):
    await house.project()
    assert (await (await house.signed_in()).get(PAGE)).heading == "No delivery has arrived yet."


@pytest_twisted.ensureDeferred
async def test_all_are_listed_with_their_projects_the_newest_first(house):
    for name in ("shop", "library"):
        await house.delivery(await house.project(name), Verdict.IGNORED, explanation=f"not for {name} <b>")
    browser = await house.signed_in()
    seen = await browser.get(PAGE)
    assert seen.heading == "The last delivery, for library, was ignored. not for library <b>"
    assert [href for href in seen.document.attributes("href") if href.endswith("/deliveries") and href != PAGE] == [
        "/library/deliveries",
        "/shop/deliveries",
    ]
    assert "Need a look" not in seen.text
    assert seen.document.attributes("data-changes") == [PAGE]


@pytest_twisted.ensureDeferred
async def test_what_failed_last_needs_a_look_until_something_else_came(house):
    shop, library = await house.project("shop"), await house.project("library")
    await house.delivery(library, Verdict.FAILED, explanation="it was not understood")
    await house.delivery(library, Verdict.IGNORED, explanation="all is well again", forge_id="2")
    failed = await house.delivery(shop, Verdict.FAILED, explanation="no such commit")
    browser = await house.signed_in()
    seen = await browser.get(PAGE)
    assert seen.heading == "shop needs a look: its last delivery was not used."
    assert seen.document.text("h3") == "shop"
    assert [form.action for form in seen.document.forms if form.action.endswith("replay")] == [
        f"/shop/deliveries/{failed.id}/replay"
    ]
    await house.delivery(library, Verdict.FAILED, explanation="once more", forge_id="3")
    assert (await browser.get(PAGE)).heading.startswith("Two projects need a look:")
    await house.delivery(shop, Verdict.IGNORED, forge_id="4")
    assert (await browser.get(PAGE)).document.text("h3") == "library"


@pytest_twisted.ensureDeferred
async def test_what_was_refused_last_needs_a_look(house):
    shop = await house.project("shop")
    refusals = house.refusals
    refusals.add(shop.id, NOW - 100, WrongSignature("the signature does not match"), "192.0.2.0/24", "push")
    refusals.add(10**6, NOW, WrongSignature("of a project that is gone"), "192.0.2.0/24", "push")
    browser = await house.signed_in()
    seen = await browser.get(PAGE)
    assert seen.heading == "shop needs a look: its last delivery was not used."
    assert "The signature does not match." in seen.document.text("main")
    assert "/shop/settings#webhook" in seen.document.attributes("href")
    await house.delivery(shop, Verdict.IGNORED)
    assert "Need a look" not in (await browser.get(PAGE)).text


@pytest_twisted.ensureDeferred
async def test_it_is_for_admins_and_json_too_and_comes_in_parts(house):
    shop = await house.project("shop")
    for number in range(DELIVERIES_SHOWN + 1):
        await house.delivery(shop, forge_id=str(number))
    assert (await (await house.signed_in(Access.BUILD, "robin")).get(PAGE)).code == 403
    browser = await house.signed_in()
    said = json.loads((await browser.get(PAGE, Accept="application/json")).body)
    listed = msgspec.convert(said, wire.Listing[wire.ProjectDelivery])
    assert len(listed.items) == DELIVERIES_SHOWN
    assert {item.project for item in listed.items} == {"shop"}
    assert f"/deliveries?before={listed.next}" in (await browser.get(PAGE)).document.attributes("href")
    rest = json.loads((await browser.get(f"{PAGE}?before={listed.next}", Accept="application/json")).body)
    assert ([item["forge_id"] for item in rest["items"]], rest["next"]) == (["0"], None)


@pytest_twisted.ensureDeferred
async def test_its_feed_tells_of_what_was_refused_too(house, dial):
    shop = await house.project("shop")
    secret = (await house.signed_in()).cookies["sayci_session"]
    wire_ = await dial(house.served)
    wire_.send(
        f"GET {PAGE} HTTP/1.0\r\nHost: x\r\nCookie: sayci_session={secret}\r\n"
        "Accept: text/event-stream\r\n\r\n".encode()
    )
    while b"retry: " not in wire_.received:
        await wire_._more()
    house.bus.publish(DeliveryRefused(shop.id))
    while b"event: change" not in wire_.received:
        await wire_._more()
