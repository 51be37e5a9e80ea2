"""The image and the one file, run as people run them: with Docker, and alone in an empty directory."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tests import engine, payloads
from tests.pebble import running_pebble
from tests.server import PATIENCE, FileServer
from tests.slots import passable_directory, some_numbers

pytestmark = engine.MARKS

NEEDED = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
READ_ONLY = ("--read-only", "--tmpfs", "/tmp", "--security-opt", "no-new-privileges", "--cap-drop", "ALL")
HARDENED = (*READ_ONLY, *(word for name in NEEDED for word in ("--cap-add", name)))
NOBODY_SPECIAL = (*READ_ONLY, "--user", "10000:10000")
LOOPBACK = ("--port", "tcp:0:interface=127.0.0.1")

ISOLATED, NOT_ISOLATED = "Each build runs as a user of its own", "Builds are not isolated from this server"

MAKEFILE = """\
.PHONY: test deploy
test:
\t@echo testing $$SAYCI_COMMIT, level $$LEVEL, token $$TOKEN
\t@git log -1 --format=%s
\t@echo x > /tmp/of-the-build && touch built-by-test
deploy: built-by-test
\t@echo deploying as $$(id -u)
"""


# ------------------------------------------------------------------------------------------------ where it runs


@contextmanager
def container(*arguments, options=(), **keywords):
    """A container that shares this machine's loopback, on which the repository and the forge are."""
    arguments = (*keywords.pop("before", ()), *LOOPBACK, "--allow-url", "http", *arguments)
    with engine.run(*arguments, options=("--network", "host", *options), publish=None, **keywords) as running:
        running.ready()
        running.base = re.findall(r"is at (http://[^\s/]+)/", running.logs())[-1]
        yield running.sign_in()


@contextmanager
def the_image(*arguments):
    with container(*arguments) as running:
        yield running


@contextmanager
def the_image_hardened(*arguments):
    with container(*arguments, options=HARDENED) as running:
        yield running


@contextmanager
def the_image_without_root(*arguments):
    with container(*arguments, options=NOBODY_SPECIAL) as running:
        yield running


@contextmanager
def the_file_in_a_container_without_root(*arguments):
    """With no place for its cache but /tmp, where programs have to be allowed for that."""
    built = engine.built()
    options = (*NOBODY_SPECIAL, "--tmpfs", "/tmp:exec", "-v", f"{built.pex}:/sayci.pex:ro")
    with container(
        *("--data", "/tmp/data", *arguments),
        options=options,
        image=built.base,
        entrypoint="/sayci.pex",
        before=("sayci",),
    ) as running:
        yield running


@contextmanager
def the_file(*arguments):
    users = ("--slot-uid", str(some_numbers().first)) if os.geteuid() == 0 else ()
    with passable_directory() as place:
        server = FileServer(engine.pex(), place, engine.python(), "--allow-url", "http", *users, *arguments)
        try:
            yield server.start().sign_in()
        finally:
            server.stop()


PLACES = {
    "image": the_image,
    "hardened image": the_image_hardened,
    "image without root": the_image_without_root,
    "file": the_file,
    "file without root": the_file_in_a_container_without_root,
}


@pytest.fixture(params=PLACES)
def place(request, forge):
    """A running sayci, and whether its builds are kept from it."""
    engine.engine()
    with PLACES[request.param]("--github-api", forge.url) as server:
        yield server, "without root" not in request.param and os.geteuid() == 0


# ------------------------------------------------------------------------------------------------ the journey


def register(server, origin, forge, **fields):
    answer = server.post(
        "/api/v1/projects",
        {"name": "flour", "url": origin[1], "access_token": "the-forge-token", "forge_api": forge.url, **fields},
    )
    assert answer.code == 201, answer.body
    return answer.json["webhook_secret"]


def push(server, secret, commit):
    body = payloads.body_of(payloads.push(after=commit))
    answer = server.request("POST", "/hooks/flour", body, payloads.headers_of(body, secret=secret), token=False)
    assert answer.code == 202, answer.body


def test_a_push_is_tested_deployed_and_told_to_the_forge(place, origin, forge):
    server, is_isolated = place
    secret = register(server, origin, forge, deploy_branch="main")
    for name, variable in (("LEVEL", {"value": "high"}), ("TOKEN", {"value": "opens-the-mill", "secret": True})):
        assert server.request("PUT", f"/api/v1/projects/flour/environment/{name}", variable).code == 200
    commit = origin[0].commit({"grain": "wheat"}, "Grind wheat")
    push(server, secret, commit)
    build = server.finished("flour", 1)
    logs = {name: server.log_of("flour", 1, name).decode() for name in ("checkout", "test", "deploy")}
    assert [(step["name"], step["result"]) for step in build["steps"]] == [
        ("checkout", "success"),
        ("test", "success"),
        ("deploy", "success"),
    ], logs
    assert logs["test"] == f"testing {commit}, level high, token ***\nGrind wheat\n"
    uid = int(logs["deploy"].split()[-1])
    assert uid > 60600 if is_isolated else uid in (0, 10000)
    assert forge.wait(lambda: forge.statuses().get((commit, "sayci/deploy")) == "success")
    assert forge.statuses()[commit, "sayci/test"] == "success"
    assert (ISOLATED if is_isolated else NOT_ISOLATED) in server.log()


# ------------------------------------------------------------------------------------------------ the wall

ATTACK = r"""
test:
	@echo user $$(id -u)
	@for path in /srv/sayci /srv/sayci/sayci.sqlite /srv/sayci/key /srv/sayci/mirrors /srv/sayci/builds /srv/sayci/ssh \
		/srv/sayci/workspaces /proc/1/environ /proc/1/fd /proc/1/maps /proc/1/root/srv/sayci /etc/shadow; \
	do \
		if head -c 1 $$path >/dev/null 2>&1; then echo "READ $$path"; fi; \
		if ls $$path/ >/dev/null 2>&1; then echo "LISTED $$path"; fi; \
		if [ -w $$path ]; then echo "MAY WRITE $$path"; fi; \
	done
	@if chmod 777 .git/objects/pack/*.pack 2>/dev/null; then echo "CHANGED a pack"; fi
	@if mkdir ../other 2>/dev/null; then echo "WROTE beside the tree"; fi
	@if mv ../tree ../elsewhere 2>/dev/null; then echo "MOVED the tree"; fi
	@if kill -0 1 2>/dev/null; then echo "MAY KILL the server"; fi
	@grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status
	@echo over
	@[ $$(id -u) -gt 60600 ] && kill -9 -1
"""


@pytest.mark.parametrize("options", ((), HARDENED), ids=("default", "hardened"))
def test_a_build_reads_nothing_of_the_servers_and_ends_nobody_but_itself(options, origin, forge):
    with container(options=options) as server:
        secret = register(server, origin, forge)
        push(server, secret, origin[0].commit({"Makefile": ATTACK}, "Attack"))
        build = server.finished("flour", 1)
        log = server.log_of("flour", 1, "test").decode()
        nothing = "".join(f"{name}:\t{0:016x}\n" for name in ("CapPrm", "CapEff", "CapAmb"))
        assert re.fullmatch(rf"user 606\d\d\n{nothing}NoNewPrivs:\t1\nover\n(make.*\n)*", log), log
        assert build["result"] == "failure"
        assert server.get("/healthz").code == 200
        assert server.inspect()["State"]["Running"]


@pytest.mark.parametrize(
    ("options", "held"),
    (((), NEEDED), (HARDENED, NEEDED), (NOBODY_SPECIAL, ())),
    ids=("default", "hardened", "non-root"),
)
def test_the_server_has_the_capabilities_that_it_needs_and_no_other(options, held):
    numbers = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
    with engine.run(options=options) as running:
        running.ready()
        status = running.exec("cat", "/proc/1/status").stdout
        expected = sum(1 << numbers[name] for name in held)
        for name in ("CapPrm", "CapEff"):
            assert re.search(rf"^{name}:\t{expected:016x}$", status, re.MULTILINE), status
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)


# ------------------------------------------------------------------------------------------------ as process 1

LEAVER = r"""
test:
	@(setsid sleep 0.2 &) ; (sh -c 'sleep 0.1 & sleep 0.05 &' &) ; (setsid setsid sleep 1000 &) ; echo begun
	@while [ ! -e /tmp/go-on ]; do sleep 0.02; done
"""


def zombies(running):
    """Processes in the container that have ended and nobody has noticed."""
    return running.exec("sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status", check=False).stdout.split()


def shim_of_the_step(running):
    """Its process number in the container; the steps that clear up after users have shims too."""
    said = running.exec("sh", "-c", "cat /srv/sayci/builds/[0-9]*/*/pid").stdout
    return re.findall(r"^pid \d+:(\d+)$", said, re.MULTILINE)[-1]


def test_it_leaves_no_zombies_without_an_init(origin, forge):
    with container() as server:
        assert server.exec("cat", "/proc/1/cmdline").stdout.startswith("/opt/sayci/bin/python")
        # Their parents end at once, and they are given to process 1.
        server.exec("sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.$i & sleep 0.$i &) ; done")
        secret = register(server, origin, forge)
        push(server, secret, origin[0].commit({"Makefile": LEAVER}, "Leave"))
        server.step_runs("flour", 1)
        server.exec(
            "sh", "-c", f"kill -9 {shim_of_the_step(server)}"
        )  # now nobody but process 1 takes note of the build's
        server.exec("touch", "/tmp/go-on")
        assert (server.finished("flour", 1)["result"], server.build("flour", 1)["attempt"]) == ("success", 2)
        server.wait_for(lambda: not zombies(server))
        assert "sleep" not in server.exec("sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()


def handles_term(pid):
    """Whether the process has a handler for TERM: without, the kernel keeps it from a process 1."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"SigCgt:\t(\w+)", status)[0], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("listens", (False, True), ids=("while it starts", "when it listens"))
def test_docker_stop_ends_it_cleanly(listens):
    with engine.run() as running:
        running.wait_for(lambda: handles_term(running.pid))
        if listens:
            running.ready()
        assert running.stop() in (0, 143), running.logs()
        assert "Traceback" not in running.logs()
        assert listens is ("Main loop terminated" in running.logs())


def is_healthy(running):
    return running.inspect()["State"]["Health"]["Status"] == "healthy"


def test_it_becomes_healthy_and_says_so():
    with engine.run(options=("--health-interval", "1s")) as running:
        running.ready()
        running.wait_for(lambda: is_healthy(running))
        assert "well" in running.exec("sayci", "health", "--data", "/srv/sayci").stdout


# ------------------------------------------------------------------------------------------------ the obvious thing


@pytest.mark.parametrize(
    ("options", "words"), (((), ISOLATED), (NOBODY_SPECIAL, f"{NOT_ISOLATED}: sayci does not run as root"))
)
def test_the_sample_is_green_behind_a_published_port_and_the_pages_say_what_isolates_builds(options, words):
    with engine.run("--sample", options=options) as running:
        running.ready()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        link = urllib.parse.urlsplit(running.link)
        form = browser.open(f"{running.base}{link.path}?{link.query}").read().decode()
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
        fields["code"] = urllib.parse.parse_qs(link.query)["code"][0]

        def page():
            return browser.open(running.base).read().decode()

        browser.open(f"{running.base}/sign-in", urllib.parse.urlencode(fields).encode())
        assert words in page()
        running.wait_for(lambda: "sample" in page() and "idle" in page())
        assert "passed" in page() or "success" in page()


def test_toolchains_come_with_an_image_of_ones_own(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        f"FROM {engine.built().image}\n"
        "RUN printf '#!/bin/sh\\necho ground by the mill\\n' > /usr/local/bin/mill && chmod 755 /usr/local/bin/mill\n"
    )
    name = f"{engine.IMAGE}-extended:{os.getpid()}"
    engine.docker("build", "--quiet", "--force-rm", "--tag", name, str(tmp_path))
    try:
        with engine.run(image=name) as running:
            running.ready()
            assert running.exec("mill", options=("--user", "60601:60601")).stdout == "ground by the mill\n"
    finally:
        engine.docker("image", "rm", name)


# ------------------------------------------------------------------------------------------------ https

NAME = "ci.example"
NO_NAME = "no name to get a certificate for"


def certificate_at(port, *, roots=None):
    """What is served to who asks for NAME: read, and where there are roots, as a certificate that holds by them."""
    context = ssl.create_default_context(cadata=roots and roots.decode())
    if roots is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize("options", ((), HARDENED, NOBODY_SPECIAL), ids=("default", "hardened", "non-root"))
def test_with_no_option_at_all_it_serves_https_at_443_with_a_certificate_of_its_own(options):
    with engine.run(options=("--health-interval", "1s", *options), publish=443) as running:
        running.ready().sign_in()
        assert "is at https://localhost/" in running.logs()
        assert NO_NAME in running.logs()
        assert running.get("/api/v1/me").json["access"] == "admin"
        certificate = certificate_at(running.port)
        assert certificate.issuer == certificate.subject
        running.wait_for(lambda: is_healthy(running))
        assert "well at https://" in running.exec("sayci", "health", "--data", "/srv/sayci").stdout
        running.base = f"http://127.0.0.1:{running.port}"
        answer = running.get("/", token=False)
        assert (answer.code, b"https" in answer.body) == (400, True)
        assert running.stop() == 0


def test_a_server_with_a_name_says_its_address_while_the_authority_is_away():
    nobody = ("--env", "SAYCI_ACME_DIRECTORY=https://127.0.0.1:9/dir")
    with engine.run(options=("--env", f"SAYCI_HOST={NAME}", *nobody), publish=443) as running:
        running.ready().sign_in()
        assert f"is at https://{NAME}/" in running.logs()
        assert NO_NAME not in running.logs()
        running.wait_for(lambda: running.get("/api/v1/status").json["certificates"][0]["tries"])


@pytest.mark.parametrize("arguments", (("--port", "tcp:8080"), ()), ids=("option", "variable"))
def test_plain_http_is_one_option_away(arguments):
    with engine.run(*arguments) as running:
        assert running.ready().get("/healthz").code == 200
        assert "is at http://localhost:8080/" in running.logs()
        assert running.exec("sh", "-c", "ls -d /srv/sayci/certs", check=False).returncode != 0


@pytest.fixture
def a_port():
    """Of this machine, that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_gets_a_trusted_certificate_and_has_it_still_when_it_is_started_again(tmp_path, a_port):
    engine.engine()
    with running_pebble(tmp_path, tls_port=a_port) as pebble, engine.volume() as name:
        options = (
            *("--network", "host", "--volume", f"{name}:/srv/sayci", *HARDENED),
            *("--volume", f"{pebble.ca_file}:/authority.pem:ro"),
            *("--env", f"SAYCI_PORT=le:/srv/sayci/certs:tcp:{a_port}:interface=127.0.0.1"),
        )
        line = ("--host", NAME, "--acme-directory", pebble.directory_url, "--acme-ca-file", "/authority.pem")
        with engine.run(*line, options=options, publish=None) as running:
            running.ready()
            running.base = f"https://127.0.0.1:{a_port}"
            running.sign_in()
            running.wait_for(lambda: running.get("/api/v1/status").json["certificates"][0]["issuer"])
            first, orders = certificate_at(a_port, roots=pebble.roots()), orders_at(pebble)
            assert orders == 1
            engine.docker("restart", running.id)
            running.ready(times=2)
            assert certificate_at(a_port, roots=pebble.roots()).serial_number == first.serial_number
            (listed,) = running.get("/api/v1/status").json["certificates"]
            assert "Pebble" in listed["issuer"]
            assert orders_at(pebble) == orders


def orders_at(pebble):
    """How many the authority has been asked for."""
    return len(re.findall(r"POST /order-plz", pebble.log.read_text()))


# ------------------------------------------------------------------------------------------------ upgrades


@pytest.fixture
def newer():
    """An image of another version than the one that is built from these sources."""
    built = engine.built()
    name = f"{engine.IMAGE}:newer-{os.getpid()}"
    edit = r"s/^__version__ = .*/__version__ = \"99.0\"/"
    find = "f=$(find /opt/sayci -path '*/sayci/__init__.py')"
    script = f"{find}; sed -i '{edit}' $f; rm -f $(dirname $f)/__pycache__/__init__.*"
    made = engine.docker("create", *engine.label(), "--entrypoint", "sh", built.image, "-c", script)
    try:
        engine.docker("start", "--attach", made)
        entry = engine.docker("inspect", "--format", "{{json .Config.Entrypoint}}", built.image)
        engine.docker("commit", "--change", f"ENTRYPOINT {entry}", "--change", "CMD []", made, name)
    finally:
        engine.docker("rm", "--force", "--volumes", made)
    yield name
    engine.docker("image", "rm", name)


WAITER = MAKEFILE.replace("@git log", "@echo begun; while [ ! -e /tmp/go-on ]; do sleep 0.02; done; git log")


@pytest.mark.parametrize(
    ("before", "after"), (((), HARDENED), (NOBODY_SPECIAL, ())), ids=("then hardened", "from non-root to the default")
)
def test_an_upgrade_with_the_same_volume_keeps_everything(before, after, newer, origin, forge):
    with engine.volume() as name:
        volume = ("-v", f"{name}:/srv/sayci")
        with container("--github-api", forge.url, options=(*volume, *before)) as old:
            secret = register(old, origin, forge)
            variable = {"value": "opens-the-mill", "secret": True}
            assert old.request("PUT", "/api/v1/projects/flour/environment/TOKEN", variable).code == 200
            push(old, secret, origin[0].commit({"grain": "rye"}, "Grind rye"))
            first, log = old.finished("flour", 1), old.log_of("flour", 1, "test")
            push(old, secret, origin[0].commit({"Makefile": WAITER}, "Wait"))
            old.step_runs("flour", 2)
            token, deliveries = old.token, old.get("/api/v1/projects/flour/deliveries").json
            old.stop()
        with engine.run(
            *(*LOOPBACK, "--allow-url", "http", "--github-api", forge.url),
            options=("--network", "host", *volume, *after),
            image=newer,
            publish=None,
        ) as new:
            new.ready()
            new.base, new.token = re.findall(r"is at (http://[^\s/]+)/", new.logs())[-1], token
            assert "sayci 99.0 is at" in new.logs()
            assert "code=" not in new.logs()  # somebody has signed in
            assert new.build("flour", 1) == {**first, "page": new.build("flour", 1)["page"]}
            assert new.log_of("flour", 1, "test") == log
            assert new.get("/api/v1/projects/flour/deliveries").json == deliveries
            new.exec("touch", "/tmp/go-on")
            again = new.finished("flour", 2)
            assert (again["result"], again["attempt"]) == ("success", 2)
            assert b"token ***" in new.log_of("flour", 2, "test")
            push(new, secret, origin[0].commit({"grain": "oats"}, "Grind oats"))
            assert new.finished("flour", 3)["steps"][1]["name"] == "test"


def test_a_volume_of_roots_cannot_be_used_without_root_and_it_says_so():
    with engine.volume() as name:
        with engine.run(options=("-v", f"{name}:/srv/sayci")) as old:
            old.ready().stop()
        with engine.run(options=("-v", f"{name}:/srv/sayci", *NOBODY_SPECIAL)) as new:
            assert new.wait() == 1
            (line,) = [line for line in new.logs().splitlines() if line.startswith("sayci: ")]
            assert "/srv/sayci" in line
            assert "Traceback" not in new.logs()


def test_a_second_container_on_a_volume_waits_for_the_first():
    with engine.volume() as name:
        options = ("-v", f"{name}:/srv/sayci")
        with engine.run(options=options) as first:
            first.ready()
            with engine.run("--wait", "0", options=options) as hasty:
                assert hasty.wait() == 1
                assert "another sayci is using this data directory" in hasty.logs()
            with engine.run(options=options) as second:
                second.wait_for(lambda: "sayci: waiting for" in second.logs())
                assert first.stop() == 0
                second.ready()


def test_the_file_is_the_client_too(tmp_path):
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(engine.python()).parent}:/usr/bin:/bin"}
    said = subprocess.run(
        [engine.pex(), "projects"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 3
    assert said.stderr.startswith("sayci: ")
