"""Makes a database that was taken back from a backup ready: checks its secrets, and closes what was open.

Ties the store to the client's ``restore``, so it is one of the files that know every floor.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sayci.delivery import Verdict
from sayci.interfaces import Store
from sayci.keepsake import taken_back
from sayci.store.sql_store import SqlStore

Value = TypeVar("Value")

_UNDECIDED = "it came just before the backup was made, and may have been built since; replay it if it was not"


def make_ready(url: str, key: Path, now: float) -> list[str]:
    """Check that the key opens every secret, and let nothing run twice; what was changed, as sentences.

    Raises CannotStart, and Unavailable for a secret that does not open.
    """
    clock = Clock()
    clock.advance(now)
    store = SqlStore.open(url, key, clock, in_process=True)
    try:
        return _done(_make_ready(store, now))
    finally:
        _done(store.close())


def _done(work: Coroutine[Deferred[Any], Any, Value]) -> Value:
    """The outcome of what does not wait for anything."""
    outcome: list[Value | Failure] = []
    Deferred.fromCoroutine(work).addBoth(outcome.append)
    found = outcome[0]
    if isinstance(found, Failure):
        found.raiseException()
        raise AssertionError  # noqa: TRY004 - never reached: the line above has raised
    return found


async def _make_ready(store: Store, now: float) -> list[str]:
    after: int | None = 0
    while after is not None:
        page = await store.projects(after=after)
        for project in page.items:
            await store.webhook_secret(project.name)
            await store.access_token(project.id)
            await store.variables(project.id, revealed=True)
        after = page.next
    told = []
    for build in await store.open_builds():
        changed = await store.advance(build.id, partial(taken_back, now=now))
        if changed != build:
            told.append(f"{build.project} #{build.number}: {changed.reason}")
    while left := await store.unsettled():
        for delivery, _ in left:
            await store.settle(delivery.id, Verdict.FAILED, _UNDECIDED, None)
            told.append(f"delivery {delivery.id}: {_UNDECIDED}")
    return told
