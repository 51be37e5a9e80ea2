"""Hand-written neighbours for tests of the domain: they keep a transcript and do what they are told."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from sayci.errors import LauncherError, SayciError
from sayci.interfaces import Ended, Isolation


class FakeLauncher:
    """Steps that end when the test says so; what "another server" started is in `known`."""

    isolation = Isolation(False, "Builds are not isolated from this server")

    def __init__(self, logs=None):
        self.transcript = []
        self.jobs = {}
        self.known = {}
        self.refuses = ""
        self._logs = logs
        self._waiting = {}
        self._started = {}

    async def start(self, job):
        if self.refuses:
            raise LauncherError("refused", self.refuses)
        self.transcript.append(("start", job.key))
        self.jobs[job.key] = job
        if job.key in self._started:
            self._started.pop(job.key).callback(job)
        return job.key

    def started(self, key):
        """A Deferred of the job, once it has been started."""
        if key in self.jobs:
            return succeed(self.jobs[key])
        return self._started.setdefault(key, Deferred())

    async def result(self, handle):
        self.transcript.append(("result", handle))
        if handle in self.known:
            return self.known[handle]
        if handle not in self.jobs:
            return Ended(None, "never_started")
        waiting: Deferred[Ended] = Deferred()
        self._waiting.setdefault(handle, []).append(waiting)
        return await waiting

    def cancel(self, handle):
        self.transcript.append(("cancel", handle))
        self.end(handle, Ended(None, "cancelled"))

    def end(self, handle, ended, log=b""):
        """The step ends like this."""
        self.known[handle] = ended
        if log and self._logs is not None:
            self._logs.files[handle] = log
        for waiting in self._waiting.pop(handle, []):
            if not waiting.called:
                waiting.callback(ended)


class FakeLogs:
    """Logs in memory."""

    def __init__(self):
        self.files = {}
        self.removed = {}
        self.compressed = []

    def size(self, key):
        return len(self.files.get(key, b""))

    def removed_at(self, key):
        return self.removed.get(int(key.partition("/")[0]))

    async def kept(self):
        found: dict[int, int] = {}
        for key, log in self.files.items():
            build_id = int(key.partition("/")[0])
            found[build_id] = found.get(build_id, 0) + len(log)
        return found

    async def clear(self, build_id):
        await self.remove(build_id)
        self.removed[build_id] = 0.0

    async def compress(self, build_id, may_go_on):
        done = may_go_on()
        if done:
            self.compressed.append(build_id)
        return done

    async def read(self, key, start, length):
        return self.files.get(key, b"")[start : start + length]

    async def times(self, key):
        return self.files.get(f"{key}/times", b"")

    async def work(self, key, work):
        return work(lambda start, length: self.files.get(key, b"")[start : start + max(0, length)])

    def writer(self, key):
        return FakeLogWriter(self, key)

    async def remove(self, build_id):
        self.files = {key: log for key, log in self.files.items() if not key.startswith(f"{build_id}/")}


class FakeLogWriter:
    """Appends to a log of FakeLogs."""

    def __init__(self, logs, key):
        self._logs, self._key = logs, key

    def write(self, data):
        self._logs.files[self._key] = self._logs.files.get(self._key, b"") + data

    def close(self):
        pass


class FakeSources:
    """Repositories that hold what the test says, and real workspaces in a temporary directory."""

    def __init__(self, workspaces: Path, files=("Makefile",)):
        self.transcript: list = []
        self.branches = {"main": "1" * 40}
        self.files = files
        self.problems: list[SayciError] = []
        self.hangs: Deferred[None] | None = None
        self._workspaces = workspaces

    async def heads(self, remote):
        self.transcript.append(("heads", remote.url, remote.access_token))
        if self.problems:
            raise self.problems.pop(0)
        return dict(self.branches)

    async def clone(self, project_id, remote, branch):
        self.transcript.append(("clone", project_id, branch))
        if self.problems:
            raise self.problems.pop(0)

    async def checkout(self, project_id, remote, commit, build_id, log, *, debug=False):
        self.transcript.append(("checkout", commit, build_id))
        if self.problems:
            raise self.problems.pop(0)
        if self.hangs is not None:
            await self.hangs
        workspace = self._workspaces / str(build_id)
        for name in ("tree", "home", "tmp"):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        for name in self.files:
            (workspace / "tree" / name).write_text("")
        log(b"HEAD is now at " + commit[:7].encode() + b"\n")
        return workspace

    async def describe(self, project_id, commit):
        return "a message", "an author"

    async def discard(self, project_id, build_id):
        self.transcript.append(("discard", build_id))

    async def sweep(self, open_builds):
        self.transcript.append(("sweep", sorted(open_builds)))

    async def remove(self, project_id):
        self.transcript.append(("remove", project_id))
