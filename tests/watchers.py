"""Many who watch one log at a time, some of whom never read: a client of one thread, for tests and for the bench."""

from __future__ import annotations

import hashlib
import json
import selectors
import socket
import time
import urllib.parse


class Watcher:
    """One who reads a log's feed; a digest of its text and the offset it has come to, as it should be told."""

    def __init__(self, server, path, after=0):
        port = urllib.parse.urlsplit(server.base).port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        back = f"Last-Event-ID: {after}\r\n" if after else ""
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
        self.socket.sendall(f"{head}Accept: text/event-stream\r\n{back}\r\n".encode())
        self.socket.setblocking(False)
        self.offset = after
        self.digest = hashlib.sha256()
        self.has_ended = False
        self.is_gap_free = True
        self._buffer = b""

    def take(self):
        """What has come; false at the end."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return True
        *events, self._buffer = (self._buffer + data).split(b"\n\n")
        for event in events:
            self._event(event)
        return bool(data) and not self.has_ended

    def _event(self, event):
        # Chunks of the answer's coding begin and end between events and fields; only whole lines are looked at.
        lines = event.split(b"\n")
        if b"event: end" in lines:
            self.has_ended = True
        for line in lines:
            if line.startswith(b'data: {"start":'):
                part = json.loads(line[6:])
                self.is_gap_free &= part["start"] == self.offset
                self.offset = part["end"]
                self.digest.update(part["text"].encode())


class Deaf:
    """One who asks for a feed and never reads a byte of it."""

    def __init__(self, server, path):
        port = urllib.parse.urlsplit(server.base).port
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect(("127.0.0.1", port))
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
        self.socket.sendall(f"{head}Accept: text/event-stream\r\n\r\n".encode())


def read_all(watchers, limit, meanwhile=lambda: None):
    """Let all of them read until each has been told the end; calls `meanwhile` now and then.  Seconds that it took."""
    began = time.monotonic()
    waiting = selectors.DefaultSelector()
    for watcher in watchers:
        waiting.register(watcher.socket, selectors.EVENT_READ, watcher)
    left = len(watchers)
    while left:
        if time.monotonic() - began > limit:
            raise TimeoutError("some have not come to the end", left)
        for key, _ in waiting.select(1):
            if not key.data.take():
                waiting.unregister(key.fileobj)
                left -= 1
        meanwhile()
    waiting.close()
    return time.monotonic() - began
