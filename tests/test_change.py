"""change.py: names of refs and commits from strangers."""

from __future__ import annotations

import pytest

from sayci.change import MESSAGE_LIMIT, Change, check_branch, check_commit, check_ref
from sayci.errors import Invalid

COMMIT = "4f1c9aa0" * 5


@pytest.mark.parametrize(
    "ref",
    (
        "refs/heads/-x",
        "refs/heads/a b;id",
        "refs/heads/@{",
        "refs/heads/a..b",
        "refs/heads/a~1",
        "refs/heads/a^",
        "refs/heads/a:b",
        "refs/heads/a\n",
        "refs/heads/a\0",
        "refs/heads/",
        "refs/heads/x.lock",
        "refs/heads/.x",
        "refs/heads/x/",
        "refs/heads//x",
        "main",
        "--upload-pack=x",
        "refs/heads/" + "x" * 300,
        "",
    ),
)
def test_a_ref_that_git_would_refuse_or_take_for_an_option_is_invalid(ref):
    with pytest.raises(Invalid):
        check_ref(ref)


@pytest.mark.parametrize("branch", ("main", "release/1.2", "dependabot/npm_and_yarn/x-1", "ünïcode", "a@b"))
def test_ordinary_branches_pass(branch):
    assert check_branch(branch) == branch


@pytest.mark.parametrize(
    "commit", ("HEAD", "--help", "0" * 40, "a" * 39, "a" * 41, "A" * 40, "", "g" * 40, "a" * 40 + "\n")
)
def test_only_full_object_names_are_commits(commit):
    with pytest.raises(Invalid):
        check_commit(commit)


def test_sha256_object_names_are_commits():
    assert check_commit("ab" * 32) == "ab" * 32


@pytest.mark.parametrize(
    ("message", "asks"),
    (("fix [skip ci]", True), ("[CI SKIP]", True), ("skip ci", False), ("", False), ("x\n\n[ci skip]", True)),
)
def test_skip_ci_is_read_from_the_message(message, asks):
    assert Change("refs/heads/main", COMMIT, message).asks_to_skip is asks


def test_long_messages_are_cut_and_lone_surrogates_replaced():
    change = Change("refs/heads/main", COMMIT, "x" * 10**6, "\ud800")
    assert len(change.message) == MESSAGE_LIMIT
    assert change.author == "?"
