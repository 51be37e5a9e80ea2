"""workspace.py: what a build is given."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from sayci.mirrors.workspace import make, owner_of
from tests.gitserver import Repository, run

SHARED = Path("/dev/shm")


@pytest.fixture
def mirror(tmp_path):
    """A repository whose objects are in one pack."""
    repository = Repository(tmp_path / "7.git")
    repository.commit({"a": "1"}, "first")
    repository.commit({"a": "2"}, "second")
    repository.git("gc", "--quiet")
    return repository


@pytest.fixture
def elsewhere(tmp_path):
    """A directory in another file system, where no file of this one can have a name."""
    if not SHARED.is_dir() or SHARED.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    path = Path(tempfile.mkdtemp(prefix="sayci-test-", dir=SHARED))
    yield path
    shutil.rmtree(path)


def packs_in(objects: Path) -> dict[str, os.stat_result]:
    return {path.name: path.stat() for path in (objects / "pack").iterdir()}


def log_of(tree: Path) -> list[str]:
    return run("-c", "safe.directory=*", "-C", str(tree), "log", "--format=%s").split()


def test_a_workspace_is_private_and_its_repository_names_the_commit(mirror, tmp_path):
    commit = mirror.head()
    tree = make(tmp_path / "12", mirror.path, commit, f"{commit} refs/tags/größe\n")
    assert tree == tmp_path / "12" / "tree"
    assert {path.name for path in (tmp_path / "12").iterdir()} == {"tree", "home", "tmp"}
    for path in (tmp_path / "12", *(tmp_path / "12").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert run("-C", str(tree), "rev-parse", "HEAD") == commit
    assert run("-C", str(tree), "tag") == "größe"
    assert run("-C", str(tree), "rev-parse", "--is-inside-work-tree") == "true"


def test_its_packs_are_the_mirrors_and_take_no_room(mirror, tmp_path):
    tree = make(tmp_path / "12", mirror.path, mirror.head(), "")
    theirs, ours = packs_in(mirror.path / "objects"), packs_in(tree / ".git" / "objects")
    assert {Path(name).suffix for name in ours} >= {".pack", ".idx"}
    assert all(status.st_ino == theirs[name].st_ino for name, status in ours.items())
    assert log_of(tree) == ["second", "first"]


def test_it_knows_no_other_repository_and_lives_when_that_is_gone(mirror, tmp_path):
    tree = make(tmp_path / "12", mirror.path, mirror.head(), "")
    assert not [path for path in (tree / ".git").rglob("*") if path.is_file() and b"7.git" in path.read_bytes()]
    shutil.rmtree(mirror.path)
    assert log_of(tree) == ["second", "first"]
    run("-C", str(tree), "fsck", "--strict")


def test_what_is_in_no_pack_is_there_too(tmp_path):
    repository = Repository(tmp_path / "7.git")
    commit = repository.commit({"a": "1"}, "loose")
    assert not packs_in(repository.path / "objects")
    tree = make(tmp_path / "12", repository.path, commit, "")
    assert log_of(tree) == ["loose"]
    run("-C", str(tree), "fsck", "--strict")


def test_what_a_killed_git_has_left_in_the_mirror_is_left_there(mirror, tmp_path):
    commit = mirror.head()
    left = ("pack/tmp_pack_Xy12", "pack/.tmp-123-pack-abc.pack", "pack/pack-abc.keep", "ab/tmp_obj_Xy12", "info/x.lock")
    for name in left:
        path = mirror.path / "objects" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    objects = make(tmp_path / "12", mirror.path, commit, "") / ".git" / "objects"
    assert not [name for name in left if (objects / name).exists()]


def test_what_nothing_reached_for_a_while_is_there_for_who_asks_for_it_again(mirror, tmp_path):
    commit = mirror.commit({"a": "3"}, "third", branch="other")
    mirror.delete("refs/heads/other")
    mirror.git("-c", "gc.cruftPacks=true", "gc", "--quiet", "--prune=2.weeks.ago")
    assert [name for name in packs_in(mirror.path / "objects") if name.endswith(".mtimes")]
    assert log_of(make(tmp_path / "12", mirror.path, commit, "")) == ["third"]


def test_where_links_are_refused_there_are_copies_closed_to_writing(mirror, elsewhere):
    tree = make(elsewhere / "12", mirror.path, mirror.head(), "")
    assert log_of(tree) == ["second", "first"]
    for status in packs_in(tree / ".git" / "objects").values():
        assert status.st_nlink == 1
        assert stat.S_IMODE(status.st_mode) == 0o444


def test_objects_that_are_not_to_be_shared_are_copies(mirror, tmp_path):
    tree = make(tmp_path / "12", mirror.path, mirror.head(), "", shares_objects=False)
    assert log_of(tree) == ["second", "first"]
    assert {status.st_nlink for status in packs_in(tree / ".git" / "objects").values()} == {1}
    for path in (tree / ".git" / "objects" / "pack").iterdir():  # what a build may do that is who the server is
        path.chmod(0o600)
        path.write_bytes(b"changed")
    assert log_of(make(tmp_path / "13", mirror.path, mirror.head(), "", shares_objects=False)) == ["second", "first"]


def test_packs_that_a_mask_has_closed_are_opened_to_readers(mirror, tmp_path):
    for path in (mirror.path / "objects" / "pack").iterdir():
        path.chmod(0o400)
    tree = make(tmp_path / "12", mirror.path, mirror.head(), "")
    assert {stat.S_IMODE(status.st_mode) for status in packs_in(tree / ".git" / "objects").values()} == {0o444}


def test_a_workspace_is_never_made_over_another_one(mirror, tmp_path):
    make(tmp_path / "12", mirror.path, mirror.head(), "")
    with pytest.raises(FileExistsError):
        make(tmp_path / "12", mirror.path, mirror.head(), "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
@pytest.mark.parametrize("mask", (0o022, 0o077))
def test_all_in_it_is_the_users_but_not_itself_and_not_the_objects(tmp_path, mirror, mask):
    commit = mirror.commit({"a": "3"}, "loose")
    old = os.umask(mask)
    try:
        make(tmp_path / "12", mirror.path, commit, f"{commit} refs/tags/v1\n", 60801)
    finally:
        os.umask(old)
    status = (tmp_path / "12").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 60801, 0o710)
    for path in (tmp_path / "12").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    shared = {path.stat().st_ino for path in (mirror.path / "objects").rglob("*") if path.is_file()}
    for path in (tmp_path / "12").rglob("*"):
        status = path.stat()
        expected = 0 if status.st_ino in shared else 60801
        assert (status.st_uid, status.st_gid) == (expected, expected), path
    assert {path.stat().st_uid for path in mirror.path.rglob("*")} == {0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_whose_a_workspace_is_no_link_says(tmp_path):
    (tmp_path / "real" / "tree").mkdir(parents=True)
    os.chown(tmp_path / "real" / "tree", 60801, 60801)
    assert owner_of(tmp_path / "real") == 60801
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "tree").symlink_to(tmp_path / "real" / "tree")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert owner_of(tmp_path / "inner") == 0
    for name in ("link", "file", "empty", "nothing"):
        assert owner_of(tmp_path / name) is None
