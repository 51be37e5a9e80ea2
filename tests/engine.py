"""A real Docker Engine for tests, and what ``./build`` makes: sayci.pex, and the image in containers.

What tests use (nothing else here is stable)::

    pytestmark = engine.MARKS            # slow, with a time limit that allows for making it all the first time

    engine.engine()                      # skips the test, with the reason, where no engine can be had
    made = engine.built()                # the same, and makes the image of these very sources, once for all workers
    made.image, made.version, made.base  # "sayci-test:0.0.123", "0.0.123", the base image
    made.pex, made.python                # its sayci.pex (a Path), and the Python that runs it: "3.11"
    engine.base()                        # an image with python3, git and make: needs no ./build
    engine.pex()                         # a sayci.pex for this Python, by ./build --pex-only: needs no engine

    with engine.run("--slots", "1", options=["--read-only", "--tmpfs", "/tmp"]) as container:  # docker run --detach ...
        container.ready()                # waits for its address; AssertionError with the log if it ends (times=2: again)
        container.sign_in().get("/api/v1/me")      # it is a tests.server.Server: get, post, finished, log_of, wait_for
        container.port, container.base, container.link, container.pid
        container.logs()                 # standard output and error
        container.exec("sayci", "projects")        # subprocess.CompletedProcess, text; check=False: may fail
        container.inspect()              # docker inspect, parsed
        container.stop()                 # docker stop; returns the exit code; also kill(signal), wait()
        container.start()                # docker start
                                         # at the end of the block it is removed, with its nameless volumes

    with engine.volume() as name: ...    # a named volume, removed at the end: options=["-v", f"{name}:/srv/sayci"]
    engine.docker("ps", "-aq")           # docker ...; its standard output, stripped; AssertionError with what it said
    engine.label()                       # options that mark what a test makes by itself: ["--label", "sayci.test"]
    engine.build("1.2.3", ...)           # runs ./build; subprocess.CompletedProcess, text
    engine.ca_bundle()                   # its options for this machine's certificates

`run` publishes port 8080 of the container at a port of 127.0.0.1 that the kernel chooses, and has the server listen there
without TLS. `publish=` another one, or None, leaves the server to the image's own default: `publish=443` is as people run it.
`image=` and `entrypoint=` take another image and entry point.

An engine that answers is used. With CI=true or SAYCI_TEST_DOCKER=1, as root on a Debian machine, one is installed and
started, and a base image is made from Debian's packages; it goes on running. SAYCI_TEST_BASE names another base image.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.server import PATIENCE, Server

ROOT = Path(__file__).parent.parent
#: Installing an engine, making a base image and building on it may come on top of the first test.
MARKS = [pytest.mark.slow, pytest.mark.timeout(1200)]
BASE = "sayci-test-base"
IMAGE = "sayci-test"
PACKAGES = "python3,python3-venv,git,make,ca-certificates,openssh-client"
INPUTS = (
    *("build", "build.docker", "run.docker", "requirements.txt", "requirements-build.txt"),
    *("setup.py", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "src/sayci", "src/twisted"),
)
#: The port of a container without TLS.
PLAIN = 8080
#: Seconds for which an image of other sources is kept: somebody else's tests may be using it.
KEPT = 3600.0
_ADDRESS = re.compile(r"is at (https?)://[^\s/]+/")
_LINK = re.compile(r"https?://\S+code=\S+")


@dataclass(frozen=True)
class Built:
    """What ./build has made of these sources."""

    image: str
    version: str
    base: str
    pex: Path
    python: str


def label():
    return ["--label", "sayci.test"]


def _run(*command, **keywords):
    given = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **keywords}
    return subprocess.run(command, check=False, **given)


def docker(*arguments, check=True):
    """Its standard output."""
    done = _run("docker", *arguments)
    if check and done.returncode:
        raise AssertionError("docker failed", arguments, done.returncode, done.stderr)
    return done.stdout.strip()


# -- the engine


def _answers():
    if shutil.which("docker") is None:
        return False
    return _run("docker", "version").returncode == 0


def _may_install():
    """Whether this machine is there for tests alone, so that an engine may be installed and left running."""
    is_asked = os.environ.get("CI") == "true" or os.environ.get("SAYCI_TEST_DOCKER") == "1"
    return is_asked and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(*packages):
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for line in (("update",), ("install", "--yes", *packages)):
        done = _run("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", *line, env=environment)
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])


def _start():
    if shutil.which("dockerd") is None or shutil.which("docker") is None:
        _install("docker.io")
    if _answers():  # where services are started as they are installed
        return
    with (_directory() / "dockerd.log").open("ab") as log:
        subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    deadline = time.monotonic() + 60
    while not _answers():
        said = (_directory() / "dockerd.log").read_text(errors="replace")
        assert time.monotonic() < deadline, f"dockerd does not answer:\n{said[-4000:]}"
        time.sleep(0.2)


@contextlib.contextmanager
def _alone():
    """One worker process at a time."""
    with (_directory() / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _directory():
    """For what is made once for all workers, and for the next run."""
    path = Path(tempfile.gettempdir()) / f"sayci-test-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    assert path.stat().st_uid == os.getuid(), path
    return path


@cache
def _why_no_engine():
    if _answers():
        return ""
    if not _may_install():
        return "no Docker Engine answers here (SAYCI_TEST_DOCKER=1 lets root install one on Debian)"
    with _alone():
        if not _answers():
            _start()
    return ""


def engine():
    """Make sure that an engine answers, or skip the test."""
    why_not = _why_no_engine()
    if why_not:
        pytest.skip(why_not)


def _has_image(name):
    return bool(docker("image", "inspect", "--format", "{{.Id}}", name, check=False))


def _make_base():
    if shutil.which("mmdebstrap") is None:
        _install("mmdebstrap")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as making:
        done = _run("docker", "import", "-", BASE, stdin=making.stdout)
    if making.returncode or done.returncode:
        docker("image", "rm", BASE, check=False)
        raise AssertionError("no base image could be made", making.returncode, done.stderr)


def _base():
    """The image to build on.  Called with the lock held."""
    stated = os.environ.get("SAYCI_TEST_BASE", "")
    for name in (stated, BASE, "python:3.13-slim"):
        if name and _has_image(name):
            return name
    if not _may_install():
        pytest.skip("no base image is here: docker pull python:3.13-slim, or name another one by SAYCI_TEST_BASE")
    _make_base()
    return BASE


@cache
def base():
    """An image with python3, git and make, or skip the test."""
    engine()
    with _alone():
        return _base()


# -- what ./build makes


def _is_input(path):
    skipped = path.suffix == ".pyc" or path.name == "dropin.cache" or "__pycache__" in path.parts
    return path.is_file() and not skipped


def _digest(*others):
    """Of everything that goes into the file and the image."""
    digest = hashlib.sha256(repr(others).encode())
    for name in INPUTS:
        for path in sorted([ROOT / name, *(ROOT / name).rglob("*")]):
            if _is_input(path):
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _version_of(digest):
    return f"0.0.{int(digest[:8], 16)}"


def ca_bundle():
    """The options for this machine's certificates: in a container there are none, and a proxy's own may be among them."""
    paths = ssl.get_default_verify_paths()
    for name in (os.environ.get("SSL_CERT_FILE", ""), paths.cafile or "", "/etc/ssl/certs/ca-certificates.crt"):
        if name and Path(name).is_file():
            return ["--ca-bundle", name]
    return []


def build(*arguments, environment=None, **keywords):
    """Run ./build to its end."""
    return _run(str(ROOT / "build"), *arguments, env=environment, **keywords)


def _make(path, *arguments, environment=None):
    path.parent.mkdir(exist_ok=True)
    done = build("--output", str(path), *arguments, environment=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


def _forget_old():
    """Remove what other sources were made into, unless somebody may be using it."""
    for path in [*_directory().glob("pex-*"), *_directory().glob("image-*")]:
        if time.time() - path.stat().st_mtime > KEPT:
            shutil.rmtree(path)
            if path.name.startswith("image-"):
                docker("image", "rm", f"{IMAGE}:{path.name.removeprefix('image-')}", check=False)


def python():
    """The interpreter of which this one's environment was made."""
    return getattr(sys, "_base_executable", None) or sys.executable


@cache
def pex():
    """A sayci.pex for the Python that runs the tests."""
    version = _version_of(_digest(sys.version))
    path = _directory() / f"pex-{version}" / "sayci.pex"
    with _alone():
        if not path.exists():
            _forget_old()
            _make(path, "--pex-only", version, environment={**os.environ, "PYTHON": python()})
    os.utime(path.parent)
    return path


@cache
def _built():
    with _alone():
        base = _base()
        identity = docker("image", "inspect", "--format", "{{.Id}}", base)
        version = _version_of(_digest(identity))
        path, name = _directory() / f"image-{version}" / "sayci.pex", f"{IMAGE}:{version}"
        if not path.exists() or not _has_image(name):
            _forget_old()
            _make(path, "--base", base, "--image", IMAGE, *ca_bundle(), version)
    os.utime(path.parent)
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    minor = docker("run", "--rm", *label(), "--network", "none", "--entrypoint", "python3", base, "-c", program)
    return Built(name, version, base, path, minor)


def built():
    """The image and the file that ./build makes of these sources, or skip the test."""
    engine()
    return _built()


# -- containers


class Container(Server):
    """A running container of the image, and the server in it."""

    def __init__(self, identity, publish):
        super().__init__(Path("/srv/sayci"))
        self.id = identity
        self._publish = publish

    def __enter__(self):
        return self

    def __exit__(self, *_):
        docker("rm", "--force", "--volumes", self.id, check=False)

    def logs(self):
        together = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return _run("docker", "logs", self.id, errors="replace", **together).stdout

    def log(self):
        return self.logs()

    @property
    def port(self):
        """Of 127.0.0.1, by which the container's is reached."""
        return int(docker("port", self.id, f"{self._publish}/tcp").splitlines()[0].rpartition(":")[2])

    def inspect(self):
        return json.loads(docker("inspect", self.id))[0]

    @property
    def pid(self):
        return self.inspect()["State"]["Pid"]

    def ready(self, times=1):
        """Wait until the server has said its address (for the `times`th time, if it was started again)."""

        def look():
            said = self.logs()
            assert len(_ADDRESS.findall(said)) >= times or self.inspect()["State"]["Running"], said[-4000:]
            return said if len(_ADDRESS.findall(said)) >= times else None

        said = self.wait_for(look)
        if self._publish is not None:
            self.base = f"{_ADDRESS.findall(said)[-1]}://127.0.0.1:{self.port}"
        links = _LINK.findall(said)
        self.link = links[-1] if links else ""
        return self

    def exec(self, *command, options=(), check=True):
        done = _run("docker", "exec", *options, self.id, *command, timeout=PATIENCE)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    def wait(self):
        """Its exit code, once it has ended."""
        return int(docker("wait", self.id))

    def stop(self, number=None, patience=30):
        """docker stop; returns the exit code, 137 if it had to be killed after `patience` seconds."""
        if number is None:
            docker("stop", "--time", str(patience), self.id)
        else:
            self.kill(number)
        return self.wait()

    def kill(self, number="KILL"):
        docker("kill", "--signal", str(getattr(number, "name", number)), self.id)

    def start(self):
        docker("start", self.id)
        return self


def run(*arguments, options=(), image=None, publish=PLAIN, entrypoint=None):
    """A container of the image with these arguments, started; its `with` block removes it."""
    ports = ["--publish", f"127.0.0.1::{publish}"] if publish is not None else []
    plain = ["--env", "SAYCI_PORT=tcp:8080"] if publish == PLAIN and "--port" not in arguments else []
    entry = ["--entrypoint", entrypoint] if entrypoint is not None else []
    what = image or built().image
    identity = docker("run", "--detach", *label(), *ports, *plain, *entry, *options, what, *arguments)
    return Container(identity, publish)


@contextlib.contextmanager
def volume():
    """The name of a new volume."""
    engine()
    name = f"sayci-test-{secrets.token_hex(6)}"
    docker("volume", "create", *label(), name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name, check=False)
