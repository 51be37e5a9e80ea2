"""A copy of all that a server must not lose, made while it runs, and a new data directory from it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import click

from sayci import __version__
from sayci.cli.parts import examples
from sayci.cli.screen import note, say
from sayci.cli.trouble import Misused, Trouble
from sayci.keepsake import DATABASE, FORMAT, MANIFEST, is_kept
from sayci.space import in_units

#: What is more than that is no manifest, in bytes.
_MANIFEST_LIMIT = 65_536
_ARCHIVES = (".tar", ".tar.gz", ".tgz")

data_option = click.option(
    "--data",
    metavar="DIR",
    required=True,
    envvar="SAYCI_DATA",
    type=click.Path(path_type=Path),
    help="The server's data directory (SAYCI_DATA).",
)
database_option = click.option(
    "--database",
    metavar="URL",
    default="",
    envvar="SAYCI_DATABASE",
    help="The server's database, where it is not the file in the data directory (SAYCI_DATABASE).",
)


class Target(Protocol):
    """Where a backup is written to, file by file."""

    def add(self, source: Path, name: str) -> int:
        """Copy a file as it is now; answers its size.  Raises OSError."""
        ...


class _Directory:
    """A directory, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, source: Path, name: str) -> int:
        target = self._path / name
        for directory in (*reversed(target.relative_to(self._path).parents[:-1]),):
            (self._path / directory).mkdir(0o700, exist_ok=True)
        with _private(target) as file, _reading(source) as original:
            shutil.copyfileobj(original, file, 1 << 20)
            os.utime(file.fileno(), ns=(os.fstat(original.fileno()).st_mtime_ns,) * 2)
            return int(file.tell())


class _Archive:
    """A tar file."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, source: Path, name: str) -> int:
        with _reading(source) as original:
            status = os.fstat(original.fileno())
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = status.st_size, int(status.st_mtime), 0o600
            self._tar.addfile(member, original)  # so many bytes: a log that grows meanwhile is cut there
            return member.size


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Any]:
    """A new file for its owner alone, on the disk when the block ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        yield file
        file.flush()
        os.fsync(descriptor)


def _reading(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")


# ------------------------------------------------------------------------------------------------ backup


@click.command(
    epilog=examples(
        "sayci backup --data /srv/sayci /mnt/backup/sayci-monday",
        "sayci backup --data /srv/sayci --without-logs sayci.tar.gz",
    )
)
@click.argument("target", metavar="DIRECTORY|FILE", type=click.Path(path_type=Path))
@data_option
@database_option
@click.option("--without-logs", is_flag=True, help="Leave the builds' logs out.")
@click.option(
    "--certificates",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory with certificates that is not in the data directory: le:DIR. May be repeated.",
)
def backup(*, target: Path, data: Path, database: str, without_logs: bool, certificates: tuple[Path, ...]) -> None:
    """Copy what a server must not lose, also while it runs.

    Database, keys, certificates and logs are written to a new directory, or to one file whose name ends with .tar, .tar.gz
    or .tgz; only you can read it, and it is as secret as the server: the key is in it. Mirrors and workspaces come again by
    themselves. A database in PostgreSQL is not in it; pg_dump copies that.
    """
    file = _database_of(data, database)
    if os.path.lexists(target):
        raise Misused("there is something already at", target, advice="name a path that is free")
    begun = time.monotonic()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        size = _write(part, data, file, certificates, logs=not without_logs, is_archive=target.name.endswith(_ARCHIVES))
        os.rename(part, target)  # noqa: PTH104 - Path.rename says the same
        _sync_directory(target.absolute().parent)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise Trouble("the backup could not be made", target, str(error)) from None
    finally:
        _discard(part)
    say(f"{target}: {in_units(size)} in {time.monotonic() - begun:.1f} s; only you can read it: the key is in it")
    if file is None:
        note("The database is not in it. Copy it with: pg_dump --format=custom --file=sayci.dump NAME")


def _database_of(data: Path, url: str) -> Path | None:
    """The file of the database; None where it is PostgreSQL's.  Raises Misused."""
    if not (data / "key").is_file():
        raise Misused("this is no data directory of sayci: it has no key", data, advice="name it: --data DIR")
    if not url:
        path = data / DATABASE
    elif url.startswith("postgres"):
        return None
    else:
        path = Path(url.partition("sqlite:///")[2] or url)
    if not path.is_file():
        raise Misused("there is no database", path, advice="name it as the server does: --database URL")
    return path


def _write(
    part: Path, data: Path, database: Path | None, certificates: tuple[Path, ...], *, logs: bool, is_archive: bool
) -> int:
    """All of it, beside its name; how many bytes."""
    scratch = part.with_name(f"{part.name}.database")
    try:
        if database is not None:
            _snapshot(database, scratch)
        if not is_archive:
            part.mkdir(0o700)
            size = _fill(_Directory(part), data, scratch, certificates, logs=logs, has_database=database is not None)
            _sync_directory(part)
            return size
        is_plain = part.name.rpartition(".")[0].endswith(".tar")
        with _private(part) as file, _archive(file, is_plain=is_plain) as tar:
            return _fill(_Archive(tar), data, scratch, certificates, logs=logs, has_database=database is not None)
    finally:
        _discard(scratch)


def _archive(file: Any, *, is_plain: bool) -> tarfile.TarFile:
    """Logs are compressed already for the most part: more than a little would be in vain."""
    if is_plain:
        return tarfile.open(fileobj=file, mode="w")
    return tarfile.open(fileobj=file, mode="w:gz", compresslevel=3)


def _snapshot(database: Path, target: Path) -> None:
    """The database as it is at one moment, whoever writes to it.  Raises OSError, sqlite3.Error."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as original,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").close()


def _fill(
    target: Target, data: Path, snapshot: Path, certificates: tuple[Path, ...], *, logs: bool, has_database: bool
) -> int:
    size = target.add(snapshot, DATABASE) if has_database else 0
    for name in _files_in(data):
        if is_kept(name, logs=logs):
            size += _added(target, data / name, name)
    for number, directory in enumerate(certificates, 1):
        for name in _files_in(directory):
            size += _added(target, directory / name, f"certificates-{number}/{name}")
    manifest = snapshot.with_name(f"{snapshot.name}.manifest")
    told = {
        "format": FORMAT,
        "sayci": __version__,
        "made_at": int(time.time()),
        "database": has_database,
        "logs": logs,
        "certificates": [str(path.absolute()) for path in certificates],
    }
    try:
        with _private(manifest) as file:
            file.write(json.dumps(told, indent=1).encode())
        target.add(manifest, MANIFEST)  # the last: what has none is not complete
    finally:
        _discard(manifest)
    return size


def _added(target: Target, path: Path, name: str) -> int:
    """Its size; a log that is compressed meanwhile is taken as it is then, and what is removed meanwhile is not there."""
    try:
        return target.add(path, name)
    except FileNotFoundError:
        if path.name != "log":
            return 0
    try:
        return target.add(path.with_name("log.gz"), f"{name}.gz")
    except (FileNotFoundError, FileExistsError):
        return 0


def _files_in(directory: Path) -> Iterator[str]:
    """The plain files below a directory, by their path in it; no link is followed."""
    for place, directories, names in os.walk(directory):
        here = Path(place)
        if here == directory:
            directories[:] = [name for name in directories if is_kept(f"{name}/", logs=True) or name == "builds"]
        directories.sort()
        for name in sorted(names):
            if stat.S_ISREG((here / name).lstat().st_mode):
                yield str((here / name).relative_to(directory))


def _discard(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
