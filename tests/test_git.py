"""git.py: addresses from strangers, command lines, and what git's words mean."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci import git
from sayci.errors import CommitNotFound, Invalid, RepositoryDenied, RepositoryRefused, RepositoryUnreachable
from sayci.git import Lines, Policy, check_url
from tests.gitserver import ENVIRONMENT

COMMIT = "4f1c9aa0" * 5
MIRROR = Path("/srv/mirrors/7.git")
HOST = "https://git.example.org"
OPEN = Policy(frozenset({"https", "ssh", "http", "file"}))


# -- addresses


@pytest.mark.parametrize(
    "url",
    (
        f"{HOST}/team/shop.git",
        f"{HOST}:8443/team/shop",
        "https://git_server/shop",
        "https://[2001:db8::1]:8443/shop.git",
        f"{HOST}/~ada/shop%20window.git",
        f"{HOST}/@team/shop",
        "ssh://git@git.example.org/team/shop.git",
        "ssh://git.example.org:2222/team/shop.git",
        "git@git.example.org:team/shop.git",
        "git@git.example.org:/srv/shop.git",
        f"{HOST}/größe/läden.git",
    ),
)
def test_the_address_of_a_repository_passes_as_it_is(url):
    assert check_url(url, Policy()) == url


def test_a_scheme_in_capitals_is_written_as_git_wants_it():
    assert check_url("HTTPS://git.example.org/Team/Shop", Policy()) == f"{HOST}/Team/Shop"


@pytest.mark.parametrize(
    "url",
    (
        "",
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "file:///etc",
        "/etc",
        "../x",
        "x",
        "~/x",
        "C:\\repositories\\x",
        "host:path",
        "--upload-pack=touch /tmp/p",
        "--upload-pack=x",
        "-oProxyCommand=x",
        "-oProxyCommand=x@host:path",
        "ssh://-oProxyCommand=x/",
        "ssh://-oProxyCommand=x/path",
        "ssh://git@-oProxyCommand=x/path",
        "git@-oProxyCommand=x:path",
        "git@host:-path",
        "git://host/path",
        "http://host/path",
        "ftp://host/path",
        "javascript://host/path",
        "https::https://host/path",
        "https:/host/path",
        "https://",
        "https:///path",
        "https://host",
        "https://host/",
        "https://host//path",
        "https://host:0/path",
        "https://host:65536/path",
        "https://host:port/path",
        "https://ho st/path",
        "https://host/pa th",
        "https://host\\@evil/path",
        "https://host/path?query",
        "https://host/path#fragment",
        "https://h\u043est/path",  # a Cyrillic o
        "https://host/path\n",
        "https://host/pa\tth",
        "https://host/path\0",
        "https://host/\u202eelbisrever",
        "https://host/pa\u00a0th",
        "https://host/path%0ahost=evil",
        "https://host/path%00",
        "https://host/path\ud800",
        "https://host/" + "x" * 2000,
        "ssh://git:password@host/path",
        "git:password@host:path",
        "ssh://@host/path",
        "@host:path",
        "https://ada@host/path",
        "https://ada:password@host/path",
        "https://:password@host/path",
        "https://@host/path",
    ),
)
def test_what_git_would_misread_or_nobody_may_have_is_invalid(url):
    with pytest.raises(Invalid):
        check_url(url, Policy())


@pytest.mark.parametrize(
    "url",
    (
        "https://ada:passw0rd@host/path",
        "https://ada:passw0rd@host",
        "https://ada:pass/w0rd:passw0rd@host/path",
        "ssh://ada:passw0rd@host/path",
        "ada:passw0rd@host:path",
        "HTTPS://ada:passw0rd@host/path",
        "ftp://ada:passw0rd@host/path",
    ),
)
def test_a_password_in_an_address_is_not_repeated(url):
    with pytest.raises(Invalid) as caught:
        check_url(url, Policy())
    assert "passw0rd" not in str(caught.value)


def test_who_puts_a_token_into_the_address_is_told_where_it_belongs():
    with pytest.raises(Invalid, match="put the token into the project's access token"):
        check_url("https://x-access-token:ghp_1@github.com/team/shop", Policy())


@pytest.mark.parametrize(("url", "scheme"), (("http://host/path", "http"), ("file:///srv/shop.git", "file")))
def test_other_schemes_are_the_operators_decision(url, scheme):
    assert check_url(url, Policy(frozenset({scheme}))) == url
    with pytest.raises(Invalid, match="not allowed on this server"):
        check_url(url, Policy())


@pytest.mark.parametrize("url", ("file://", "file:///", "file://host/path", "file://relative", "/srv/shop.git"))
def test_where_files_are_allowed_they_are_named_by_an_absolute_address(url):
    with pytest.raises(Invalid):
        check_url(url, OPEN)


def test_a_single_address_can_be_allowed_beyond_the_schemes():
    policy = Policy(allowed_urls=frozenset({"file:///srv/sample"}))
    assert check_url("file:///srv/sample", policy) == "file:///srv/sample"
    with pytest.raises(Invalid):
        check_url("file:///srv/sample/../secret", policy)


@given(st.text(max_size=60))
def test_whatever_is_sent_is_an_address_or_invalid(text):
    try:
        url = check_url(text, OPEN)
    except Invalid:
        return
    assert git.scheme_of(url) in OPEN.allowed_schemes
    assert not url.startswith("-")
    assert url.isprintable()


@pytest.mark.parametrize(
    ("url", "scheme"),
    (
        (f"{HOST}/x", "https"),
        ("git@host:x", "ssh"),
        ("ssh://host/x", "ssh"),
        ("ext::sh", "ext"),
        ("file:///x", "file"),
        ("/x", "file"),
    ),
)
def test_the_way_to_an_address_is_the_only_one_that_git_may_take(url, scheme):
    assert git.environment(url)["GIT_ALLOW_PROTOCOL"] == scheme


# -- environment and command lines


def test_the_environment_has_nothing_of_the_servers_own(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("SECRET", "x")
    stated = git.environment(f"{HOST}/x")
    assert stated["HOME"] == "/nonexistent"
    assert stated["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert not {"GIT_CONFIG_COUNT", "SECRET", "SSH_AUTH_SOCK"} & set(stated)


def test_only_proxies_and_certificate_authorities_are_passed_on():
    given_by_operator = {
        "https_proxy": "http://proxy:3128",
        "GIT_SSH": "/bin/evil",
        "GIT_SSL_CAINFO": "/ca.pem",
        "HOME": "/root",
    }
    stated = git.environment(f"{HOST}/x", passed_on=given_by_operator)
    assert stated["https_proxy"] == "http://proxy:3128"
    assert stated["GIT_SSL_CAINFO"] == "/ca.pem"
    assert stated["HOME"] == "/nonexistent"
    assert "GIT_SSH" not in stated


def test_traces_are_never_those_that_show_credentials():
    stated = git.environment(f"{HOST}/x", traces=True)
    assert stated["GIT_TRACE"] == "1"
    assert not any("CURL" in name or "PACKET" in name for name in stated)


def test_a_command_that_reaches_nothing_may_reach_nothing():
    assert git.environment()["GIT_ALLOW_PROTOCOL"] == ""
    assert git.environment()["GIT_SSH_COMMAND"] == "/bin/false"


def test_addresses_refs_and_commits_stand_behind_two_dashes():
    url = f"{HOST}/x"
    for command in (
        git.ls_remote(url),
        git.fetch_commit(MIRROR, url, COMMIT, 12),
        git.fetch_branch(MIRROR, url, "main"),
        git.fetch_heads(MIRROR, url),
        git.fetch_tags(MIRROR, url),
    ):
        assert command.index("--") < command.index(url)


def test_a_build_holds_its_commit_by_a_ref_of_its_own():
    command = git.fetch_commit(MIRROR, f"{HOST}/x", COMMIT, 4711)
    assert command[-2:] == (f"+{COMMIT}:refs/sayci/builds/4711", f"+{COMMIT}:refs/sayci/recent/{4711 % 16}")


@pytest.mark.parametrize("commit", ("HEAD", "--upload-pack=x", "main", ""))
def test_nothing_but_a_commit_is_fetched_or_checked_out(commit):
    for make in (
        lambda: git.fetch_commit(MIRROR, f"{HOST}/x", commit, 1),
        lambda: git.read_tree(MIRROR, commit),
        lambda: git.describe(MIRROR, commit),
        lambda: git.dot_git(commit, ""),
    ):
        with pytest.raises(Invalid):
            make()


def test_a_branch_that_is_an_option_is_not_fetched():
    with pytest.raises(Invalid):
        git.fetch_branch(MIRROR, f"{HOST}/x", "--upload-pack=x")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_ssh_understands_its_options_also_where_directories_have_odd_names(tmp_path):
    command = git.ssh_command(tmp_path / "100% my keys")
    said = subprocess.run(
        ("sh", "-c", f'{command} -G "$@"', "sh", "host.invalid"),
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout.decode()
    options = dict(line.partition(" ")[::2] for line in said.splitlines() if not line.startswith("identityfile"))
    assert options["batchmode"] == "yes"
    assert options["stricthostkeychecking"] == "accept-new"
    assert options["identitiesonly"] == "yes"
    assert options["userknownhostsfile"].strip('"') in {
        f"{tmp_path}/100% my keys/known_hosts",
        f"{tmp_path}/100%% my keys/known_hosts",
    }
    assert said.count("identityfile ") == 3
    assert "~/.ssh/id" not in said


@pytest.mark.parametrize(
    ("url", "host", "user"),
    (
        (f"{HOST}/team/x", HOST, "x-access-token"),
        (f"{HOST}:8443/x", f"{HOST}:8443", "x-access-token"),
        ("https://bitbucket.org/team/x", "https://bitbucket.org", "x-token-auth"),
    ),
)
def test_the_credential_is_for_one_server(url, host, user):
    credential = git.credential_of(url)
    scheme, _, name = host.partition("://")
    assert credential.user == user
    assert credential.asks_user == f"Username for '{host}': "
    assert credential.asks_password == f"Password for '{scheme}://{user}@{name}': "


# -- the hand-made .git


def test_a_hand_made_repository_names_no_other_one():
    files = git.dot_git(COMMIT, f"{COMMIT} refs/tags/v1\n")
    assert files["HEAD"] == f"{COMMIT}\n"
    assert "objects/info/alternates" not in files
    assert files["packed-refs"] == f"{COMMIT} refs/tags/v1\n"
    assert "remote" not in files["config"]
    assert "objectformat" not in files["config"]


def test_a_sha256_repository_says_so():
    config = git.dot_git("ab" * 32, "")["config"]
    assert "repositoryformatversion = 1" in config
    assert "objectformat = sha256" in config


# -- words


def test_heads_are_branches_with_their_commits():
    answer = f"{COMMIT}\trefs/heads/main\n{'b' * 40}\trefs/heads/release/1.2\n".encode()
    assert git.heads_of(answer) == {"main": COMMIT, "release/1.2": "b" * 40}
    assert git.heads_of(b"") == {}


def test_heads_that_cannot_be_are_left_out():
    lines = (
        f"{COMMIT}\tHEAD",
        f"{COMMIT}\trefs/heads/--upload-pack=x",
        f"{COMMIT}\trefs/tags/v1",
        f"{COMMIT}\trefs/heads/a b",
        f"{COMMIT}\trefs/heads/main^{{}}",
        "short\trefs/heads/short",
        "no tab",
        f"{COMMIT}\trefs/heads/good",
    )
    assert git.heads_of("\n".join(lines).encode() + b"\n\xff\xfe\n") == {"good": COMMIT}


def test_a_hundred_thousand_branches_are_read_and_more_are_refused():
    lines = [f"{number + 1:040x}\trefs/heads/b{number}\n".encode() for number in range(git.HEADS_LIMIT + 1)]
    assert len(git.heads_of(b"".join(lines[:-1]))) == git.HEADS_LIMIT
    with pytest.raises(RepositoryRefused, match="more branches"):
        git.heads_of(b"".join(lines))


def test_a_description_is_message_and_author():
    assert git.description_of("Ada Löve\0Sell more\n\nShoes: ✓\n\n".encode()) == ("Sell more\n\nShoes: ✓", "Ada Löve")
    assert git.description_of(b"\xff\0\xfe\n") == ("�", "�")


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    (
        (
            "fatal: unable to access 'https://x/y/': Could not resolve host: x",
            RepositoryUnreachable,
            "does not resolve",
        ),
        ("ssh: Could not resolve hostname x: Name or service not known", RepositoryUnreachable, "does not resolve"),
        (
            "fatal: unable to access 'https://x/': Failed to connect to x port 443 after 0 ms: Couldn't connect to server",
            RepositoryUnreachable,
            "takes no connection",
        ),
        ("ssh: connect to host x port 22: Connection refused", RepositoryUnreachable, "takes no connection"),
        ("ssh: connect to host x port 22: Connection timed out", RepositoryUnreachable, "in time"),
        (
            "fatal: unable to access 'https://x/': Operation too slow. Less than 1000 bytes/sec",
            RepositoryUnreachable,
            "in time",
        ),
        ("fatal: repository 'https://x/tls.git/' not found", RepositoryDenied, "no repository at this address"),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            RepositoryDenied,
            "no repository",
        ),
        ("fatal: '/x' does not appear to be a git repository", RepositoryDenied, "no repository"),
        (
            "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it.",
            RepositoryDenied,
            "no repository",
        ),
        (
            "error: unable to read askpass response\nfatal: could not read Username for 'https://x': prompts disabled",
            RepositoryDenied,
            "set the project's access token",
        ),
        ("fatal: Authentication failed for 'https://x/y/'", RepositoryDenied, "set a new one"),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 403",
            RepositoryDenied,
            "access token",
        ),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 301",
            RepositoryRefused,
            "new address",
        ),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 429",
            RepositoryUnreachable,
            "less often",
        ),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 502",
            RepositoryUnreachable,
            "of its own",
        ),
        (
            "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none",
            RepositoryRefused,
            "TLS certificate",
        ),
        (
            "fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate",
            RepositoryRefused,
            "TLS",
        ),
        (
            "fatal: unable to access 'https://x/': SSL: no alternative certificate subject name matches target host name",
            RepositoryRefused,
            "TLS",
        ),
        (
            "fatal: unable to access 'https://x/': gnutls_handshake() failed: An unexpected TLS packet was received.",
            RepositoryRefused,
            "TLS",
        ),
        (
            "fatal: unable to access 'https://x/': gnutls_handshake() failed: The TLS connection was non-properly terminated",
            RepositoryUnreachable,
            "broke the connection",
        ),
        ("Host key verification failed.\nfatal: Could not read from remote", RepositoryRefused, "host key"),
        ("git@x: Permission denied (publickey).\nfatal: Could not read", RepositoryDenied, "ssh key"),
        ("error: cannot run ssh: No such file or directory", RepositoryRefused, "ssh is not installed"),
        ("fatal: transport 'file' not allowed", RepositoryRefused, "not allowed"),
        (f"fatal: remote error: upload-pack: not our ref {COMMIT}", CommitNotFound, "does not have this commit"),
        (f"error: Server does not allow request for unadvertised object {COMMIT}", CommitNotFound, "this commit"),
        (f"fatal: remote error: want {COMMIT} not valid", CommitNotFound, "this commit"),
        ("fatal: couldn't find remote ref refs/heads/x", RepositoryRefused, "no such branch"),
        ("fatal: write error: No space left on device", RepositoryUnreachable, "disk is full"),
        ("error: index-pack died of signal 25", RepositoryRefused, "more than this server takes"),
        ("fatal: Out of memory, malloc failed (tried to allocate 8 bytes)", RepositoryRefused, "memory"),
        ("error: invalid path '.git/hooks/x'", RepositoryRefused, "name"),
        ("fatal: early EOF", RepositoryUnreachable, "broke the connection"),
        (
            "fatal: unable to access 'https://x/': Recv failure: Connection reset by peer",
            RepositoryUnreachable,
            "broke",
        ),
    ),
)
def test_what_git_says_is_told_in_words(said, kind, words):
    error = git.explain(said.encode(), 128)
    assert type(error) is kind
    assert words in error.args[0]
    assert any(line in error.args[1] for line in said.splitlines())


def test_what_is_not_known_is_told_as_git_says_it_and_worth_another_try():
    error = git.explain(b"warning: x\nfatal: the moon is full\n\n", 128)
    assert isinstance(error, RepositoryUnreachable)
    assert error.args == ("git failed", "fatal: the moon is full")


def test_a_git_that_says_nothing_is_told_by_its_end():
    assert git.explain(b"", -9).args == ("git failed", "it ended with -9")


def test_what_the_other_side_says_is_cut_and_cannot_move_the_cursor():
    error = git.explain(b"fatal: \x1b[2J\x07\xe2\x80\xae" + b"x" * 10_000, 1)
    assert len(error.args[1]) <= git.SAID_LIMIT
    assert error.args[1].isprintable()


@pytest.mark.parametrize(
    "said",
    (
        "remote: Authentication failed\nfatal: repository 'https://x/y/' not found",
        "fatal: repository 'https://x/returned-error:-403/unreachable/Certificate' not found",
        "remote: Could not resolve\nfatal: repository 'https://x/y/' not found",
    ),
)
def test_neither_an_address_nor_the_other_side_decides_what_git_has_said(said):
    assert "no repository at this address" in git.explain(said.encode(), 128).args[0]


@pytest.mark.parametrize(
    ("chunks", "shown"),
    (
        ((b"one\ntwo\n",), b"one\ntwo\n"),
        ((b"o", b"ne\ntw", b"o"), b"one\ntwo\n"),
        ((b"Receiving:  10%\rReceiving:  90%\rReceiving: 100%, done.\n",), b"Receiving: 100%, done.\n"),
        ((b"Receiving:  10%\r", b"Receiving:  90%\r"), b"Receiving:  90%\n"),
        ((b"remote: Counting: 100% (3/3), done.        \n",), b"remote: Counting: 100% (3/3), done.\n"),
        ((b"From https://host/x\n * [new ref]  4f1c -> refs/sayci/builds/1\nend\n",), b"end\n"),
        ((b"windows\r\n",), b"windows\n"),
        ((), b""),
    ),
)
def test_lines_show_the_last_state_of_each_line(chunks, shown):
    lines = Lines()
    assert b"".join(map(lines.feed, chunks)) + lines.end() == shown


def test_a_line_without_an_end_does_not_fill_the_memory():
    lines = Lines()
    shown = b"".join(lines.feed(b"x" * 60_000) for _ in range(100)) + lines.end()
    assert len(shown.replace(b"\n", b"")) == 6_000_000
    assert len(lines._rest) <= Lines.LIMIT


def test_a_progress_without_an_end_does_not_fill_the_memory():
    lines = Lines()
    for number in range(10_000):
        assert lines.feed(b"Receiving: %d\r" % number) == b""
    assert len(lines._rest) < 100
