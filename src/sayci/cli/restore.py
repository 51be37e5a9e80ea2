"""A data directory made from a backup, checked, and such that nothing runs twice in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import click

from sayci.cli.backup import data_option
from sayci.cli.parts import examples
from sayci.cli.screen import note, say
from sayci.cli.trouble import Misused, Trouble
from sayci.data_directory import DataDirectory
from sayci.errors import CannotStart, SayciError
from sayci.keepsake import DATABASE, FORMAT, MANIFEST, is_kept

_MANIFEST_LIMIT = 65_536
_CERTIFICATES = "certificates-"
#: What an empty directory may have: a file system's own, and what a server that was never used has left.
_NOTHING = frozenset({"lost+found", "lock"})

_File = tuple[str, IO[bytes], float]


@click.command(epilog=examples("sayci restore /mnt/backup/sayci-monday --data /srv/sayci"))
@click.argument("source", metavar="DIRECTORY|FILE", type=click.Path(path_type=Path))
@data_option
@click.option(
    "--database",
    metavar="URL",
    default="",
    help="A PostgreSQL database that you have restored already, to be checked and made ready with the rest.",
)
def restore(*, source: Path, data: Path, database: str) -> None:
    """Make a data directory from a backup.

    The directory must be empty or absent. The database is checked, and that the key opens the secrets in it. What ran when
    the backup was made is not run again: a deploy becomes unknown, a test an error; a deploy that waited is cancelled.
    """
    manifest = _manifest_of(source)
    _require_empty(data)
    directory = DataDirectory(data)
    directory.take()
    try:
        _fill(source, data)
        changed = _made_ready(data, database, has_database=manifest.get("database") is True)
    except BaseException as error:
        _empty(data)
        if isinstance(error, OSError | tarfile.TarError | EOFError | sqlite3.Error):
            raise Trouble("the backup could not be taken back", source, str(error)) from None
        raise
    finally:
        directory.release()
    for line in changed:
        note(line)
    for number, place in enumerate(_certificates_of(manifest), 1):
        note(f"certificates that were at {place} are in {data / f'{_CERTIFICATES}{number}'}: move them there")
    if manifest.get("database") is not True and not database:
        note(
            "The database is not in the backup: take it back with pg_restore, then say sayci restore with --database URL"
        )
    say(f"{data} is as the backup has it; start the server with --data {data}")


def _certificates_of(manifest: dict[str, object]) -> list[object]:
    listed = manifest.get("certificates")
    return listed if isinstance(listed, list) else []


def _manifest_of(source: Path) -> dict[str, object]:
    """What the backup says of itself.  Raises Misused."""
    words = "this is no backup of sayci, or not all of one"
    try:
        found = next((file.read(_MANIFEST_LIMIT) for name, file, _ in _files_of(source) if name == MANIFEST), b"")
        value = json.loads(found)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise Misused(words, source, str(error)) from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Misused(words, source, advice="a newer sayci may have made it")
    return value


def _require_empty(data: Path) -> None:
    try:
        there = {entry.name for entry in data.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise Misused("the directory cannot be used", data, error.strerror or error) from None
    if "lock" in there:
        probe = DataDirectory(data)
        probe.take()  # raises CannotStart while a server runs
        probe.release()
    if there - _NOTHING:
        raise Misused("the directory is not empty", data, advice="name another one, or move what is there away")


def _files_of(source: Path) -> Iterator[_File]:
    """The plain files of a backup: name, content, and when it was changed.  Raises OSError, TarError."""
    if source.is_dir():
        for place, _, names in os.walk(source):
            for name in names:
                path = Path(place) / name
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as file:
                        yield path.relative_to(source).as_posix(), file, path.stat().st_mtime
        return
    with tarfile.open(source, "r:*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content, float(member.mtime)


def _is_ours(name: str) -> bool:
    """Whether a name in a backup is one that belongs into a data directory: archives may come from anybody."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        return False
    return name == DATABASE or is_kept(name, logs=True)


def _fill(source: Path, data: Path) -> None:
    for name, file, changed_at in _files_of(source):
        if not _is_ours(name):
            continue
        target = data / name
        for directory in reversed(PurePosixPath(name).parents[:-1]):
            (data / directory).mkdir(0o700, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.utime(descriptor, (changed_at, changed_at))
            os.fsync(descriptor)


def _made_ready(data: Path, database: str, *, has_database: bool) -> list[str]:
    from sayci.taken_back import make_ready  # noqa: PLC0415 - the store is slow to import

    if has_database:
        with contextlib.closing(sqlite3.connect(data / DATABASE)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise Trouble("the database in the backup is damaged", *found)
        database = f"sqlite:///{data.absolute() / DATABASE}"
    if not (data / "key").is_file():
        raise Trouble("the backup has no key; without it the secrets in the database are lost")
    if not database:
        return []
    try:
        return make_ready(database, data / "key", time.time())
    except CannotStart as error:
        raise Trouble(*error.args) from None
    except SayciError as error:
        raise Trouble("the backup cannot be used", str(error)) from None


def _empty(data: Path) -> None:
    """Leave nothing of what was begun."""
    for entry in data.iterdir():
        if entry.name in _NOTHING:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
