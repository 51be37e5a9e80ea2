"""Print the figures.  Machines are shared and noisy: look at medians, ratios within one run, and counts."""

from __future__ import annotations

import json
import os
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import isolation as measured_isolation
from bench import pages as measured_pages
from bench import survival, tls, watchers
from bench.logs import figures as log_figures
from tests import engine, payloads
from tests.gitserver import Repository
from tests.pebble import running_pebble
from tests.server import FileServer, Server
from tests.slots import passable_directory, some_numbers

MIB = 1024 * 1024
PRINTED = 100 * MIB
TRIVIAL = ".PHONY: test\ntest:\n\t@echo tested\n"


def say(name: str, value: str) -> None:
    """One line of the result."""
    print(f"{name:<62} {value}", flush=True)  # noqa: T201 - the result of the program


def memory(pid: int, field: str = "VmRSS") -> float:
    """MiB that a process has now (VmRSS) or has had at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Bench:
    """A server with one project, and the means to push to it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.repository = Repository(directory / "bench.git")
        self.commit({"Makefile": TRIVIAL})
        self.server = Server(directory / "data", "--allow-url", "file", *options)
        self.secret = ""
        self.pushed = 0

    def commit(self, files: dict[str, str]) -> str:
        """A new commit on main."""
        return self.repository.commit({**files, "count": str(time.time_ns())})

    def register(self) -> None:
        """Register the project, and wait until its mirror is there."""
        answer = self.server.post("/api/v1/projects", {"name": "bench", "url": self.repository.url})
        self.secret = answer.json["webhook_secret"]
        self.server.wait_for(lambda: self.server.get("/api/v1/projects/bench").json["mirror"] == "ready")

    def newest(self) -> dict[str, Any]:
        """The newest build."""
        items = self.server.get("/api/v1/projects/bench/builds?limit=1").json["items"]
        return items[0] if items else {"number": 0, "state": "finished"}

    def idle(self) -> None:
        """Wait until no build waits or runs."""
        self.server.wait_for(lambda: self.newest()["state"] == "finished", 600)

    def build(self, commit: str) -> tuple[float, float, dict[str, Any]]:
        """Push and wait: seconds from the POST to the first byte of the log of the test, and to the end of the build."""
        number = int(self.newest()["number"]) + 1
        logs = self.server.data / "builds"
        known = set(logs.iterdir())
        body = payloads.body_of(payloads.push(after=commit))
        headers = payloads.headers_of(body, secret=self.secret)
        started = time.perf_counter()
        answer = self.server.request("POST", "/hooks/bench", body, headers, token=False)
        if answer.code != 202:
            raise RuntimeError("not accepted", answer.code, answer.body)
        first = self._first_byte(logs, known) - started
        while self.server.build("bench", number)["state"] != "finished":
            time.sleep(0.005)
        return first, time.perf_counter() - started, self.server.build("bench", number)

    @staticmethod
    def _first_byte(logs: Path, known: set[Path]) -> float:
        while True:
            for directory in set(logs.iterdir()) - known:
                log = directory / "1-test" / "log"
                if log.exists() and log.stat().st_size:
                    return time.perf_counter()
            time.sleep(0.001)

    def by_hand(self, commit: str) -> float:
        """Seconds of the same by hand: fetch into a mirror, check out, ``make test``."""
        mirror, tree = self.directory / "by-hand.git", self.directory / "by-hand"
        if not mirror.exists():
            run("git", "init", "-q", "--bare", str(mirror))
            run("git", f"--git-dir={mirror}", "fetch", "-q", self.repository.url, "main")
        tree.mkdir()

        def work() -> None:
            run("git", f"--git-dir={mirror}", "fetch", "-q", self.repository.url, commit)
            run("git", f"--git-dir={mirror}", f"--work-tree={tree}", "checkout", "-q", "-f", commit)
            run("make", "-C", str(tree), "test")

        seconds = timed(work)
        subprocess.run(("rm", "-rf", str(tree)), check=True)
        return seconds


def run(*command: str) -> None:
    """Run a command; its output is not kept."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# -- the figures


def start(bench: Bench) -> None:
    """Time to the first answer, and memory at rest."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        bench.server.start()
        bench.server.get("/healthz", token=False)
        seconds.append(time.perf_counter() - began)
        if not bench.server.token:
            bench.server.sign_in()
        idle = memory(bench.server.pid)
        if len(seconds) < 3:
            bench.server.stop()
    say("start to first answer, empty data directory", f"{seconds[0]:.2f} s")
    say("start to first answer, later", f"{statistics.median(seconds[1:]):.2f} s")
    say("memory at rest", f"{idle:.0f} MiB")


def deliveries(bench: Bench) -> None:
    """Accepted deliveries per second."""
    host, port = bench.server.base.removeprefix("http://").split(":")
    host = "127.0.0.1"
    commit = bench.commit({"Makefile": TRIVIAL})  # it is built every now and then while the pushes come
    for concurrency, count in ((1, 300), (16, 3000), (64, 6000)):
        command = (sys.executable, "-m", "bench.load", host, port, "bench", commit, str(concurrency), str(count))
        results = []
        for _ in range(3):
            output = subprocess.run(command, input=bench.secret.encode(), check=True, stdout=subprocess.PIPE).stdout
            results.append(json.loads(output))
            bench.idle()
        accepted = sum(result["codes"].get("202", 0) for result in results)
        rate = statistics.median(result["per_second"] for result in results)
        p99 = statistics.median(result["p99_ms"] for result in results)
        median = statistics.median(result["median_ms"] for result in results)
        say(
            f"signed pushes of 10 KB accepted, {concurrency} at a time",
            f"{rate:.0f}/s, median {median:.1f} ms, p99 {p99:.1f} ms ({accepted} of {3 * count} accepted)",
        )
    say("memory after that", f"{memory(bench.server.pid):.0f} MiB")


def latency(bench: Bench) -> None:
    """From the POST to the first byte of the log, and to the end of a trivial build."""
    times = [bench.build(bench.commit({}))[:2] for _ in range(15)]
    first, done = (statistics.median(column) for column in zip(*times, strict=True))
    say("POST to the first byte of the test's log, trivial project", f"{first:.3f} s (median of {len(times)})")
    say("POST to the end of the build, trivial project", f"{done:.3f} s (median of {len(times)})")


def overhead(bench: Bench) -> None:
    """What a build costs over the same work by hand."""
    for length, rounds in ((1, 5), (5, 3)):
        makefile = f".PHONY: test\ntest:\n\t@sleep {length}; echo tested\n"
        pairs = []
        for _ in range(rounds):
            commit = bench.commit({"Makefile": makefile})
            pairs.append((bench.build(commit)[1], bench.by_hand(commit)))
        ours, hands = (statistics.median(column) for column in zip(*pairs, strict=True))
        more = statistics.median(mine - hand for mine, hand in pairs)
        say(
            f"a test of {length} s: build against git and make by hand",
            f"{ours:.2f} s, {hands:.2f} s: {more:+.2f} s, ratio {ours / hands:.3f} (median of {rounds} pairs)",
        )


def output(bench: Bench) -> None:
    """How fast a step may print, and what that does to the server."""
    source = bench.directory / "printed"
    line = b"a line of a log, as long as such lines are, more or less, with a number and some more words: 0123456789\n"
    source.write_bytes((line * (PRINTED // len(line) + 1))[:PRINTED])
    commit = bench.commit({"Makefile": f".PHONY: test\ntest:\n\t@cat {source}\n"})
    pid = bench.server.pid
    before = memory(pid)
    speeds = []
    for _ in range(3):
        _, _, build = bench.build(commit)
        step = next(step for step in build["steps"] if step["name"] == "test")
        if step["log_size"] != PRINTED:
            raise RuntimeError("the log is not whole", step)
        speeds.append(PRINTED / 1e6 / step["duration"])
    say("a step that prints 100 MiB", f"{statistics.median(speeds):.0f} MB/s (median of 3)")
    peak = memory(pid, "VmHWM")
    say("memory of the server before it, and at most since its start", f"{before:.0f} MiB, {peak:.0f} MiB")


def watching(bench: Bench) -> None:
    """A thousand who watch one log."""

    def build(makefile: str) -> str:
        bench.commit({"Makefile": makefile})
        number = bench.server.post("/api/v1/projects/bench/builds").json["number"]
        bench.server.step_runs("bench", number)
        return f"/api/v1/projects/bench/builds/{number}/steps/test/log"

    for name, value in watchers.figures(bench.server, bench.directory, build, memory):
        say(name, value)


def packaging() -> None:
    """The file and the image that ./build makes: how large, and how soon they answer."""
    try:
        built = engine.built()
    except pytest.skip.Exception as reason:
        say("sayci.pex and the image", f"not measured: {reason}")
        return
    sizes = {
        name: int(engine.docker("image", "inspect", "--format", "{{.Size}}", name))
        for name in (built.image, built.base)
    }
    say("sayci.pex", f"{built.pex.stat().st_size / 1e6:.1f} MB")
    more = (sizes[built.image] - sizes[built.base]) / 1e6
    say("the image, and what it has over its base", f"{sizes[built.image] / 1e6:.0f} MB, {more:.0f} MB")
    cold, warm = zip(*(file_starts() for _ in range(3)), strict=True)
    report_starts("sayci.pex", cold, warm)
    cold, warm = zip(*(container_starts() for _ in range(3)), strict=True)
    report_starts("the image", cold, warm)


def https() -> None:
    """What TLS costs, and how soon a trusted certificate is there."""
    for name, value in tls.figures():
        say(name, value)
    try:
        seconds = [until_trusted() for _ in range(5)]
    except pytest.skip.Exception as reason:
        say("from an empty directory to a trusted certificate", f"not measured: {reason}")
        return
    say(
        "from an empty directory to a trusted certificate (pebble)", f"{statistics.median(seconds):.2f} s (median of 5)"
    )


def logs() -> None:
    """How soon a log is on the screen."""
    try:
        for name, value in log_figures():
            say(name, value)
    except pytest.skip.Exception as reason:
        say("logs on the screen", f"not measured: {reason}")


def survive() -> None:
    """A queue, and a restart under what runs."""
    for name, value in survival.figures():
        say(name, value)


def until_trusted() -> float:
    """Seconds from the start of a server to the first handshake with a certificate that an authority has issued."""
    with ExitStack() as stack:
        directory = stack.enter_context(passable_directory())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pebble = stack.enter_context(running_pebble(directory, tls_port=port))
        context = ssl.create_default_context(cadata=pebble.roots().decode())
        authority = ("--acme-directory", pebble.directory_url, "--acme-ca-file", str(pebble.ca_file))
        where = ("--port", f"le:{directory}/certs:tcp:{port}:interface=127.0.0.1", "--host", "bench.example")
        server = Server(directory / "data", *where, *authority, "--slot-uid", "0")
        stack.callback(server.stop)
        began = time.perf_counter()
        server.start()
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as plain:
                    context.wrap_socket(plain, server_hostname="bench.example").close()
                return time.perf_counter() - began
            except ssl.SSLCertVerificationError:
                time.sleep(0.01)


def report_starts(what: str, cold: Sequence[float], warm: Sequence[Sequence[float]]) -> None:
    """A line for what was measured."""
    later = [seconds for each in warm for seconds in each]
    first = f"{statistics.median(cold):.2f} s the first time (median of {len(cold)})"
    say(f"{what}: start to first answer", f"{first}, {statistics.median(later):.2f} s later (median of {len(later)})")


def file_starts() -> tuple[float, list[float]]:
    """Seconds to the first answer of sayci.pex: when it has to unpack itself, and later."""
    with tempfile.TemporaryDirectory(prefix="sayci-bench-") as directory:
        server = FileServer(engine.pex(), Path(directory), engine.python())

        def start() -> float:
            seconds = timed(lambda: server.start().get("/healthz", token=False))
            server.token = "asked for no more"  # noqa: S105 - none: only the first start waits for the link to sign in
            server.stop()
            return seconds

        return start(), [start() for _ in range(3)]


def container_starts() -> tuple[float, list[float]]:
    """Seconds to the first answer of a container: a new one with a new volume, and the same one later."""
    began = time.perf_counter()
    with engine.run() as container:
        container.ready().get("/healthz", token=False)
        first = time.perf_counter() - began
        later = []
        for times in range(2, 5):
            container.stop()
            later.append(timed(lambda: container.start().ready(times).get("/healthz", token=False)))  # noqa: B023 - at once
        return first, later


def pages() -> None:
    """What pages cost."""
    with passable_directory() as directory:
        for name, (times, octets) in measured_pages.measured(directory).items():
            say(name, times)
            say(f"{name}: bytes", octets)


def isolation() -> None:
    """What keeping builds from the server costs them."""
    measured_isolation.measure(Bench, TRIVIAL, say)


@contextmanager
def a_bench() -> Iterator[Bench]:
    """A bench in a directory of its own; as root, builds have users of their own."""
    with passable_directory() as directory:
        users = ("--slot-uid", str(some_numbers().first)) if os.geteuid() == 0 else ()
        bench = Bench(directory, *users)
        try:
            yield bench
        finally:
            bench.server.stop()


def main() -> None:
    """Everything, or what the command line names."""
    say("machine", f"{os.cpu_count()} processors, Python {platform.python_version()}, {platform.system()}")
    wanted = sys.argv[1:]
    for alone in (packaging, https, pages, logs, survive, isolation):
        if not wanted or alone.__name__ in wanted:
            alone()
    if wanted and not {"latency", "overhead", "deliveries", "output", "watching"} & {*wanted}:
        return
    with a_bench() as bench:
        start(bench)
        bench.register()
        for part in (latency, overhead, deliveries, output, watching):
            if not wanted or part.__name__ in wanted:
                part(bench)


if __name__ == "__main__":
    main()
