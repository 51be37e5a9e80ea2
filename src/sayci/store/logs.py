"""Logs of steps as files: the log of the step with key KEY is ROOT/KEY/log, compressed later to ROOT/KEY/log.gz.

The former are the very files that the launchers' shims append to, in the steps' run directories.  Where both are there, the
former counts: a server was stopped before it could remove it.  Where the logs of a build were removed because they were old,
ROOT/BUILD/removed says when.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sayci.errors import Invalid, Unavailable
from sayci.loglines import Read
from sayci.store import blocks

Answer = TypeVar("Answer")

#: So much of the times of a log is read, in bytes; they take less than that in a week.
TIMES_LIMIT = 1024 * 1024

#: Smaller logs are left as they are, in bytes: a file takes a block of the disk anyway.
SMALL = 16 * 1024
#: Part of the time that compressing takes of a processor, at most.
DUTY = 0.5
_PLAIN, _PACKED, _PART, _REMOVED = "log", "log.gz", "log.gz.new", "removed"
_KEY = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class FileLogs:
    """The LogStore over a directory.

    `pool` are the threads that read; `reactor` takes back what they have read.  A key that is none, such as one that
    would leave the directory, raises Invalid.
    """

    _log = Logger()

    def __init__(self, root: Path, reactor: Any, pool: ThreadPool) -> None:
        self._root = root
        self._reactor = reactor
        self._pool = pool

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise Invalid("this is no key of a log", key)
        return self._root / key / "log"

    def size(self, key: str) -> int:
        """Bytes that the log has now; 0 when there is none."""
        path = self._path(key)
        try:
            return path.stat().st_size
        except NotADirectoryError:
            return 0
        except FileNotFoundError:
            return _packed_size(path.with_name(_PACKED))

    async def read(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`; b"" at the end, and where there is no log.

        Raises Unavailable for a compressed log that is damaged.
        """
        data: bytes = await deferToThreadPool(self._reactor, self._pool, _read, self._path(key), start, length)
        return data

    async def times(self, key: str) -> bytes:
        """What the shim has noted beside the log."""
        path = self._path(key).with_name("times")
        data: bytes = await deferToThreadPool(self._reactor, self._pool, _read, path, 0, TIMES_LIMIT)
        return data

    async def work(self, key: str, work: Callable[[Read], Answer]) -> Answer:
        """What `work(read)` answers, in one of the threads."""
        answer: Answer = await deferToThreadPool(self._reactor, self._pool, _work, self._path(key), work)
        return answer

    def removed_at(self, key: str) -> float | None:
        """When the log was removed because it was old, in seconds since the epoch; None where it was not."""
        self._path(key)
        try:
            return (self._root / key.partition("/")[0] / _REMOVED).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def kept(self) -> Mapping[int, int]:
        """The builds that have logs here, and what these take of the disk, in bytes."""
        found: Mapping[int, int] = await deferToThreadPool(self._reactor, self._pool, _kept, self._root)
        return found

    async def clear(self, build_id: int) -> None:
        """Remove the logs of a build that has ended, and keep in mind that they were there.  Raises nothing."""
        await deferToThreadPool(self._reactor, self._pool, self._clear, self._root / str(build_id))

    async def compress(self, build_id: int, may_go_on: Callable[[], bool]) -> bool:
        """Compress the logs of a build that has ended; whether all are.

        `may_go_on` is called in a thread, often, and ends it early.  Who reads a log meanwhile notices nothing.  What
        cannot be done is told to the server's log.
        """
        directory = self._root / str(build_id)
        done: bool = await deferToThreadPool(self._reactor, self._pool, self._compress, directory, may_go_on)
        return done

    def writer(self, key: str) -> FileWriter:
        """Append to the log."""
        return FileWriter(self._path(key), key)

    async def remove(self, build_id: int) -> None:
        """Remove the run directories of a build with all that is in them; what cannot be removed is told to the log."""
        await deferToThreadPool(self._reactor, self._pool, self._remove, self._root / str(build_id))

    def _clear(self, directory: Path) -> None:
        try:
            steps = [entry for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
            (directory / _REMOVED).touch(0o600)
            for step in steps:
                shutil.rmtree(step.path)
        except FileNotFoundError:
            pass  # no step of the build has ever said anything
        except OSError:
            self._log.failure("the logs in {path} cannot be removed", path=directory)

    def _compress(self, directory: Path, may_go_on: Callable[[], bool]) -> bool:
        try:
            return all(_packed(path, may_go_on) for path in sorted(directory.glob(f"*/{_PLAIN}")))
        except (OSError, Unavailable):
            self._log.failure("the logs in {path} cannot be compressed", path=directory)
            return True

    def _remove(self, directory: Path) -> None:
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            pass  # no step of the build has ever said anything
        except OSError:
            self._log.failure("{path} cannot be removed", path=directory)


class FileWriter:
    """The LogWriter to one file.  What a full disk does not take is counted in `dropped`."""

    _log = Logger()

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._fd: int | None = None
        self.dropped = 0
        try:
            self._fd = _open_to_append(path)
        except OSError:
            self._log.failure("the log of {key} cannot be opened", key=key)

    def write(self, data: bytes) -> None:
        """Append; never raises."""
        if self._fd is None:
            self.dropped += len(data)
            return
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            if not self.dropped:
                self._log.failure("the log of {key} cannot be written", key=self._key)
            self.dropped += len(data)

    def close(self) -> None:
        """Let go of the file; safe to repeat."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _nothing(_start: int, _length: int) -> bytes:
    return b""


def _open_to_append(path: Path) -> int:
    for directory in (*reversed(path.parent.parents), path.parent):
        if not directory.is_dir():
            directory.mkdir(0o700, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _read(path: Path, start: int, length: int) -> bytes:
    return _work(path, lambda read: read(start, length))


def _work(path: Path, work: Callable[[Read], Answer]) -> Answer:
    try:
        fd = _open(path)
    except NotADirectoryError:
        return work(_nothing)
    except FileNotFoundError:
        return _work_packed(path.with_name(_PACKED), work) if path.name == _PLAIN else work(_nothing)
    try:
        return work(lambda start, length: os.pread(fd, max(0, length), start))
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


# ------------------------------------------------------------------------------------------------ compressed


def _work_packed(path: Path, work: Callable[[Read], Answer]) -> Answer:
    try:
        fd = _open(path)
    except FileNotFoundError:
        return work(_nothing)
    try:
        return work(partial(blocks.read, fd))
    finally:
        os.close(fd)


def _packed_size(path: Path) -> int:
    try:
        fd = _open(path)
    except FileNotFoundError:
        return 0
    try:
        return blocks.size_in(fd)
    except Unavailable:
        return 0
    finally:
        os.close(fd)


def _packed(path: Path, may_go_on: Callable[[], bool]) -> bool:
    """Put a compressed log in the place of a plain one; false where there was no time for it.

    Complete under its name or not there at all: a server that is killed at any point leaves the plain log, or both.
    """
    source = _open(path)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size < SMALL:
            return True
        part = path.with_name(_PART)
        target = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not _pack(source, target, status.st_size, may_go_on):
                part.unlink()
                return False
            os.fsync(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        finally:
            os.close(target)
        if os.fstat(source).st_size != status.st_size:
            part.unlink()  # somebody still writes: another time
            return True
        part.rename(path.with_name(_PACKED))
        blocks.sync_directory(path.parent)
        path.unlink()
    finally:
        os.close(source)
    return True


def _pack(source: int, target: int, size: int, may_go_on: Callable[[], bool]) -> bool:
    begun = time.monotonic()
    for _ in blocks.compress(source, target, size):
        if not may_go_on():
            return False
        time.sleep((time.monotonic() - begun) * (1 - DUTY) / DUTY)
        begun = time.monotonic()
    return True


def _kept(root: Path) -> dict[int, int]:
    found: dict[int, int] = {}
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name.isdecimal():
                with suppress(OSError):
                    found[int(entry.name)] = _usage(entry.path)
    return {build_id: usage for build_id, usage in found.items() if usage}


def _usage(directory: str) -> int:
    """What the steps of a build take of the disk; 0 where only the note is left that their logs were removed."""
    usage = 0
    for step in os.scandir(directory):
        if step.is_dir(follow_symlinks=False):
            usage += 4096
            for file in os.scandir(step.path):
                usage += file.stat(follow_symlinks=False).st_blocks * 512
    return usage
