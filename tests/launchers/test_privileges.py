"""launchers/privileges.py: in processes of their own, since what is given up does not come back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sayci.launchers import privileges

NEEDED = "00000000000000eb"
SCRIPT = """
import subprocess
from sayci.launchers import privileges
privileges.keep_needed()
print(sorted(privileges.missing()), flush=True)
subprocess.run(["grep", "-E", "^(CapPrm|CapEff|NoNewPrivs)", "/proc/self/status"])
"""


def run(*prefix: str, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [*prefix, sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def skip_unless_root() -> None:
    if os.geteuid() != 0 or privileges.missing():
        pytest.skip("only root has privileges to give up")


def test_what_is_needed_is_kept_and_what_it_starts_gets_no_more():
    skip_unless_root()
    said = run().stdout
    assert said.startswith("[]\n")
    assert f"CapPrm:\t{NEEDED}\nCapEff:\t{NEEDED}\nNoNewPrivs:\t1" in said


def test_it_takes_no_more_than_that():
    skip_unless_root()
    kept = "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid"
    said = run("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}")
    assert said.stdout.startswith("[]\n"), said.stderr


def test_what_is_missing_is_named():
    skip_unless_root()
    script = "from sayci.launchers import privileges; print(sorted(privileges.missing()))"
    said = run("setpriv", "--bounding-set=-kill,-chown", script=script).stdout
    assert said == "['CAP_CHOWN', 'CAP_KILL']\n"
