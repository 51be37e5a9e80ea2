"""How soon a log is on the screen: one of 100 MB, and the next line of one that grows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser.visitor import House, program, running_house, sign_in, until

LINES = 1_000_000
PRINTED_LINES = 100
ROUNDS = 9
#: Notes for each new row of the log how long ago it was printed, once it has been drawn.
WATCH = """() => {
  window.late = [];
  new MutationObserver((changes) => requestAnimationFrame(() => {
    for (const change of changes) for (const row of change.addedNodes) {
      const printed = /at (\\d{13})$/.exec(row.textContent);
      if (printed) window.late.push(Date.now() - Number(printed[1]));
    }
  })).observe(document.querySelector("#test > .log"), { childList: true, subtree: true });
}"""


def figures() -> Iterator[tuple[str, str]]:
    """Lines of the result."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this part needs it

    with tempfile.TemporaryDirectory() as place, running_house(Path(place)) as house, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program(), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=house.base)
        sign_in(context.new_page(), house)
        yield from large(house, context)
        yield from growing(house, context)
        browser.close()


def large(house: House, context: Any) -> Iterator[tuple[str, str]]:
    """A log of a million lines."""
    source = house.data.parent / "printed"
    with source.open("w") as file:
        file.writelines(
            f"{number:07} a line of a log, as long as such lines are, more or less, and some more words: 01234567\n"
            for number in range(LINES)
        )
    house.project("large", f".PHONY: test\ntest:\n\t@cat {source}\n")
    house.build("large")
    house.finished("large", 1)
    size = source.stat().st_size / 1e6

    def took(path: str) -> float:
        began = time.perf_counter()
        answer = context.request.get(path)
        if answer.status != 200:
            raise RuntimeError(path, answer.status)
        answer.body()
        return (time.perf_counter() - began) * 1000

    first, later = took("/large/1"), [took("/large/1") for _ in range(ROUNDS)]
    yield (
        f"the page of a log of {size:.0f} MB: first, again",
        f"{first:.0f} ms, {statistics.median(later):.0f} ms (median of {ROUNDS})",
    )
    around = [took(f"/large/1?around=test:{number * LINES // (ROUNDS + 1)}") for number in range(1, ROUNDS + 1)]
    yield "the page around some line of it", f"{statistics.median(around):.0f} ms (median of {ROUNDS})"
    found = [took("/large/1/find?words=not+in+there") for _ in range(ROUNDS)]
    yield "finding nothing in it", f"{statistics.median(found):.0f} ms (median of {ROUNDS})"
    page = context.new_page()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        page.goto("/large/1", wait_until="domcontentloaded")
        seconds.append((time.perf_counter() - began) * 1000)
    yield (
        "the same in a browser, to the end of its document",
        f"{statistics.median(seconds):.0f} ms (median of {ROUNDS})",
    )
    page.close()


def growing(house: House, context: Any) -> Iterator[tuple[str, str]]:
    """The time from the print of a line to the frame in which it is drawn."""
    go = house.data.parent / "go"
    loop = f"for n in $$(seq {PRINTED_LINES}); do echo line $$n at $$(date +%s%3N); sleep 0.1; done"
    house.project("growing", f".PHONY: test\ntest:\n\t@echo begun; while [ ! -e {go} ]; do sleep 0.05; done; {loop}\n")
    house.build("growing")
    house.step_runs("growing", 1)
    page = context.new_page()
    page.goto("/growing/1")
    until(page, "document.querySelector('#logs').dataset.state === 'live'")
    page.evaluate(WATCH)
    go.touch()
    until(page, f"window.late.length >= {PRINTED_LINES}")
    late = sorted(page.evaluate("window.late"))
    median, most = statistics.median(late), late[-1]
    told = f"{median:.0f} ms, p95 {late[len(late) * 95 // 100]:.0f} ms, most {most:.0f} ms ({len(late)} lines)"
    yield "a printed line on the screen of a browser", told
