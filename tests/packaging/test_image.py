"""The image that ./build makes: what is in it, what is not, and how it starts and stops."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests import engine

pytestmark = engine.MARKS


@pytest.fixture(scope="module")
def made():
    return engine.built()


@pytest.fixture(scope="module")
def config(made):
    return json.loads(engine.docker("image", "inspect", made.image))[0]["Config"]


def said_by(*arguments, options=()):
    """What docker run prints, of a container that ends by itself."""
    return engine.docker(
        "run", "--rm", *engine.label(), "--network", "none", *options, engine.built().image, *arguments
    )


def shell(script, *, of=None):
    line = ["run", "--rm", *engine.label(), "--network", "none", "--entrypoint", "sh"]
    return engine.docker(*line, of or engine.built().image, "-c", script)


def test_labels_say_what_it_is(config, made):
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["title"] == "sayci"
    assert labels["version"] == made.version
    assert labels["licenses"] == "MIT"
    assert "CI/CD" in labels["description"]
    assert "created" not in labels


def test_engines_are_told_its_port_volume_health_and_end(config):
    assert list(config["ExposedPorts"]) == ["443/tcp"]
    assert list(config["Volumes"]) == ["/srv/sayci"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "sayci", "health", "--data", "/srv/sayci"]
    assert config["Healthcheck"]["StartPeriod"] > 0


def test_its_arguments_are_the_servers(made):
    assert said_by("--version") == f"sayci {made.version}"
    assert "--slots" in said_by("--help")


def test_a_wrong_option_is_one_line(made):
    with pytest.raises(AssertionError) as caught:
        said_by("--slots", "many")
    _, _, code, said = caught.value.args
    assert (code, len(said.splitlines())) == (2, 1)


def test_the_client_and_twist_are_commands_in_it(made):
    assert shell("sayci --version && twist --help | grep -c sayci").startswith(f"sayci {made.version}")


def test_what_it_needs_is_there(made):
    shell("set -e; for each in git make ssh setpriv prlimit setsid python3; do command -v $each; done")


def test_a_build_finds_the_systems_python_before_ours(made):
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    found = shell(f"PATH={path}; command -v python3; command -v python || :; command -v pip || :")
    assert "/opt/sayci" not in found


def test_nothing_of_its_making_is_left_in_it(made):
    tools = shell("for each in gcc cc pex uv; do command -v $each || :; done")
    assert tools == ""
    files = "-name 'sayci*.pex' -o -name '*.whl' -o -name 'ca-bundle*' -o -path '*/.cache/*' -o -path '*/apt/lists/*.*'"
    left = shell(f"find / -xdev \\( -path /proc -o -path /sys \\) -prune -o \\( {files} \\) -print")
    known = shell(f"find / -xdev \\( -path /proc -o -path /sys \\) -prune -o \\( {files} \\) -print", of=made.base)
    assert set(left.split()) <= set(known.split())
    assert shell("ls /tmp /var/tmp /root/.cache 2>/dev/null | grep -v :$ || :").split() == []
    assert shell("cd /opt/sayci/lib/python*/site-packages && ls -d pex* pip* setuptools* 2>/dev/null || :") == ""


def test_certificates_of_the_builder_are_not_in_it(made):
    bundle = engine.ca_bundle()
    if not bundle:
        pytest.skip("this machine has no certificates of its own")
    base, image = (shell("cat /etc/ssl/certs/ca-certificates.crt | sha256sum", of=of) for of in (made.base, made.image))
    assert base == image


def test_everything_is_compiled(made):
    count = "find /opt/sayci/lib -name '*.py' | wc -l; find /opt/sayci/lib -name '*.pyc' | wc -l"
    sources, compiled = map(int, shell(count).split())
    assert compiled >= sources * 0.99


def test_users_of_builds_and_of_the_server_have_names(made):
    users = dict(re.findall(r"^(sayci|build\d+):x:(\d+:\d+:.*)$", shell("cat /etc/passwd"), re.MULTILINE))
    assert users.pop("sayci").startswith("10000:10000:")
    assert [int(users[f"build{slot}"].split(":")[0]) for slot in range(1, 17)] == list(range(60601, 60633, 2))
    assert all(":/nonexistent:/bin/sh" in line for line in users.values())
    assert shell("stat -c '%u:%g %a' /srv/sayci") == "10000:10000 700"


def test_without_arguments_it_serves_https_and_stops(made):
    with engine.run(publish=443) as container:
        container.ready().sign_in()
        assert container.base.startswith("https://")
        assert container.get("/api/v1/me").json["version"] == made.version
        assert container.exec("sayci", "--version").stdout == f"sayci {made.version}\n"
        begun = time.monotonic()
        assert container.stop() == 0
        assert time.monotonic() - begun < 20


def test_the_port_can_be_another_one(made):
    with engine.run("--port", "tcp:9000", publish=9000) as container:
        assert container.ready().get("/healthz").code == 200


@pytest.mark.parametrize(
    "options",
    (
        ["--user", "10000:10000", "--cap-drop", "ALL"],
        ["--user", "10000:10000", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp"],
        ["--read-only", "--tmpfs", "/tmp"],
    ),
    ids=("alone", "alone and read-only", "read-only"),
)
def test_it_builds_a_project_hardened(made, options):
    with engine.run("--sample", options=["--security-opt", "no-new-privileges", *options]) as container:
        container.ready().sign_in()
        build = container.wait_for(lambda: container.get("/api/v1/projects/sample/builds").json.get("items"))[0]
        assert container.finished("sample", build["number"])["result"] == "success", container.logs()
        assert "plugin cache" not in container.logs()


def test_stopped_at_once_it_ends_at_once(made):
    """As process 1 it has to handle signals by itself before Twisted does."""
    codes = []
    for pause in (0.05, 0.1, 0.2, 0.4):
        with engine.run(publish=None) as container:
            time.sleep(pause)
            begun = time.monotonic()
            codes.append(container.stop(patience=30))
            assert time.monotonic() - begun < 20
    assert 137 not in codes


def test_its_size(made, record_property):
    sizes = "image", "inspect", "--format", "{{.Size}}"
    base, image = int(engine.docker(*sizes, made.base)), int(engine.docker(*sizes, made.image))
    record_property("bytes of sayci.pex", made.pex.stat().st_size)
    record_property("bytes of the image over its base", image - base)
    assert 0 < image - base < 400_000_000
