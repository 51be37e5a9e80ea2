"""The directory that a build is given: its checkout, a home and a place for temporary files.  These functions block."""

from __future__ import annotations

from pathlib import Path

from sayci.git import DOT_GIT_DIRECTORIES, dot_git

TREE, HOME, TMP = "tree", "home", "tmp"


def make(workspace: Path, mirror: Path, commit: str, tags: str) -> Path:
    """Make `workspace`, with the ``.git`` of `commit` in its tree and no other file yet; returns the tree.

    It borrows the objects of `mirror`; `tags` is what git.list_tags has printed.  Raises OSError.
    """
    workspace.mkdir(mode=0o700)
    for name in (TREE, HOME, TMP):
        (workspace / name).mkdir(mode=0o700)
    tree = workspace / TREE
    for name in DOT_GIT_DIRECTORIES:
        (tree / ".git" / name).mkdir(parents=True)
    for name, text in dot_git(mirror, commit, tags).items():
        (tree / ".git" / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    return tree
