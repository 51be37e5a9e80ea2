"""Runs one step's command in a container, and stays with it to its end, whatever becomes of the server.

A shim starts it as ``python -I -S container.py SOCKET NAME RECORD``; it speaks to the Docker Engine at SOCKET.  What the
container prints goes to the standard output.  TERM asks for the command's end: it is passed on, and after the grace time
all is killed.  RECORD, a file, tells at the end what became of the container (see Record); then the container is removed.

What else it needs is in its environment, which only its own user can read, never in its arguments:

    SAYCI_CONTAINER      an Assignment
    SAYCI_REGISTRY_AUTH  the credential for the registry, as the engine takes it; may be absent
    +NAME                the command's variable NAME

It imports nothing of sayci, so that it starts quickly and does not care for the server's upgrades.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn
else:
    import _signal  # what `signal` wraps, without the enums, which take 10 ms

#: The names of variables, and what comes before the name of one of the command's.
ASSIGNMENT, CREDENTIAL, OF_COMMAND = "SAYCI_CONTAINER", "SAYCI_REGISTRY_AUTH", "+"
#: Seconds for an engine's answer; it starts a container within that, and may have to stop another one first.
ANSWER_LIMIT = 120.0
#: Seconds in which an engine that is being restarted has to be there again, and a container whose output has ended to end.
BACK_LIMIT, END_LIMIT = 60.0, 10.0
#: The exit code when there is none of the command.
NO_EXIT_CODE = 125

_CHUNK = 1 << 18
_ANSWER_SIZE = 1 << 24
_HEADER = 8  # bytes before each part of the output: which stream, three zeros, the size
_FIRST_BYTES = 1000
_KEPT_ERROR = 500
_MISSING, _CONFLICT, _OK, _UPGRADED, _UNCHANGED = 404, 409, range(200, 300), 101, 304


# ------------------------------------------------------------------------------------------------ the engine


class EngineError(Exception):
    """An engine's refusal: its status code, and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return self.message


class Engine:
    """A Docker Engine at a Unix socket.  All methods block and raise OSError when nobody answers there.

    HTTP/1.0, so that an answer ends where the connection does; no version in the paths, so that the engine takes its own.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def ask(self, method: str, path: str, body: object = None, *, seconds: float = ANSWER_LIMIT) -> Any:
        """The engine's answer, None for an empty one.  Raises EngineError where it refuses."""
        with self._send(method, path, body, {}, seconds) as connection:
            status, rest = _head_of(connection)
            parts = [rest]
            while part := connection.recv(_CHUNK):
                parts.append(part)
                if len(parts) * _CHUNK > _ANSWER_SIZE:
                    raise EngineError(status, "the engine's answer is too large")
        return _answer(status, b"".join(parts))

    def pull(self, name: str, tag: str, credential: str, seconds: float) -> Iterator[str]:
        """Fetch an image, and tell how that goes.  Raises EngineError, also when it takes longer than `seconds`."""
        path = f"/images/create?fromImage={name}&tag={tag}"
        headers = {"X-Registry-Auth": credential} if credential else {}
        deadline = time.monotonic() + seconds
        try:
            with self._send("POST", path, None, headers, seconds) as connection:
                status, rest = _head_of(connection)
                if status not in _OK:
                    while part := connection.recv(_CHUNK):
                        rest += part
                    _answer(status, rest)
                yield from _progress(_lines(connection, rest, deadline))
        except TimeoutError:
            raise EngineError(0, f"it was not there after {seconds:g} s") from None

    def attach(self, name: str) -> tuple[socket.socket, bytes]:
        """A connection on which a container's output comes, and its first bytes."""
        path = f"/containers/{name}/attach?stream=1&stdout=1&stderr=1"
        connection = self._send("POST", path, None, {"Connection": "Upgrade", "Upgrade": "tcp"}, ANSWER_LIMIT)
        status, rest = _head_of(connection)
        if status != _UPGRADED and status not in _OK:
            with connection:
                _answer(status, rest + connection.recv(_CHUNK))
        connection.settimeout(None)
        return connection, rest

    def remove(self, name: str) -> None:
        """End a container and remove it with its nameless volumes; nothing if there is none."""
        try:
            self.ask("DELETE", f"/containers/{name}?force=1&v=1")
        except EngineError as error:
            if error.status not in (_MISSING, _CONFLICT):  # somebody else is removing it
                raise

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str], seconds: float) -> socket.socket:
        content = b"" if body is None else json.dumps(body).encode()
        version = "1.1" if "Upgrade" in headers else "1.0"
        lines = [f"{method} {path} HTTP/{version}", "Host: docker", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json"] if content else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(self.path)
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
        except BaseException:
            connection.close()
            raise
        return connection


def _head_of(connection: socket.socket) -> tuple[int, bytes]:
    """An answer's status, and what has come of its body."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(_CHUNK)
        if not part or len(head) > _CHUNK:
            raise ConnectionError("what answers there is no Docker Engine")
        head += part
    head, _, rest = head.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionError("what answers there is no Docker Engine")
    return int(words[1]), rest


def _answer(status: int, body: bytes) -> Any:
    try:
        said = json.loads(body) if body.strip() else None
    except ValueError:
        said = None
    if status in _OK or status == _UNCHANGED:
        return said
    message = said.get("message") if isinstance(said, dict) else None
    raise EngineError(status, str(message or f"the engine answered {status}").strip())


def _lines(connection: socket.socket, rest: bytes, deadline: float) -> Iterator[bytes]:
    while True:
        *whole, rest = rest.split(b"\n")
        yield from whole
        if len(rest) > _CHUNK:
            rest = b""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(_CHUNK)
        if not part:
            yield rest
            return
        rest += part


def _progress(lines: Iterator[bytes]) -> Iterator[str]:
    """What is new in the course of a pull: the engine tells of every layer many times a second."""
    known: dict[str, str] = {}
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        if "error" in said:
            raise EngineError(0, str(said["error"]))
        layer, status = str(said.get("id", "")), str(said.get("status", ""))
        if status and known.get(layer) != status:
            known[layer] = status
            yield f"{layer}: {status}" if layer else status


# ------------------------------------------------------------------------------------------------ the output


class Output:
    """Takes the parts of a container's output from the bytes that an engine sends, wherever they are cut."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        #: The beginning of it all, and how many bytes there were.
        self.first = b""
        self.size = 0

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The parts that came with these bytes."""
        view = memoryview(data)
        while view:
            if not self._left:
                wanted = _HEADER - len(self._header)
                self._header += bytes(view[:wanted])
                view = view[wanted:]
                if len(self._header) == _HEADER:
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            part, view = view[: self._left], view[self._left :]
            self._left -= len(part)
            self.size += len(part)
            if len(self.first) < _FIRST_BYTES:
                self.first += bytes(part[:_FIRST_BYTES])
            yield part

    def not_started(self, exit_code: int) -> str:
        """Why the container's first process could not start the command; "" if it could.

        It is docker-init, which says so and nothing else, and ends with the code that shells have for it.
        """
        if exit_code not in (1, 126, 127) or self.size != len(self.first) or self.first.count(b"\n") != 1:
            return ""
        before, found, words = self.first.decode("utf-8", "replace").strip().partition("] exec ")
        if not found or not before.startswith("[FATAL tini ("):
            return ""
        command, _, reason = words.rpartition(" failed: ")
        return f"{command}: {reason}"


# ------------------------------------------------------------------------------------------------ one container


class Assignment:
    """What one container is for.

    `create` is what the engine's API takes to make it, but for the environment; `image` is the name and the tag or digest
    to fetch if the image is not there, for which `pull_limit` seconds are allowed.  `grace` is in seconds.
    """

    def __init__(self, create: dict[str, Any], image: tuple[str, str], grace: float, pull_limit: float) -> None:
        self.create = create
        self.image = image
        self.grace = grace
        self.pull_limit = pull_limit

    def encode(self) -> str:
        """The assignment as a variable carries it."""
        return json.dumps([self.create, self.image, self.grace, self.pull_limit])

    @classmethod
    def decode(cls, text: str) -> Assignment:
        """What `encode` made."""
        create, (name, tag), grace, pull_limit = json.loads(text)
        return cls(create, (name, tag), grace, pull_limit)


class Record:
    """What became of a container, as RECORD has it.

    `exit_code` is the command's; None when it never started, or nobody knows: then `trouble` says why.  `started` says
    whether anything of it has run.  `out_of_memory` says that the kernel has ended a process in it at its limit of memory.
    """

    def __init__(
        self, exit_code: int | None, *, trouble: str = "", started: bool = True, out_of_memory: bool = False
    ) -> None:
        self.exit_code = exit_code
        self.trouble = trouble
        self.started = started
        self.out_of_memory = out_of_memory

    def encode(self) -> bytes:
        """The record as the file has it."""
        return json.dumps([self.exit_code, self.trouble[:_KEPT_ERROR], self.started, self.out_of_memory]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """What `encode` made.  Raises ValueError for anything else."""
        exit_code, trouble, started, out_of_memory = json.loads(data)
        return cls(exit_code, trouble=trouble, started=started, out_of_memory=out_of_memory)


class Cancelled(Exception):
    """The command is not to be started any more."""


class Run:
    """One command in its container, from the image to the record."""

    def __init__(
        self, engine: Engine, name: str, assignment: Assignment, say: Callable[[bytes | memoryview], None]
    ) -> None:
        self._engine = engine
        self._name = name
        self._assignment = assignment
        self._say = say
        self._output = Output()
        self._cancelled = self._may_leave = self._started = False
        self._kill_at = float("inf")
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def cancel(self, *_: object) -> None:
        """The command is to end; for a signal's handler."""
        self._cancelled = True
        os.write(self._waker, b"\0")
        if self._may_leave:
            self._may_leave = False
            raise Cancelled

    def run(self, environment: Mapping[str, str], credential: str) -> Record:
        """What became of it, whatever goes wrong; the container is still there."""
        try:
            self._make(environment, credential)
            connection, rest = self._engine.attach(self._name)
            with connection:
                self._start()
                self._follow(connection, rest)
        except Cancelled:
            return Record(None, trouble="cancelled before the command was started", started=False)
        except (EngineError, OSError) as error:
            self._tell(f"sayci: {error}")
            return Record(None, trouble=_sentence(error), started=self._started)
        return self._outcome()

    # -- before

    def _make(self, environment: Mapping[str, str], credential: str) -> None:
        body = {**self._assignment.create, "Env": [f"{name}={value}" for name, value in environment.items()]}
        self._engine.remove(self._name)  # of an attempt that came no further than this
        try:
            self._create(body)
        except EngineError as error:
            if error.status != _MISSING:
                raise
            self._fetch(credential)
            self._create(body)

    def _create(self, body: object) -> None:
        self._unless_cancelled()
        self._engine.ask("POST", f"/containers/create?name={self._name}", body)

    def _start(self) -> None:
        self._unless_cancelled()
        try:
            self._engine.ask("POST", f"/containers/{self._name}/start")
        except OSError:
            self._started = True  # for all that anybody knows
            raise
        self._started = True

    def _fetch(self, credential: str) -> None:
        name, tag = self._assignment.image
        reference = f"{name}{'@' if ':' in tag else ':'}{tag}"
        self._tell(f"Unable to find image '{reference}' here: it is pulled")
        self._may_leave = True
        try:
            self._unless_cancelled()
            for line in self._engine.pull(name, tag, credential, self._assignment.pull_limit):
                self._tell(line)
        except EngineError as error:
            raise EngineError(error.status, f"the image {reference} could not be pulled: {error}") from None
        finally:
            self._may_leave = False

    def _unless_cancelled(self) -> None:
        if self._cancelled:
            raise Cancelled

    def _tell(self, line: str) -> None:
        self._say(f"{line}\n".encode("utf-8", "replace"))

    # -- meanwhile

    def _follow(self, connection: socket.socket, rest: bytes) -> None:
        """Pass the output on until the container has ended."""
        if self._cancelled:  # while it was being started: it has hardly begun, and may not take a TERM yet
            self._signal("KILL")
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        self._pass_on(rest)
        while True:
            left = self._kill_at - time.monotonic()
            ready = poll.poll(None if left == float("inf") else max(0, int(left * 1000) + 1))
            if time.monotonic() >= self._kill_at:
                self._signal("KILL")
                self._kill_at = float("inf")
            for fd, _ in ready:
                if fd == self._wake:
                    self._end()
                    continue
                data = _received(connection)
                if not data:
                    return
                self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        for part in self._output.feed(data):
            self._say(part)

    def _end(self) -> None:
        os.read(self._wake, _CHUNK)
        if self._kill_at == float("inf"):
            self._signal("TERM")
            self._signal("CONT")  # one that is stopped takes a TERM when it goes on
            self._kill_at = time.monotonic() + self._assignment.grace

    def _signal(self, name: str) -> None:
        try:  # noqa: SIM105 - contextlib costs time
            self._engine.ask("POST", f"/containers/{self._name}/kill?signal={name}")
        except (EngineError, OSError):
            pass  # it has just ended; or nobody answers, which will show

    # -- after

    def _outcome(self) -> Record:
        """How it ended.  Its output has ended before: with its last process, or because the engine was restarted."""
        lost_at = time.monotonic() + BACK_LIMIT
        end_at = None
        while True:
            try:
                state = self._engine.ask("GET", f"/containers/{self._name}/json")["State"]
            except EngineError as error:
                return Record(None, trouble=f"the container was removed: {error}")
            except OSError as error:
                if time.monotonic() > lost_at:
                    return Record(None, trouble=f"the Docker Engine does not answer any more: {_sentence(error)}")
                time.sleep(0.2)
                continue
            if not state["Running"]:
                return self._ended(state)
            end_at = end_at or time.monotonic() + END_LIMIT
            if time.monotonic() > end_at:
                return Record(None, trouble="the Docker Engine was restarted, and the step's output was lost")
            time.sleep(0.01)

    def _ended(self, state: Mapping[str, Any]) -> Record:
        code = int(state["ExitCode"])
        if trouble := self._output.not_started(code):
            return Record(None, trouble=trouble, started=False)
        if state.get("Error"):
            return Record(None, trouble=str(state["Error"]))
        return Record(code, out_of_memory=bool(state.get("OOMKilled")))


def _received(connection: socket.socket) -> bytes:
    """The next bytes, none at the end; an engine that was killed ends it too."""
    try:
        return connection.recv(_CHUNK)
    except ConnectionError:
        return b""


def _sentence(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def write(path: str, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = f"{path}.new"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(part, path)  # noqa: PTH104 - pathlib costs time


def _say(data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(1, data) :]


def main() -> NoReturn:
    """Run the container whose name is the second argument."""
    path, name, record_path = sys.argv[1:]
    engine = Engine(path)
    variables = {name[len(OF_COMMAND) :]: value for name, value in os.environ.items() if name.startswith(OF_COMMAND)}
    if "SAYCI_STEP" in os.environ:
        variables["SAYCI_STEP"] = os.environ["SAYCI_STEP"]
    run = Run(engine, name, Assignment.decode(os.environ[ASSIGNMENT]), _say)
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, run.cancel)
    record = run.run(variables, os.environ.get(CREDENTIAL, ""))
    write(record_path, record.encode())
    try:  # noqa: SIM105 - contextlib costs time
        engine.remove(name)
    except (EngineError, OSError):
        pass  # the server will
    os._exit(NO_EXIT_CODE if record.exit_code is None else record.exit_code & 0xFF)


if __name__ == "__main__":
    main()
