"""What every launcher promises (test_launcher.py), of steps in containers; and what containers promise beside that."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from sayci.errors import CannotStart, LauncherError
from sayci.launchers import docker, shim
from sayci.launchers.docker import OWNER, STEP, DockerLauncher, look_at, owner_of
from sayci.limits import Limits
from sayci.options import ContainerSettings
from tests import engine
from tests.contracts import test_launcher as contract
from tests.contracts.test_launcher import KEY, Place
from tests.registry import Registry
from tests.slots import passable_directory, some_numbers

pytestmark = engine.MARKS
#: What holds of containers as of all steps.  What is not here holds otherwise, and is shown below; or it is about the shim,
#: in tenths of a second and by the dozen, where a container takes longer to start.
HOLDS = (
    "test_a_command_that_is_not_there_is_a_result",
    "test_a_command_that_may_not_be_executed_is_a_result",
    "test_it_runs_in_the_workspace",
    "test_its_input_is_at_its_end",
    "test_there_is_no_terminal",
    "test_signals_are_as_a_new_program_expects_them",
    "test_it_gains_no_privileges_and_goes_first_when_memory_runs_out",
    "test_no_secret_is_in_an_argument_list_or_on_disk",
    "test_the_log_has_every_byte_in_order",
    "test_what_was_in_the_log_stays",
    "test_a_secret_in_two_writes_is_masked_and_its_first_half_never_shown",
    "test_secrets_are_masked_in_their_usual_encodings",
    "test_output_beyond_the_limit_is_dropped_and_counted_and_the_step_goes_on",
    "test_a_log_that_cannot_be_opened_is_a_result",
    "test_what_ignores_term_is_killed_after_the_grace_time",
    "test_a_step_cannot_end_its_shim_by_its_process_group",
    "test_a_killed_shim_is_a_lost_step_of_which_nothing_is_left",
    "test_a_cancel_right_after_the_start_counts",
    "test_a_cancel_while_it_runs_can_be_repeated",
    "test_a_cancel_after_the_end_changes_nothing",
    "test_a_cancel_of_what_has_not_been_started_changes_nothing",
    "test_another_server_attaches_to_a_running_step",
    "test_another_server_can_cancel",
    "test_another_server_attaches_to_an_ended_step",
    "test_any_number_may_wait_and_one_that_stops_waiting_disturbs_nobody",
    "test_what_has_ended_is_not_started_again",
    "test_what_runs_is_not_started_again",
    "test_no_key_leads_out_of_the_root",
    "test_a_root_that_cannot_be_written_is_an_error",
    "test_a_text_that_no_program_can_be_given_is_an_error",
    "test_nothing_is_known_of_a_step_that_nobody_started",
    "test_every_launcher_says_what_isolates_its_steps",
)
globals().update({name: getattr(contract, name) for name in HOLDS})


@pytest.fixture(scope="module")
def settings():
    return ContainerSettings(image=engine.base())


class Containers(Place):
    """A place where steps run in containers; `data` is what sees all of it."""

    @property
    def data(self) -> Path:
        return self._path


@pytest.fixture
def place(settings):
    users = some_numbers(16)
    with passable_directory() as path:
        found = look_at(settings, path)

        def make(root, numbers):
            return DockerLauncher(
                reactor, root, settings, found, data=path, users=numbers, registries=path / "config.json"
            )

        place = Containers(make, path, users, sandboxed=True)
        yield place
        left, containers = place.processes(), containers_of(path)
        for identity in containers:
            engine.docker("rm", "--force", "--volumes", identity, check=False)
        assert (left, containers) == (set(), [])


def containers_of(data):
    """The containers of a data directory, however they are."""
    return engine.docker("ps", "--all", "--quiet", "--filter", f"label={OWNER}={owner_of(data)}").split()


def inspected(place):
    """What anybody who may speak to the engine sees of the one container."""
    (identity,) = containers_of(place.data)
    return json.loads(engine.docker("inspect", identity))[0]


def program_of(place):
    """The process that runs the one container."""
    (program,) = shim.descendants([place.shim()])
    return program


def arguments_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# ------------------------------------------------------------------------------------------------ what it is given


@pytest_twisted.ensureDeferred
async def test_the_environment_is_what_was_stated_and_the_images_own(place):
    given = {"LEVEL": "a b=c\td", "EMPTY": "", "UMLAUT": "ü", "LINES": "one\ntwo", "DOCKER_HOST": "tcp://192.0.2.1:1"}
    job = place.job("env", "--null", environment=given)
    assert (await place.run(job)).exit_code == 0
    found = dict(line.split("=", 1) for line in place.log().decode().split("\0") if line)
    assert found.pop("SAYCI_STEP").startswith(f"{KEY}:")
    assert found.keys() - job.environment.keys() == {"HOSTNAME", "HOME"}
    assert {name: found[name] for name in job.environment} == job.environment


@pytest.mark.parametrize(
    ("end", "expected"), (("exit 3", 3), ("exit 125", 125), ("exit 127", 127), ("exit 137", -9), ("kill -TERM $$", -15))
)
@pytest_twisted.ensureDeferred
async def test_the_exit_code_is_the_commands_or_a_signal(place, end, expected):
    ended = await place.run(place.script(end))
    assert (ended.exit_code, ended.why, ended.detail) == (expected, "", "")


@pytest_twisted.ensureDeferred
async def test_limits_are_the_containers(place):
    limits = Limits(process_limit=50, open_files_limit=100, memory_limit=2**27)
    count = "import os, time\nfor made in range(200): os.fork() or (time.sleep(1000), os._exit(0))"
    script = f"ulimit -n; python3 -c '{count}' 2> said; tail -n 1 said"
    ended = await place.run(place.script(script, limits=limits))
    assert ended.exit_code == 0
    assert place.log().decode().splitlines() == ["100", "BlockingIOError: [Errno 11] Resource temporarily unavailable"]
    assert not place.processes()


@pytest_twisted.ensureDeferred
async def test_too_much_memory_is_told_as_what_it_is(place):
    limits = Limits(memory_limit=2**26)
    ended = await place.run(place.job("python3", "-c", "held = b'x' * 300_000_000", limits=limits))
    assert (ended.exit_code, ended.why) == (-signal.SIGKILL, "memory_limit")


# ------------------------------------------------------------------------------------------------ who gets out


#: What a build may try, of its own or another user's.  Each line that it prints is a way out.
ATTACKS = """
exec 2> /dev/null
cd / || exit
for secret in "$DATA"/key "$DATA"/runs "$DATA"/workspace-1 "$DATA"/workspace-1/code; do
    if [ -e "$secret" ]; then echo "sees $secret"; fi
done
find / -xdev -name 'docker*.sock' | sed 's/^/socket /'
for process in /proc/[0-9]*; do
    case $(cat "$process"/comm) in python*|pytest*|dockerd*|containerd*) echo "sees $process" ;; esac
done
kill -0 "$SHIM" && echo "signals the shim"
chmod u+w "$TREE"/shared && echo "makes an object of the mirror its own"
echo changed >> "$TREE"/shared && echo "changes an object of the mirror"
touch /etc/x /usr/x /root/x /x && echo "writes outside"
mount -t tmpfs none "$TREE" && echo mounts
unshare --mount --map-root-user true && echo "makes namespaces of its own"
mknod "$TREE"/disk b 8 0 && echo "makes devices"
grep Cap /proc/self/status | grep -v 0000000000000000
head -c 1 /proc/kcore | grep -q . && echo "reads the kernel"
touch /tmp/x "$TREE"/x && echo done
"""


@pytest_twisted.ensureDeferred
async def test_a_step_gets_to_nothing_but_its_workspace(place):
    (place.data / "key").write_text("secret")
    other = place.new_workspace(1)
    (other / "code").write_text("of another project")
    mirrored = place.data / "mirrored"
    mirrored.write_text("an object\n")
    mirrored.chmod(0o444)
    (place.workspace / "shared").hardlink_to(mirrored)
    environment = {"DATA": str(place.data), "TREE": str(place.workspace), "SHIM": str(os.getpid())}
    ended = await place.run(place.script(ATTACKS, environment=environment))
    assert (place.log().decode(), ended.exit_code) == ("done\n", 0)
    assert mirrored.read_text() == "an object\n"
    assert (place.workspace / "x").stat().st_uid == place.users.builds[0]


@pytest_twisted.ensureDeferred
async def test_secrets_are_in_the_environment_alone(place):
    server = place.server()
    job = place.script("echo ready; exec sleep 1000", environment={"T": "s3cr3t-t0ken"}, secrets=("s3cr3t-t0ken",))
    handle = await server.start(job)
    await place.told(b"ready")
    assert b"s3cr3t" not in arguments_of(program_of(place))
    seen = inspected(place)
    assert "T=s3cr3t-t0ken" in seen["Config"].pop("Env")  # docs/containers.rst says so
    assert "s3cr3t" not in json.dumps(seen)
    assert seen["Config"]["User"] == f"{place.users.builds[0]}:{place.users.builds[0]}"
    assert seen["HostConfig"]["ReadonlyRootfs"]
    assert not seen["HostConfig"]["Privileged"]
    server.cancel(handle)
    await server.result(handle)


@pytest_twisted.ensureDeferred
async def test_a_root_is_never_let_run_anything(place):
    os.chown(place.workspace, 0, 0)
    with pytest.raises(LauncherError, match="belongs to no user whom builds may have"):
        await place.run(place.job("true"))


# ------------------------------------------------------------------------------------------------ who stays


#: A server that starts a step in a container, says so, and never gets any further.
SERVER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from sayci.interfaces import Job
from sayci.launchers.docker import DockerLauncher, look_at
from sayci.launchers.users import Numbers
from sayci.options import ContainerSettings

async def main():
    data, root, workspace, key, image, script, first, count = sys.argv[1:]
    settings = ContainerSettings(image=image)
    found = look_at(settings, Path(data))
    users = Numbers(int(first), int(count))
    launcher = DockerLauncher(reactor, Path(root), settings, found, data=Path(data), users=users)
    handle = await launcher.start(Job(key, ("sh", "-c", script), {}, Path(workspace), ("topsecret",)))
    print(handle, flush=True)
    await launcher.result(handle)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback()))
reactor.run()
"""


def start_server(*arguments):
    source = os.pathsep.join([str(engine.ROOT / "src"), *filter(None, sys.path)])
    command = [sys.executable, "-c", SERVER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": source})


@pytest_twisted.ensureDeferred
async def test_a_container_survives_the_kill_of_its_server_and_is_not_swept_away(place, settings):
    script = "echo one topsecret; while [ ! -e go ]; do sleep 0.02; done; printf 'two tops'; echo ecret; exit 7"
    numbers = (str(place.users.first), str(place.users.count))
    arguments = (str(place.data), str(place.root), str(place.workspace), KEY, settings.image, script, *numbers)
    with start_server(*arguments) as server:
        handle = server.stdout.readline().decode().strip()
        await place.told(b"one ***\n")
        server.kill()
    later = place.server()
    await later.launcher.sweep({handle})
    (place.workspace / "go").touch()
    ended = await later.result(handle)
    assert (ended.exit_code, ended.why) == (7, "")
    assert place.log() == b"one ***\ntwo ***\n"


@pytest_twisted.ensureDeferred
async def test_what_runs_a_container_may_be_killed_and_nothing_is_left(place):
    server = place.server()
    handle = await server.start(place.script("echo ready; exec sleep 1000"))
    await place.told(b"ready")
    os.kill(program_of(place), signal.SIGKILL)
    ended = await server.result(handle)
    assert (ended.exit_code, ended.why, ended.detail) == (None, "lost", "what ran its container was killed")
    assert not containers_of(place.data)


@pytest_twisted.ensureDeferred
async def test_a_sweep_removes_what_belongs_to_no_open_step_of_this_server(place, settings):
    names = []
    for owner in (owner_of(place.data), "somebody-else"):
        labels = (f"--label={OWNER}={owner}", f"--label={STEP}=99/1-test", *engine.label())
        names.append(engine.docker("run", "--detach", *labels, settings.image, "sleep", "1000"))
    try:
        await place.server().launcher.sweep({KEY})
        assert not containers_of(place.data)
        assert engine.docker("inspect", "--format", "{{.State.Running}}", names[1]) == "true"
    finally:
        engine.docker("rm", "--force", *names, check=False)


@pytest_twisted.ensureDeferred
async def test_all_that_a_user_runs_is_ended_with_him(place):
    server = place.server()
    handle = await server.start(place.script("echo ready; exec sleep 1000"))
    await place.told(b"ready")
    assert await server.launcher.clear(place.users.builds[0])
    assert not containers_of(place.data)
    assert (await server.result(handle)).why in ("", "lost")


# ------------------------------------------------------------------------------------------------ images


@pytest_twisted.ensureDeferred
async def test_a_project_may_have_an_image_of_its_own(place, settings):
    name = f"sayci-test-{secrets.token_hex(6)}"
    engine.docker("tag", settings.image, name)
    try:
        server = place.server()
        handle = await server.start(place.script("echo ready; exec sleep 1000", image=name))
        await place.told(b"ready")
        assert inspected(place)["Config"]["Image"] == name
        server.cancel(handle)
        await server.result(handle)
    finally:
        engine.docker("image", "rm", "--force", name)


@pytest_twisted.ensureDeferred
async def test_an_image_that_cannot_be_had_is_told(place):
    ended = await place.run(place.job("true", image="127.0.0.1:1/nobody"))
    assert (ended.exit_code, ended.why) == (None, "start_failed")
    assert ended.detail.startswith("the image 127.0.0.1:1/nobody:latest could not be pulled: ")
    assert ended.detail in place.log().decode()


@pytest_twisted.ensureDeferred
async def test_an_image_is_pulled_from_a_registry_that_knows_us_and_the_log_shows_how(place):
    with Registry(login="ada:sesame") as registry:
        (place.data / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": "YWRhOnNlc2FtZQ=="}}}))
        image = f"{registry.host}/team/ci:2"
        server = place.server()
        try:
            ended = await server.result(await server.start(place.job("make", image=image)))
            # It has a file and no program: as far as that, it was pulled.
            assert (ended.why, ended.detail) == ("start_failed", "make: No such file or directory")
            said = place.log().decode()
            assert f"Unable to find image '{image}' here: it is pulled\n" in said
            assert ": Pull complete\n" in said
            assert "sesame" not in said
        finally:
            engine.docker("image", "rm", "--force", image, check=False)


@pytest_twisted.ensureDeferred
async def test_a_pull_that_takes_too_long_can_be_cancelled(place):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = place.server()
        image = f"127.0.0.1:{silent.getsockname()[1]}/ci"
        handle = await server.start(place.job("true", image=image))
        await place.told(b"it is pulled\n")
        server.cancel(handle)
        ended = await server.result(handle)
    assert (ended.exit_code, ended.why) == (None, "cancelled")


@pytest_twisted.ensureDeferred
async def test_a_step_without_an_image_says_what_to_do(place, settings):
    launcher = DockerLauncher(
        reactor, place.root, replace(settings, image=""), docker.Place("1"), data=place.data, users=place.users
    )
    with pytest.raises(LauncherError, match="set the project's, or start sayci with --docker-image"):
        await launcher.start(place.job("true"))


# ------------------------------------------------------------------------------------------------ the engine


def test_an_engine_that_does_not_answer_is_told(tmp_path):
    with pytest.raises(CannotStart, match="no Docker Engine answers"):
        look_at(ContainerSettings(socket=tmp_path / "docker.sock"), tmp_path)


def test_a_network_that_is_not_there_is_told(settings, tmp_path):
    with pytest.raises(CannotStart, match="no such network"):
        look_at(replace(settings, network="sayci-test-no-such"), tmp_path)


def test_a_data_directory_that_the_engine_finds_elsewhere_is_told(tmp_path):
    """As in a container: the directory is one that only this process sees by that path."""
    program = (
        "import sys; from pathlib import Path; from sayci.launchers.docker import look_at; "
        "from sayci.options import ContainerSettings; look_at(ContainerSettings(), Path(sys.argv[1]))"
    )
    script = 'mount -t tmpfs none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(engine.ROOT / "src"), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "mount the data directory at the path that it has on the host" in done.stderr
