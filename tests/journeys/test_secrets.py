"""A build prints its secrets in every way it can; then all that the server has, says and runs is read, and none is found."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from pathlib import Path

import pytest

from tests import payloads

pytestmark = pytest.mark.timeout(400)  # on a machine that may be busy

PLAIN = "opens/the+door?of=the mill&more"
LINES = "-----BEGIN KEY-----\nfirst-line-of-it\nsecond-line-of-it\n-----END KEY-----"
DEPLOY = "only-for-the-deploy-0815"
TOKEN = "the-forge-token"

PRINT = r"""
printf '%s\n' "$PLAIN" "$LINES"
printf 'to stderr %s\n' "$PLAIN" >&2
for before in '' x xy; do printf '%s%s' "$before" "$PLAIN" | base64 -w0; echo; done
printf '%s' "$PLAIN" | base64 -w0 | tr '+/' '-_'; echo
printf '%s' "$PLAIN" | od -An -v -tx1 | tr -d ' \n'; echo
printf '%s' "$PLAIN" | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F; echo
python3 -c 'import os, urllib.parse as u; s = os.environ["PLAIN"]; print(u.quote(s, ""), u.quote_plus(s))'
python3 -c '
import os, sys, time
for secret in (os.environ["PLAIN"], os.environ["LINES"]):
    for byte in secret.encode():
        os.write(1, bytes([byte]))
        time.sleep(0.001)
'
printf '%s' "$PLAIN" | head -c 10; sleep 0.3; printf '%s' "$PLAIN" | tail -c +11
echo "$PLAIN$PLAIN$PLAIN"
env
echo all of it said
"""
MAKEFILE = """\
.PHONY: test deploy
test:
\t@sh ./print.sh
\t@while [ ! -e {go} ]; do sleep 0.05; done
deploy:
\t@echo deploys with $$DEPLOY; exit 3
"""


class Watch:
    """Reads command lines and environments of all processes that have to do with a directory, as long as it lasts."""

    def __init__(self, directory):
        self._directory = str(directory).encode()
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    arguments, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
                except OSError:
                    continue
                if self._directory in arguments or self._directory in environment:
                    self.arguments.add(arguments)
                    self.environments.add(environment)


def forms_of(secret):
    """A secret as it may be met, however it is cut out of what is around it."""
    raw = secret.encode()
    return {
        raw,
        base64.b64encode(raw)[:-4],
        base64.urlsafe_b64encode(raw)[:-4],
        raw.hex().encode(),
        raw.hex().upper().encode(),
        urllib.parse.quote(secret, safe="").encode(),
        urllib.parse.quote_plus(secret).encode(),
        json.dumps(secret).strip('"').encode(),
    }


def files_of(directory):
    """Every file's bytes; what vanishes meanwhile is not there."""
    for path in directory.rglob("*"):
        try:
            if path.is_file() and "repositories" not in path.parts:
                yield path, path.read_bytes()
        except OSError:
            continue


@pytest.fixture
def origin_makefile(origin, commons):
    repository, url = origin
    commit = repository.commit({"Makefile": MAKEFILE.format(go=commons / "go"), "print.sh": PRINT}, "Say all")
    return commit, url


def test_no_secret_is_anywhere_but_where_it_belongs(origin_makefile, forge, server_of, commons):
    commit, url = origin_makefile
    server = server_of("--allow-url", "http", "--github-api", forge.url)
    forge.token = "another"
    fields = {"name": "flour", "url": url, "deploy_branch": "main", "access_token": TOKEN, "forge_api": forge.url}
    seen = []
    with Watch(server.data) as watch:
        answer = server.post("/api/v1/projects", fields)
        secret = answer.json["webhook_secret"]
        for name, value, scope in (("PLAIN", PLAIN, "test"), ("LINES", LINES, "test"), ("DEPLOY", DEPLOY, "deploy")):
            put = server.request(
                "PUT", f"/api/v1/projects/flour/environment/{name}", {"value": value, "secret": True, "scope": scope}
            )
            assert put.code == 200
            seen.append(put.body)
        body = payloads.body_of(payloads.push(after=commit))
        headers = payloads.headers_of(body, secret=secret)
        seen.append(server.request("POST", "/hooks/flour", body, headers, token=False).body)
        server.step_runs("flour", 1)
        server.wait_for(lambda: b"all of it said" in server.log_of("flour", 1, "test"))
        time.sleep(0.1)  # for those who watch
        (commons / "go").touch()
        assert server.finished("flour", 1)["result"] == "failure"
    assert forge.wait(lambda: bool(forge.posts))
    project = "/api/v1/projects/flour"
    build = f"{project}/builds/1"
    paths = [
        *("/api/v1/projects", project, f"{project}/environment", f"{project}/builds", build, f"{project}/deliveries"),
        *(f"{build}/steps/{step}/log" for step in ("checkout", "test", "deploy")),
        *(
            "/metrics",
            "/healthz",
            "/api/v1/openapi.json",
            "/api/v1/tokens",
            "/api/v1/status",
            "/flour",
            "/flour/1",
            "/sign-in",
        ),
    ]
    seen += [server.get(path).body for path in paths]
    logs = b"".join(server.log_of("flour", 1, step) for step in ("test", "deploy"))
    assert logs.count(b"***") > 12
    assert b"deploys with ***" in logs

    secrets = (PLAIN, DEPLOY, TOKEN, secret, server.token, *LINES.splitlines())
    forms = {form for each in secrets for form in forms_of(each)}
    places = [("an answer", text) for text in seen]
    places += [("a command line", text) for text in watch.arguments]
    places += [("the log of the server", server.log().encode())]
    places += [(str(path), data) for path, data in files_of(server.data)]
    for place, text in places:
        for form in forms:
            assert form not in text, (place, form)

    # In environments they are where the step is theirs, and there alone.
    own = [text for text in watch.environments if b"SAYCI_BUILD=1" in text.split(b"\0")]
    others = watch.environments - set(own)
    assert own
    assert len(others) >= 2  # the server, a shim, git
    assert any(PLAIN.encode() in text for text in own)
    for text in own:
        assert not (PLAIN.encode() in text and DEPLOY.encode() in text)
        assert not any(form in text for each in (TOKEN, secret, server.token) for form in forms_of(each))
    for text in others:
        assert not any(form in text for form in forms), text
