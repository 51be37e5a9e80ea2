"""sources.py: repositories and servers that mean harm, and what they get."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import random
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from sayci.change import check_commit
from sayci.errors import RepositoryRefused, RepositoryUnreachable
from sayci.git import HEADS_LIMIT, Policy
from sayci.interfaces import Remote
from sayci.mirrors import mirror, workspace
from sayci.mirrors.sources import GitSources
from tests.gitserver import GitServer, Repository, a_repository, processes_mentioning, run

REACTOR: Any = reactor  # the interfaces that the tests' reactor provides are more than its type says
TOKEN = "ghp_moonlight_over_the_harbour"


@pytest.fixture
def repository(root):
    return Repository(root / "shop.git")


@pytest.fixture
def remote(server):
    return Remote(server.url("shop.git"))


@pytest.fixture
def check_out(sources, remote, log):
    """Checks a commit out and answers the tree."""

    async def check_out(commit: str, build_id: int = 1) -> Path:
        workspace: Path = await sources.checkout(1, remote, commit, build_id, log.append)
        return workspace / "tree"

    return check_out


# -- nothing of a repository runs, and nothing of the server's user, of the machine or of the mirror


@pytest.fixture
def trap(tmp_path):
    """A program that leaves a trace when somebody runs it."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    program.chmod(0o755)
    yield program
    assert not (tmp_path / "sprung").exists()


def configuration(trap: Path) -> str:
    return f"""\
[core]
\tfsmonitor = {trap}
\thooksPath = {trap.parent}/hooks
\tsshCommand = {trap}
\taskPass = {trap}
\tpager = {trap}
[filter "evil"]
\tclean = {trap}
\tsmudge = {trap}
\trequired = true
[diff "evil"]
\ttextconv = {trap}
[credential]
\thelper = !{trap}
[init]
\ttemplateDir = {trap.parent}/template
[uploadpack]
\tpackObjectsHook = {trap}
"""


def set_hooks(directory: Path, trap: Path) -> None:
    directory.mkdir(parents=True)
    for name in (
        *(
            "post-checkout",
            "post-merge",
            "reference-transaction",
            "pre-auto-gc",
            "post-index-change",
            "fsmonitor-watchman",
        ),
        *("update", "pre-receive", "post-receive"),
    ):
        (directory / name).symlink_to(trap)


@pytest_twisted.ensureDeferred
async def test_a_home_full_of_traps_is_not_looked_at(repository, server, check_out, trap, tmp_path, monkeypatch):
    set_hooks(tmp_path / "hooks", trap)
    set_hooks(tmp_path / "template" / "hooks", trap)
    (tmp_path / ".gitconfig").write_text(configuration(trap))
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "config").write_text(configuration(trap))
    (tmp_path / "git" / "attributes").write_text("* filter=evil\n")
    for name, value in {
        "HOME": tmp_path,
        "XDG_CONFIG_HOME": tmp_path,
        "GIT_CONFIG_GLOBAL": tmp_path / ".gitconfig",
        "GIT_CONFIG_COUNT": 1,
        "GIT_CONFIG_KEY_0": "filter.evil.smudge",
        "GIT_CONFIG_VALUE_0": trap,
        "GIT_TEMPLATE_DIR": tmp_path / "template",
        "GIT_TRACE2_EVENT": tmp_path / "sprung",
        "GIT_SSH_COMMAND": trap,
        "GIT_ASKPASS": trap,
        "GIT_INDEX_FILE": tmp_path / "index",
        "GIT_DIR": tmp_path / "nowhere",
        "GIT_EXTERNAL_DIFF": trap,
        "SUDO_UID": 65534,
    }.items():
        monkeypatch.setenv(name, str(value))
    server.token = TOKEN
    commit = repository.commit(
        {"a": "as it is\n", ".gitattributes": "* filter=evil diff=evil merge=evil text eol=lf\n"}
    )
    with pytest.raises(RepositoryRefused):
        await check_out(commit)
    server.token = None
    assert (await check_out(commit) / "a").read_text() == "as it is\n"
    assert not (tmp_path / "index").exists()


@pytest_twisted.ensureDeferred
async def test_hooks_and_a_monitor_in_a_mirror_do_not_run(repository, server, check_out, sources, trap, tmp_path):
    await check_out(repository.commit({"a": "1"}))
    mirror = tmp_path / "mirrors" / "1.git"
    set_hooks(mirror / "hooks", trap)
    with (mirror / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {trap}\n\thooksPath = {mirror}/hooks\n[credential]\n\thelper = !{trap}\n")
    await check_out(repository.commit({"a": "2"}), 2)
    await sources.discard(1, 2)
    server.token = TOKEN
    with pytest.raises(RepositoryRefused, match="access token"):
        await check_out(repository.commit({"a": "3"}), 3)


@pytest_twisted.ensureDeferred
async def test_attributes_and_pointers_to_large_files_are_files_like_others(repository, check_out):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.c ident\n*.u working-tree-encoding=UTF-99\n"
    tree = await check_out(
        repository.commit({".gitattributes": attributes, "big.bin": pointer, "x.u": "x", "x.c": "$Id$"})
    )
    assert (tree / "big.bin").read_text() == pointer


@pytest_twisted.ensureDeferred
async def test_submodules_are_the_builds_own_business(repository, server, check_out, trap):
    modules = (
        f'[submodule "a"]\n\tpath = a\n\turl = ext::{trap}\n\tupdate = !{trap}\n'
        f'[submodule "b"]\n\tpath = b\n\turl = {server.url("other.git")}\n'
        '[submodule "c"]\n\tpath = .git/hooks\n\turl = ../shop.git\n'
        f'[submodule "../../d"]\n\tpath = d\n\turl = -u{trap}\n'
    )
    blob = repository.git("hash-object", "-w", "--stdin", stdin=modules.encode())
    entries = [("100644", b".gitmodules", blob), *(("160000", name, "4f1c9aa0" * 5) for name in (b"a", b"b"))]
    tree = await check_out(commit_of(repository, entries))
    assert {path.name for path in tree.iterdir()} == {".git", ".gitmodules", "a", "b"}
    assert not list((tree / "a").iterdir())
    assert not any("other.git" in request.path for request in server.requests)


def tree_of(repository: Repository, entries: list[tuple[str, bytes, str]]) -> str:
    """Write a tree as it is, whatever git thinks of it."""
    raw = b"".join(b"%s %s\0%s" % (mode.lstrip("0").encode(), name, bytes.fromhex(sha)) for mode, name, sha in entries)
    return repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)


def commit_of(repository: Repository, entries: list[tuple[str, bytes, str]], branch: str = "main") -> str:
    """Commit such a tree."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    commit = repository.git(*who, "commit-tree", tree_of(repository, entries), "-m", "evil")
    repository.move(f"refs/heads/{branch}", commit)
    return commit


FILE, LINK, DIRECTORY = "100644", "120000", "040000"


@pytest.mark.parametrize(
    "names",
    (
        (b".git",),
        (b".GIT",),
        (b".Git",),
        (b"git~1",),
        (b".git ",),
        (b".git.",),
        (b".git\xe2\x80\x8c",),
        (b".git::$INDEX_ALLOCATION",),
        (b"a\\..\\.git",),
        (b"..",),
        (b".",),
        (b"../outside",),
        (b"/outside",),
        (b"a", b".git"),
        (b"..", b"..", b"outside"),
        (b"",),
        (b"a\nb",),
        (b"x" * 300,),
    ),
)
@pytest_twisted.ensureDeferred
async def test_names_in_a_commit_lead_nowhere(repository, check_out, tmp_path, trap, names):
    blob = repository.git("hash-object", "-w", "--stdin", stdin=f"[core]\n\tfsmonitor = {trap}\n".encode())
    entries = [(FILE, b"config", blob), (FILE, b"outside", blob)]
    for name in reversed(names):
        entries = [(DIRECTORY, name, tree_of(repository, entries))]
    good = await check_out(repository.commit({"a": "1"}, branch="good"), 1)
    before = {path for path in tmp_path.rglob("*") if "repositories" not in path.parts}
    try:
        tree = await check_out(commit_of(repository, entries), 2)
    except (RepositoryRefused, RepositoryUnreachable):
        tree = tmp_path / "workspaces" / "2" / "tree"
    if tree.exists():
        assert (tree / ".git" / "config").read_text() == (good / ".git" / "config").read_text()
    allowed = (tmp_path / "mirrors", tmp_path / "workspaces" / "2")
    new = {path for path in tmp_path.rglob("*") if "repositories" not in path.parts} - before
    assert not [path for path in new if not any(path.is_relative_to(place) for place in allowed)]
    assert not [path for path in new if path.name == "outside" and not path.is_relative_to(tree)]


@pytest.mark.parametrize("target", ("OUTSIDE", ".git", ".git/hooks", "../home", "/"))
@pytest.mark.parametrize("names", ((b"a", b"a"), (b"A", b"a"), (b"a", b"A")))
@pytest_twisted.ensureDeferred
async def test_a_link_and_a_directory_of_one_name_do_not_let_files_out(
    repository, check_out, tmp_path, trap, target, names
):
    outside = tmp_path / "outside"
    outside.mkdir()
    blob = repository.git("hash-object", "-w", "--stdin", stdin=trap.read_bytes())
    link = repository.git("hash-object", "-w", "--stdin", stdin=target.replace("OUTSIDE", str(outside)).encode())
    inner = tree_of(repository, [("100755", b"post-checkout", blob), (FILE, b"config", blob)])
    commit = commit_of(repository, [(LINK, names[0], link), (DIRECTORY, names[1], inner)])
    try:
        tree = await check_out(commit)
    except (RepositoryRefused, RepositoryUnreachable):
        tree = tmp_path / "workspaces" / "1" / "tree"
    assert not list(outside.iterdir())
    assert not (tree / ".git" / "hooks").exists()
    assert not list((tree.parent / "home").iterdir())
    assert "trap" not in (tree / ".git" / "config").read_text()


@pytest_twisted.ensureDeferred
async def test_a_commit_that_unfolds_to_more_than_a_machine_holds_is_refused(repository, remote, sources_of, log):
    sources = sources_of(memory_limit=128 * 1024**2, fetch_limit=30.0)
    entries = [(FILE, b"f", repository.git("hash-object", "-w", "--stdin", stdin=b"boom"))]
    for _ in range(8):
        tree = tree_of(repository, entries)
        entries = [(DIRECTORY, b"d%02d" % number, tree) for number in range(20)]
    with pytest.raises(RepositoryRefused, match="memory"):
        await sources.checkout(1, remote, commit_of(repository, entries), 1, log.append)
    await sources.discard(1, 1)


# -- what a server may send, and how long it may take for it


@pytest_twisted.ensureDeferred
async def test_a_pack_without_an_end_is_cut_off_by_time(repository, server, remote, sources_of, log, tmp_path):
    commit = repository.commit({"a": "1"})
    server.endless = True
    with pytest.raises(RepositoryUnreachable, match="did not answer within"):
        await sources_of(fetch_limit=3.0).checkout(1, remote, commit, 1, log.append)
    assert not processes_mentioning(server.address)
    assert not list((tmp_path / "mirrors" / "1.git" / "objects" / "pack").iterdir())


@pytest_twisted.ensureDeferred
async def test_a_pack_without_an_end_is_cut_off_by_size(repository, server, remote, sources_of, log, tmp_path):
    commit = repository.commit({"a": "1"})
    server.endless = True
    with pytest.raises(RepositoryRefused, match="more than this server takes"):
        await sources_of(file_limit=5_000_000).checkout(1, remote, commit, 1, log.append)
    assert not processes_mentioning(server.address)
    assert not list((tmp_path / "mirrors" / "1.git" / "objects" / "pack").iterdir())


@pytest.mark.parametrize(("count", "name"), ((HEADS_LIMIT + 1, "b"), (HEADS_LIMIT // 2, "b" * 200)))
@pytest_twisted.ensureDeferred
async def test_more_branches_than_anybody_can_count_are_refused(repository, sources, count, name):
    commit = repository.commit({"a": "1"})
    lines = sorted(f"{commit} refs/heads/{name}{number}\n" for number in range(count))
    (repository.path / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted\n" + "".join(lines))
    with pytest.raises(RepositoryRefused, match="more branches"):
        await sources.heads(Remote(repository.url))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    (
        (403, RepositoryRefused, "access token"),
        (404, RepositoryRefused, "no repository"),
        (429, RepositoryUnreachable, "less often"),
        (500, RepositoryUnreachable, "of its own"),
        (503, RepositoryUnreachable, "of its own"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_what_a_server_answers_is_told_in_words(server, remote, sources, status, kind, words):
    server.status = status
    with pytest.raises(kind, match=words):
        await sources.heads(remote)


@pytest_twisted.ensureDeferred
async def test_something_that_is_no_git_server_is_told(sources):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>\nWelcome\x1b[2J\n</html>\n"
                )

        serving = deferToThread(answer)
        with pytest.raises(RepositoryRefused, match="no repository at this address") as caught:
            await sources.heads(Remote(f"http://127.0.0.1:{listening.getsockname()[1]}/shop.git"))
        await serving
    assert str(caught.value).isprintable()


# -- credentials


def traces_of(secret: str, *places: Path) -> list[str]:
    """Where a secret can be found: arguments and environments of other processes, and files."""
    found = [f"arguments of {line}" for line in processes_mentioning(secret)]
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue
        if secret.encode() in environment and int(directory.name) != os.getpid():
            found.append(f"environment of {directory.name}")
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return found + [str(path) for path in files if secret.encode() in path.read_bytes()]


@pytest_twisted.ensureDeferred
async def test_a_token_leaves_no_trace_while_it_is_used_or_afterwards(
    repository, server, remote, sources, log, tmp_path
):
    token = f"ghp_{random.getrandbits(128):032x}"
    commit = repository.commit({"a": "1"})
    server.token, server.stall_after = token, 10
    fetching = Deferred.fromCoroutine(sources.checkout(1, Remote(remote.url, token), commit, 1, log.append, debug=True))
    assert await deferToThread(server.held.wait, 30)
    assert server.requests[-1].headers["authorization"].startswith("Basic ")
    running = processes_mentioning(remote.url)
    assert any("git-remote-http" in line for line in running)
    assert not traces_of(token, tmp_path)
    fetching.cancel()
    with pytest.raises(CancelledError):
        await fetching
    server.stall_after = None
    await sources.checkout(1, Remote(remote.url, token), commit, 1, log.append, debug=True)
    assert not traces_of(token, tmp_path)
    assert token not in b"".join(log).decode()


@pytest_twisted.ensureDeferred
async def test_a_debugged_checkout_says_what_git_starts(repository, remote, sources, log):
    await sources.checkout(1, remote, repository.commit({"a": "1"}), 1, log.append, debug=True)
    said = b"".join(log)
    assert b"trace: built-in: git fetch" in said
    assert b"trace: built-in: git read-tree" in said


@pytest_twisted.ensureDeferred
async def test_a_token_is_for_one_project_at_a_time(root, server, sources):
    server.token = TOKEN
    a_repository(root / "shop.git")
    await sources.heads(Remote(server.url("shop.git"), TOKEN))
    with pytest.raises(RepositoryRefused, match="set the project's access token"):
        await sources.heads(Remote(server.url("shop.git")))


# -- TLS


def context_for(directory: Path, *, name: str = "127.0.0.1", days: int = 1) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate that it has signed itself, and the file that it is in."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = (
        [x509.IPAddress(ipaddress.ip_address(name))] if name[0].isdigit() else [x509.DNSName(name)]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=10))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "certificate.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, pem


@pytest.mark.parametrize(
    ("trusted", "given"),
    ((False, {}), (True, {"name": "elsewhere.example"}), (True, {"days": -1})),
    ids=("self-signed", "another host's", "expired"),
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_cannot_be_trusted_is_refused(root, sources_of, log, tmp_path, trusted, given):
    _, commit = a_repository(root / "shop.git")
    context, pem = context_for(tmp_path, **given)
    sources = sources_of(passed_on={"GIT_SSL_CAINFO": str(pem)} if trusted else {})
    with GitServer(root, tls=context) as server:
        remote = Remote(server.url("shop.git"), TOKEN)
        with pytest.raises(RepositoryRefused, match="TLS"):
            await sources.heads(remote)
        with pytest.raises(RepositoryRefused, match="TLS"):
            await sources.checkout(1, remote, commit, 1, log.append)
        assert not server.requests


@pytest_twisted.ensureDeferred
async def test_the_operator_says_whom_to_trust(root, sources_of, log, tmp_path):
    _, commit = a_repository(root / "shop.git")
    context, pem = context_for(tmp_path)
    sources = sources_of(Policy(), passed_on={"GIT_SSL_CAINFO": str(pem), "GIT_SSL_NO_VERIFY": "1"})
    with GitServer(root, token=TOKEN, tls=context) as server:
        remote = Remote(server.url("shop.git"), TOKEN)
        assert await sources.heads(remote) == {"main": commit}
        workspace = await sources.checkout(1, remote, commit, 1, log.append)
        assert (workspace / "tree" / "Makefile").exists()


@pytest_twisted.ensureDeferred
async def test_a_server_without_tls_is_told_apart(server, root, sources):
    a_repository(root / "shop.git")
    with pytest.raises(RepositoryRefused, match="TLS"):
        await sources.heads(Remote(server.url("shop.git").replace("http:", "https:")))


# -- other ways


@pytest_twisted.ensureDeferred
async def test_the_operator_says_which_way_to_go(server, repository, sources_of):
    commit = repository.commit({"a": "1"})
    sources = sources_of(passed_on={"http_proxy": server.address, "no_proxy": ""})
    assert await sources.heads(Remote("http://git.invalid/shop.git")) == {"main": commit}


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
@pytest_twisted.ensureDeferred
async def test_an_ssh_server_that_is_not_there_is_unreachable(sources, server, tmp_path):
    with pytest.raises(RepositoryUnreachable, match="broke the connection"):
        await sources.heads(Remote(f"ssh://git@127.0.0.1:{server.port}/shop.git"))
    server.close()
    with pytest.raises(RepositoryUnreachable, match="no connection"):
        await sources.heads(Remote(f"ssh://git@127.0.0.1:{server.port}/shop.git"))
    with pytest.raises(RepositoryUnreachable, match="does not resolve"):
        await sources.heads(Remote("git@git.invalid:shop.git"))


@pytest_twisted.ensureDeferred
async def test_a_name_that_does_not_resolve_is_unreachable(sources):
    with pytest.raises(RepositoryUnreachable, match="does not resolve"):
        await sources.heads(Remote("https://git.invalid/shop.git"))


@pytest_twisted.ensureDeferred
async def test_where_the_server_was_started_does_not_matter(
    repository, remote, sources, check_out, trap, tmp_path, monkeypatch
):
    here = tmp_path / "a directory with größe\nand lines"
    here.mkdir()
    run("init", "--quiet", str(here))
    with (here / ".git" / "config").open("a") as config:
        config.write(configuration(trap) + '[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://\n')
    monkeypatch.chdir(here)
    commit = repository.commit({"a": "1"})
    assert await sources.heads(remote) == {"main": commit}
    assert (await check_out(commit) / "a").read_text() == "1"


@pytest_twisted.ensureDeferred
async def test_directories_with_odd_names_do_not_matter(repository, sources_of, log, tmp_path, monkeypatch):
    commit = repository.commit({"a": "1"})
    sources = sources_of()
    odd = tmp_path / "größe # 'x' \"y\" $z"
    monkeypatch.setattr(sources, "_directory", odd / "mirrors")
    monkeypatch.setattr(sources, "_workspaces", odd / "workspaces")
    (odd / "mirrors").mkdir(parents=True)
    (odd / "workspaces").mkdir()
    workspace = await sources.checkout(1, Remote(repository.url), commit, 1, log.append)
    assert run("-C", str(workspace / "tree"), "status", "--porcelain") == ""


# -- what builds make of their workspaces


@pytest_twisted.ensureDeferred
async def test_whatever_a_build_has_made_of_it_is_discarded(repository, check_out, sources, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    tree = await check_out(repository.commit({"a": "1"}))
    workspace = tree.parent
    (tree / "link").symlink_to(tmp_path / "precious")
    (tree / ("n" * 255)).mkdir()
    (tree / ("n" * 255) / ("n" * 255)).touch()
    here = os.open(workspace / "home", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    (tree / "closed").mkdir()
    (tree / "closed" / "file").touch()
    for path in (tree / "closed", tree / ".git" / "objects", tree, workspace / "tmp", workspace):
        path.chmod(0)
    await sources.discard(1, 1)
    assert not list((tmp_path / "workspaces").iterdir())
    assert (tmp_path / "precious" / "file").read_text() == "x"


@pytest_twisted.ensureDeferred
async def test_a_workspace_that_became_a_link_is_not_followed(repository, check_out, sources, tmp_path):
    tree = await check_out(repository.commit({"a": "1"}))
    tree.parent.rename(tmp_path / "precious")
    tree.parent.symlink_to(tmp_path / "precious")
    await sources.discard(1, 1)
    assert not list((tmp_path / "workspaces").iterdir())
    assert (tmp_path / "precious" / "tree" / "a").exists()


@pytest_twisted.ensureDeferred
async def test_a_repository_in_a_workspace_is_never_run_by_the_server(repository, check_out, sources, trap):
    commit = repository.commit({"a": "1", ".gitattributes": "* filter=evil\n"})
    tree = await check_out(commit)
    set_hooks(tree / ".git" / "hooks", trap)
    (tree / ".git" / "config").write_text(configuration(trap))
    (tree.parent / "home" / ".gitconfig").write_text(configuration(trap))
    assert (await check_out(commit) / "a").read_text() == "1"
    await sources.discard(1, 1)


@pytest_twisted.ensureDeferred
async def test_what_a_killed_server_was_removing_goes_with_the_next_discard(sources_of, tmp_path):
    for name in ("mirrors", "workspaces"):
        (tmp_path / name / ".removing-1" / "0" / "d").mkdir(parents=True)
    sources = sources_of()
    await sources.discard(1, 1)
    assert [path.name for path in (tmp_path / "mirrors").iterdir()] == ["askpass"]
    assert not list((tmp_path / "workspaces").iterdir())


@pytest_twisted.ensureDeferred
async def test_trouble_with_a_mirror_is_logged_where_nothing_may_be_raised(sources, tmp_path):
    for name in ("objects", "config", "refs"):
        (tmp_path / "mirrors" / "1.git" / name).mkdir(parents=True)
    with capturedLogs() as logged:
        await sources.discard(1, 1)
        (tmp_path / "mirrors" / "1.git" / "packed-refs.lock").mkdir()
        await sources.remove(1)
    assert [event["what"] for event in logged] == ["discarding a build", "removing a mirror"]


@pytest_twisted.ensureDeferred
async def test_a_git_that_cannot_be_started_is_told(sources_of, remote):
    with pytest.raises(RepositoryUnreachable, match="could not be started"):
        await sources_of(passed_on={"no_proxy": "x" * 10_000_000}).heads(remote)


# -- the packs of a mirror that changes


@pytest_twisted.ensureDeferred
async def test_a_workspace_has_its_objects_whatever_becomes_of_the_mirror(repository, check_out, sources, monkeypatch):
    first = await check_out(repository.commit({"a": "1"}), 1)
    second = await check_out(repository.commit({"a": "2"}), 2)
    monkeypatch.setattr(mirror, "PACKS_LIMIT", 1)
    await sources.discard(1, 2)
    assert not second.exists()
    run("-C", str(first), "fsck", "--strict")
    await sources.remove(1)
    run("-C", str(first), "fsck", "--strict")


@pytest_twisted.ensureDeferred
async def test_packs_are_linked_while_nobody_can_collect_them(repository, check_out, sources, monkeypatch):
    held = []
    make = workspace.make

    def watched(*given, **options):
        held.append(sources._mirror(1)._lock.locked)
        return make(*given, **options)

    monkeypatch.setattr(workspace, "make", watched)
    await check_out(repository.commit({"a": "1"}))
    assert held == [True]


@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_almost_collected_can_be_built_again(
    repository, check_out, sources, monkeypatch, tmp_path
):
    commit = repository.commit({"a": "1"}, branch="other")
    await check_out(commit, 1)
    run(f"--git-dir={tmp_path}/mirrors/1.git", "update-ref", "-d", "refs/sayci/recent/1")
    await check_out(repository.commit({"a": "2"}), 2)
    monkeypatch.setattr(mirror, "PACKS_LIMIT", 1)
    await sources.discard(1, 1)
    assert list((tmp_path / "mirrors" / "1.git" / "objects" / "pack").glob("*.mtimes"))
    repository.path.rename(repository.path.with_name("moved.git"))
    tree = await check_out(commit, 3)
    assert (tree / "a").read_text() == "1"
    assert run("-C", str(tree), "status", "--porcelain") == ""


@pytest_twisted.ensureDeferred
async def test_all_objects_of_a_mirror_are_in_packs_also_after_it_was_tidied(
    repository, check_out, sources, monkeypatch, tmp_path
):
    loose = lambda: list((tmp_path / "mirrors" / "1.git" / "objects").glob("[0-9a-f][0-9a-f]/*"))  # noqa: E731 - short
    monkeypatch.setattr(mirror, "PACKS_LIMIT", 1)
    for build_id in range(3):
        commit = repository.commit({"a": str(build_id)}, branch=f"topic{build_id}")
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        repository.git(*who, "tag", "-a", "-m", "it", f"v{build_id}", commit)
        await check_out(commit, build_id)
        run(f"--git-dir={tmp_path}/mirrors/1.git", "update-ref", "-d", f"refs/sayci/recent/{build_id}")
        repository.git("tag", "-d", f"v{build_id}")
        assert not loose()
        await sources.discard(1, build_id)
        assert not loose()


# -- builds with users of their own


def as_user(uid: int, *command: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command as the steps of a build with such a user are run."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C"}
    become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs")
    return subprocess.run((*become, *command), cwd=cwd, env=environment, capture_output=True, timeout=60, check=False)


@pytest.fixture
def users(users_of):
    return users_of()


@pytest.fixture
def shared_sources(shared_sources_of, users):
    return shared_sources_of(users)


@pytest.fixture
def built(shared_sources, repository, remote, log):
    """Checks a commit out for a user of its own and answers what runs commands as this user in the tree."""

    async def built(commit: str, build_id: int = 1):
        workspace = await shared_sources.checkout(1, remote, commit, build_id, log.append)
        tree = workspace / "tree"
        return lambda *command: as_user(tree.stat().st_uid, *command, home=workspace / "home", cwd=tree)

    return built


@pytest_twisted.ensureDeferred
async def test_a_checkout_is_written_by_the_builds_user_and_all_his(repository, built, users, reachable):
    files = {"a": "1", "bin/run": "#!/bin/sh\n", "d/e/f": "x"}
    await built(repository.commit(files, executable={"bin/run"}, symlinks={"link": "/etc/passwd"}))
    place = reachable / "workspaces" / "1"
    assert users.said == [("lend", 1)]
    status = place.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 60801, 0o710)
    linked = set((place / "tree" / ".git" / "objects" / "pack").iterdir())
    for path in set(place.rglob("*")) - linked:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (60801, 60801), path
    assert linked
    assert {path.stat().st_uid for path in linked} == {0}
    modes = {name: stat.S_IMODE((reachable / name).stat().st_mode) for name in ("mirrors", "workspaces", "ssh")}
    assert modes == {"mirrors": 0o700, "workspaces": 0o711, "ssh": 0o700}


@pytest_twisted.ensureDeferred
async def test_a_build_uses_git_as_its_own_user(repository, built, remote):
    first = repository.commit({"a": "1"}, "first")
    repository.git("tag", "v1.0", first)
    commit = repository.commit({"a": "2"}, "second")
    run_in = await built(commit)

    def git(*arguments):
        done = run_in("git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments)
        assert done.returncode == 0, done.stderr
        assert b"dubious" not in done.stderr
        return done.stdout.decode().strip()

    assert git("status", "--porcelain") == ""
    assert git("log", "--format=%s") == "second\nfirst"
    assert git("describe", "--tags") == f"v1.0-1-g{commit[:7]}"
    assert run_in("sh", "-c", "echo 3 > a").returncode == 0
    git("stash")
    git("stash", "pop")
    git("commit", "--all", "--message=mine")
    later = repository.commit({"b": "1"}, "later")
    git("fetch", "--quiet", remote.url, "main")
    assert git("rev-parse", "FETCH_HEAD") == later
    git("merge", "--quiet", "--no-edit", "FETCH_HEAD")
    git("fsck", "--strict")
    git("gc", "--quiet", "--prune=now")
    git("fsck", "--strict")
    assert git("log", "-1", "--format=%s", "HEAD^1") == "mine"


@pytest_twisted.ensureDeferred
async def test_a_build_gets_at_nothing_that_is_not_its_own(repository, built, reachable):
    run_in, neighbour = await built(repository.commit({"a": "1"})), await built(repository.commit({"a": "2"}), 2)
    mirrors, workspaces = reachable / "mirrors", reachable / "workspaces"
    (reachable / "ssh" / "id_ed25519").write_text("key")
    (reachable / "ssh" / "id_ed25519").chmod(0o644)
    assert run_in("cat", "a").stdout == b"1"
    assert neighbour("cat", "a").stdout == b"2"
    for command in (
        *(("ls", str(path)) for path in (mirrors, workspaces, workspaces / "1", workspaces / "2", reachable / "ssh")),
        ("ls", str(workspaces / "2" / "tree")),
        ("cat", str(mirrors / "1.git" / "config")),
        ("cat", str(mirrors / "askpass")),
        ("cat", str(reachable / "ssh" / "id_ed25519")),
        ("cat", str(workspaces / "2" / "tree" / "a")),
        ("git", f"--git-dir={mirrors}/1.git", "log"),
        ("git", "-C", str(workspaces / "2" / "tree"), "log"),
        ("mv", str(workspaces / "1" / "tree"), str(workspaces / "1" / "moved")),
        ("rmdir", str(workspaces / "1" / "tmp")),
        ("ln", "-s", "/etc", str(workspaces / "1" / "link")),
        ("chmod", "0777", str(workspaces / "1")),
        ("mkdir", str(workspaces / "17")),
    ):
        done = run_in(*command)
        assert done.returncode != 0, command
        assert re.search(b"denied|not permitted|not a git repository", done.stderr), done.stderr


@pytest_twisted.ensureDeferred
async def test_a_build_cannot_change_the_mirrors_packs_by_its_own_names_of_them(repository, built, reachable):
    run_in = await built(repository.commit({"a": "1"}))
    packs = sorted((reachable / "mirrors" / "1.git" / "objects" / "pack").iterdir())
    before = [(path.read_bytes(), path.stat().st_mode, path.stat().st_uid) for path in packs]
    for script in (
        *('chmod u+w "$1"', 'echo x > "$1"', 'echo x >> "$1"', 'truncate --size=0 "$1"', 'touch --date=@0 "$1"'),
        *('chown "$(id -u)" "$1"', 'dd if=/dev/zero of="$1" conv=notrunc count=1'),
    ):
        for path in packs:
            done = run_in("sh", "-c", script, "sh", f".git/objects/pack/{path.name}")
            assert done.returncode != 0, script
            assert re.search(b"denied|not permitted", done.stderr, re.IGNORECASE), done.stderr
    assert run_in("rm", "-rf", ".git/objects/pack").returncode == 0
    assert [(path.read_bytes(), path.stat().st_mode, path.stat().st_uid) for path in packs] == before


@pytest_twisted.ensureDeferred
async def test_a_user_is_given_back_after_the_workspace_has_gone(repository, built, shared_sources, users, reachable):
    await built(repository.commit({"a": "1"}))
    users.looks_at = reachable / "workspaces"
    await shared_sources.discard(1, 1)
    await shared_sources.discard(1, 4711)  # of which there is nothing
    assert users.said == [("lend", 1), ("give back", 1), ("give back", 4711)]
    assert users.seen == [[], []]


@pytest_twisted.ensureDeferred
async def test_a_second_attempt_has_the_same_user_and_nothing_of_the_first(repository, built, users):
    commit = repository.commit({"a": "1"})
    run_in = await built(commit)
    assert run_in("sh", "-c", "echo x > left; chmod 0 ../home; mkdir -m 0 d").returncode == 0
    again = await built(commit)
    assert again("id", "-u").stdout == b"60801\n"
    assert again("ls").stdout == b"a\n"
    assert ("give back", 1) not in users.said


@pytest_twisted.ensureDeferred
async def test_a_workspace_that_cannot_be_removed_keeps_its_user(repository, built, users, shared_sources, reachable):
    await built(repository.commit({"a": "1"}))
    workspaces = reachable / "workspaces"
    workspaces.rename(reachable / "moved")
    workspaces.symlink_to("moved")  # in which nothing is ever removed
    with capturedLogs() as logged:
        await shared_sources.discard(1, 1)
    assert "keeps its user" in logged[-1]["log_format"]
    assert (logged[-1]["build"], users.lent) == ("1", {1: 60801})
    assert ("give back", 1) not in users.said
    workspaces.unlink()
    (reachable / "moved").rename(workspaces)
    await shared_sources.discard(1, 1)
    assert (users.said[-1], users.lent) == (("give back", 1), {})


@pytest_twisted.ensureDeferred
async def test_a_starting_server_knows_who_is_whose_before_it_lends_anybody(
    repository, remote, shared_sources_of, users_of, log, reachable
):
    commit = repository.commit({"a": "1"})
    killed = shared_sources_of()
    for build_id in (1, 2):
        await killed.checkout(1, remote, commit, build_id, log.append)
    (reachable / "workspaces" / "3").mkdir()  # of a server that was killed before it made more
    (reachable / "workspaces" / "4").symlink_to("1")
    users = users_of()
    again = shared_sources_of(users)
    assert sorted(users.said) == [("keep", 1, 60801), ("keep", 2, 60802)]
    fresh = await again.checkout(1, remote, commit, 5, log.append)
    assert (fresh / "tree" / "a").stat().st_uid == 60803
    await again.sweep([2])
    assert users.lent == {2: 60802, 5: 60803}
    assert {path.name for path in (reachable / "workspaces").iterdir()} == {"2", "5"}


@pytest_twisted.ensureDeferred
async def test_a_user_is_waited_for_and_no_longer_than_for_a_fetch(
    repository, remote, shared_sources_of, users, log, reachable
):
    commit = repository.commit({"a": "1"})
    sources = shared_sources_of(users)
    users.free = users.free[:1]
    await sources.checkout(1, remote, commit, 1, log.append)
    with pytest.raises(RepositoryUnreachable, match="no user was free"):
        await shared_sources_of(users, fetch_limit=0.2).checkout(1, remote, commit, 2, log.append)
    assert not (reachable / "workspaces" / "2").exists()
    await users.waiting.get()
    checkout = Deferred.fromCoroutine(sources.checkout(1, remote, commit, 3, log.append))
    free = await users.waiting.get()
    await sources.clone(1, remote, "main")  # the mirror is not held meanwhile
    await sources.discard(1, 1)
    free.callback(None)
    assert ((await checkout) / "tree" / "a").stat().st_uid == 60801


@pytest_twisted.ensureDeferred
async def test_a_server_without_users_closes_its_workspaces_again(shared_sources, reachable):
    GitSources(REACTOR, reachable / "mirrors", reachable / "workspaces", Policy(), threads=REACTOR.getThreadPool())
    assert stat.S_IMODE((reachable / "workspaces").stat().st_mode) == 0o700


SPOIL = """\
mkdir -p closed/in/side; echo x > closed/in/side/file; mkdir -m 1777 sticky; echo x > sticky/file
chmod 0 closed/in/side closed/in closed ../home .git/objects; chmod 0 .; grep ^Cap /proc/self/status
"""
LIMITED = """\
import os, sys
from pathlib import Path
from twisted.internet.task import react
from twisted.internet.defer import Deferred
from sayci.git import Policy
from sayci.interfaces import Remote
from sayci.mirrors.sources import GitSources

place, url, commit, spoil = Path(sys.argv[1]), *sys.argv[2:]
PATH = {"PATH": "/usr/bin:/bin"}

class Users:
    async def lend(self, build_id): return 60802 + build_id
    def keep(self, build_id, uid): pass
    async def give_back(self, build_id): print("given back", build_id)

async def main(reactor):
    places, policy, threads = (place / "mirrors", place / "workspaces"), Policy(frozenset({"file"})), reactor.getThreadPool()
    sources = GitSources(reactor, *places, policy, threads=threads, users=Users())
    workspace = await sources.checkout(1, Remote(url), commit, 1, lambda said: None)
    as_user = lambda script, limit: sources._commands.run(("sh", "-c", script), PATH, limit, uid=60803)
    print((await as_user(f"cd {workspace}/tree && {spoil}", 30)).stdout.decode())
    print("out of time", (await as_user("trap '' TERM; sleep 1000", 0.2)).out_of_time)
    await sources.discard(1, 1)
    print("left", os.listdir(place / "workspaces"))

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def test_a_server_with_few_of_roots_powers_checks_out_ends_commands_and_removes(repository, reachable, users_of):
    commit = repository.commit({"a": "1"})
    few = "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid"
    # What can be inherited is not empty either: nothing of it may reach the other user.
    become = ("setpriv", f"--bounding-set={few}", f"--inh-caps={few}", "--no-new-privs")
    done = subprocess.run(
        (*become, sys.executable, "-c", LIMITED, str(reachable), repository.url, commit, SPOIL),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(mirror.__file__).parents[2])},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines()
    powers = {line.split()[0]: int(line.split()[1], 16) for line in said if line.startswith("Cap")}
    assert {kind: powers[kind] for kind in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")} == dict.fromkeys(
        ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:"), 0
    )
    assert said[-3:] == ["out of time True", "given back 1", "left []"]


# -- the end of the server


@pytest_twisted.ensureDeferred
async def test_a_stop_leaves_no_process(server, repository, remote, sources, log):
    server.silent = True
    asking = Deferred.fromCoroutine(sources.heads(remote))
    assert await deferToThread(server.held.wait, 30)
    assert processes_mentioning(server.address)
    await sources.stop()
    assert not processes_mentioning(server.address)
    with pytest.raises(RepositoryUnreachable):
        await asking


def test_what_the_server_makes_is_its_own(sources, tmp_path):
    for name in ("mirrors", "workspaces", "ssh", "mirrors/askpass"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_the_hand_written_trees_of_these_tests_are_commits(repository):
    blob = repository.git("hash-object", "-w", "--stdin", stdin=b"x")
    assert check_commit(commit_of(repository, [(FILE, b".git", blob)]))
