"""firsterror.py: what tools print when something is wrong, and what they print all the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.firsterror import CLOSELY, ERRORS_LIMIT, PART, errors_in, folds_of, is_error, noise_of


@pytest.mark.parametrize(
    "line",
    (
        "make: *** [Makefile:249: test] Error 1",
        "make[2]: *** No rule to make target 'x', needed by 'y'.  Stop.",
        "/usr/bin/make: *** [test] Error 2",
        "gmake: *** [all] Error 1",
        "src/core/ev.c:1402:17: error: 'fiber' undeclared",
        "src/core/ev.c:12: error: expected ';'",
        "a b.c:3:1: fatal error: no.h: No such file or directory",
        "src/app.ts(12,5): error TS2304: Cannot find name 'x'.",
        "error[E0382]: borrow of moved value: `x`",
        "error: could not compile `shop` due to previous error",
        "ERROR: test_price (tests.test_shop.Prices)",
        "FAIL: test_price (tests.test_shop.Prices)",
        "FAILED tests/test_shop.py::test_price - assert 1 == 2",
        "ERROR tests/test_shop.py - ImportError",
        "tests/test_shop.py::test_price FAILED                       [ 50%]",
        "E       assert 1 == 2",
        "Traceback (most recent call last):",
        "ValueError: not a number",
        "shop.errors.PriceError: too high",
        "TypeError [ERR_INVALID_ARG_TYPE]: The argument",
        "not ok 3 - greets",
        "--- FAIL: TestPrice (0.00s)",
        "FAIL\texample.org/shop\t0.003s",
        "panic: runtime error: index out of range [5]",
        "thread 'main' panicked at src/main.rs:2:5:",
        "fatal: not a git repository",
        "npm ERR! code ELIFECYCLE",
        "[ERROR] Failed to execute goal",
        'Exception in thread "main" java.lang.NullPointerException',
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "Segmentation fault (core dumped)",
        "/bin/sh: 1: gcc: not found",
        "bash: pytest: command not found",
        "ld: error: undefined symbol: main",
        "main.o: undefined reference to `price'",
        "/usr/bin/ld: cannot find -lshop",
        "price: price.c:7: main: Assertion `x > 0' failed.",
        " 8/22 Test  #8: valgrind_all .....................***Failed   20.51 sec",
        "> Task :test FAILED",
        "  ● prices are right",
        "mypy.py:3: error: Missing return statement  [return]",
    ),
)
def test_it_is_an_error(line):
    assert is_error(line)
    assert is_error(f"{line}  ")
    assert noise_of(line) is None
    assert errors_in(reader(f"fine\n{line}\n".encode()), 0, 0, len(line.encode()) + 6).lines == (2,)


@pytest.mark.parametrize(
    "line",
    (
        "",
        "all is well",
        "0 errors, 0 warnings",
        "no errors found",
        "ok 3 - an error: is raised",
        "PASS: test_error_handling",
        "tests/test_errors.py::test_error PASSED",
        "cc -Werror -c error.c -o error.o",
        "gcc -DERROR=1 -c fail.c",
        "not ok 4 - later # TODO",
        "make[1]: [Makefile:3: clean] Error 1 (ignored)",
        "error_handler.c compiled",
        "  ✓ fails with an error",
        "Running test_failures",
        "errors: 0",
        "E",
    ),
)
def test_it_is_none(line):
    assert not is_error(line)


def reader(log):
    return lambda start, length: log[start : start + length]


def errors(log, start=0, ended=0):
    return errors_in(reader(log), start, ended, len(log)).lines


def test_the_first_errors_are_told_by_their_lines():
    log = b"one\nx.c:1:2: error: a\nthree\nmake: *** [test] Error 1\n"
    assert errors(log) == (2, 4)
    assert errors(log, 4, 1) == (2, 4)
    assert errors_in(reader(b""), 0, 0, 0).first is None
    assert errors(b"not ok 1\n" * 100) == tuple(range(1, ERRORS_LIMIT + 1))


def test_colours_and_what_was_overwritten_are_no_part_of_a_line():
    assert errors(b"\x1b[1mx.c:1:2: \x1b[31merror: \x1b[0mgone\n") == (1,)
    assert errors(b"not ok 1\rok 1 - again\n") == ()


def test_an_error_at_the_border_of_what_is_read_is_found():
    for fill in range(PART - 20, PART + 5):
        log = b"x" * fill + b"\nnot ok 1 - here\nafter\n"
        assert errors(log) == (2,)


def test_what_is_looked_at_closely_is_bounded():
    assert errors(b"0 errors\n" * (CLOSELY + 5) + b"not ok 1\n") == ()


@given(st.binary(max_size=300), st.integers(0, 100))
def test_any_bytes_may_be_a_log(log, start):
    found = errors(log, min(start, len(log)), log[:start].count(b"\n"))
    assert all(1 <= line <= log.count(b"\n") + 1 for line in found)
    assert list(found) == sorted(set(found))


def test_a_line_made_to_take_long_does_not():
    for line in ("a" * 100_000, ":1" * 50_000, "x:" * 50_000, " " * 100_000, "Assertion " * 10_000, "make: " * 20_000):
        assert not is_error(line)


# -- noise


@pytest.mark.parametrize(
    ("line", "kind"),
    (
        ("make[1]: Entering directory '/x'", 0),
        ("make[2]: Leaving directory '/x'", 0),
        ("make[1]: Nothing to be done for 'all'.", 0),
        ("cc -std=c99 -c a.c -o a.o", 1),
        ("/usr/bin/x86_64-linux-gnu-gcc-12 -c a.c", 1),
        ("  CC      kernel/fork.o", 1),
        ("[ 12%] Building C object a.o", 1),
        ("   Compiling serde v1.0.1", 1),
        ("Setting up gcc (4:12.2.0-3) ...", 2),
        ("ok 3 - greets", 3),
        ("tests/test_a.py::test_b PASSED [ 3%]", 3),
        ("--- PASS: TestA (0.0s)", 3),
        ("  ✓ works", 3),
        ("ok 3 - later # TODO", None),
        ("cc -c a.c  # warning: odd", None),
        ("echo cc", None),
        ("account -x", None),
        ("make: *** [all] Error 1", None),
        ("", None),
    ),
)
def test_noise_has_its_kind(line, kind):
    assert noise_of(line) == kind


def test_runs_of_noise_are_folded_and_others_are_not():
    compiles = [f"cc -c {number}.c" for number in range(6)]
    enters = ["make[1]: Entering directory '/x'", "make[1]: Leaving directory '/x'"]
    texts = ["start", *compiles, *enters, "ok 1 - a", "ok 2 - b", "end"]
    assert [(fold.begin, fold.end) for fold in folds_of(texts)] == [(1, 7), (7, 9)]
    assert folds_of(texts)[0].words == "6 compile commands, no warnings"
    assert folds_of(["x", *compiles[:4], "y"]) == []
    assert [(fold.begin, fold.end) for fold in folds_of(compiles)] == [(0, 6)]
    assert folds_of([]) == []
