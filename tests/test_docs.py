"""Documentation that is made from the code is compared with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sayci.build import BUILD_MOVES, BuildState
from sayci.options import Options
from sayci.step import STEP_MOVES, StepState

DOCS = Path(__file__).parent.parent / "docs"


def table_of(moves, states):
    """A state table as reStructuredText: a row for each state, a column for each event."""
    events = list(dict.fromkeys(event for _, event in moves))
    rows = [
        [state.value, *(moves[state, event].value if (state, event) in moves else "-" for event in events)]
        for state in states
    ]
    rows = [["state", *events], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


@pytest.mark.parametrize(
    ("title", "moves", "states"), (("build", BUILD_MOVES, BuildState), ("step", STEP_MOVES, StepState))
)
def test_the_printed_state_tables_are_those_of_the_code(title, moves, states):
    text = (DOCS / "architecture.rst").read_text()
    assert f".. states of a {title}\n\n{table_of(moves, states)}\n" in text


def test_every_option_is_documented():
    text = (DOCS / "operating.rst").read_text()
    for option in Options(environment={}).docs:
        assert f"``--{option}" in text or option in ("help", "version", "p"), option


def test_links_between_documents_lead_somewhere():
    root = DOCS.parent
    for path in (root / "README.rst", root / "CONTRIBUTING.rst", *DOCS.glob("*.rst")):
        for target in re.findall(r"^\.\. _[^:]+: (\S+)$", path.read_text(), re.MULTILINE):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name}: {target}"
