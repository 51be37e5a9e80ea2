"""Removes a directory, whatever somebody has made of it.

What a build leaves may be deeper than a path can be long, unreadable, and full of symbolic links.  So nothing is done by
path: every directory is opened by its name in an open one, and links are never followed.  What is very deep is moved up
before it is removed, so that depth takes neither descriptors nor stack.  What is mounted in it is not entered: it is
unmounted where we may do that, and reported where we may not.  So is what has been made immutable, but for the marks, which
are taken away.  These functions block; they are for threads.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: How the directories are called in which something waits for its end; a server that was killed leaves them.
PREFIX = ".removing-"
#: How often a directory is emptied that is not empty afterwards.
TRIES = 3
#: Directories in directories beyond this number are moved up first; each takes two descriptors.
DEEP = 32

# The numbers are those of ioctl_iflags(2) and umount2(2).
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_IMMUTABLE = 0x10
_APPEND_ONLY = 0x20
_DETACH = 2


def remove(path: Path) -> list[str]:
    """Remove `path` with all that is in it; the directory that it is in must be ours alone.

    Returns what could not be removed, as sentences; nothing if it was not there.
    """
    if not os.path.lexists(path):
        return []
    grave = f"{PREFIX}{secrets.token_hex(8)}"
    try:
        with _opened(path.parent) as parent:
            os.mkdir(grave, stat.S_IRWXU, dir_fd=parent)
            with suppress(OSError):
                _unmark(path.name, parent)
            _open_up(path.name, parent)
            os.rename(path.name, f"{grave}/0", src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        return [_said(path, error)]
    return _finish(path.with_name(grave))


def left_behind(directory: Path) -> list[Path]:
    """What an earlier server has begun to remove in `directory`; there must be no other server now."""
    return sorted(directory.glob(f"{PREFIX}*"))


def finish(graves: Iterable[Path]) -> list[str]:
    """Remove what left_behind has found; returns what could not be removed."""
    return [problem for grave in graves for problem in _finish(grave)]


def _finish(grave: Path) -> list[str]:
    try:
        with _opened(grave) as descriptor:
            problems = _Grave(descriptor).empty()
        if not problems:
            grave.rmdir()
    except OSError as error:
        return [_said(grave, error)]
    return [f"{grave}: {problem}" for problem in problems]


class _Grave:
    """A directory of our own.  What is in it is called by numbers and removed one by one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mount = _mount_of(descriptor)
        self._waiting = os.listdir(descriptor)
        self._number = max((int(name) for name in self._waiting if name.isdecimal()), default=0)
        self._problems: list[str] = []

    def empty(self) -> list[str]:
        """Remove all; returns what could not be removed."""
        while self._waiting:
            name = self._waiting.pop()
            try:
                is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=self._descriptor).st_mode)
                self._remove(name, self._descriptor, 0, is_directory=is_directory)
            except OSError as error:
                self._problems.append(_said(name, error))
        return self._problems

    def _remove(self, name: str, directory: int, depth: int, *, is_directory: bool) -> None:
        try:
            if not is_directory:
                self._persist(lambda: os.unlink(name, dir_fd=directory), name, directory)
            elif depth < DEEP:
                self._remove_directory(name, directory, depth)
            else:
                self._move_up(name, directory)
        except OSError as error:
            self._problems.append(_said(name, error))

    def _persist(self, action: Callable[[], None], name: str, directory: int) -> None:
        """Do what takes `name` out of its directory; once more when something could be done about a refusal."""
        try:
            action()
        except OSError as error:
            if error.errno == errno.EPERM:
                _unmark(name, directory)
            elif error.errno == errno.EBUSY:
                self._unmount(name, directory)
            else:
                raise
            action()

    def _unmount(self, name: str, directory: int) -> None:
        """Detach all that is mounted at `name`.  Raises OSError when we may not."""
        while True:
            with _looked_at(name, directory) as descriptor:
                if _mount_of(descriptor) == self._mount:
                    return
                if _library.umount2(f"/proc/self/fd/{descriptor}".encode(), _DETACH) != 0:
                    raise OSError(ctypes.get_errno(), "a file system is mounted there")

    def _remove_directory(self, name: str, directory: int, depth: int) -> None:
        self._unmount(name, directory)
        for _ in range(TRIES):
            before = len(self._problems)
            with _opened(name, directory) as inner, os.scandir(inner) as entries:
                for entry in entries:
                    self._remove(entry.name, inner, depth + 1, is_directory=entry.is_dir(follow_symlinks=False))
            if len(self._problems) > before:
                return  # what is in it stays, and so does it
            with suppress(OSError):
                self._persist(lambda: os.rmdir(name, dir_fd=directory), name, directory)
                return
        self._problems.append(f"{os.fsencode(name)!r}: something new appears in it all the time")

    def _move_up(self, name: str, directory: int) -> None:
        self._unmount(name, directory)
        self._persist(lambda: _open_up(name, directory), name, directory)  # moving a directory changes it: its ".."
        self._number += 1
        place = str(self._number)
        self._persist(
            lambda: os.rename(name, place, src_dir_fd=directory, dst_dir_fd=self._descriptor), name, directory
        )
        self._waiting.append(place)


_library = ctypes.CDLL(None, use_errno=True)


def _mount_of(descriptor: int) -> str:
    """The number of the mount in which something is (proc(5)): of two mounts of one file system, too, each has its own."""
    with Path(f"/proc/self/fdinfo/{descriptor}").open(encoding="ascii") as lines:
        return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))


def _unmark(name: str, directory: int) -> None:
    """Take the marks that keep a file or directory from being removed from it and from its directory.

    Nothing where there are none, or where the file system knows none.  Raises OSError when we may not.
    """
    _unmark_open(directory)
    with _looked_at(name, directory) as descriptor:
        if stat.S_IFMT(os.fstat(descriptor).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return  # others have no marks, and to open them may have effects
        opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _unmark_open(opened)
        finally:
            os.close(opened)


def _unmark_open(descriptor: int) -> None:
    try:
        (flags,) = struct.unpack_from("I", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))
    except OSError:
        return
    if flags & (_IMMUTABLE | _APPEND_ONLY):
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("Q", flags & ~(_IMMUTABLE | _APPEND_ONLY)))


@contextmanager
def _looked_at(name: str, directory: int) -> Iterator[int]:
    """A descriptor of whatever it is, the link itself if it is one, that serves to look at it alone."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_up(name: str, directory: int) -> None:
    """Let ourselves into a directory that its owner has closed to himself."""
    with _looked_at(name, directory) as descriptor:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            # chmod(2) by name would follow a link that somebody has put there in the meantime; this cannot.
            os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IRWXU)  # noqa: PTH101 - a descriptor, not a path


@contextmanager
def _opened(name: str | Path, directory: int | None = None) -> Iterator[int]:
    """A descriptor of a directory in which we may do as we like, if it is ours."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except PermissionError:
        if directory is None:
            raise
        _open_up(str(name), directory)
        descriptor = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(descriptor, stat.S_IRWXU)
        yield descriptor
    finally:
        os.close(descriptor)


def _said(name: str | Path, error: OSError) -> str:
    return f"{os.fsencode(name)!r}: {error.strerror}"
