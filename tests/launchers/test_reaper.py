"""launchers/reaper.py: as a subreaper, which is given orphans as the first process of a container is."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import ctypes, os, signal, sys
from twisted.internet import process, reactor
from twisted.internet.protocol import ProcessProtocol
from sayci.launchers.reaper import adopt_orphans

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
ORPHANS = int(sys.argv[1])

class Ours(ProcessProtocol):
    codes = []
    def processEnded(self, reason):
        self.codes.append(reason.value.exitCode)

def children():
    return [int(pid) for pid in open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()]

def look():
    if len(Ours.codes) == 40 and not children():
        print(sorted(Ours.codes) == list(range(40)), flush=True)
        reactor.stop()

def begin():
    if sys.argv[2] == "early":
        orphans()
    adopt_orphans(reactor, process.reapProcessHandlers, process.reapAllProcesses)
    if sys.argv[2] == "late":
        orphans()
    for code in range(40):
        # Each leaves two orphans beside its own end.
        script = f"(sleep 0.0{code % 7} & sleep 0.0{code % 5} &) ; exit {code}"
        reactor.spawnProcess(Ours(), "/bin/sh", ["sh", "-c", script], env={"PATH": "/usr/bin:/bin"})
    from twisted.internet.task import LoopingCall
    LoopingCall(look).start(0.02)

def orphans():
    for _ in range(ORPHANS):
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os._exit(3)
            os._exit(0)
        os.waitpid(pid, 0)

reactor.callWhenRunning(begin)
reactor.run()
"""


def run(orphans: int, when: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-c", SCRIPT, str(orphans), when]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=50, check=False).stdout


def test_orphans_are_reaped_and_every_child_of_ours_tells_how_it_ended():
    assert run(30, "late") == "True\n"


def test_orphans_that_have_ended_before_are_reaped_too():
    assert run(30, "early") == "True\n"
