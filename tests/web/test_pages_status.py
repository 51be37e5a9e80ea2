"""pages_status.py: the page that says whether the server is well."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import platform

import pytest
import pytest_twisted

from sayci.account import Access
from sayci.certificate import Certificate
from sayci.interfaces import Isolation
from sayci.space import Space, Volume
from sayci.step import Result
from sayci.web.words import DAY, HOUR
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]

BARE = Isolation(False, "Builds are not isolated from this server: sayci does not run as root")


def issued(left, name="ci.example", **fields):
    """A certificate of 90 days that has `left` seconds left, on the clock of the house."""
    end = NOW + 120 + left
    given = {"issuer": "Good Authority R1", "renew_at": NOW + 120 + 2 * HOUR, **fields}
    return Certificate(name, not_before=end - 90 * DAY, not_after=end, **given)


@pytest.mark.parametrize("access", Access)
@pytest_twisted.ensureDeferred
async def test_everybody_who_has_signed_in_sees_that_all_is_well(house, access):
    house.certificates.all = [issued(61 * DAY)]
    seen = await (await house.signed_in(access)).get("/status")
    assert (seen.code, seen.heading) == (200, "sayci works.")
    document = seen.document
    assert document.text("title") == "✓ sayci works · status · sayci"
    assert document.text("h2") == "Works This server"
    text = document.text("main")
    assert "ci.example is good until 21 January 2027. It is renewed in 2 hours." in text
    assert "61 days left of 90 days Good Authority R1" in text
    assert "Each build runs as a user of its own." in text
    assert "0 of 2 slots are busy, no build waits." in text


@pytest_twisted.ensureDeferred
async def test_it_says_versions_addresses_and_what_builds_do(house):
    project = await house.project()
    await house.running(project)
    await house.build(project)
    document = (await (await house.signed_in()).get("/status")).document
    text = document.text("pre")
    assert text.startswith(f"sayci 9.8.7 Python {platform.python_version()} Twisted ")
    assert f"Address {house.served.url('')} Listens at tcp:8080 Listens at le:/srv/certificates:tcp:443" in text
    assert "1 of 2 slots is busy, 1 build waits. See them" in document.text("main")


@pytest_twisted.ensureDeferred
async def test_without_certificates_none_are_spoken_of(house):
    seen = await (await house.signed_in()).get("/status")
    assert seen.heading == "sayci works."
    assert "ertificate" not in seen.document.text("ul")


@pytest_twisted.ensureDeferred
async def test_what_needs_a_person_comes_first_with_why_and_what_then(house):
    house.certificates.all = [
        issued(60 * DAY, "good.example", tries=1, error="the line was busy"),
        issued(5 * DAY, "late.example", tries=3, error="port 443 does not answer"),
    ]
    seen = await (await house.signed_in()).get("/status")
    assert seen.heading == "sayci works. The certificate of late.example needs you within 5 days."
    assert "favicon-attention.svg" in seen.text
    text = seen.document.text("main")
    assert text.index("To look at") < text.index("late.example expires") < text.index("Works Certificate good.example")
    assert "late.example expires in 5 days, on 26 November 2026. The next try is in 2 hours." in text
    assert "3 tries failed; the last: port 443 does not answer sayci goes on trying by itself." in text
    assert "The last try failed: the line was busy" in text


@pytest_twisted.ensureDeferred
async def test_a_name_without_a_certificate_says_what_is_served_meanwhile(house):
    house.certificates.all = [Certificate("ci.example", renew_at=NOW + 30)]
    browser = await house.signed_in()
    seen = await browser.get("/status")
    assert seen.heading == "sayci works. ci.example is getting its first certificate."
    assert "a self-signed certificate is served: browsers warn of it" in seen.document.text("main")
    assert "needs you" not in seen.text
    house.certificates.all = [Certificate("ci.example", renew_at=NOW + 9000, error="no such name", tries=1)]
    text = (await browser.get("/status")).document.text("main")
    assert "ci.example has no certificate yet. The next try is in 2 hours." in text
    assert "The last try failed: no such name" in text


@pytest_twisted.ensureDeferred
async def test_an_expired_one_is_the_worst(house):
    house.certificates.all = [issued(-3 * DAY, tries=40, error="no answer"), Certificate("new.example")]
    seen = await (await house.signed_in()).get("/status")
    assert seen.heading.startswith("sayci works. The certificate of ci.example has expired. new.example is getting")
    assert "favicon-failure.svg" in seen.text
    assert "ci.example expired 3 days ago." in seen.document.text("main")


@pytest.mark.parametrize("isolation", (BARE,))
@pytest_twisted.ensureDeferred
async def test_that_builds_are_not_isolated_is_something_to_look_at(house):
    seen = await (await house.signed_in()).get("/status")
    assert seen.heading == "sayci works. Builds are not isolated from this server."
    text = seen.document.text("main")
    assert text.index("To look at") < text.index(f"{BARE.words}. Build only what you trust.") < text.index("Works")


@pytest_twisted.ensureDeferred
async def test_every_page_leads_there_and_says_so_when_somebody_is_needed(house):
    browser = await house.signed_in(Access.READ)
    calm = await browser.get("/")
    links = [given for tag, given in calm.document.elements if tag == "a" and given["href"] == "/status"]
    assert len(links) == 2
    assert "Each build runs as a user of its own" in calm.document.text("footer")
    assert "needs you" not in calm.text
    house.certificates.all = [issued(-DAY)]
    assert "Status , needs you" in (await browser.get("/")).document.text("nav")
    stranger = await house.stranger().get("/sign-in")
    assert "needs you" not in stranger.text
    assert "/status" not in stranger.text


@pytest_twisted.ensureDeferred
async def test_the_page_knows_that_it_is_the_one_in_the_navigation(house):
    seen = await (await house.signed_in()).get("/status")
    current = [given["href"] for _, given in seen.document.elements if "aria-current" in given]
    assert current == ["/status"]


@pytest_twisted.ensureDeferred
async def test_what_an_authority_says_acts_on_nobody(house):
    bad = '<script>alert(1)</script>\u202e" onload="x'
    house.certificates.all = [
        issued(-DAY, tries=1, error=bad, issuer=bad),
        Certificate(bad, error="x" * 100_000, tries=2),
    ]
    seen = await (await house.signed_in()).get("/status")
    assert "<script>alert" not in seen.text
    assert "\u202e" not in seen.text
    assert "<U+202E>" in seen.document.text("main")
    assert len(seen.text) < 30_000
    assert not seen.document.attributes("onload")


@pytest_twisted.ensureDeferred
async def test_a_lack_of_space_is_said_on_every_page_with_what_to_do(house):
    full = [Volume("/srv/sayci", 100 << 30, 5 << 20)]
    house.scheduler.space = Space(lambda: full)
    browser = await house.signed_in()
    text = (await browser.get("/status")).document.text("main")
    assert "Builds wait for space on the disk." in text
    assert "5.0 MiB are free of the disk with /srv/sayci, and 1.0 GiB must be." in text
    assert "--keep-free" in text
    full[:] = [Volume("/srv/sayci", 100 << 30, 50 << 30)]
    assert "50 GiB are free of the disk with /srv/sayci" in (await browser.get("/status")).document.text("main")


@pytest_twisted.ensureDeferred
async def test_a_database_that_does_not_answer_comes_before_all_else(house):
    house.states["database"] = "failing"
    house.certificates.all = [issued(-DAY)]
    seen = await (await house.signed_in()).get("/status")
    assert seen.heading == "sayci cannot run builds: the database does not answer."
    assert "favicon-failure.svg" in seen.text
    text = seen.document.text("main")
    assert text.index("To look at") < text.index("Nothing that was accepted is lost") < text.index("Works")
    assert "It can be read and written." not in text


@pytest_twisted.ensureDeferred
async def test_what_a_forge_does_not_take_is_told_to_who_sees_its_project(house):
    project = await house.project()
    house.metrics.tally.not_told(project.id, "web-shop", 7, "bad credentials <b>")
    admin = await house.signed_in()
    seen = await admin.get("/status")
    assert seen.heading == "sayci works. The forge takes no commit statuses of web-shop."
    assert "web-shop : the forge did not take what was to be told of #7. bad credentials <b>" in seen.document.text(
        "main"
    )
    assert "/web-shop/settings#access" in seen.document.attributes("href")
    reader = await (await house.signed_in(Access.READ, "robin")).get("/status")
    assert "/web-shop" in reader.document.attributes("href")
    assert "/web-shop/settings#access" not in reader.document.attributes("href")
    member = await (await house.signed_in(Access.NONE, "grace")).get("/status")
    assert member.heading == "sayci works."
    assert "web-shop" not in member.text
    house.metrics.tally.told(project.id)
    assert (await admin.get("/status")).heading == "sayci works."


@pytest_twisted.ensureDeferred
async def test_it_says_what_happened_and_what_is_kept(house):
    project = await house.project()
    await house.build(project, Result.SUCCESS)
    house.metrics.delivery_refused()
    house.now[0] += 2 * HOUR
    seen = await (await house.signed_in()).get("/status")
    text = seen.document.text("main")
    for words in (
        "Up for 2 hours.",
        "1 build ended, 1 of them green.",
        "None came, 1 was refused.",
        "Builds are kept for 365 days",
        "It can be read and written.",
        "SQLite",
        "journalctl -u sayci",
    ):
        assert words in text
    assert {"/metrics", "/healthz"} <= set(seen.document.attributes("href"))
    assert seen.document.attributes("data-changes") == ["/status"]
    member = await (await house.signed_in(Access.NONE, "grace")).get("/status")
    assert "journalctl" not in member.text


@pytest_twisted.ensureDeferred
async def test_it_is_live(house, dial, until):
    project = await house.project()
    browser = await house.signed_in()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    wire = await dial(house.served)
    wire.send(f"GET /status HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n".encode())
    await until(lambda: b"\r\n\r\n" in wire.received)
    await house.build(project)
    await until(lambda: b"event: change" in wire.received)
