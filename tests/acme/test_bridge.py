"""What is taken from txacme, and what is not."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pem
import pytest
from twisted.python.filepath import InsecurePath

import sayci
from sayci.acme.bridge import ICertificateStore, IResponder, PrivateStore, write_private
from tests.paper_authority import PaperAuthority, Times

ROOT = Path(sayci.__file__).parent


@pytest.fixture
def store(tmp_path):
    return PrivateStore(tmp_path)


@pytest.fixture
def result():
    """The result of a Deferred that needs no waiting."""

    def of(deferred):
        results: list[Any] = []
        deferred.addBoth(results.append)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    return of


def test_nothing_old_comes_with_it_and_nobody_is_warned():
    program = """if True:
        import sys, sayci.acme.bridge
        print([name for name in sys.modules if name.split(".")[0] in {"acme", "eliot", "requests"}])
        print([name for name in sys.modules if name.startswith("txacme.")])
    """
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    old, ours = ran.stdout.splitlines()
    assert old == "[]"
    assert sorted(ast.literal_eval(ours)) == ["txacme._version", "txacme.interfaces", "txacme.store"]


def test_it_is_the_one_module_that_imports_txacme():
    named = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "txacme")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "txacme" for alias in node.names))
    }
    assert named == {"acme/bridge.py"}


def test_the_store_is_what_txacme_means_by_one(store):
    assert ICertificateStore.providedBy(store)
    assert "start_responding" in IResponder


def test_what_is_stored_is_there_and_private(store, result, tmp_path):
    bundle = PaperAuthority(Times()).bundle("a.example")
    result(store.store("a.example", pem.parse(bundle)))
    assert result(store.get("a.example")) == pem.parse(bundle)
    assert result(store.as_dict()) == {"a.example": pem.parse(bundle)}
    assert store.read("a.example") == b"".join(part.as_bytes() for part in pem.parse(bundle))
    assert (tmp_path / "a.example.pem").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.example.pem"]


def test_a_name_that_is_not_there(store, result):
    with pytest.raises(KeyError):
        result(store.get("a.example"))
    with pytest.raises(KeyError):
        store.read("a.example")


@pytest.mark.parametrize("name", ("../a", "/etc/a", "a/../../b"))
def test_names_do_not_lead_out_of_the_directory(store, result, name):
    with pytest.raises(InsecurePath):
        store.read(name)
    with pytest.raises(InsecurePath):
        result(store.store(name, []))


def test_what_stood_open_is_private_once_it_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o755)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_the_old_one(tmp_path, small_files):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with small_files(10), pytest.raises(OSError, match="File too large"):
        write_private(path, b"x" * 100)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.fixture
def small_files():
    """Files cannot grow beyond a few bytes, as on a full disk."""
    import resource
    from contextlib import contextmanager

    @contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
