"""look.py and assets.py: icons, strips, and templates that escape."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from sayci.build import BuildState
from sayci.step import Result
from sayci.web.assets import SERVED, Assets, packaged
from sayci.web.bars import STRIP_LENGTH, Bar, bars_of, strip
from sayci.web.look import Look, Sheet, _symbols
from sayci.web.sayings import MARKS
from tests.factories import NOW, a_build
from tests.web.page_fixtures import Document

TEMPLATES = sorted(path.name for path in files("sayci.web").joinpath("templates").iterdir())


@pytest.fixture
def sheet():
    return Sheet(_symbols())


def test_a_page_carries_the_icons_that_it_uses(sheet):
    assert sheet.icon("failure", "lg") == (
        '<svg class="i failure lg" aria-hidden="true"><use href="#i-failure"/></svg>'
    )
    assert sheet.icon("running") == '<svg class="i running spin" aria-hidden="true"><use href="#i-running"/></svg>'
    assert sheet.icon("plus") == '<svg class="i" aria-hidden="true"><use href="#i-plus"/></svg>'
    assert re.findall(r'symbol id="([\w-]+)"', sheet.sprite()) == ["i-failure", "i-plus", "i-running"]
    Document(sheet.sprite())


def test_there_are_no_other_icons(sheet):
    with pytest.raises(KeyError):
        sheet.icon("<script>")


def test_a_mark_has_its_word_escaped(sheet):
    assert "timed out</span>" in sheet.mark("timedout")
    assert "&lt;b&gt;&lt;U+202E&gt;</span>" in sheet.mark("failure", "<b>\u202e")


def test_every_icon_that_templates_name_is_there():
    for name in TEMPLATES:
        text = files("sayci.web").joinpath("templates", name).read_text()
        for icon in re.findall(r"icon\('(\w+)'", text):
            assert icon in _symbols(), (name, icon)


# -- strips


def test_a_strip_without_builds():
    drawn = strip([])
    assert 'aria-label="No builds yet."' in drawn
    assert drawn.count("M") == STRIP_LENGTH
    assert re.findall(r'class="(b-\w+)"', drawn) == ["b-none"]


def test_a_strip_shows_the_last_builds_the_oldest_first():
    builds = [
        a_build(number=3, state=BuildState.QUEUED),
        a_build(number=2, result=Result.FAILURE),
        a_build(number=1, result=Result.SUCCESS),
    ]
    bars = bars_of(builds, NOW)
    assert bars == [Bar(1, "success", 59.0), Bar(2, "failure", 59.0)]
    assert "Last 2 builds: 1 success, 1 failure. Latest: #2 failure." in strip(bars)
    assert re.findall(r'path class="([bm]-\w+)"', strip(bars)) == ["b-none", "b-success", "b-failure", "m-failure"]


def test_a_strip_has_room_for_so_many_builds():
    builds = [a_build(number=number, result=Result.SUCCESS) for number in range(50, 0, -1)]
    assert [bar.number for bar in bars_of(builds, NOW)] == list(range(31, 51))


@given(
    st.lists(
        st.builds(
            Bar,
            st.integers(1, 10**6),
            st.sampled_from(["success", "failure", "error", "timedout", "cancelled", "unknown", "running", "skipped"]),
            st.floats(0, 1e6),
        ),
        max_size=STRIP_LENGTH,
    )
)
def test_any_strip_is_well_formed_and_within_its_frame(bars):
    (drawn, *paths) = Document(strip(bars)).elements
    assert drawn[1]["viewbox"] == "0 0 200 38"
    assert len({path["class"] for _, path in paths}) == len(paths)
    for _, path in paths:
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path["d"]):
            assert 0 <= float(x) <= 200
            assert 0 <= float(y) <= 38
        assert all(0 < float(height) <= 28 for height in re.findall(r"h[\d.]+v([\d.]+)z", path["d"]))


# -- templates


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_escape_everything(name):
    text = files("sayci.web").joinpath("templates", name).read_text()
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text
    assert " style=" not in text
    assert not re.search(r"\son\w+=", text)
    assert not re.search(r"\s[\w-]+=\{\{", text), "attributes are in quotes"
    assert re.search(r"<form(?![^>]*method=\"(?:post|get)\")", text) is None
    assert len(re.findall(r"<form[^>]*method=\"post\"", text)) == len(
        re.findall(r"ui\.token\(\)|name=\"form_token\"", text)
    ) - (1 if name == "_ui.html" else 0)


def test_a_value_that_is_missing_is_a_mistake_and_not_a_gap():
    with pytest.raises(UndefinedError):
        Look(Assets()).draw("error.html", {})


def test_every_mark_has_its_colour_and_its_bar():
    sheet = packaged("sayci.css").decode()
    for mark in MARKS:
        assert re.search(rf"\.{mark}\b", sheet), mark
    for mark in ("success", "failure", "error", "timedout", "unknown", "cancelled", "running"):
        assert f".b-{mark}" in sheet


def test_what_is_served_is_in_the_package_and_addressed_by_its_bytes():
    assets = Assets()
    for name in SERVED:
        assert re.fullmatch(rf"/static/{re.escape(name)}\?v=[0-9a-f]{{16}}", assets.path(name))
    with pytest.raises(KeyError):
        assets.path("icons.svg")
