"""loglines.py: any window of any log is what a reader of the whole log would cut out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci import loglines
from sayci.loglines import (
    END,
    LINE_BYTES,
    Bounds,
    Hit,
    Index,
    Place,
    Times,
    counted,
    end_of,
    find,
    lines_before,
    needle_of,
    shown_of,
    start_of,
    window,
)

LOGS = st.lists(
    st.sampled_from(
        [b"a", b"bc", b"\n", b"\n", b"\r", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", b"\xff", b"\x1b[1m"]
    ),
    max_size=80,
).map(b"".join)


@pytest.fixture(autouse=True)
def _small_blocks(request):
    """Blocks so small that a short log has many."""
    if "large" in request.keywords:
        yield
        return
    kept = loglines.BLOCK, loglines.SLICE
    loglines.BLOCK, loglines.SLICE = 16, 48
    yield
    loglines.BLOCK, loglines.SLICE = kept


def reader(log):
    def read(start, length):
        assert start >= 0
        return log[start : start + max(0, length)]

    return read


def index_of(log):
    index = Index()
    while len(log) - index.end >= loglines.BLOCK:
        index.extend(index.end, counted(reader(log), index.end))
    return index


def lines_of(log):
    pieces = log.split(b"\n")
    return pieces if pieces[-1] else pieces[:-1]


def cut(log, place=END, lines=5, octets=1000):
    return window(reader(log), index_of(log), len(log), place, Bounds(lines, octets))


def numbered(found):
    return [(line.number, line.data) for line in found.lines]


@given(LOGS, st.data())
def test_a_line_is_found_by_its_number_and_by_its_offset(log, data):
    index, read = index_of(log), reader(log)
    starts = [0, *(at + 1 for at, byte in enumerate(log) if byte == 10)]
    line = data.draw(st.integers(1, len(starts) + 2))
    assert start_of(read, index, line, len(log)) == (starts[line - 1] if line <= len(starts) else len(log))
    offset = data.draw(st.integers(0, len(log)))
    assert lines_before(read, index, offset) == log[:offset].count(b"\n")
    if offset < len(log):
        at = log.find(b"\n", offset)
        assert end_of(read, index, offset, len(log)) == (len(log) if at < 0 else at)


@given(LOGS, st.integers(0, 60), st.sampled_from(["from", "until", "around"]), st.integers(1, 6), st.integers(8, 100))
def test_a_window_has_the_lines_that_are_there(log, line, kind, most, octets):
    found = cut(log, Place(kind, line), most, octets)
    whole = lines_of(log)
    assert found.total == len(whole)
    assert len(found.lines) <= most + (kind == "around")
    for shown in found.lines:
        assert whole[shown.number - 1] == shown.data
        assert shown.is_open == (shown.number == len(whole) and not log.endswith(b"\n"))
        assert log[: shown.start].count(b"\n") == shown.number - 1
    assert [shown.number for shown in found.lines] == list(range(found.first, found.last + 1))
    if whole:
        wanted = max(1, min(line, len(whole)))
        assert found.first <= wanted <= found.last or kind == "around"
        assert kind != "from" or found.first == wanted
        assert kind != "until" or found.last == wanted
        assert found.end == min(len(log), sum(len(piece) + 1 for piece in whole[: found.last]))


@given(LOGS)
def test_an_index_that_grows_with_its_log_is_the_same(log):
    index, whole = Index(), index_of(log)
    for size in range(0, len(log) + 1, 7):
        index.extend(index.end, counted(reader(log[:size]), index.end))
    while index.end < whole.end:
        index.extend(index.end, counted(reader(log), index.end))
    assert index._ended == whole._ended


def test_what_is_counted_twice_counts_once():
    log = b"a\n" * 100
    index = index_of(log)
    end = index.end
    index.extend(0, counted(reader(log), 0))
    assert index.end == end


def test_an_empty_log():
    found = cut(b"")
    assert (found.lines, found.first, found.last, found.total, found.is_end, found.is_open) == (
        (),
        1,
        0,
        0,
        True,
        False,
    )


def test_the_end_of_a_log():
    found = cut(b"".join(b"%d\n" % number for number in range(1, 101)), lines=3)
    assert numbered(found) == [(98, b"98"), (99, b"99"), (100, b"100")]
    assert (found.is_end, found.is_open) == (True, False)


def test_the_bytes_of_a_window_are_bounded_as_well():
    found = cut(b"".join(b"line %05d\n" % number for number in range(1, 101)), lines=50, octets=40)
    assert [line.number for line in found.lines] == [98, 99, 100]
    found = cut(b"".join(b"line %05d\n" % number for number in range(1, 101)), Place("from", 10), lines=50, octets=40)
    assert [line.number for line in found.lines] == [10, 11, 12]


def test_around_a_line_there_are_as_many_before_it_as_after():
    found = cut(b"".join(b"%d\n" % number for number in range(1, 101)), Place("around", 50), lines=6)
    assert [line.number for line in found.lines] == [47, 48, 49, 50, 51, 52]
    assert not found.is_end


def test_before_a_window_a_little_is_kept_for_the_colours():
    found = cut(b"\x1b[31mred\nstill red\n", Place("from", 2))
    assert found.before == b"\x1b[31mred\n"


@pytest.mark.large
@pytest.mark.parametrize("place", (END, Place("from", 1), Place("around", 1), Place("until", 1)))
def test_one_endless_line_is_cut(place):
    log = b"y" * 3_000_000
    found = cut(log, place, octets=20_000)
    (line,) = found.lines
    assert (len(line.data), line.left, line.is_open, found.total) == (LINE_BYTES, len(log) - LINE_BYTES, True, 1)
    assert found.end == len(log)


@pytest.mark.large
def test_of_an_endless_progress_bar_the_last_state_is_shown():
    log = b"".join(b"\r%7d %%" % number for number in range(300_000)) + b"\nafter\n"
    found = cut(log, octets=20_000, lines=1)
    assert found.lines[0].data == b"after"
    found = cut(log, Place("around", 1), octets=20_000)
    assert found.lines[0].data.endswith(b"\r 299999 %")
    assert found.lines[0].data.startswith(b"\r")


@pytest.mark.large
def test_a_short_line_is_shown_as_it_is_and_a_long_one_by_its_beginning():
    assert shown_of(b"short\rx", b"short\rx", 7) == (b"short\rx", 0)
    assert shown_of(b"h" * LINE_BYTES, b"t" * LINE_BYTES, 10**6) == (b"h" * LINE_BYTES, 10**6 - LINE_BYTES)
    assert shown_of(b"h" * LINE_BYTES, b"t" * 10 + b"\rlast\r", 10**6) == (b"\rlast\r", 10**6 - 6)


# -- finding


def found_in(log, words, limit=100):
    hits: list[Hit] = []
    start = ended = 0
    while start < len(log) and len(hits) < limit:
        part = find(reader(log), needle_of(words), start, ended, len(log), limit - len(hits))
        assert part.end > start
        hits += [hit for hit in part.hits if not hits or hits[-1].line != hit.line]
        start, ended = part.end, part.ended
    return hits


@given(LOGS, st.sampled_from(["a", "bc", "cb", "ab", "xx", "c", "A", "xa"]))
def test_every_line_with_the_words_is_found_once(log, words):
    shown = loglines.ESCAPES.sub(b"", log)
    expected = [number for number, line in enumerate(shown.split(b"\n"), 1) if words.lower().encode() in line.lower()]
    assert [hit.line for hit in found_in(log, words)] == expected


@pytest.mark.large
def test_what_is_found_is_told_with_a_part_of_its_line():
    log = b"nothing\n" + b"x" * 5000 + b" Needle " + b"y" * 5000 + b"\nneedle\n"
    first, second = found_in(log, "needle")
    assert (first.line, second.line, second.excerpt) == (2, 3, "needle")
    assert "Needle" in first.excerpt
    assert first.excerpt.startswith("…")
    assert len(first.excerpt) <= loglines.EXCERPT + 1


def test_colours_are_no_part_of_what_is_looked_in():
    (hit,) = found_in(b"\x1b[1mfile.c:3:\x1b[0m \x1b[31merror:\x1b[0m gone\n", "file.c:3: error: gone")
    assert hit.line == 1
    assert "\x1b" not in hit.excerpt


def test_the_number_of_hits_is_bounded():
    assert [hit.line for hit in found_in(b"a\n" * 1000, "a", limit=7)] == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_is_looked_for_in_nothing():
    assert needle_of("\r\n") == b""
    assert len(needle_of("x" * 10_000)) == loglines.WORDS_LIMIT
    assert found_in(b"", "a") == []


@pytest.mark.large
def test_words_over_the_border_of_two_parts_are_found():
    log = b"z" * (4 * loglines.BLOCK - 3) + b"needle" + b"z" * 100
    assert [hit.line for hit in found_in(log, "needle")] == [1]


# -- times


def noted(*pairs):
    return b"".join(offset.to_bytes(8, "little") + moment.to_bytes(4, "little") for offset, moment in pairs)


def test_what_is_at_an_offset_came_when_it_was_noted():
    times = Times(noted((0, 5), (10, 2000), (20, 61_500)))
    assert [times.at(offset) for offset in (0, 9, 10, 19, 20, 10**9)] == [0.005, 0.005, 2.0, 2.0, 61.5, 61.5]


def test_a_note_that_is_not_whole_is_none():
    assert Times(noted((0, 1000))[:11]).at(5) is None
    assert Times(noted((0, 1000), (7, 2000))[:-1]).at(9) == 1.0
    assert Times(b"").at(0) is None
    assert Times(noted((5, 1000))).at(4) is None
