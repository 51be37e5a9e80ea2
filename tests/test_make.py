"""make.py: its words are understood, as the real make says them."""

from __future__ import annotations

import os
import subprocess

import pytest

from sayci import make
from sayci.step import Result

ALL = "all:\n\t@true\n"


@pytest.fixture
def tree(tmp_path):
    """Where a commit is checked out; no make started here knows of one around it."""
    path = tmp_path / "tree"
    path.mkdir()
    return path


def run(tree, target="test", *, debug=False):
    """Run the real make as sayci would: (exit code, log)."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    ended = subprocess.run(
        make.command(target, debug=debug),
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout


def outcome(tree, makefile, target="test", *, debug=False):
    (tree / "Makefile").write_text(makefile)
    code, log = run(tree, target, debug=debug)
    return make.explain(target, code, log[-make.TAIL :], is_a_file=(tree / target).exists())


def test_a_command_line_names_the_target_alone():
    assert make.command("test") == ("make", "test")
    assert make.command("check", debug=True) == ("make", "--trace", "check")


@pytest.mark.parametrize("debug", (False, True))
@pytest.mark.parametrize(
    "makefile",
    (
        "test:\n\t@echo fine\n",
        "test:\n\t@:\n",
        "test: unit\nunit:\n\t@echo fine\n",
        ".PHONY: test\ntest:\n\t@echo fine\n",
        ".DEFAULT:\n\t@echo $@\n",
        "MAKEFLAGS += -w\ntest:\n\t@echo fine\n",
        "SHELL = /bin/bash\n.ONESHELL:\ntest:\n\t@echo one\n\techo two\n",
    ),
)
def test_recipes_that_succeed(tree, makefile, debug):
    assert outcome(tree, makefile, debug=debug) == (Result.SUCCESS, "")


def test_a_recipe_that_fails_is_told_with_make_s_exit(tree):
    assert outcome(tree, "test:\n\t@exit 3\n") == (Result.FAILURE, "make test, exit 2")


def test_a_failure_that_is_ignored_is_none(tree):
    assert outcome(tree, "test:\n\t-@exit 3\n") == (Result.SUCCESS, "")


@pytest.mark.parametrize("makefile", (ALL, "", "# nothing\n", "MAKEFLAGS += -k\n" + ALL))
def test_a_makefile_without_the_target(tree, makefile):
    assert outcome(tree, makefile) == (Result.FAILURE, "the Makefile has no target test")


def test_another_target_is_called_by_its_name(tree):
    assert outcome(tree, ALL, "check/fast") == (Result.FAILURE, "the Makefile has no target check/fast")


@pytest.mark.parametrize("makefile", ("test: nosuch\n\t@true\n", "include nosuch.mk\ntest:\n\t@true\n"))
def test_a_prerequisite_that_is_missing_is_not_the_target(tree, makefile):
    assert outcome(tree, makefile) == (Result.FAILURE, "make test, exit 2")


@pytest.mark.parametrize("debug", (False, True))
def test_a_directory_called_test_is_no_success(tree, debug):
    (tree / "test").mkdir()
    result, reason = outcome(tree, ALL, debug=debug)
    assert result is Result.FAILURE
    assert ".PHONY: test" in reason


@pytest.mark.parametrize("silencer", ("MAKEFLAGS += -s\n", ".SILENT:\n"))
def test_a_directory_called_test_is_no_success_where_make_is_silenced(tree, silencer):
    (tree / "test").mkdir()
    result, reason = outcome(tree, silencer + ALL)
    assert result is Result.FAILURE
    assert ".PHONY: test" in reason


@pytest.mark.parametrize(("name", "content"), (("test.sh", "true\n"), ("test.c", "int main(void) { return 0; }\n")))
def test_a_file_that_make_s_own_rules_make_is_no_success(tree, name, content):
    (tree / name).write_text(content)
    result, reason = outcome(
        tree, "CC = true\n" + ALL
    )  # what a compiler does is no matter, and not every machine has one
    assert result is Result.FAILURE
    assert "no target test" in reason


def test_a_recipe_that_compiles_and_runs_its_own_test_is_fine(tree):
    (tree / "test.c").write_text("int main(void) { return 0; }\n")
    makefile = "CC = cp\ntest: test.c\n\t$(CC) test.c test\n\ttest -s test && echo ran\n"
    assert outcome(tree, makefile) == (Result.SUCCESS, "")


def test_a_directory_called_test_is_no_matter_to_a_phony_target(tree):
    (tree / "test").mkdir()
    assert outcome(tree, ".PHONY: test\ntest:\n\t@echo fine\n") == (Result.SUCCESS, "")


@pytest.mark.parametrize(
    "makefile",
    (
        "test:\n\ttouch test\n",
        ".PHONY: other\ntest: prepared\n",
        "MAKEFLAGS += -w\ntest:\n\ttouch test\n",
    ),
)
def test_a_target_that_is_up_to_date_is_no_success(tree, makefile):
    (tree / "prepared").touch()
    (tree / "test").touch()
    result, reason = outcome(tree, makefile)
    assert result is Result.FAILURE
    assert "make ran nothing for test" in reason


def test_a_target_without_recipe_is_no_success(tree):
    assert outcome(tree, ".PHONY: test\n")[0] is Result.FAILURE


def test_what_a_make_below_says_of_itself_does_not_count(tree):
    (tree / "sub" / "test").mkdir(parents=True)
    (tree / "sub" / "Makefile").write_text(ALL)
    assert outcome(tree, ".PHONY: test\ntest:\n\t$(MAKE) -C sub test\n") == (Result.SUCCESS, "")
    assert b"make[1]: Nothing to be done for 'test'." in run(tree)[1]


def test_a_make_below_without_the_target_is_a_failure_of_ours(tree):
    (tree / "sub").mkdir()
    (tree / "sub" / "Makefile").write_text(ALL)
    assert outcome(tree, "test:\n\t$(MAKE) -C sub test\n") == (Result.FAILURE, "make test, exit 2")


def test_up_to_date_files_on_the_way_to_a_recipe_are_fine(tree):
    assert outcome(tree, "test:\n\t@echo \"make: 'unit' is up to date.\"\n") == (Result.SUCCESS, "")


def test_a_makefile_that_cannot_be_read_is_a_failure(tree):
    assert outcome(tree, "test:\n    true\n") == (Result.FAILURE, "make test, exit 2")


def test_a_command_that_dies_of_a_signal_is_a_failure(tree):
    assert outcome(tree, "test:\n\t@kill -SEGV $$$$\n") == (Result.FAILURE, "make test, exit 2")


def test_a_make_that_is_killed_is_told_with_the_signal(tree):
    assert outcome(tree, "test:\n\t@kill -KILL $$PPID\n") == (Result.FAILURE, "make test was killed by SIGKILL")


@pytest.mark.parametrize(
    ("number", "name"),
    ((6, "SIGABRT"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (25, "SIGXFSZ"), (63, "signal 63")),
)
def test_signals_are_called_by_their_names(number, name):
    assert make.explain("test", -number, b"") == (Result.FAILURE, f"make test was killed by {name}")


@pytest.mark.parametrize("tail", (b"", b"\xff\xfe\x00", b"\n" * 5000, "make: \u2028".encode()))
def test_any_bytes_may_be_the_end_of_a_log(tail):
    assert make.explain("test", 0, tail) == (Result.SUCCESS, "")
    assert make.explain("test", 2, tail) == (Result.FAILURE, "make test, exit 2")


def test_a_message_is_found_behind_a_long_log(tree):
    (tree / "test").mkdir()
    makefile = f"$(info {'x' * 3 * make.TAIL})\n{ALL}"
    assert outcome(tree, makefile)[0] is Result.FAILURE


@pytest.mark.parametrize("name", make.MAKEFILES)
def test_make_finds_the_makefiles_that_are_looked_for(tree, name):
    (tree / name).write_text("test:\n\t@echo fine\n")
    assert make.has_makefile(path.name for path in tree.iterdir())
    assert run(tree) == (0, b"fine\n")


@pytest.mark.parametrize("names", ((), ("makefile.am", "MAKEFILE", "README"), ("src",)))
def test_other_files_are_no_makefiles(tree, names):
    assert not make.has_makefile(names)
    for name in names:
        (tree / name).write_text("test:\n\t@true\n")
    assert run(tree)[0] == 2


def test_a_commit_without_a_makefile_is_a_failure_that_says_so():
    result, reason = make.no_makefile("check")
    assert result is Result.FAILURE
    assert "check" in reason
