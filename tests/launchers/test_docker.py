"""launchers/docker.py and container.py as modules: what is asked of an engine, and what its answers mean.

With a real engine: tests/contracts/test_launcher_docker.py.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sayci.errors import CannotStart
from sayci.interfaces import Ended, Job
from sayci.launchers import container, docker
from sayci.launchers.container import Assignment, EngineError, Output, Record
from sayci.limits import Limits
from sayci.options import ContainerSettings
from sayci.runner import BASE_ENVIRONMENT

WORKSPACE = Path("/srv/sayci/workspaces/12")
USER = (60601, 60601)


def a_job(*argv, **fields):
    given: dict[str, Any] = {
        "key": "12/1-test",
        "argv": argv or ("make", "test"),
        "environment": {"TMPDIR": f"{WORKSPACE}/tmp"},
        "workspace": WORKSPACE / "tree",
        "beside": (WORKSPACE / "home", WORKSPACE / "tmp"),
    }
    return Job(**given | fields)


def body_of(job, **fields):
    return docker.body_of(job, "ci:1", USER, ContainerSettings(**fields), "0123")


# -- what is asked for


def test_a_container_has_what_is_the_steps_own_and_nothing_else():
    body = body_of(a_job())
    assert (body["Image"], body["Entrypoint"], body["Cmd"]) == ("ci:1", ["make"], ["test"])
    assert (body["User"], body["WorkingDir"]) == ("60601:60601", f"{WORKSPACE}/tree")
    assert body["Labels"] == {"sayci.owner": "0123", "sayci.step": "12/1-test", "sayci.user": "60601"}
    host = body["HostConfig"]
    assert [(mount["Source"], mount["Target"]) for mount in host["Mounts"]] == [
        (f"{WORKSPACE}/tree", f"{WORKSPACE}/tree"),
        (f"{WORKSPACE}/home", f"{WORKSPACE}/home"),
        (f"{WORKSPACE}/tmp", f"{WORKSPACE}/tmp"),
        (f"{WORKSPACE}/tmp", "/tmp"),
    ]
    assert {mount["Type"] for mount in host["Mounts"]} == {"bind"}
    assert (host["CapDrop"], host["SecurityOpt"], host["ReadonlyRootfs"]) == (["ALL"], ["no-new-privileges"], True)
    assert (host["LogConfig"], host["Init"], host["NetworkMode"]) == ({"Type": "none"}, True, "bridge")
    assert host["Tmpfs"] == {}
    assert "Env" not in body


def test_without_a_directory_for_temporary_files_there_is_one_in_memory():
    host = body_of(a_job(beside=(), environment={}))["HostConfig"]
    assert host["Tmpfs"].keys() == {"/tmp"}
    assert len(host["Mounts"]) == 1


def test_limits_are_the_engines():
    host = body_of(a_job())["HostConfig"]
    assert host["PidsLimit"] == docker.PROCESSES
    assert not host.keys() & {"Memory", "NanoCpus"}
    limits = Limits(memory_limit=2**30, process_limit=100, open_files_limit=1000)
    host = body_of(a_job(limits=limits), processors=1.5, network="builds")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2**30, 2**30, 100)
    assert {"Name": "nofile", "Soft": 1000, "Hard": 1000} in host["Ulimits"]
    assert (host["NanoCpus"], host["NetworkMode"]) == (1_500_000_000, "builds")


def test_the_path_is_the_images_unless_the_project_says_another():
    usual = BASE_ENVIRONMENT["PATH"]
    assert docker.given_to(a_job(environment={"PATH": usual, "A": usual})) == {"A": usual}
    assert docker.given_to(a_job(environment={"PATH": "/opt/bin"})) == {"PATH": "/opt/bin"}


def test_two_data_directories_have_two_names():
    first, second = (docker.owner_of(Path(path)) for path in ("/srv/a", "/srv/b"))
    assert first != second
    assert docker.name_of(first, "12/1-test") == f"sayci-{first}-12.1-test"


def test_an_assignment_survives_its_way():
    given = Assignment({"Image": "ü"}, ("ci", "1"), 2.5, 60.0)
    found = Assignment.decode(given.encode())
    assert vars(found) == vars(given)


# -- credentials


def config(**registries):
    return json.dumps({"auths": {name: {"auth": base64.b64encode(b"ada:se:same").decode()} for name in registries}})


@pytest.mark.parametrize(
    ("image", "registries", "server"),
    (
        ("registry.example/ci", {"registry.example": 1}, "registry.example"),
        ("registry.example:5000/ci", {"https://registry.example:5000": 1}, "registry.example:5000"),
        ("python:3.13", {"https://index.docker.io/v1/": 1}, "docker.io"),
    ),
)
def test_what_docker_login_has_kept_is_for_its_registry(image, registries, server):
    found = json.loads(base64.urlsafe_b64decode(docker.credential_for(image, config(**registries))))
    assert found == {"username": "ada", "password": "se:same", "serveraddress": server}


@pytest.mark.parametrize(
    "text",
    (
        "",
        "[]",
        "{",
        '{"auths": 1}',
        '{"auths": {"registry.example": {}}}',
        '{"auths": {"registry.example": {"auth": 1}}}',
    ),
)
def test_without_a_credential_there_is_none(text):
    assert docker.credential_for("registry.example/ci", text) == ""


def test_a_credential_is_for_no_other_registry():
    assert docker.credential_for("evil.example/registry.example", config(**{"registry.example": 1})) == ""


def test_a_token_goes_before_a_password():
    text = json.dumps({"auths": {"registry.example": {"auth": "YTpi", "identitytoken": "t0ken"}}})
    found = json.loads(base64.urlsafe_b64decode(docker.credential_for("registry.example/ci", text)))
    assert found == {"identitytoken": "t0ken", "serveraddress": "registry.example"}


# -- what comes back


def frames(*parts):
    return b"".join(bytes([kind, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for kind, part in parts)


def test_the_output_is_the_same_wherever_it_is_cut():
    data = frames((1, b"one\n"), (2, b"two\xff\n"), (1, b""), (1, b"three"))
    for size in range(1, len(data) + 1):
        output = Output()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert b"".join(bytes(part) for piece in pieces for part in output.feed(piece)) == b"one\ntwo\xff\nthree"
        assert output.size == len(b"one\ntwo\xff\nthree")


@pytest.mark.parametrize(
    ("said", "code", "why"),
    (
        (b"[FATAL tini (7)] exec make failed: No such file or directory\n", 127, "make: No such file or directory"),
        (b"[FATAL tini (7)] exec ./x failed: Permission denied\n", 126, "./x: Permission denied"),
        (b"[FATAL tini (7)] exec make failed: No such file or directory\n", 2, ""),
        (b"make: nothing\n[FATAL tini (7)] exec make failed: No such file or directory\n", 127, ""),
        (b"[FATAL tini (7)] exec make failed: No such file or directory\n" + b"x" * 2000, 127, ""),
        (b"sh: 1: x: not found\n", 127, ""),
        (b"", 127, ""),
    ),
)
def test_a_command_that_could_not_be_started_is_told_from_one_that_ended_so(said, code, why):
    output = Output()
    assert sum(len(part) for part in output.feed(frames((2, said)))) == len(said)
    assert output.not_started(code) == why


def test_of_a_pull_only_what_is_new_is_told():
    ticks = [{"id": "a1", "status": "Downloading", "progressDetail": {"current": n}} for n in range(100)]
    said = [{"status": "Pulling from ci"}, *ticks, {"id": "a1", "status": "Pull complete"}]
    lines = [json.dumps(each).encode() for each in said]
    told = ["Pulling from ci", "a1: Downloading", "a1: Pull complete"]
    assert list(container._progress(iter([*lines, b"no json", b"[]", b""]))) == told
    with pytest.raises(EngineError, match="manifest unknown"):
        list(container._progress(iter([b'{"error": "manifest unknown"}'])))


@pytest.mark.parametrize(
    "record", (Record(2), Record(137, out_of_memory=True), Record(None, trouble="x" * 9, started=False))
)
def test_a_record_survives_its_way(record):
    assert vars(Record.decode(record.encode())) == vars(record)


@pytest.mark.parametrize("data", (b"", b"{}", b"[1]", b"null", b"\xff", b"5"))
def test_a_damaged_record_is_none(data):
    with pytest.raises((ValueError, TypeError)):
        Record.decode(data)


@pytest.mark.parametrize(
    ("why", "record", "expected"),
    (
        ("", Record(0), (0, "")),
        ("", Record(2), (2, "")),
        ("", Record(137), (-9, "")),
        ("", Record(255), (255, "")),
        ("", Record(0, out_of_memory=True), (0, "")),
        ("", Record(2, out_of_memory=True), (2, "memory_limit")),
        ("", Record(137, out_of_memory=True), (-9, "memory_limit")),
        ("", Record(None, trouble="no", started=False), (None, "start_failed")),
        ("", Record(None, trouble="no"), (None, "lost")),
        ("", None, (None, "lost")),
        ("time_limit", Record(143), (-15, "time_limit")),
        ("time_limit", Record(137, out_of_memory=True), (-9, "time_limit")),
        ("cancelled", Record(None, trouble="no", started=False), (None, "cancelled")),
        ("cancelled", None, (None, "cancelled")),
        ("lost", Record(0), (None, "lost")),
        ("never_started", None, (None, "never_started")),
        ("start_failed", None, (None, "start_failed")),
    ),
)
def test_how_a_step_ended_is_what_its_shim_and_its_container_say(why, record, expected):
    code = None if why in ("lost", "never_started", "start_failed") else 125
    ended = docker.ended_of(Ended(code, why, output=3, duration=1.5), record)
    assert (ended.exit_code, ended.why) == expected
    assert (ended.output, ended.duration) == (3, 1.5)


# -- the place

VERSION = {"Version": "28.1"}
INFO = {"OSType": "linux", "SecurityOptions": ["name=seccomp,profile=default"], "MemoryLimit": True, "PidsLimit": True}


def test_an_engine_says_what_it_cannot_do():
    assert docker._place(VERSION, INFO) == docker.Place("28.1")
    assert docker._place(VERSION, INFO | {"MemoryLimit": False}) == docker.Place("28.1", ("memory",))


@pytest.mark.parametrize(
    ("info", "words"), (({"OSType": "windows"}, "Linux"), ({"SecurityOptions": ["name=rootless"]}, "rootless"))
)
def test_an_engine_that_builds_cannot_be_given_to_is_refused(info, words):
    with pytest.raises(CannotStart, match=words):
        docker._place(VERSION, INFO | info)
