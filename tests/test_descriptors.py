"""descriptors.py: as many as the machine gives, shared out so that builds find some."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sayci.descriptors import LEAST_CONNECTIONS, MOST, MOST_CONNECTIONS, for_connections


@pytest.mark.parametrize(
    ("descriptors", "slots", "connections"),
    (
        (64, 2, LEAST_CONNECTIONS),
        (1024, 2, 678),
        (4096, 100, 2508),
        (MOST, 2, MOST_CONNECTIONS),
        (10**6, 1000, MOST_CONNECTIONS),
    ),
)
def test_what_is_left_is_for_clients(descriptors, slots, connections):
    assert for_connections(descriptors, slots) == connections
    assert connections == LEAST_CONNECTIONS or connections * 5 // 4 + 160 + 8 * slots <= descriptors


@pytest.mark.parametrize(("soft", "hard", "expected"), ((100, 300, 300), (100, 100, 100), (256, 20_000, MOST)))
def test_the_soft_limit_is_raised_to_the_hard_one_within_reason(soft, hard, expected):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this machine allows fewer")
    code = (
        f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard})); from sayci.descriptors import raise_limit; "
        "print(raise_limit(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    end = subprocess.run(
        (sys.executable, "-c", code), env={"PYTHONPATH": "src"}, capture_output=True, check=True, timeout=60
    )
    assert end.stdout.split() == [b"%d" % number for number in (expected, expected, hard)]
