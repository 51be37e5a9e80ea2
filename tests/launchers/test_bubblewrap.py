"""launchers/bubblewrap.py: what a step sees in its sandbox, and when there can be none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from sayci.interfaces import Job
from sayci.launchers import bubblewrap
from sayci.launchers.bubblewrap import Bubblewrap
from sayci.launchers.local import LocalLauncher
from tests.slots import passable_directory


@pytest.fixture
def house():
    """A directory with workspaces in it, and what is the server's."""
    with passable_directory() as path:
        for name in ("data/workspaces/1/tree", "data/workspaces/1/tmp", "data/workspaces/2/tree"):
            (path / name).mkdir(parents=True)
        (path / "data" / "key").write_text("topsecret")
        (path / "data" / "workspaces" / "2" / "tree" / "code").write_text("topsecret")
        yield House(path / "data")


class House:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.own = data / "workspaces" / "1"
        wrapper, obstacle = bubblewrap.found([data])
        if wrapper is None:
            pytest.skip(obstacle)
        self.launcher = LocalLauncher(reactor, data / "builds", wrapper=wrapper)

    async def run(self, script: str) -> tuple[int | None, str]:
        """The exit code and the log of a script."""
        temporary = self.own / "tmp"
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(temporary)}
        job = Job("1/1-test", ("sh", "-c", script), environment, self.own / "tree", beside=(temporary,))
        handle = await self.launcher.start(job)
        ended = await Deferred.fromCoroutine(self.launcher.result(handle)).addTimeout(60, reactor)
        return ended.exit_code, (self.data / "builds" / handle / "log").read_text()


@pytest_twisted.ensureDeferred
async def test_it_sees_its_own_directories_and_nothing_else_of_the_servers(house):
    code, said = await house.run(
        f"cd {house.data}; find . -maxdepth 3 | sort\n"
        "for path in key ../data/key builds workspaces/2; do ls $path; done; echo over"
    )
    shown = [".", "./workspaces", "./workspaces/1", "./workspaces/1/tmp", "./workspaces/1/tree"]
    assert said.splitlines()[:5] == shown
    assert said.count("No such file or directory") == 4
    assert (code, said.splitlines()[-1]) == (0, "over")


@pytest_twisted.ensureDeferred
async def test_it_writes_into_its_own_directories_alone(house):
    _, said = await house.run(
        "touch here /tmp/there /var/tmp/over-there /dev/shm/in-memory\n"
        "for path in /etc /usr /usr/local /opt / .. ../../2 /proc/sys/kernel/hostname /var /home; do\n"
        "if touch $path/x 2>/dev/null; then echo WROTE $path; fi; done\n"
        "mv ../tree ../elsewhere 2>/dev/null && echo MOVED; echo over"
    )
    assert said == "over\n"
    assert (house.own / "tree" / "here").exists()
    assert {path.name for path in (house.own / "tmp").iterdir()} >= {"there", "over-there"}


def a_neighbour() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], env={"HIDDEN": "topsecret"})


@pytest_twisted.ensureDeferred
async def test_what_its_checkout_shares_with_the_mirror_it_cannot_change(house):
    packs = house.own / "tree" / ".git" / "objects" / "pack"
    packs.mkdir(parents=True)
    (packs / "pack-1.pack").write_text("objects")
    _, said = await house.run(
        "cd .git/objects/pack; cat pack-1.pack; echo; chmod 777 pack-1.pack 2>/dev/null && echo CHANGED\n"
        "rm -f pack-1.pack 2>/dev/null && echo REMOVED; echo > ../new && echo over"
    )
    assert said == "objects\nover\n"


@pytest_twisted.ensureDeferred
async def test_a_link_that_an_earlier_step_has_left_there_leads_nowhere(house):
    (house.own / "tree" / ".git").mkdir()
    (house.own / "tree" / ".git" / "objects").symlink_to(house.data.parent / "outside")
    (house.data.parent / "outside" / "pack").mkdir(parents=True)
    (house.data.parent / "outside" / "pack" / "key").write_text("topsecret")
    _, said = await house.run("cat .git/objects/pack/key 2>/dev/null || echo nothing")
    assert said == "nothing\n"


@pytest_twisted.ensureDeferred
async def test_it_sees_and_ends_no_process_but_its_own(house):
    with a_neighbour() as neighbour:
        try:
            _, said = await house.run(
                f"kill -9 {neighbour.pid} {os.getpid()}; cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c topsecret\n"
                "ls -d /proc/[0-9]* | wc -l; echo over; kill -9 -1 2>/dev/null"
            )
            assert neighbour.poll() is None
        finally:
            neighbour.kill()
    assert said.count("No such process") == 2
    hidden, count, over = said.splitlines()[-3:]
    assert (hidden, over) == ("0", "over")
    assert int(count) < 8


def test_what_is_hidden_is_hidden_also_where_the_system_is():
    place = Path("/opt") if os.access("/opt", os.W_OK) else None
    if place is None:
        pytest.skip("nothing can be put where the system is")
    private = place / f"sayci-test-{os.getpid()}"
    private.mkdir()
    try:
        (private / "key").write_text("topsecret")
        wrapper, obstacle = bubblewrap.found([private])
        if wrapper is None and "shows" not in obstacle:
            pytest.skip(obstacle)
        assert (wrapper is not None, obstacle) == (True, "")
        careless = Bubblewrap("/usr/bin/bwrap")
        assert careless.obstacle([private]) == f"bubblewrap shows {private}"
    finally:
        (private / "key").unlink()
        private.rmdir()


def test_where_it_does_not_work_its_own_words_say_why(tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    said = Bubblewrap(str(broken)).obstacle([])
    assert said == "bubblewrap does not work here: bwrap: No permissions to create new namespace"


def test_what_runs_a_command_without_any_sandbox_is_found_out(tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    broken.chmod(0o755)
    assert Bubblewrap(str(broken)).obstacle([]) == "bubblewrap shows processes that are not the build's"


def test_a_machine_without_it_says_so(monkeypatch):
    monkeypatch.setattr(bubblewrap, "_PATH", os.path.dirname(sys.executable))  # noqa: PTH120 - PATH is text
    assert bubblewrap.found([]) == (None, "bubblewrap is not installed")
