"""launchers/isolation.py: the strongest isolation that works is taken, and what an operator insists on is had or refused."""

from __future__ import annotations

import os

import pytest

from sayci.data_directory import DataDirectory
from sayci.errors import CannotStart
from sayci.launchers import bubblewrap, machine
from sayci.launchers.bubblewrap import Bubblewrap
from sayci.launchers.isolation import choose
from sayci.launchers.users import Numbers
from tests.slots import passable_directory, some_numbers

NONE = Numbers(0, 4)
SANDBOX = Bubblewrap("/bin/true")


@pytest.fixture
def data():
    with passable_directory() as path:
        directory = DataDirectory(path / "data")
        directory.take()
        yield directory
        directory.release()


@pytest.fixture
def sandbox(monkeypatch):
    """Whether bubblewrap works here: the test says."""

    def works(*, works):
        monkeypatch.setattr(bubblewrap, "found", lambda _: (SANDBOX, "") if works else (None, "no bubblewrap"))

    return works


def test_root_gives_builds_users_of_their_own(data, sandbox):
    sandbox(works=True)
    numbers = some_numbers()
    assert choose("auto", numbers, data).users == numbers


def test_who_cannot_give_users_takes_bubblewrap(data, sandbox):
    sandbox(works=True)
    chosen = choose("auto", NONE, data)
    assert (chosen.users, chosen.wrapper) == (None, SANDBOX)
    assert data.path.stat().st_mode & 0o777 == 0o700


def test_where_neither_works_both_reasons_are_told(data, sandbox):
    sandbox(works=False)
    chosen = choose("auto", NONE, data)
    assert not chosen.wrapper.isolation.holds
    assert chosen.wrapper.isolation.words.endswith(": --slot-uid is 0, and no bubblewrap")


@pytest.mark.parametrize("wanted", ("users", "bubblewrap"))
def test_what_is_insisted_on_and_cannot_be_had_is_refused(data, sandbox, wanted):
    sandbox(works=False)
    with pytest.raises(CannotStart, match=wanted):
        choose(wanted, NONE, data)


def test_none_is_none_though_more_would_work(data, sandbox):
    sandbox(works=True)
    words = choose("none", NONE, data).wrapper.isolation.words
    assert words == "Builds are not isolated from this server: --isolation is none"


def test_a_server_that_is_not_root_says_so(data, sandbox, monkeypatch):
    sandbox(works=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "sayci does not run as root" in choose("auto", Numbers(60600, 4), data).wrapper.isolation.words


def test_the_machine_has_memory():
    assert 1 << 26 < machine.memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("name", "said", "allowed"),
    (
        ("memory.max", "536870912\n", [1 << 29]),
        ("memory.max", "max\n", []),
        ("memory/memory.limit_in_bytes", "1048576\n", [1 << 20]),
    ),
)
def test_a_container_may_have_less(tmp_path, name, said, allowed):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(said)
    assert list(machine._allowed(tmp_path)) == allowed
