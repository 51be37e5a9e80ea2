"""workspace.py: what a build is given."""

from __future__ import annotations

import stat

import pytest

from sayci.mirrors.workspace import make
from tests.gitserver import run

COMMIT = "4f1c9aa0" * 5


def test_a_workspace_is_private_and_its_repository_names_the_commit(tmp_path):
    tree = make(tmp_path / "12", tmp_path / "7.git", COMMIT, f"{COMMIT} refs/tags/größe\n")
    assert tree == tmp_path / "12" / "tree"
    assert {path.name for path in (tmp_path / "12").iterdir()} == {"tree", "home", "tmp"}
    for path in (tmp_path / "12", *(tmp_path / "12").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert run("-C", str(tree), "rev-parse", "HEAD") == COMMIT
    assert run("-C", str(tree), "tag") == "größe"
    assert run("-C", str(tree), "rev-parse", "--is-inside-work-tree") == "true"


def test_nothing_but_the_objects_of_the_mirror_is_known_in_it(tmp_path):
    tree = make(tmp_path / "12", tmp_path / "7.git", COMMIT, "")
    naming = [path for path in (tree / ".git").rglob("*") if path.is_file() and "7.git" in path.read_text()]
    assert naming == [tree / ".git" / "objects" / "info" / "alternates"]
    assert naming[0].read_text() == f"{tmp_path}/7.git/objects\n"


def test_a_workspace_is_never_made_over_another_one(tmp_path):
    make(tmp_path / "12", tmp_path / "7.git", COMMIT, "")
    with pytest.raises(FileExistsError):
        make(tmp_path / "12", tmp_path / "7.git", COMMIT, "")
