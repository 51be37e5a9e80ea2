"""Live feeds as they are read: server-sent events (WHATWG HTML, section 9.2), taken up again where a connection broke."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from sayci.cli.api import Api
from sayci.cli.trouble import Busy, Shut

#: Seconds before the first new try and the longest pause between two; the server may ask for another first one.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
#: Seconds without a byte after which a feed is given up.
PATIENCE = 300.0
#: The longest event that is read, in bytes.
EVENT_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Event:
    """One event: its name ("message" where the server gave none) and the JSON object that it brings."""

    name: str
    data: dict[str, Any]


class Parser:
    """Bytes in, events out.  `last_id` is the id to come back with; `pause` the seconds that the server asks for."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.pause: float | None = None
        self._bytes = b""
        self._name = ""
        self._id = last_id
        self._data: list[str] = []

    def take(self, part: bytes) -> Iterator[Event]:
        """The events that `part` completes.  Raises Shut where it cannot be an event."""
        *lines, self._bytes = (self._bytes + part).split(b"\n")
        if len(self._bytes) + sum(map(len, self._data)) > EVENT_LIMIT:
            raise Shut("the server's feed cannot be read")
        for line in lines:
            text = line.removesuffix(b"\r").decode("utf-8", "replace")
            if text:
                self._field(*text.partition(":")[::2])
            else:
                yield from self._dispatch()

    def _field(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.pause = int(value[:9]) / 1000

    def _dispatch(self) -> Iterator[Event]:
        """A blank line: what was gathered is an event, if it has data."""
        self.last_id = self._id
        name, data = self._name or "message", "\n".join(self._data)
        self._name, self._data = "", []
        if not data:
            return
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Shut("the server's feed cannot be read")
        yield Event(name, value)


def events(api: Api, path: str, lost: Callable[[], None]) -> Generator[Event, None, None]:
    """The events of the feed at `path`, without end: the caller knows which one is the last.

    Where the connection breaks, `lost` is called and the feed is taken up after the last event that came.  Raises what the
    server refuses it with; Busy when nothing has come for PATIENCE seconds.
    """
    last_id, pause, heard = "", FIRST_PAUSE, time.monotonic()
    next_pause = pause
    while True:
        parser = Parser(last_id)
        trouble = Busy("the server ended the feed early", api.account.server)
        try:
            with api.stream(path, last_id) as parts:
                for part in parts:
                    heard, next_pause = time.monotonic(), pause
                    for event in parser.take(part):
                        last_id = parser.last_id
                        yield event
        except Busy as error:
            trouble = error
        if parser.pause is not None:
            pause = next_pause = min(parser.pause, LONGEST_PAUSE)
        if time.monotonic() - heard > PATIENCE:
            raise trouble
        lost()
        time.sleep(next_pause)
        next_pause = min(max(next_pause, 0.01) * 2, LONGEST_PAUSE)
