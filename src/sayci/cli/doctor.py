"""Examines a server's place: what it needs of the machine, its data directory, and itself if it runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from sayci.checkup import (
    Finding,
    Level,
    is_well,
    of_certificates,
    of_clock,
    of_data,
    of_database,
    of_disks,
    of_foreign,
    of_git,
    of_isolation,
    of_key,
    of_leftovers,
    of_make,
    of_server,
)
from sayci.cli.backup import data_option, database_option
from sayci.cli.health import addresses_of, first_answer
from sayci.cli.parts import examples, json_option, leave
from sayci.cli.screen import say, say_json, visible
from sayci.cli.trouble import NO, Misused, Trouble
from sayci.keepsake import DATABASE
from sayci.space import Reserves, Volume, reserve_of

_KEY_SIZE = 32
#: Where everybody may write, and the users that builds are given by default: so many after the first.
_PUBLIC = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - looked at, never used
_USERS = 1000
_TIME_ERROR = 5
_EXIT_CODES = "\n\n\b\nExit codes:\n  0  no error\n  1  at least one error"


@click.command(epilog=examples("sayci doctor --data /srv/sayci") + _EXIT_CODES)
@data_option
@database_option
@click.option(
    "--certificates",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A directory with certificates, le:DIR; by default those in the data directory. May be repeated.",
)
@click.option("--keep-free", default="1G,5%", show_default=True, metavar="SIZE", help="As the server has it.")
@click.option("--slot-uid", default=60600, show_default=True, metavar="UID", help="As the server has it.")
@json_option
def doctor(
    *, data: Path, database: str, certificates: tuple[Path, ...], keep_free: str, slot_uid: int, as_json: bool
) -> None:
    """Examine a server's place, whether it runs or not, and say what to do.

    Looks at git, make, the disk, the clock, isolation, the data directory, the database, certificates, and what is left
    over; asks the server whether it is well. Changes nothing. Run it as the user that runs the server.
    """
    if not data.is_dir():
        raise Misused("there is no directory", data, advice="name the server's data directory: --data DIR")
    findings = list(_examined(data, database, certificates, Reserves(reserve_of(keep_free)), slot_uid))
    if as_json:
        say_json(
            {
                "ok": is_well(findings),
                "findings": [
                    {"name": each.name, "level": each.level.value, "words": each.words, "advice": each.advice}
                    for each in findings
                ],
            }
        )
    else:
        width = max(len(each.name) for each in findings)
        for each in findings:
            told = f"{each.words}; {each.advice}" if each.advice else each.words
            say(f"{each.level.value:<8} {visible(each.name):<{width}}  {visible(told)}")
    if not is_well(findings):
        leave(NO)


def _examined(
    data: Path, database: str, certificates: Sequence[Path], reserves: Reserves, slot_uid: int
) -> Iterator[Finding]:
    now = time.time()
    yield of_git(_version("git"))
    yield of_make(_version("make"))
    yield of_disks(list(_volumes(data)), reserves)
    yield of_clock(now, _newest(data), is_synchronised=_is_synchronised())
    yield of_isolation(is_root=os.geteuid() == 0, has_bubblewrap=shutil.which("bwrap") is not None)
    yield of_data(list(_modes(data)), data.stat().st_uid)
    yield of_key(_trouble_with_key(data / "key"))
    file = None if database.startswith("postgres") else Path(database.partition("sqlite:///")[2] or data / DATABASE)
    yield of_database(_problems_in(file))
    yield from of_certificates(list(_certificates(certificates or [data, *_directories(data)])), now)
    server = _server(data)
    yield server
    ids = _ids_in(file)
    if ids is not None:
        builds, open_builds, projects = ids
        is_running = server.level is Level.OK
        found = [name for name in _names(data / "builds") if name.isdecimal() and int(name) not in builds]
        yield of_leftovers("logs", found, is_running=is_running)
        found = [name for name in _names(data / "workspaces") if not (name.isdecimal() and int(name) in open_builds)]
        yield of_leftovers("workspaces", found, is_running=is_running)
        mirrors = [name for name in _names(data / "mirrors") if name.endswith(".git") or name.startswith(".removing-")]
        found = [name for name in mirrors if not _is_of(name, projects)]
        yield of_leftovers("mirrors", found, is_running=is_running)
        if not open_builds:
            yield of_foreign(list(_foreign(slot_uid)))


def _version(program: str) -> str | None:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").partition("\n")[0].strip() or None


def _volumes(data: Path) -> Iterator[Volume]:
    seen = set()
    for path in (data, *(data / name for name in ("mirrors", "builds", "workspaces"))):
        with contextlib.suppress(OSError):
            device = path.stat().st_dev
            if device not in seen:
                seen.add(device)
                status = os.statvfs(path)
                unit = status.f_frsize
                yield Volume(str(path), status.f_blocks * unit, status.f_bavail * unit, status.f_files, status.f_favail)


def _newest(data: Path) -> float:
    """When the newest of the server's own files was changed."""
    times = [0.0]
    for name in (DATABASE, f"{DATABASE}-wal", "address", "key"):
        with contextlib.suppress(OSError):
            times.append((data / name).stat().st_mtime)
    return max(times)


def _is_synchronised() -> bool | None:
    """Whether something sets the kernel's clock; None where that cannot be asked."""
    try:
        state: int = ctypes.CDLL(None).ntp_adjtime(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _modes(data: Path) -> Iterator[tuple[str, int, int]]:
    for name in ("", *sorted(entry.name for entry in os.scandir(data))):
        with contextlib.suppress(OSError):
            status = (data / name).lstat()
            if not stat.S_ISLNK(status.st_mode):
                yield name, stat.S_IMODE(status.st_mode), status.st_uid


def _trouble_with_key(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return f"the key cannot be read: {error.strerror}"
    if status.st_size != _KEY_SIZE:
        return "the key is not a file of 32 bytes"
    return "others can read the key" if status.st_mode & 0o077 else ""


def _reading(file: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10))


def _problems_in(file: Path | None) -> list[str] | None:
    if file is None:
        return None
    try:
        with _reading(file) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def _ids_in(file: Path | None) -> tuple[set[int], set[int], set[int]] | None:
    """All builds, those that are open, and all projects; None where they cannot be read here."""
    if file is None:
        return None
    try:
        with _reading(file) as connection:
            connection.execute("BEGIN")
            builds = {int(row[0]) for row in connection.execute("SELECT id FROM builds")}
            waiting = {int(row[0]) for row in connection.execute("SELECT id FROM builds WHERE state <> 'finished'")}
            return builds, waiting, {int(row[0]) for row in connection.execute("SELECT id FROM projects")}
    except sqlite3.Error:
        return None


def _directories(data: Path) -> list[Path]:
    known = {"builds", "mirrors", "workspaces", "ssh"}
    return [Path(entry.path) for entry in os.scandir(data) if entry.is_dir() and entry.name not in known]


def _certificates(directories: Sequence[Path]) -> Iterator[tuple[str, float | None]]:
    from cryptography import x509  # noqa: PLC0415 - slow to import

    for directory in directories:
        for path in sorted(directory.glob("*.pem")):
            try:
                data = path.read_bytes()
                ends = [each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(data)]
            except (OSError, ValueError):
                ends = []
            yield path.stem, ends[0] if ends else None


def _server(data: Path) -> Finding:
    if not (data / "address").exists():
        return of_server("", "")
    try:
        return of_server(first_answer(addresses_of(data), is_here=True), "")
    except Trouble as trouble:
        return of_server("", str(trouble), trouble.advice)


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(directory)]
    except OSError:
        return []


def _is_of(mirror: str, projects: set[int]) -> bool:
    number = mirror.removesuffix(".git")
    return number.isdecimal() and int(number) in projects


def _foreign(slot_uid: int) -> Iterator[str]:
    for directory in _PUBLIC:
        for name in _names(directory):
            with contextlib.suppress(OSError):
                if slot_uid and slot_uid < (directory / name).lstat().st_uid <= slot_uid + _USERS:
                    yield str(directory / name)
