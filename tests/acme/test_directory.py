"""The directory with the certificates, on a real disk."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

import sayci
from sayci.acme.ari import Window
from sayci.acme.directory import SIZE_LIMIT, CertificateDirectory, account_file, host_name
from sayci.acme.endpoint import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from sayci.acme.keys import pem_of
from sayci.acme.schedule import Record
from sayci.errors import CannotStart, Invalid, TooLarge, Unavailable


@pytest.fixture
def directory(tmp_path):
    directory = CertificateDirectory(tmp_path / "certs")
    directory.take()
    yield directory
    directory.release()


@pytest.fixture
def logged():
    lines = []

    @implementer(ILogObserver)
    def observe(event):
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@contextmanager
def small_files(size):
    """Files cannot grow beyond a few bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def mode(path):
    return path.stat().st_mode & 0o777


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("text", "name"),
    (
        ("ci.example.org", "ci.example.org"),
        ("CI.Example.ORG.", "ci.example.org"),
        (" ci.example.org\n", "ci.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("localhost", "localhost"),
        ("3com.example", "3com.example"),
        ("a--b.example", "a--b.example"),
    ),
)
def test_names_are_as_the_dns_has_them(text, name):
    assert host_name(text) == name


@pytest.mark.parametrize(
    "text",
    (
        "",
        ".",
        "*.example.org",
        "a*.example.org",
        "127.0.0.1",
        "::1",
        "[::1]",
        "1.2.3",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a b.example",
        "../etc",
        "a/b",
        "a\0b",
        "a:443",
        "https://a.example",
        f"{'a' * 64}.example",
        ".".join(["a" * 63] * 4),
        "ü" * 300,
        "a\udcff.example",
        "a.example\n.pem",
    ),
)
def test_what_is_no_host_name_is_refused(text, directory):
    with pytest.raises(Invalid):
        host_name(text)
    with pytest.raises(Invalid):
        directory.add(text)
    with pytest.raises(Invalid):
        directory.store(text, b"")
    with pytest.raises(Invalid):
        directory.get(text)
    assert directory.names() == []


@given(st.text())
def test_a_name_is_stable_or_refused(text):
    try:
        name = host_name(text)
    except Invalid:
        return
    assert host_name(name) == name
    assert Path(name).name == name
    assert name.isascii()


# ------------------------------------------------------------------------------------------------ certificates


def test_a_name_that_is_added_asks_for_a_certificate(directory):
    assert directory.add("B.example") == "b.example"
    assert directory.add("a.example") == "a.example"
    assert directory.names() == ["a.example", "b.example"]
    assert directory.get("b.example") == b""
    assert mode(directory.path / "b.example.pem") == 0o600


def test_a_name_that_is_there_is_not_asked_for_again(directory):
    directory.store("a.example", b"pem")
    directory.add("a.example")
    assert directory.get("a.example") == b"pem"


def test_a_file_that_changes_looks_different(directory):
    seen = []
    for pem in (b"1", b"22", b"33", b""):
        directory.store("a.example", pem)
        seen.append(directory.scan()["a.example"])
    assert len(set(seen)) == 4
    assert directory.scan() == directory.scan()


def test_a_name_that_is_not_there(directory):
    with pytest.raises(KeyError):
        directory.get("a.example")


def test_files_with_other_names_are_said_once_and_ignored(directory, logged):
    for name in ("DEFAULT.pem", "*.example.pem", ".pem", ".a.example.pem", "a.example.txt", "10.0.0.1.pem"):
        (directory.path / name).touch()
    (directory.path / "folder.example.pem").mkdir()
    os.mkfifo(directory.path / "fifo.example.pem")
    (directory.path / "dangling.example.pem").symlink_to("nowhere")
    (directory.path / "loop.example.pem").symlink_to("loop.example.pem")
    (directory.path / "a.example.pem").touch()
    assert directory.names() == directory.names() == ["a.example"]
    ignored = sorted(line.partition(" ")[0] for line in logged if line.endswith("it is ignored"))
    assert ignored == ["*.example.pem", "10.0.0.1.pem", "DEFAULT.pem", "fifo.example.pem", "folder.example.pem"]


def test_a_file_that_is_too_large_is_not_read(directory):
    with (directory.path / "a.example.pem").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    with pytest.raises(TooLarge):
        directory.get("a.example")
    with pytest.raises(TooLarge):
        directory.store("b.example", bytes(SIZE_LIMIT + 1))
    assert directory.names() == ["a.example"]


def test_room_is_looked_for_and_nothing_is_left_of_it(directory):
    before = sorted(directory.path.iterdir())
    directory.ensure_writable()
    assert sorted(directory.path.iterdir()) == before
    with small_files(1000), pytest.raises(Unavailable, match=r"could not be stored.*File too large"):
        directory.ensure_writable()
    assert sorted(directory.path.iterdir()) == before


def test_a_directory_that_is_gone_has_no_room(directory):
    directory.path.rename(directory.path.with_name("elsewhere"))
    with pytest.raises(Unavailable, match="No such file or directory"):
        directory.ensure_writable()


# ------------------------------------------------------------------------------------------------ life


def test_what_stands_open_is_closed_and_what_was_cut_off_is_removed(tmp_path):
    path = tmp_path / "certs"
    path.mkdir(mode=0o755)
    for name in ("a.example.pem", "client.key", ".a.example.pem.0123abcd.new", ".room.0123abcd.new"):
        (path / name).write_bytes(b"x")
        (path / name).chmod(0o755)
    directory = CertificateDirectory(path)
    directory.take()
    directory.release()
    assert sorted(each.name for each in path.iterdir()) == ["a.example.pem", "acme.lock", "client.key"]
    assert {mode(each) for each in path.iterdir()} == {0o600}
    assert mode(path) == 0o700


def test_a_second_process_is_refused_until_the_first_has_ended(directory):
    program = """if True:
        import pathlib, sys
        from sayci.acme.directory import CertificateDirectory
        CertificateDirectory(pathlib.Path(sys.argv[1])).take()
        print("taken")
    """

    def second():
        return subprocess.run(
            [sys.executable, "-c", program, directory.path],
            env={**os.environ, "PYTHONPATH": os.fspath(Path(sayci.__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = second()
    assert "another sayci keeps the certificates in this directory" in refused.stderr
    assert refused.stdout == ""
    directory.take()
    directory.release()
    directory.release()
    assert second().stdout == "taken\n"


def test_a_directory_that_cannot_be_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="cannot be used"):
        CertificateDirectory(tmp_path / "file" / "certs").take()


# ------------------------------------------------------------------------------------------------ accounts


def test_an_account_is_made_once_and_private(directory):
    key = directory.account_key(LETS_ENCRYPT)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert mode(directory.path / "client.key") == 0o600
    again = directory.account_key(LETS_ENCRYPT)
    assert again.public_key() == key.public_key()


def test_each_authority_has_an_account_of_its_own(directory):
    authorities = (
        LETS_ENCRYPT,
        LETS_ENCRYPT_STAGING,
        "https://ca.example/a",
        "https://ca.example/b",
        "https://[::1]:9/",
    )
    assert len({pem_of(directory.account_key(authority)) for authority in authorities}) == 5
    files = sorted(path.name for path in directory.path.glob("client*.key"))
    assert files == sorted(map(account_file, authorities))
    assert account_file(LETS_ENCRYPT_STAGING).startswith("client-acme-staging-v02.api.letsencrypt.org-")


def test_txacmes_account_is_taken_over(directory):
    key = rsa.generate_private_key(65537, 2048)
    (directory.path / "client.key").write_bytes(pem_of(key))
    assert directory.account_key(LETS_ENCRYPT).public_key() == key.public_key()


@pytest.mark.parametrize("junk", (b"", b"junk"))
def test_a_damaged_account_is_never_overwritten(directory, junk):
    (directory.path / "client.key").write_bytes(junk)
    with pytest.raises(CannotStart, match="cannot be used"):
        directory.account_key(LETS_ENCRYPT)
    assert (directory.path / "client.key").read_bytes() == junk


def test_an_account_that_cannot_be_stored_is_none(directory):
    with small_files(10), pytest.raises(CannotStart, match="cannot be stored"):
        directory.account_key(LETS_ENCRYPT)
    assert not (directory.path / "client.key").exists()


# ------------------------------------------------------------------------------------------------ state

times = st.floats(min_value=0, max_value=4e9)
records = st.builds(
    Record,
    tries=st.integers(0, 1000),
    error=st.text(st.characters(exclude_categories=["Cs"])),
    failed_at=times,
    retry_at=times,
    rehearse=st.booleans(),
    failures=st.lists(times, max_size=4).map(tuple),
    authority=st.text(st.characters(exclude_categories=["Cs"])),
    window=st.none() | st.builds(Window, times, times, times),
    draw=st.floats(0, 1),
)


@given(kept=st.dictionaries(st.sampled_from(["a.example", "b.example"]), records))
def test_what_has_been_tried_is_kept(tmp_path_factory, kept):
    directory = CertificateDirectory(tmp_path_factory.mktemp("state"))
    directory.save(kept)
    assert directory.load() == kept
    assert mode(directory.path / "acme.json") == 0o600


def test_without_a_state_nothing_has_been_tried(directory, logged):
    assert directory.load() == {}
    assert logged == []


@pytest.mark.parametrize(
    "junk", (b"", b"{", b"\xff\xfe", b"[]", b'{"a.example": 3}', b'{"a.example": {"tries": "x"}}', b"\0" * 4096)
)
def test_a_damaged_state_is_moved_aside_and_said(directory, logged, junk):
    (directory.path / "acme.json").write_bytes(junk)
    assert directory.load() == {}
    assert (directory.path / "acme.json.damaged").read_bytes() == junk
    assert not (directory.path / "acme.json").exists()
    assert "what has been tried for certificates is forgotten" in logged[0]
    directory.save({"a.example": Record(tries=1)})
    assert directory.load() == {"a.example": Record(tries=1)}


def test_what_a_later_version_adds_is_no_damage(directory):
    (directory.path / "acme.json").write_text(json.dumps({"a.example": {"tries": 2, "colour": "blue"}}))
    assert directory.load() == {"a.example": Record(tries=2)}
