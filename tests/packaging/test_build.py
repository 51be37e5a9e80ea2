"""./build: what it makes, how every trouble ends as one line, and that nothing stays behind."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests import engine

pytestmark = engine.MARKS
#: What the program may call, docker left out.
PROGRAMS = (
    *(
        "awk",
        "basename",
        "cat",
        "chmod",
        "cp",
        "cut",
        "date",
        "dirname",
        "env",
        "find",
        "grep",
        "head",
        "mkdir",
        "mkfifo",
    ),
    *("mktemp", "mv", "rm", "sed", "sh", "sha256sum", "tail", "tr", "wc"),
)


@pytest.fixture
def temporary(tmp_path):
    """Where ./build may put things for a while."""
    path = tmp_path / "temporary"
    path.mkdir()
    return path


@pytest.fixture
def environment(temporary):
    """A caller's, without what says where packages are."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "PEX_"))}
    return {**given, "TMPDIR": str(temporary), "PYTHON": engine.python()}


@pytest.fixture
def unreachable(environment):
    """The same, where packages are to be fetched from a port at which nobody listens."""
    return {**environment, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0", "PIP_INDEX_URL": "http://127.0.0.1:1/"}


@pytest.fixture
def silent_index():
    """The address of an index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


@pytest.fixture
def base():
    """A base image whose label everything made of it inherits, and the filter that finds that."""
    mark = secrets.token_hex(6)
    name = f"sayci-test-base-{mark}"
    container = engine.docker("create", *engine.label(), engine.built().base, "true")
    try:
        engine.docker("commit", "--change", f"LABEL sayci.test.base={mark}", container, name)
    finally:
        engine.docker("rm", container)
    yield name, f"label=sayci.test.base={mark}"
    for image in engine.docker("image", "ls", "--quiet", f"{name}-made").split():
        engine.docker("image", "rm", "--force", image)
    engine.docker("image", "rm", name)


def left_of(base):
    """Images and containers that were made of the base image and are still there."""
    name, mark = base
    images = engine.docker("image", "ls", "--all", "--quiet", "--no-trunc", "--filter", mark).split()
    own = engine.docker("image", "inspect", "--format", "{{.Id}}", name)
    return [
        *(image for image in images if image != own),
        *engine.docker("ps", "--all", "--quiet", "--filter", mark).split(),
    ]


def the_line(done, code):
    """The one line that says what was wrong, after what was done until then."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stderr.startswith("build: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


# -- the command line


def test_help_teaches():
    shown = engine.build("--help")
    assert shown.returncode == 0
    for words in ("./build 1.2.3", "--pex-only", "--base IMAGE", "--ca-bundle FILE", "--index-url URL", "HTTPS_PROXY"):
        assert words in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) < 110


@pytest.mark.parametrize(
    "version",
    (
        "v1.2.3",
        "1.2.3+local",
        "1!1.2",
        "1.2.3-rc1",
        "1.2.3RC1",
        "1.02",
        "latest",
        "1..2",
        "1.2/3",
        "1.2 3",
        "1.2\n3",
        "é",
        "1." * 60 + "1",
    ),
)
def test_a_version_has_to_do_for_python_and_docker(version, environment):
    assert "VERSION cannot be" in the_line(engine.build(version, environment=environment), 2)


@pytest.mark.parametrize(
    ("line", "words"),
    (
        ((), "which VERSION"),
        (("",), "VERSION is empty"),
        (("1.2.3", "1.2.4"), "1.2.4"),
        (("--frobnicate", "1.2.3"), "there is no option --frobnicate"),
        (("--base",), "--base needs a value"),
        (("--base", "a b", "1.2.3"), "a b"),
        (("--image", "-sayci", "1.2.3"), "-sayci"),
        (("--created", "yesterday", "1.2.3"), "yesterday"),
    ),
)
def test_a_wrong_command_line_is_one_line(line, words, environment, temporary):
    said = the_line(engine.build(*line, environment=environment), 2)
    assert words in said
    assert "./build --help" in said
    assert list(temporary.iterdir()) == []


def test_certificates_have_to_be_there(environment, tmp_path):
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (tmp_path / "nowhere.pem", empty):
        said = the_line(engine.build("--ca-bundle", str(path), "1.2.3", environment=environment), 1)
        assert str(path) in said


def test_the_file_needs_a_place(environment, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "sayci.pex"):
        assert "directory" in the_line(engine.build("--pex-only", "--output", str(path), environment=environment), 1)


# -- sayci.pex without Docker


def made_by_setuptools():
    """What it leaves in the sources, and when that was last written: an editable install has some there."""
    found = [path for path in engine.ROOT.iterdir() if path.suffix == ".egg-info" or path.name == ".build"]
    return {path: path.stat().st_mtime_ns for path in found}


def test_made_twice_it_is_the_same_whoever_makes_it(environment, tmp_path, temporary):
    """In another directory, at another time, with other settings of the caller's."""
    first, second = engine.pex(), tmp_path / "again.pex"
    version = first.parent.name.removeprefix("pex-")
    others = {
        "HOME": os.environ.get("HOME", "/"),
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        "PYTHONPATH": str(tmp_path),
        "PYTHONOPTIMIZE": "2",
        "PEX_PYTHON_PATH": "/nonexistent",
        "PEX_ROOT": "/nonexistent",
        "PIP_NO_BINARY": ":all:",
        "PIP_TARGET": str(tmp_path / "target"),
        "SOURCE_DATE_EPOCH": "1700000000",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
    }
    given = ["sh", "-c", 'umask 077; exec "$@"', "sh", str(engine.ROOT / "build")]
    line = [*given, "--pex-only", "--output", str(second), version]
    before = made_by_setuptools()
    done = subprocess.run(line, env={**environment, **others}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert second.read_bytes() == first.read_bytes()
    assert hashlib.sha256(second.read_bytes()).hexdigest() in done.stdout
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.pex", "temporary"]
    assert second.stat().st_mode & 0o777 == 0o755
    assert made_by_setuptools() == before


@pytest.mark.parametrize("python", ("/nonexistent/python3", "false"))
def test_without_a_python_that_will_do_it_says_so(python, environment, temporary):
    said = the_line(engine.build("--pex-only", environment={**environment, "PYTHON": python}), 1)
    assert python in said
    assert "PYTHON=" in said
    assert list(temporary.iterdir()) == []


def test_without_an_index_it_says_so_and_leaves_the_old_file(unreachable, tmp_path, temporary):
    old = tmp_path / "sayci.pex"
    old.write_text("older")
    said = the_line(engine.build("--pex-only", "--output", str(old), environment=unreachable), 1)
    assert "the package index cannot be reached" in said
    assert "--index-url" in said
    assert old.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sayci.pex", "temporary"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), ((signal.SIGINT, 130), (signal.SIGTERM, 143)))
def test_interrupted_it_leaves_nothing(number, code, unreachable, silent_index, tmp_path, temporary):
    command = [
        str(engine.ROOT / "build"),
        "--pex-only",
        "--output",
        str(tmp_path / "sayci.pex"),
        "--index-url",
        silent_index,
    ]
    with subprocess.Popen(
        command, env=unreachable, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as making:
        assert making.stdout is not None
        while "Looking in indexes" not in making.stdout.readline():
            assert making.poll() is None
        making.send_signal(number)
        _, said = making.communicate(timeout=60)
    assert making.returncode == code
    assert "build: interrupted" in said
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a small disk")
def test_a_full_disk_is_said(environment, temporary):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(temporary)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        output = str(temporary.parent / "sayci.pex")
        said = the_line(engine.build("--pex-only", "--output", output, environment=environment), 1)
        assert "the disk is full" in said
        assert list(temporary.iterdir()) == []
    finally:
        subprocess.run(["umount", str(temporary)], check=True)


# -- the image


def test_without_docker_it_says_so(environment, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    said = the_line(engine.build("1.2.3", environment={**environment, "PATH": str(programs)}), 1)
    assert "there is no docker here" in said
    assert "--pex-only" in said


def test_without_an_engine_it_says_so(environment, temporary):
    if shutil.which("docker") is None:
        pytest.skip("there is no docker here")
    nowhere = {**environment, "DOCKER_HOST": "unix:///nonexistent.sock"}
    assert "Docker does not answer" in the_line(engine.build("1.2.3", environment=nowhere), 1)
    assert list(temporary.iterdir()) == []


def test_a_base_that_cannot_be_had_is_said(environment, temporary):
    engine.engine()
    said = the_line(engine.build("--base", "127.0.0.1:1/nothing:1", "1.2.3", environment=environment), 1)
    assert "the base image 127.0.0.1:1/nothing:1 cannot be had" in said
    assert list(temporary.iterdir()) == []


def test_a_base_without_python_is_said(environment, temporary):
    engine.engine()
    name = f"sayci-test-empty-{secrets.token_hex(6)}"
    engine.docker("import", "/dev/null", name)
    try:
        said = the_line(engine.build("--base", name, "1.2.3", environment=environment), 1)
        assert f"the base image {name} cannot be used" in said
        assert "Python 3.11" in said
        assert engine.docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}") == ""
    finally:
        engine.docker("image", "rm", "--force", name)
    assert list(temporary.iterdir()) == []


def has_buildkit():
    """Part of the client before version 23, a plugin since."""
    version = engine.docker("version", "--format", "{{.Client.Version}}")
    return int(version.split(".")[0]) < 23 or bool(engine.docker("buildx", "version", check=False))


@pytest.mark.parametrize("builder", ("classic", "BuildKit"))
def test_it_makes_the_file_and_the_image_and_leaves_nothing_else(base, builder, environment, tmp_path, temporary):
    if builder == "BuildKit" and not has_buildkit():
        pytest.skip("this docker has no BuildKit")
    environment["DOCKER_BUILDKIT"] = "01"[builder == "BuildKit"]
    name, version = base[0], engine.built().version
    output = tmp_path / "sayci.pex"
    line = ["--base", name, "--image", f"{name}-made", "--output", str(output), *engine.ca_bundle()]
    created = "2026-11-20T12:00:00Z"
    done = engine.build(*line, "--created", created, version, environment=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for number in (1, 2, 3, 4):
        assert f"[{number}/4]" in done.stdout
    assert hashlib.sha256(output.read_bytes()).hexdigest() in done.stdout
    assert f"docker run -d --name sayci -p 443:443 -v sayci:/srv/sayci {name}-made:{version}" in done.stdout
    label = '{{index .Config.Labels "org.opencontainers.image.created"}}'
    assert engine.docker("image", "inspect", "--format", label, f"{name}-made:{version}") == created
    assert list(temporary.iterdir()) == []
    assert engine.docker("image", "ls", "--quiet", "--filter", "dangling=true", "--filter", base[1]) == ""
    assert output.read_bytes() == engine.built().pex.read_bytes()
    engine.docker("image", "rm", f"{name}-made:{version}")
    assert left_of(base) == []


def test_an_index_that_the_engine_cannot_reach_is_said_and_nothing_stays(base, environment, tmp_path, temporary):
    name, _ = base
    line = ["--base", name, "--image", f"{name}-made", "--output", str(tmp_path / "sayci.pex")]
    done = engine.build(*line, "--index-url", "http://127.0.0.1:1/", "1.2.3", environment=environment)
    assert "the package index cannot be reached" in the_line(done, 1)
    assert left_of(base) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("number", "code", "stage"), ((signal.SIGINT, 130, "[2/4]"), (signal.SIGTERM, 143, "[3/4]")))
def test_interrupted_in_a_docker_build_it_leaves_nothing(number, code, stage, base, environment, tmp_path, temporary):
    name, _ = base
    line = [
        "--base",
        name,
        "--image",
        f"{name}-made",
        "--output",
        str(tmp_path / "sayci.pex"),
        *engine.ca_bundle(),
        "1.2.3",
    ]
    command = [str(engine.ROOT / "build"), *line]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as making:
        assert making.stdout is not None
        for word in (stage, "RUN set"):
            while word not in making.stdout.readline():
                assert making.poll() is None
        making.stdout.readline()
        making.send_signal(number)
        _, said = making.communicate(timeout=120)
    assert making.returncode == code
    assert "build: interrupted" in said
    assert left_of(base) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []


def test_junk_in_the_work_tree_reaches_nobody(tmp_path, environment):
    """A copy of the sources with things beside and in them makes the same file."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in engine.INPUTS:
        source = Path(engine.ROOT / name)
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    for junk in (".env", "src/.env", "src/sayci/.env", "src/sayci/web/static/.secret", "src/sayci/web/static/key~"):
        (tree / junk).write_text("secret")
    first = engine.pex()
    line = [str(tree / "build"), "--pex-only", first.parent.name.removeprefix("pex-")]
    given = {**environment, **{name: value for name, value in os.environ.items() if name.startswith("PIP_")}}
    before = {path.name for path in tree.iterdir()}
    done = subprocess.run(line, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert (tree / "sayci.pex").read_bytes() == first.read_bytes()
    assert {path.name for path in tree.iterdir()} == before | {"sayci.pex"}
