"""A registry of container images in this process, with one small image in it under every name.

``with Registry() as registry:`` and then ``f"{registry.host}/team/ci:2"`` is an image, which an engine on this machine pulls
without TLS.  It has one file and no program.  With `login`, "name:password", it wants to be told who asks.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def _layer():
    """A layer with one file in it, packed and unpacked; another one each time, since engines keep what they have."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as file:
        content = hashlib.sha256(str(id(plain)).encode()).hexdigest().encode()
        entry = tarfile.TarInfo("hello")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return plain.getvalue(), gzip.compress(plain.getvalue())


def _digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """See above."""

    def __init__(self, login=None):
        self._login = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
        plain, packed = _layer()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        }
        configuration = json.dumps(config).encode()
        self._blobs = {_digest(content): content for content in (packed, configuration)}
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(configuration),
                "digest": _digest(configuration),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(packed),
                    "digest": _digest(packed),
                }
            ],
        }
        self._manifest = (kind, json.dumps(manifest).encode())

    def __enter__(self):
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                registry._answer(self)

            def do_HEAD(self):
                registry._answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request):
        if self._login and request.headers.get("Authorization") != self._login:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="tests"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        kind, content = self._found(request.path)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content or b"")))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if content:
            request.send_header("Docker-Content-Digest", _digest(content))
        request.end_headers()
        if request.command == "GET" and content:
            request.wfile.write(content)

    def _found(self, path):
        if path.rstrip("/") == "/v2":
            return "application/json", b"{}"
        if "/manifests/" in path:
            return self._manifest
        return "application/octet-stream", self._blobs.get(path.rpartition("/")[2])
