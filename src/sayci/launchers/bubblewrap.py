"""bubblewrap (bwrap(1)): a step sees the system's programs, its own directories and its own processes, and nothing else.

It needs no privileges where the kernel lets users have namespaces of their own, which not every place does: so it is tried
out before it is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sayci.interfaces import Isolation, Job
from sayci.launchers.local import Wrapped

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Where systems have their programs and what those need; all else is not there for a step, homes and /var among it.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix", "gnu", "snap")
_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
#: Bytes that a step may put where everybody's memory is the disk.
_SHARED_MEMORY, _COVER = 256 << 20, 1 << 20
#: In a workspace, files that are its mirror's too: only users of their own are kept from changing them otherwise.
_SHARED = Path(".git/objects/pack")
#: Where everybody puts temporary files.
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - the sandbox's own
_STATUS = ("--json-status-fd", "3")
_PROBE = """\
[ "$$" -lt 10 ] || exit 3
if kill -0 "$1" 2>/dev/null; then exit 3; fi
shift
for private in "$@"; do if [ -n "$(ls -A "$private" 2>/dev/null)" ]; then echo "$private"; exit 4; fi; done
echo x > /tmp/sayci-probe || exit 5
"""


class Bubblewrap:
    """The Wrapper that gives each step a sandbox; its network is everybody's.

    `hidden` is not shown, wherever it is, but for a step's own directories in it.
    """

    isolation = Isolation(True, "Each build runs in a sandbox of its own (bubblewrap)")

    def __init__(self, program: str, hidden: Iterable[Path] = ()) -> None:
        self._program = program
        self._knows_size = b"--size" in _output_of(program, "--help")
        self._fixed = (program, *_NAMESPACES, "--new-session", "--cap-drop", "ALL", *self._system())
        self._covers = [path.resolve() for path in hidden if path.is_dir() and _is_shown(path.resolve())]

    def wrap(self, job: Job) -> Wrapped:
        """The job's command in a sandbox of its own.  What it is given to hold temporary files is its /tmp too."""
        own = (job.workspace, *job.beside)
        temporary = job.environment.get("TMPDIR", "")
        argv = (
            *self._begin(temporary if Path(temporary) in own else "", own),
            *("--chdir", str(job.workspace), *_STATUS, "--"),
            *job.argv,
        )
        return Wrapped(argv, job.environment, job.limits, depth=1, reports=True)

    def obstacle(self, private: Sequence[Path]) -> str:
        """Why steps cannot be isolated in this way here, in words; "" when they can.

        It is tried: the sandbox must not show this process nor any of `private`.  Blocks.
        """
        script = ("sh", "-c", _PROBE, "sh", str(os.getpid()), *map(str, private))
        try:
            tried = subprocess.run(
                [*self._begin("", ()), "--", *script],
                env={"PATH": _PATH, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap does not run: {error}"
        match tried.returncode:
            case 0:
                return ""
            case 3:
                return "bubblewrap shows processes that are not the build's"
            case 4:
                return f"bubblewrap shows {os.fsdecode(tried.stdout.strip())}"
        said = tried.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"bubblewrap does not work here: {said or f'it ended with {tried.returncode}'}"

    def _begin(self, temporary: str, own: Sequence[Path]) -> Iterator[str]:
        """The command line up to the command; what is neither in `own` nor `temporary` cannot be written."""
        yield from self._fixed
        for place in _TEMPORARY:
            yield from ("--bind", temporary, place) if temporary else ("--tmpfs", place)
        # Where the way to its directories leads through what is not to be seen, or through its own temporary files.
        tops = [top for path in own if (top := _top_of_temporary(path)) is not None and top not in own]
        covers = list(dict.fromkeys([*self._covers, *tops]))
        for cover in covers:
            yield from self._in_memory(str(cover), _COVER)
        for path in own:
            yield from ("--bind", str(path), str(path))
            if _is_real(shared := path / _SHARED):
                yield from ("--ro-bind", str(shared), str(shared))
        for place in ("/", *map(str, covers)):
            yield from ("--remount-ro", place)

    def _system(self) -> Iterator[str]:
        for name in _SYSTEM:
            path = Path("/") / name
            if path.is_symlink():
                yield from ("--symlink", str(path.readlink()), str(path))
            elif path.is_dir():
                yield from ("--ro-bind", str(path), str(path))
        names = Path("/etc/resolv.conf").resolve()
        if names.exists() and names.parts[1:2] != ("etc",):  # systemd-resolved keeps it below /run
            yield from ("--ro-bind", str(names), str(names))
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from self._in_memory("/dev/shm", _SHARED_MEMORY)  # noqa: S108 - it is the sandbox's own

    def _in_memory(self, place: str, size: int) -> Iterator[str]:
        if self._knows_size:
            yield from ("--size", str(size))
        yield from ("--tmpfs", place)


def _is_real(path: Path) -> bool:
    """Whether it is a directory and its parts below a workspace are too: a link would be followed out of it."""
    return all(
        part.is_dir() and not part.is_symlink() for part in (path, *list(path.parents)[: len(_SHARED.parts) - 1])
    )


def _is_shown(path: Path) -> bool:
    return path.parts[1:2] != () and path.parts[1] in _SYSTEM


def _top_of_temporary(path: Path) -> Path | None:
    """The outermost directory of `path` that is not itself everybody's for temporary files; None if it is elsewhere."""
    for place in _TEMPORARY:
        if path.is_relative_to(place) and path != Path(place):
            return Path(place) / path.relative_to(place).parts[0]
    return None


def _output_of(*command: str) -> bytes:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""


def found(hidden: Sequence[Path]) -> tuple[Bubblewrap | None, str]:
    """A wrapper that shows nothing of `hidden`; None where there can be none, and why.  Blocks."""
    program = shutil.which("bwrap", path=_PATH)
    if program is None:
        return None, "bubblewrap is not installed"
    wrapper = Bubblewrap(program, hidden)
    obstacle = wrapper.obstacle(hidden)
    return (None, obstacle) if obstacle else (wrapper, "")
