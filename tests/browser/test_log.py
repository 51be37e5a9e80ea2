"""A build and its log, in a real browser: live, windowed, linked, searched; and without scripts."""

from __future__ import annotations

import time
from itertools import count

import pytest

from tests.browser.visitor import accessible, shoot, until
from tests.slots import passable_directory

COLOURS = (
    "\\033[1mbold\\033[0m \\033[2mdim\\033[0m \\033[3mitalic\\033[0m \\033[4munderlined\\033[0m \\033[7minverse\\033[0m\\n"
    + "".join(f"\\033[{code}mcolour{code}\\033[0m " for code in (*range(31, 38), *range(90, 98)))
    + "\\n"
    + "".join(f"\\033[48;5;{code}mground\\033[0m " for code in range(1, 8))
    + "\\033[38;5;208morange\\033[0m \\033[38;2;120;80;255mviolet\\033[0m \\033[38;2;255;255;0myellow\\033[0m\\n"
    + "10 %\\r50 %\\r\\033[32mdone\\033[0m\\n"
    + "<script>alert(1)</script> \\342\\200\\256evil\\n"
)
FAILING = (
    ".PHONY: test\ntest:\n\t@printf '" + COLOURS.replace("%", "%%") + "'\n"
    '\t@for i in $$(seq 1 30); do echo "cc -std=c99 -Wall -c src/part$$i.c -o build/part$$i.o"; done\n'
    "\t@echo \"src/shop.c:12:5: error: 'price' undeclared\"; echo note: it is in price.h\n"
    "\t@seq -f 'line %.0f of the rest' 1 1200\n\t@exit 3\n"
)


@pytest.fixture(scope="module")
def failed(house):
    """A project whose build has failed, with much to read."""
    house.project("reading", FAILING)
    number = house.build("reading")["number"]
    build = house.finished("reading", number)
    assert build["result"] == "failure", build
    return f"/reading/{number}"


def shows(page, text, step="test"):
    """Wait until a row has this text, beside its number."""
    page.wait_for_function(
        "([step, text]) => [...document.querySelectorAll(`#${step} > .log li`)]"
        ".some(row => row.lastChild.textContent === text)",
        arg=[step, text],
    )


def rows(page, step="test"):
    return page.locator(f"#{step} > .log li")


def test_a_failed_build_shows_its_first_error_and_leads_to_it(visit, failed):
    page = visit(failed)
    assert "failed in test" in page.locator("h1").inner_text()
    assert "First error, line 36 of test" in page.locator("section.first").inner_text()
    page.get_by_role("link", name="Go to line 36").click()
    until(page, "document.querySelector('#test-36.sel') !== null")
    assert "src/shop.c:12:5" in page.locator("#test-36").inner_text()
    assert page.locator("#test-36").evaluate("row => row.classList.contains('x')")
    shoot(page, "build-failed-around", full=False)


@pytest.mark.parametrize("width", (380, 1280, 1920))
def test_it_is_accessible_in_both_themes_and_fits(visit, failed, width):
    page = visit(f"{failed}?until=test:60", width=width)  # axe takes its time for every row
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        shoot(page, f"build-failed-{theme}-{width}")
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colours_are_seen_and_markup_is_not(visit, failed):
    page = visit(f"{failed}?around=test:3")
    text = page.locator("#test > .log").inner_text()
    assert "<script>alert(1)</script> <U+202E>evil" in text
    assert "done" in text
    assert "50 %" not in text
    colour = "run => getComputedStyle(run).color"
    seen = {
        name: page.get_by_text(name, exact=True).last.evaluate(colour)
        for name in ("orange", "violet", "yellow", "colour31")
    }
    assert len(set(seen.values())) == 4, seen


def test_more_of_the_log_comes_when_it_is_asked_for(visit, failed):
    page = visit(failed)
    first = rows(page).first.get_attribute("id")
    page.locator("#test .earlier a").click()
    page.wait_for_function("first => document.querySelector('#test > .log li').id !== first", arg=first)
    assert page.locator(f"#{first}").count() == 1
    numbers = rows(page).evaluate_all("all => all.map(row => Number(row.id.slice(5)))")
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_line_has_an_address_and_a_range_too(visit, failed):
    page = visit(f"{failed}#test-700")
    until(page, "document.querySelector('#test-700.sel') !== null")
    page.locator("#test-702 > a").click(modifiers=["Shift"])
    until(page, "location.hash === '#test-700-702'")
    until(page, "document.querySelectorAll('.log .sel').length === 3")
    page = visit(f"{failed}#L20-L22")
    until(page, "document.querySelectorAll('.log .sel').length === 3")
    assert page.locator("#test-20").is_visible(), "what was folded is unfolded"


def test_words_are_found_in_the_whole_log(visit, failed):
    page = visit(failed)
    page.keyboard.press("/")
    page.keyboard.type("LINE 77")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#hits').textContent === '1 of 11 lines'")
    until(page, "document.querySelector('#test-114') !== null")
    page.locator("h1").click()
    for _ in range(2):
        page.keyboard.press("n")
    until(page, "document.querySelector('#hits').textContent === '3 of 11 lines'")
    page.keyboard.press("N")
    until(page, "document.querySelector('#hits').textContent === '2 of 11 lines'")
    assert page.evaluate("CSS.highlights.get('here').size") == 1
    page.locator("#q").fill("not in there")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#hits').textContent === 'In no line'")


def test_without_scripts_all_of_it_can_be_read(visit, failed):
    page = visit(failed, javascript=False)
    page.locator("#test .earlier a").click()
    last = rows(page).last.get_attribute("id")
    assert page.url.endswith(f"#{last}")
    page.locator("#q").fill("undeclared")
    page.get_by_role("button", name="Find", exact=True).click()
    assert "is in 1 line" in page.locator(".found").inner_text()
    page.locator(".found a").click()
    assert "src/shop.c:12:5" in page.locator("#test-36").inner_text()
    accessible(visit(f"{failed}?find=undeclared&until=test:60"))


# -- live

LIVE = """
.PHONY: test
test:
	@echo begun; n=0; while :; do \\
	if [ -e {0}/next$$n ]; then cat {0}/next$$n; n=$$((n + 1)); elif [ -e {0}/end ]; then exit 1; else sleep 0.02; fi; done
"""


NUMBERS = count()


class Printer:
    """Has a running build print what a test says."""

    def __init__(self, place):
        self._place, self._number = place, 0

    def __call__(self, text):
        part = self._place / "part"
        part.write_text(text)
        part.replace(self._place / f"next{self._number}")
        self._number += 1

    def end(self):
        (self._place / "end").touch()


@pytest.fixture
def printing(house):
    """A build that prints what it is told to: the address of its page, and what tells it."""
    with passable_directory() as place:
        place.chmod(0o755)
        name = f"live-{next(NUMBERS)}"
        house.project(name, LIVE.format(place))
        number = house.build(name)["number"]
        house.step_runs(name, number)
        printer = Printer(place)
        yield f"/{name}/{number}", printer
        printer.end()
        house.finished(name, number)


SEES_END = "document.querySelector('#test .live').getBoundingClientRect().bottom <= innerHeight + 2"


def live(page):
    until(page, "document.querySelector('#logs').dataset.state === 'live'")


def test_new_lines_come_by_themselves_and_are_followed_until_the_reader_scrolls(visit, printing):
    address, say = printing
    page = visit(address, height=600)
    live(page)
    say("one\n")
    shows(page, "one")
    say("".join(f"more {number}\n" for number in range(200)))
    shows(page, "more 199")
    until(page, SEES_END)
    assert "Following, line 202." in page.locator("#test .live").inner_text()
    shoot(page, "build-running", full=False)
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -900)
    until(page, "document.querySelector('[data-do=follow]').ariaPressed === 'false'")
    before = page.evaluate("scrollY")
    say("".join(f"unseen {number}\n" for number in range(100)))
    until(page, "document.querySelector('#test > .log').textContent.includes('unseen 99')")
    assert abs(page.evaluate("scrollY") - before) < 5, "what is being read stays where it is"
    page.mouse.wheel(0, 100_000)
    until(page, "document.querySelector('[data-do=follow]').ariaPressed === 'true'")
    say("the last\n")
    shows(page, "the last")
    until(page, SEES_END)
    accessible(page)


def test_a_progress_bar_is_one_line(visit, printing):
    address, say = printing
    page = visit(address)
    live(page)
    for percent in (1, 50, 100):
        say(f"\rloading {percent:3} %%" if percent < 100 else "\rloaded all    ")
    until(page, "document.querySelector('#test-2')?.textContent.includes('loaded all')")
    say("\nthen\n")
    shows(page, "then")
    assert rows(page).count() == 3
    assert "loading" not in page.locator("#test-2").inner_text()


def test_the_end_changes_the_page_in_place(visit, printing):
    address, say = printing
    page = visit(address)
    live(page)
    page.evaluate("window.stayed = true")
    say("make: *** [x] Error 1\n")
    say.end()
    until(page, "document.querySelector('h1').textContent.includes('failed in test')")
    assert page.evaluate("window.stayed")
    assert page.title().startswith("✗")
    assert page.locator("#test .live").count() == 0
    assert page.get_by_role("button", name="Rebuild").is_visible()
    until(page, "document.querySelector('link[rel=icon]').href.includes('failure')")
    assert "First error, line 2" in page.locator("section.first").inner_text()
    numbers = rows(page).evaluate_all("all => all.map(row => row.id)")
    assert numbers == [f"test-{number}" for number in range(1, len(numbers) + 1)]


def test_a_step_that_prints_faster_than_anybody_reads_ends_at_its_end(visit, printing):
    address, say = printing
    page = visit(address)
    live(page)
    say("".join(f"line {number} of very many that are printed all at once\n" for number in range(50_000)))
    shows(page, "line 49999 of very many that are printed all at once")
    assert rows(page).count() <= 3000
    assert page.locator("#test .earlier").is_visible()
    assert rows(page).last.get_attribute("id") == "test-50001"


def test_what_a_step_prints_while_the_page_is_asked_for_it_is_not_lost(house, visit):
    """The page knows of the step only once it has been drawn again, and its first line came before that."""
    with passable_directory() as place:
        place.chmod(0o755)
        waits = "until [ -e {}/{} ]; do sleep 0.02; done"
        recipe = f"@{waits.format(place, 'begin')}; echo begun; {waits.format(place, 'end')}"
        name = f"live-{next(NUMBERS)}"
        repository = house.project(name, f".PHONY: test\ntest:\n\t{recipe}\n")
        first = house.build(name)["number"]
        repository.commit({"more": "1"}, "More")
        number = house.build(name)["number"]
        page = visit(f"/{name}/{number}")
        live(page)

        def late(route):
            answer = route.fetch()
            if 'id="test" data-step' in answer.text() and "<details" in answer.text().partition('id="test"')[0][-40:]:
                (place / "begin").touch()
                house.step_runs(name, number)
                time.sleep(1)  # nothing says that the browser has been told of it
            route.fulfill(response=answer)

        page.route(f"**/{name}/{number}", late)
        assert house.post(f"/api/v1/projects/{name}/builds/{first}/cancel").code < 300
        shows(page, "begun")
        page.unroute_all(behavior="wait")
        (place / "end").touch()
        house.finished(name, number)
