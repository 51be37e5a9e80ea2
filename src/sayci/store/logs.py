"""Logs of steps as files: the log of the step with key KEY is ROOT/KEY/log.

They are the very files that the launchers' shims append to, in the steps' run directories.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sayci.errors import Invalid
from sayci.loglines import Read

Answer = TypeVar("Answer")

#: So much of the times of a log is read, in bytes; they take less than that in a week.
TIMES_LIMIT = 1024 * 1024

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
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    async def read(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`; b"" at the end, and where there is no log."""
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

    def writer(self, key: str) -> FileWriter:
        """Append to the log."""
        return FileWriter(self._path(key), key)

    async def remove(self, build_id: int) -> None:
        """Remove the run directories of a build with all that is in them; what cannot be removed is told to the log."""
        await deferToThreadPool(self._reactor, self._pool, self._remove, self._root / str(build_id))

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
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return work(_nothing)
    try:
        return work(lambda start, length: os.pread(fd, max(0, length), start))
    finally:
        os.close(fd)
