"""Runs steps in containers of a Docker Engine, one for each step.

Under the step's shim runs container.py, which has the container made, passes its output on and stays with it to its end; so
log, masking, limits of time and the way back to a running step are those of any other step (local.py).  A container lives on
when who was to watch it is killed: it is removed when the step's result is asked for, or at the next start (`sweep`).

What is in a container's environment can be seen by everybody who may speak to the engine: who may, is root on this machine.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sayci.errors import CannotStart, LauncherError
from sayci.image import DOCKER_HUB, pulled_as, registry_of
from sayci.interfaces import Ended, Isolation, Job
from sayci.launchers import container
from sayci.launchers.container import Assignment, Engine, EngineError, Record
from sayci.launchers.local import KEY, LocalLauncher, compiled
from sayci.launchers.users import Numbers
from sayci.options import ContainerSettings
from sayci.runner import BASE_ENVIRONMENT

#: What a container is found by: whose it is, of which step, and as whom it runs.
OWNER, STEP, USER = "sayci.owner", "sayci.step", "sayci.user"
#: Seconds for fetching an image.
PULL_LIMIT = 1800.0
#: Seconds that container.py has beyond a step's grace time to see its container killed.
LEEWAY = 30.0
#: Processes and threads in a container where no limit says otherwise.
PROCESSES = 4096
#: An exit code above this tells of a signal.
FIRST_SIGNAL = 128

_RECORD = "container"  # in the step's run directory
_PROGRAM = Path(container.__file__)
_ADDRESS_OF_HUB = "https://index.docker.io/v1/"  # what docker login calls it

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Place:
    """An engine as it was found: its version, and what it cannot do, in words."""

    version: str
    lacks: tuple[str, ...] = ()


def look_at(settings: ContainerSettings, data: Path) -> Place:
    """Try the engine out.  Raises CannotStart when it does not answer or cannot run builds.  Blocks.

    `data` is the data directory: the engine has to have it by the same path.
    """
    engine = Engine(os.fspath(settings.socket))
    try:
        version = engine.ask("GET", "/version", seconds=30)
        info = engine.ask("GET", "/info", seconds=30)
        _check_network(engine, settings.network)
        _check_paths(engine, data)
    except OSError as error:
        problem = (
            "no Docker Engine answers, which --launcher docker needs: start it, let sayci's user write to its socket, or "
            "name another one by --docker-socket"
        )
        raise CannotStart(problem, settings.socket, error.strerror or error) from None
    except EngineError as error:
        raise CannotStart("the Docker Engine refuses", error) from None
    return _place(version, info)


def _place(version: Mapping[str, Any], info: Mapping[str, Any]) -> Place:
    """What an engine says of itself.  Raises CannotStart where it is none that builds can be given to."""
    options = " ".join(info.get("SecurityOptions") or ())
    if info.get("OSType") != "linux":
        raise CannotStart("the Docker Engine does not run Linux containers", info.get("OSType"))
    if "name=rootless" in options:
        raise CannotStart("the Docker Engine is rootless: its users are not those to whom workspaces belong")
    lacks = [words for key, words in (("MemoryLimit", "memory"), ("PidsLimit", "processes")) if not info.get(key)]
    return Place(str(version.get("Version")), tuple(lacks))


def _check_network(engine: Engine, name: str) -> None:
    try:
        engine.ask("GET", f"/networks/{name}", seconds=30)
    except EngineError as error:
        raise CannotStart("the Docker Engine has no such network: docker network ls", name, error) from None


def _check_paths(engine: Engine, data: Path) -> None:
    """Raises CannotStart when the engine does not find our files by the paths that we have for them.

    An engine looks for what it is to mount before it looks for the image; there is none of that name.
    """
    probe = data / f"probe-{secrets.token_hex(8)}"
    probe.mkdir(mode=0o700)
    try:
        mount = {"Type": "bind", "Source": os.fspath(probe), "Target": "/probe"}
        image = f"sayci-{secrets.token_hex(8)}"
        made = engine.ask("POST", "/containers/create", {"Image": image, "HostConfig": {"Mounts": [mount]}}, seconds=30)
        engine.remove(made["Id"])
    except EngineError as error:
        if error.status != 404:  # that there is no such image: the directory was found
            problem = (
                "the Docker Engine does not find the data directory by its path: where sayci runs in a container, mount "
                "the data directory at the path that it has on the host, such as -v /srv/sayci:/srv/sayci"
            )
            raise CannotStart(problem, data, error) from None
    finally:
        probe.rmdir()


# ------------------------------------------------------------------------------------------------ what is asked for


def owner_of(data: Path) -> str:
    """What marks the containers of one data directory; no two servers of one engine have the same."""
    return sha256(os.fsencode(data)).hexdigest()[:16]


def name_of(owner: str, key: str) -> str:
    """The name of a step's container."""
    return f"sayci-{owner}-{key.replace('/', '.')}"


def body_of(job: Job, image: str, user: tuple[int, int], settings: ContainerSettings, owner: str) -> dict[str, Any]:
    """What the engine's API takes to make a step's container, but for its environment.

    Only what is the step's own is in it, by the paths that it has outside; the rest of its file system cannot be written.
    Where no directory of the step's is called tmp, /tmp is in memory.
    """
    uid, gid = user
    limits = job.limits
    own = [
        {"Type": "bind", "Source": os.fspath(path), "Target": os.fspath(path)} for path in (job.workspace, *job.beside)
    ]
    temporary = job.environment.get("TMPDIR", "")
    if any(os.fspath(path) == temporary for path in job.beside):
        own.append({"Type": "bind", "Source": temporary, "Target": "/tmp"})  # noqa: S108 - in the container
    host: dict[str, Any] = {
        "Init": True,
        "NetworkMode": settings.network,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Mounts": own,
        "Tmpfs": {} if len(own) > 1 + len(job.beside) else {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108
        "LogConfig": {"Type": "none"},
        "IpcMode": "private",
        "UsernsMode": "host",
        "OomScoreAdj": 500,
        "PidsLimit": limits.process_limit or PROCESSES,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
    }
    if limits.memory_limit:
        host |= {"Memory": limits.memory_limit, "MemorySwap": limits.memory_limit}
    if limits.open_files_limit:
        files = limits.open_files_limit
        host["Ulimits"].append({"Name": "nofile", "Soft": files, "Hard": files})
    if settings.processors:
        host["NanoCpus"] = round(settings.processors * 1e9)
    return {
        "Image": image,
        "Entrypoint": [job.argv[0]],
        "Cmd": list(job.argv[1:]),
        "User": f"{uid}:{gid}",
        "WorkingDir": os.fspath(job.workspace),
        "Labels": {OWNER: owner, STEP: job.key, USER: str(uid)},
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }


def given_to(job: Job) -> dict[str, str]:
    """The command's variables.  The PATH is the image's, unless the project has said another one."""
    usual = BASE_ENVIRONMENT["PATH"]
    return {name: value for name, value in job.environment.items() if (name, value) != ("PATH", usual)}


def credential_for(image: str, config: str) -> str:
    """What the engine takes to log in to an image's registry, from what ``docker login`` has kept; "" if there is none.

    Only what is kept in the file itself is found, not what a program for credentials keeps.
    """
    registry = registry_of(image)
    try:
        known = json.loads(config)["auths"]
        found = known.get(_ADDRESS_OF_HUB if registry == DOCKER_HUB else registry) or known.get(f"https://{registry}")
        name, _, password = base64.b64decode(found["auth"]).decode().partition(":")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    said = {"username": name, "password": password, "serveraddress": registry}
    if found.get("identitytoken"):
        said = {"identitytoken": found["identitytoken"], "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


# ------------------------------------------------------------------------------------------------ what became of it


def ended_of(ended: Ended, record: Record | None) -> Ended:
    """How a step ended, by what its shim has recorded of container.py and that of the container."""
    if ended.why in ("never_started", "lost"):
        return ended
    if record is None and ended.why:
        return replace(ended, exit_code=None)
    if record is None:
        return replace(ended, exit_code=None, why="lost", detail="what ran its container was killed")
    if record.exit_code is None and not ended.why:
        return replace(ended, exit_code=None, why="lost" if record.started else "start_failed", detail=record.trouble)
    code = record.exit_code
    if code is not None and FIRST_SIGNAL < code < FIRST_SIGNAL + signal.NSIG:  # as shells and docker-init tell of one
        code = FIRST_SIGNAL - code
    if not ended.why and record.out_of_memory and code:
        return replace(ended, exit_code=code, why="memory_limit")
    return replace(ended, exit_code=code)


# ------------------------------------------------------------------------------------------------ the launcher


class DockerLauncher:
    """The Launcher for steps in containers.

    `data` is the data directory that `owner_of` marks the containers by.  `place` is what `look_at` has found.  With `users`
    a container runs as the one of them to whom its workspace belongs; without, as the server's own user, who is not root.
    `registries` is the file that ``docker login`` writes.  The rest is as for LocalLauncher, whose shims these are too.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        root: Path,
        settings: ContainerSettings,
        place: Place,
        *,
        data: Path,
        users: Numbers | None = None,
        registries: Path | None = None,
        python: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._root = root.absolute()
        self._settings = settings
        self._place = place
        self._owner = owner_of(data)
        self._users = users
        self._registries = registries
        self._python = python or os.path.realpath(sys.executable)
        self._engine = Engine(os.fspath(settings.socket))
        self._program = compiled(_PROGRAM, self._root)
        self._shims = LocalLauncher(reactor, root, python=python)

    @property
    def isolation(self) -> Isolation:
        """What keeps a step from the server and other steps."""
        words = f"Each step runs in a container of its own, by Docker {self._place.version}"
        if self._place.lacks:
            words += f", which cannot limit {' and '.join(self._place.lacks)} here"
        return Isolation(True, words)

    async def start(self, job: Job) -> str:
        """Start the job under a shim.  Raises LauncherError, also for a job that has been started before."""
        image = job.image or self._settings.image
        if not image:
            raise LauncherError("there is no image to run it in: set the project's, or start sayci with --docker-image")
        return await self._shims.start(self._wrapped(job, image))

    def _wrapped(self, job: Job, image: str) -> Job:
        """The job that runs the job's container."""
        try:
            "\0".join([*job.argv, *job.environment.values()]).encode()
        except UnicodeEncodeError:  # which has that text, and it may be a secret
            raise LauncherError("the step has a text that no container can be given", job.key) from None
        body = body_of(job, image, self._user_of(job), self._settings, self._owner)
        assignment = Assignment(body, pulled_as(image), job.grace, PULL_LIMIT)
        environment = {f"{container.OF_COMMAND}{name}": value for name, value in given_to(job).items()}
        credential = credential_for(image, self._logins())
        name, record = name_of(self._owner, job.key), self._root / job.key / _RECORD
        return replace(
            job,
            argv=(
                *(self._python, "-I", "-S", "-X", "utf8", os.fspath(self._program)),
                *(self._engine.path, name, os.fspath(record)),
            ),
            environment={container.ASSIGNMENT: assignment.encode(), container.CREDENTIAL: credential, **environment},
            limits=replace(job.limits, process_limit=0, memory_limit=0, open_files_limit=0),
            grace=job.grace + LEEWAY,
        )

    def _user_of(self, job: Job) -> tuple[int, int]:
        """Whose the workspace is, and the group.  Raises LauncherError for root, and for whom builds do not run as."""
        try:
            found = os.lstat(job.workspace)
        except OSError as error:
            raise LauncherError("the workspace cannot be looked at", job.key, error.strerror or str(error)) from error
        allowed = self._users.builds if self._users is not None else (os.geteuid(),)
        if found.st_uid == 0 or found.st_uid not in allowed:
            raise LauncherError("the workspace belongs to no user whom builds may have", job.key, found.st_uid)
        return found.st_uid, found.st_gid

    def _logins(self) -> str:
        if self._registries is None:
            return ""
        try:
            return self._registries.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    async def result(self, handle: str) -> Ended:
        """How the step ended; nothing is left of its container."""
        ended = await self._shims.result(handle)
        if not KEY.fullmatch(handle):
            return ended
        await self._removed(name_of(self._owner, handle))
        return ended_of(ended, self._record(handle))

    def cancel(self, handle: str) -> None:
        """Ask the step's shim to end it."""
        self._shims.cancel(handle)

    async def clear(self, uid: int) -> bool:
        """End all containers and processes of a user; whether nobody is left."""
        names = await self._found(lambda labels: labels.get(USER) == str(uid))
        gone = [await self._removed(name) for name in names]
        return await self._shims.clear(uid) and all(gone)

    async def sweep(self, handles: Collection[str]) -> None:
        """Remove the containers of this data directory's steps but for these.  Raises nothing."""
        for name in await self._found(lambda labels: labels.get(STEP) not in handles):
            self._log.warn("removing container {name}, which belongs to no step that runs", name=name)
            await self._removed(name)

    def _record(self, handle: str) -> Record | None:
        try:
            return Record.decode((self._root / handle / _RECORD).read_bytes())
        except (OSError, ValueError, TypeError):
            return None

    async def _found(self, wanted: Callable[[Mapping[str, str]], bool]) -> list[str]:
        """The containers of this data directory with labels that are wanted; none when the engine does not say."""
        filters = quote(json.dumps({"label": [f"{OWNER}={self._owner}"]}))
        try:
            listed = await self._in_thread(
                partial(self._engine.ask, "GET", f"/containers/json?all=1&filters={filters}")
            )
        except (EngineError, OSError) as error:
            self._log.error("containers cannot be listed: {error}", error=error)
            return []
        return [found["Id"] for found in listed if wanted(found.get("Labels") or {})]

    async def _removed(self, name: str) -> bool:
        """Whether a container is gone."""
        try:
            await self._in_thread(partial(self._engine.remove, name))
        except (EngineError, OSError) as error:
            self._log.error("container {name} cannot be removed: {error}", name=name, error=error)
            return False
        return True

    async def _in_thread(self, function: Callable[[], Answer]) -> Answer:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)
