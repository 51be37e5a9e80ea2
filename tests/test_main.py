"""__main__.py: one program that is the server and the client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sayci import __version__
from sayci.__main__ import is_for_twist

SOURCES = Path(__file__).parent.parent / "src"
#: Runs the program, and prints which packages that took.
LOADED = """
import sys
from sayci.__main__ import main
try:
    main()
except SystemExit:
    print(*sys.modules)
"""
#: Process 1 of its own namespace: the kernel drops a signal that it sends itself, unless it handles it.
FIRST_PROCESS = """
import os, sys
from signal import SIGTERM, SIGINT
from sayci import __main__
assert os.getpid() == 1
os.kill(1, SIGTERM)
__main__._listen_to_signals()
os.kill(1, getattr(sys.modules["signal"], sys.argv[1]))
sys.exit(7)
"""


def sayci(*arguments, before=("-m", "sayci")):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    command = (sys.executable, *before, *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("line", "expected"),
    (
        ("sayci", True),
        ("sayci --port tcp:8080", True),
        ("sayci --help", True),
        ("--log-level warn sayci --port tcp:8080", True),
        ("", False),
        ("--help", False),
        ("--version", False),
        ("projects", False),
        ("add sayci https://git.example.org/sayci.git", False),
        ("log sayci -f", False),
        ("syaci --port tcp:8080", False),
        ("web --port tcp:8080", False),
    ),
)
def test_it_is_the_server_where_twist_is_told_sayci(line, expected):
    assert is_for_twist(line.split()) is expected


def test_the_client_tells_the_version():
    assert sayci("--version").stdout == f"sayci {__version__}\n"


def test_the_server_tells_its_options():
    assert "--slots" in sayci("sayci", "--help").stdout
    assert "--slots" in sayci("--log-level", "warn", "sayci", "--help").stdout
    assert sayci("sayci", "--version").stdout == f"sayci {__version__}\n"


def test_the_clients_help_says_how_the_server_is_started():
    shown = sayci()
    assert "Usage: sayci [OPTIONS] COMMAND" in shown.stdout + shown.stderr
    assert "./sayci.pex sayci --port tcp:8080" in sayci("--help").stdout


def test_a_slip_is_the_clients_matter():
    ended = sayci("syaci", "--port", "tcp:8080")
    assert ended.returncode == 2
    assert "No such command 'syaci'" in ended.stderr


@pytest.mark.parametrize("arguments", (["--help"], ["projects", "--help"]))
def test_the_client_needs_no_twisted(arguments):
    loaded = sayci(*arguments, before=("-c", LOADED)).stdout.splitlines()[-1].split()
    assert "sayci.cli.main" in loaded
    assert not any(name.startswith("twisted") for name in loaded)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a namespace of processes")
@pytest.mark.parametrize("name", ("SIGTERM", "SIGINT"))
def test_as_process_1_it_can_be_stopped_before_twisted_listens(name):
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FIRST_PROCESS, name]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in ended.stderr:
        pytest.skip(f"no namespace can be had here: {ended.stderr}")
    assert (ended.returncode, ended.stderr) == (0, "")
