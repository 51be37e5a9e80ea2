"""Users of this machine whom nobody else is, for builds to run as: what a build may not read or kill, the kernel sees to.

Each build is lent one for as long as it runs.  They need no entry in /etc/passwd.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sayci.errors import CannotStart, LauncherError
from sayci.launchers import privileges

#: Users beside those of the builds that may run at the same time: the last of a build is removed after its end.
SPARE = 4
#: Seconds that another server, which is ending, has to let go of its users.
DYING = 2.0
#: The programs that are needed to give a build a user, and to clear up after it.
PROGRAMS = ("setpriv", "sh", "find", "rm", "chmod")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Where everybody may write: what a build has left there is removed.
_OPEN_TO_ALL = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")  # noqa: S108 - nothing is written there
# Directories of others are not entered, unless everybody may write there.  It runs as the build's user.
_CLEAR = """\
find "$@" -xdev -mindepth 1 \\
    \\( -user "$(id -u)" -prune -exec chmod -R u+rwX {} + -exec rm -rf {} + \\) -o \\( -type d ! -perm -0002 -prune \\)
if command -v ipcrm >/dev/null; then ipcrm --all >/dev/null 2>&1; fi
true
"""
_PROBE = """\
cd "$1" || exit 3
shift
for private in "$@"; do if test -r "$private"; then echo "$private"; exit 4; fi; done
"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of the users: `first` is nobody, then come pairs of a build's user and the one who may kill him."""

    first: int
    count: int

    @property
    def builds(self) -> range:
        """Those that builds may have."""
        return range(self.first + 1, self.first + 1 + 2 * self.count, 2)

    @staticmethod
    def killer_of(uid: int) -> int:
        """Who may signal all processes of `uid`, and none of them him."""
        return uid + 1


def clearing() -> tuple[str, ...]:
    """The command that removes what its user has left where everybody may write: files, shared memory, semaphores."""
    return ("sh", "-c", _CLEAR, "sh", *(place for place in _OPEN_TO_ALL if Path(place).is_dir()))


class SlotUsers:
    """interfaces.Users: the lowest number that is free.

    `clear` ends all processes of a user and removes what he has left on the machine; it answers whether that was done.
    """

    _log = Logger()

    def __init__(self, numbers: Numbers, clear: Callable[[int], Awaitable[bool]]) -> None:
        self._clear = clear
        self._free = list(numbers.builds)
        #: Those of whom nothing has been left by this server; an earlier one may have left something of any.
        self._clean: set[int] = set()
        self._lent: dict[int, int] = {}
        self._waiting: list[Deferred[None]] = []

    async def lend(self, build_id: int) -> int:
        """The build's user; waits while all are lent."""
        if build_id not in self._lent:
            self._lent[build_id] = await self._taken()
        return self._lent[build_id]

    def keep(self, build_id: int, uid: int) -> None:
        """A build has this user since an earlier server's time."""
        if uid in self._free:
            self._free.remove(uid)
            self._lent[build_id] = uid

    async def give_back(self, build_id: int) -> None:
        """The build has ended."""
        uid = self._lent.pop(build_id, None)
        if uid is not None:
            await self._cleared(uid)
            self._release(uid)

    async def _taken(self) -> int:
        while True:
            while not self._free:
                if not self._lent:
                    raise LauncherError("no user is left for the build: restart sayci, or this machine")
                waiting: Deferred[None] = Deferred(self._waiting.remove)
                self._waiting.append(waiting)
                await waiting
            uid = min(self._free)
            self._free.remove(uid)
            try:
                if uid in self._clean or await self._cleared(uid):
                    self._clean.discard(uid)
                    return uid
            except BaseException:
                self._release(uid)
                raise
            # Somebody is that user and cannot be ended: nobody gets him any more, until the server is started again.

    async def _cleared(self, uid: int) -> bool:
        """Whether nothing is left of a user; raises nothing but the server's own end."""
        try:
            cleared = await self._clear(uid)
        except Exception:  # noqa: BLE001 - the seam promises that nothing is raised, so it is logged
            self._log.failure("clearing up after user {uid} failed", uid=uid)
            return False
        if cleared:
            self._clean.add(uid)
        else:
            self._log.error("processes of user {uid} cannot be ended: no build gets this user", uid=uid)
        return cleared

    def _release(self, uid: int) -> None:
        self._free.append(uid)
        if self._waiting:
            self._waiting.pop(0).callback(None)


# ------------------------------------------------------------------------------------------------ what the place allows


def reserve(numbers: Numbers, place: Path = Path("/run"), patience: float = DYING) -> IO[bytes] | None:
    """A file that keeps the users from another sayci on this machine for as long as it is open.

    None where no such file can be made.  Raises CannotStart when another has them, and keeps them for `patience` seconds:
    each would end the other's builds.
    """
    try:
        # Nobody else can open it: whoever can, can lock it too, and a build would keep the next server from starting.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.fdopen(os.open(place / f"sayci-{numbers.first}.lock", flags, 0o600), "wb")
    except OSError:
        return None
    until = time.monotonic() + patience
    while not _is_locked(lock):
        if time.monotonic() > until:
            lock.close()
            problem = (
                "another sayci on this machine gives its builds the users after this one; "
                "give this one another --slot-uid"
            )
            raise CannotStart(problem, numbers.first)
        time.sleep(0.05)
    return lock


def _is_locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def obstacle(numbers: Numbers, workspaces: Path, private: Sequence[Path]) -> str:
    """Why root cannot give builds users of their own here, in words; "" when it can.

    One of the users really tries: he has to get into `workspaces`, and must not read any of `private`.  Blocks.
    """
    if missing := privileges.missing():
        return f"sayci lacks {', '.join(sorted(missing))}"
    if absent := [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]:
        return f"{', '.join(absent)} is not installed"
    uid = numbers.builds[0]
    try:
        tried = subprocess.run(
            [
                *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"),
                *("sh", "-c", _PROBE, "sh", os.fspath(workspaces), *map(os.fspath, private)),
            ],
            env={"PATH": _PATH, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no process can be given another user: {error}"
    return _explained(tried, workspaces)


def _explained(tried: subprocess.CompletedProcess[bytes], workspaces: Path) -> str:
    match tried.returncode:
        case 0:
            return ""
        case 3:
            return f"users of builds cannot get into {workspaces}: a directory above it is closed to others"
        case 4:
            return f"users of builds could read {os.fsdecode(tried.stdout.strip())}: its file system knows no owners"
    return tried.stderr.decode("utf-8", "replace").strip() or f"setpriv ended with {tried.returncode}"
