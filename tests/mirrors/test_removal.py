"""removal.py: directories go, whatever somebody has made of them, and nothing else does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sayci.mirrors.removal import PREFIX, finish, left_behind, remove

DEPTH = 5000


@pytest.fixture
def parent(tmp_path):
    """The directory in which something is removed, and beside it what must stay."""
    (tmp_path / "parent" / "neighbour").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    yield tmp_path / "parent"
    left = [path.name for path in (tmp_path / "parent").iterdir()]
    subprocess.run(("rm", "-rf", tmp_path / "parent"), check=True)  # too deep for pytest to clean up, if we have not
    assert (tmp_path / "outside" / "precious").read_text() == "x"
    assert left == ["neighbour"]


def make_deep(path: Path, depth: int) -> None:
    """Directories in directories, far beyond the length of a path."""
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_what_is_not_there_is_removed_already(parent):
    assert remove(parent / "nothing") == []
    assert remove(parent / "nothing" / "at all") == []


def test_files_and_directories_go(parent):
    for number in range(10):
        (parent / "x" / f"d{number}" / "e").mkdir(parents=True)
        for name in ("a", "b"):
            (parent / "x" / f"d{number}" / "e" / name).write_text("x")
    assert remove(parent / "x") == []


def test_symbolic_links_go_and_what_they_point_to_stays(parent):
    outside = parent.parent / "outside"
    (parent / "x" / "d").mkdir(parents=True)
    (parent / "x" / "directory").symlink_to(outside)
    (parent / "x" / "d" / "file").symlink_to(outside / "precious")
    (parent / "x" / "d" / "nowhere").symlink_to("nowhere")
    (parent / "x" / "d" / "self").symlink_to("self")
    (parent / "x" / "d" / "root").symlink_to("/")
    assert remove(parent / "x") == []


def test_a_link_in_the_place_of_the_directory_goes_and_what_it_points_to_stays(parent):
    (parent / "x").symlink_to(parent.parent / "outside")
    assert remove(parent / "x") == []


def test_a_file_in_the_place_of_the_directory_goes(parent):
    (parent / "x").write_text("x")
    assert remove(parent / "x") == []


def test_a_hard_link_goes_and_its_file_stays(parent):
    (parent / "x").mkdir()
    (parent / "x" / "link").hardlink_to(parent.parent / "outside" / "precious")
    assert remove(parent / "x") == []


def test_depth_does_not_matter(parent):
    (parent / "x").mkdir()
    make_deep(parent / "x", DEPTH)
    assert remove(parent / "x") == []


def test_neither_does_breadth(parent):
    (parent / "x").mkdir()
    for number in range(300):
        (parent / "x" / f"d{number}").mkdir()
        (parent / "x" / f"d{number}" / "f").touch()
        (parent / "x" / f"f{number}").touch()
    assert remove(parent / "x") == []


def test_names_that_are_long_odd_or_like_ours(parent):
    (parent / "x").mkdir()
    for name in (b"n" * 255, b"\xff\xfe", b"a\nb", b"-rf", b"*", b"0", b"1", b".removing-x", "größe".encode()):
        directory = parent / "x" / os.fsdecode(name)
        directory.mkdir()
        (directory / os.fsdecode(name)).write_text("x")
    assert remove(parent / "x") == []


def test_pipes_and_sockets_go(parent, monkeypatch):
    (parent / "x").mkdir()
    os.mkfifo(parent / "x" / "pipe")
    monkeypatch.chdir(parent / "x")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    assert remove(parent / "x") == []


def test_directories_that_their_owner_has_closed_go(nobody):
    Path("x/a/b/c").mkdir(parents=True)
    Path("x/a/b/c/file").touch()
    Path("x/empty").mkdir()
    for path, mode in (("x/a/b/c", 0o000), ("x/a/b", 0o500), ("x/a", 0o000), ("x/empty", 0o000), ("x", 0o000)):
        Path(path).chmod(mode)
    assert remove(Path("x")) == []
    assert not list(Path().iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that another user cannot remove")
def test_what_cannot_be_removed_is_named_and_all_else_goes(nobody):
    Path("x/mine").mkdir(parents=True)
    Path("x/theirs").mkdir()
    os.seteuid(0)
    Path("x/theirs/file").touch()
    os.chown("x/theirs", 0, 0)
    os.seteuid(65534)
    problems = remove(Path("x"))
    assert len(problems) == 1
    assert "file" in problems[0]
    assert "not permitted" in problems[0] or "denied" in problems[0]
    os.seteuid(0)
    assert finish(left_behind(Path())) == []
    assert not list(Path().iterdir())
    os.seteuid(65534)


def root_in_a_mount_namespace(*command: str) -> None:
    """Run a command as root that may mount; what it mounts is gone when it ends."""
    subprocess.run(("unshare", "--mount", "--propagation", "private", "--", *command), check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("where", ("x/m", "x/" + "d/" * 40 + "m"))
@pytest.mark.parametrize("what", ("--bind {outside}", "-t tmpfs tmpfs"))
def test_what_is_mounted_is_not_entered_but_unmounted(parent, what, where):
    outside = parent.parent / "outside"
    (parent / where).mkdir(parents=True)
    program = (
        "import pathlib, subprocess, sys; from sayci.mirrors.removal import remove;"
        "point = pathlib.Path(sys.argv[2], sys.argv[3]);"
        "[subprocess.run(['mount', *sys.argv[1].split(), point], check=True) for _ in range(2)];"
        "(point / 'file').touch();"
        "sys.exit(', '.join(remove(pathlib.Path(sys.argv[2], 'x'))) or 0)"
    )
    root_in_a_mount_namespace(sys.executable, "-c", program, what.format(outside=outside), str(parent), where)
    assert (outside / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_file_that_something_is_mounted_on_goes(parent):
    (parent / "x").mkdir()
    (parent / "x" / "file").touch()
    program = (
        "import pathlib, subprocess, sys; from sayci.mirrors.removal import remove;"
        "subprocess.run(['mount', '--bind', sys.argv[1], sys.argv[2] + '/x/file'], check=True);"
        "sys.exit(', '.join(remove(pathlib.Path(sys.argv[2], 'x'))) or 0)"
    )
    root_in_a_mount_namespace(sys.executable, "-c", program, str(parent.parent / "outside" / "precious"), str(parent))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_what_is_mounted_stays_and_is_named_where_we_may_not_unmount(parent):
    outside = parent.parent / "outside"
    (parent / "x" / "m").mkdir(parents=True)
    (parent / "x" / "file").touch()
    program = (
        "import pathlib, subprocess, sys; from sayci.launchers import privileges;"
        "from sayci.mirrors.removal import remove;"
        "subprocess.run(['mount', '--bind', sys.argv[1], sys.argv[2] + '/x/m'], check=True);"
        "privileges.keep_needed();"
        "problems = remove(pathlib.Path(sys.argv[2], 'x'));"
        "assert len(problems) == 1 and 'mounted' in problems[0], problems;"
        "assert pathlib.Path(sys.argv[1], 'precious').exists()"
    )
    root_in_a_mount_namespace(sys.executable, "-c", program, str(outside), str(parent))
    assert (outside / "precious").exists()
    assert finish(left_behind(parent)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root marks files")
@pytest.mark.parametrize("mark", ("+i", "+a"))
def test_what_is_marked_against_removal_goes(parent, mark):
    deep = parent / "x" / ("d/" * 40)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    marked = [parent / "x", parent / "x" / "d", deep, deep / "file"]
    if subprocess.run(("chattr", mark, deep / "file"), check=False, capture_output=True).returncode != 0:
        pytest.skip("this file system knows no marks")
    subprocess.run(("chattr", mark, *reversed(marked)), check=True)
    try:
        assert remove(parent / "x") == []
    finally:
        subprocess.run(("chattr", "-R", "-f", "-ia", parent), check=False, capture_output=True)


def test_a_process_that_goes_on_writing_does_not_keep_it_for_ever(parent):
    (parent / "x" / "d").mkdir(parents=True)
    directory = os.open(parent / "x" / "d", os.O_RDONLY)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        remove(parent / "x")
    finally:
        stop.set()
        writer.join()
        os.close(directory)
    assert finish(left_behind(parent)) == []


def test_what_a_killed_server_was_removing_is_found_and_finished(parent):
    (parent / f"{PREFIX}1" / "0" / "d").mkdir(parents=True)
    (parent / f"{PREFIX}1" / "17").mkdir()
    (parent / f"{PREFIX}1" / "17" / "file").touch()
    (parent / f"{PREFIX}2").mkdir()
    left = left_behind(parent)
    assert [path.name for path in left] == [f"{PREFIX}1", f"{PREFIX}2"]
    assert finish(left) == []
    assert finish(left) != []
