"""sources.py: repositories and servers that mean harm, and what they get."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import random
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from sayci.change import check_commit
from sayci.errors import RepositoryRefused, RepositoryUnreachable
from sayci.git import HEADS_LIMIT, Policy
from sayci.interfaces import Remote
from tests.gitserver import GitServer, Repository, a_repository, processes_mentioning, run

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
