"""The directory that a build is given: its checkout, a home and a place for temporary files.  These functions block.

The objects of its repository are the mirror's, by a second name (link(2)): the files belong to the server and are closed to
writing, so a build that has a user of its own can read but not change them, and needs no way into the mirror.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from sayci.git import DOT_GIT_DIRECTORIES, dot_git

TREE, HOME, TMP = "tree", "home", "tmp"

#: The files that hold objects, and what git needs to find them.  A pack of what no ref reached is among them: when a commit
#: in it is asked for again, a fetch sends nothing.  Without its list of ages (``.mtimes``) it is a pack like any other.
_OBJECTS = re.compile(r"pack/pack-[0-9a-f]+\.(?:pack|idx|rev)|[0-9a-f]{2}/[0-9a-f]+")
_READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def make(
    workspace: Path, mirror: Path, commit: str, tags: str, uid: int | None = None, *, shares_objects: bool = True
) -> Path:
    """Make `workspace`, with the ``.git`` of `commit` in its tree and no other file yet; returns the tree.

    Nobody may change `mirror`, whose objects it has, in the meantime.  `tags` is what git.list_tags has printed.  With
    `uid` all in it belongs to that user and the group of that number, but for the objects; the workspace itself the user
    can only pass through, so that nothing in it can be replaced.  Without `shares_objects` the objects are copies, which
    may be changed.  Raises OSError.
    """
    workspace.mkdir(mode=0o700)
    for name in (TREE, HOME, TMP):
        (workspace / name).mkdir(mode=0o700)
    tree = workspace / TREE
    written = _write(tree / ".git", commit, tags)
    _give(mirror / "objects", tree / ".git" / "objects", _link_file if shares_objects else _copy_file)
    if uid is not None:
        _hand_over(workspace, written, uid)
    return tree


def owner_of(workspace: Path) -> int | None:
    """To whom the tree of a workspace belongs; None when there is no tree.  Follows no link.  Raises OSError."""
    try:
        descriptor = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.lstat(TREE, dir_fd=descriptor).st_uid
    except FileNotFoundError:
        return None
    finally:
        os.close(descriptor)


def _write(directory: Path, commit: str, tags: str) -> list[Path]:
    for name in DOT_GIT_DIRECTORIES:
        (directory / name).mkdir(parents=True)
    files = {directory / name: text for name, text in dot_git(commit, tags).items()}
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return list(files)


def _hand_over(workspace: Path, written: list[Path], uid: int) -> None:
    """Give a workspace to a user; from the inside out, so that he cannot be at work in what is not all his yet."""
    directories = (Path(path) for path, _, _ in os.walk(workspace / TREE, topdown=False))
    for path in (*written, workspace / HOME, workspace / TMP, *directories):
        os.chown(path, uid, uid, follow_symlinks=False)
    os.chown(workspace, -1, uid, follow_symlinks=False)
    workspace.chmod(0o710)


def _give(objects: Path, own: Path, give: Callable[[Path, Path], None]) -> None:
    """Give every object of one repository to another one as well."""
    for name in _objects_in(objects):
        (own / name).parent.mkdir(exist_ok=True)
        give(objects / name, own / name)


def _objects_in(objects: Path) -> Iterator[Path]:
    """All should be in packs, but an older git takes what no ref reaches out of them, and it may be needed again."""
    for path in objects.glob("*/*"):
        name = path.relative_to(objects)
        if _OBJECTS.fullmatch(str(name)):
            yield name


def _link_file(path: Path, name: Path) -> None:
    if path.stat().st_mode & _READABLE != _READABLE:
        path.chmod(_READABLE)  # the mode is the file's, whatever it is called; nobody else gets into the mirror
    try:
        name.hardlink_to(path)
    except OSError:  # another file system, or one without links: what is wrong beside that, a copy meets too
        _copy_file(path, name)


def _copy_file(path: Path, name: Path) -> None:
    shutil.copyfile(path, name)
    name.chmod(_READABLE)
