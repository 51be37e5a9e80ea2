"""Builds that are followed: their logs while they grow, and their end."""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Callable

import click

from sayci.cli import feed
from sayci.cli.api import Api, Json, path
from sayci.cli.screen import between, has_colour, note, span, visible, waiting
from sayci.cli.terminal import Tamed
from sayci.cli.trouble import NO, Trouble

_VERBS = {
    "success": "succeeded",
    "failure": "failed",
    "error": "could not run",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
    "timed_out": "timed out",
    "unknown": "needs an answer: nobody knows how it ended",
}


def path_of(project: str, number: int, *more: object) -> str:
    """The address of a build, or of a part of it."""
    return path("projects", project, "builds", number, *more)


def name_of(build: Json) -> str:
    """A build as people call it: "demo #12"."""
    return f"{visible(build.get('project'))} #{build.get('number')}"


def is_finished(build: Json) -> bool:
    """Whether the build has ended."""
    return build.get("state") == "finished"


def steps_of(build: Json) -> list[Json]:
    """The build's steps, in their order."""
    steps = build.get("steps")
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def sentence_of(build: Json) -> str:
    """How the build is, or how it ended, in one sentence."""
    reason = visible(build.get("reason") or "")
    if is_finished(build):
        took = span(between(build.get("started_at"), build.get("finished_at")))
        words = f"{name_of(build)} {_VERBS.get(str(build.get('result')), 'has ended')}"
        return words + (f": {reason}" if reason else "") + (f" ({took})" if took else "")
    if build.get("state") == "queued":
        return f"{name_of(build)} waits. {visible(build.get('waiting') or reason)}".rstrip()
    verb = "being cancelled" if build.get("state") == "cancelling" else "running"
    running = _running_step(build)
    return f"{name_of(build)} is {verb}" + (f" ({running})" if running else "")


def _running_step(build: Json) -> str:
    """The name of the step that runs; "" between two steps."""
    running = (visible(step.get("name")) for step in steps_of(build) if step.get("state") == "running")
    return next(running, "")


# -- waiting for a build


def _lost() -> None:
    note("The connection was lost; trying again.")


def wait_for(api: Api, project: str, number: int, until: Callable[[Json], bool], *, verbose: bool = True) -> Json:
    """The build as soon as `until` holds for it, or it has ended.

    Meanwhile it is said how it is; unless `verbose`, only what it waits for.
    """
    with contextlib.closing(feed.events(api, path_of(project, number), _lost)) as events, waiting() as waited:
        for build in (event.data for event in events if event.name == "build"):
            if until(build) or is_finished(build):
                return build
            if build.get("state") == "queued" or (verbose and _running_step(build)):
                waited.update(sentence_of(build))
    raise AssertionError  # a feed that goes on until it is closed has no end


def wait(api: Api, project: str, number: int) -> int:
    """Wait for the build's end and say it; answers the exit code."""
    return told(wait_for(api, project, number, is_finished))


def told(build: Json) -> int:
    """Say how the build ended, beside the output; answers the exit code."""
    code = 0 if build.get("result") == "success" else NO
    sentence = sentence_of(build)
    note(click.style(sentence, fg="red" if code else "green") if has_colour(sys.stderr) else sentence)
    return code


# -- logs


class Output:
    """Where a log goes: to a terminal tamed, to anything else byte for byte."""

    def __init__(self) -> None:
        self.is_raw = not sys.stdout.isatty()
        self._tamed = Tamed(colour=has_colour(sys.stdout))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def text(self, text: str) -> None:
        """A part of the log as text."""
        _write((text if self.is_raw else self._tamed.take(text)).encode("utf-8", "replace"))

    def data(self, data: bytes) -> None:
        """A part of the log as it is."""
        if self.is_raw:
            _write(data)
        else:
            self.text(self._decoder.decode(data))

    def end(self) -> None:
        """The log of a step has ended."""
        if not self.is_raw:
            self.text(self._decoder.decode(b"", final=True))
            _write(self._tamed.end().encode("utf-8", "replace"))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _head(step: str) -> None:
    """Between the logs of two steps, beside the output: what is piped stays exactly the log."""
    note(f"== {visible(step)}")


def print_logs(api: Api, build: Json, only: str | None) -> None:
    """The logs of the build's steps, or of one of them, as they are now."""
    project, number = str(build.get("project")), int(build.get("number") or 0)
    for step in [only] if only else [str(step.get("name")) for step in steps_of(build) if step.get("log_size")]:
        _head(step)
        output = Output()
        for part in api.read(path_of(project, number, "steps", step, "log")):
            output.data(part)
        output.end()


def follow(api: Api, project: str, number: int, only: str | None = None) -> int:
    """Print the logs of the build's steps, or of one of them, while they grow, until it has ended; answers the exit code.

    A build that is interrupted and starts anew is followed from its first step again.  Raises Trouble for a step that the
    build does not have.
    """
    build = api.get(path_of(project, number))
    if only and only not in [step.get("name") for step in steps_of(build)]:
        raise Trouble("the build has no such step", only)
    while True:
        ended = _follow_attempt(api, project, number, build, only)
        if ended.get("attempt") == build.get("attempt") and is_finished(ended):
            return told(ended)
        note(f"{name_of(ended)} was interrupted and starts anew; what was printed before is void.")
        build = ended


def _follow_attempt(api: Api, project: str, number: int, build: Json, only: str | None) -> Json:
    """Print the logs of this attempt; answers the build once it has ended or another attempt has begun."""
    attempt = build.get("attempt")
    for name in [only] if only else [str(step.get("name")) for step in steps_of(build)]:
        build = wait_for(api, project, number, lambda build: _has_begun(build, attempt, name), verbose=False)  # noqa: B023 - called at once
        if build.get("attempt") != attempt:
            return build
        if any(step.get("name") == name and step.get("result") != "skipped" for step in steps_of(build)):
            _follow_step(api, path_of(project, number, "steps", name, "log"), name)
    return wait_for(api, project, number, lambda build: build.get("attempt") != attempt, verbose=False)


def _has_begun(build: Json, attempt: object, name: str) -> bool:
    pending = any(step.get("name") == name and step.get("state") == "pending" for step in steps_of(build))
    return build.get("attempt") != attempt or not pending


def _follow_step(api: Api, place: str, name: str) -> None:
    _head(name)
    output, offset = Output(), 0
    with contextlib.closing(feed.events(api, place, _lost)) as events:
        for event in events:
            if event.name in ("end", "restart"):
                break
            if event.name == "message":
                offset = _print_part(api, place, output, event.data, offset)
    output.end()


def _print_part(api: Api, place: str, output: Output, part: Json, offset: int) -> int:
    """Print what is new in this part of the log; answers the offset after it."""
    start, end, text = int(part.get("start") or 0), int(part.get("end") or 0), str(part.get("text") or "")
    if end <= offset:
        return offset
    if output.is_raw and "\ufffd" in text:  # bytes that are no UTF-8 do not travel as text
        for data in api.read(place, start, end):
            output.data(data)
    else:
        output.text(text)
    return end
