"""Takes deliveries that are on disk to their verdicts, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci import trigger
from sayci.background import Background
from sayci.change import Change
from sayci.delivery import Delivery, Message, Verdict
from sayci.errors import Conflict, Invalid, Missing, Unavailable
from sayci.interfaces import Forge, Store, StoredBody
from sayci.ledger import Ledger
from sayci.project import Project

#: Deliveries that are looked at together; of several pushes to one branch among them only the newest is built.
TOGETHER = 200
PAUSE = 5.0


def headers_of(stored: StoredBody) -> Mapping[str, Sequence[str]]:
    """The kept headers as a forge reads them: lower-case names, every value."""
    headers: dict[str, list[str]] = {}
    for name, value in stored.headers:
        headers.setdefault(name.lower(), []).append(value)
    return headers


class Inbox:
    """Deliveries between "on disk" and their verdict.

    What comes while earlier ones are being looked at is looked at together: then of several pushes to one branch only the
    newest makes a build, and the others are told so.  A thousand pushes in a second are one build.
    """

    _log = Logger()

    def __init__(self, store: Store, ledger: Ledger, forge: Forge, clock: IReactorTime) -> None:
        self._store = store
        self._ledger = ledger
        self._forge = forge
        self._clock = clock
        self._waiting: deque[tuple[Delivery, Change]] = deque()
        self._replaying: set[int] = set()
        self._background = Background()
        self._deciding = DeferredLock()
        self._listeners: list[set[tuple[int, str]]] = []
        self._busy = False
        self._stopped = False

    async def start(self) -> None:
        """Take up the deliveries that a stopped server has accepted and not looked at."""
        after = 0
        left: list[tuple[Delivery, Change]] = []
        while page := await self._store.unsettled(after=after):
            after = page[-1][0].id
            for delivery, stored in page:
                message = await self._read(delivery, stored)
                if message is not None and message.change is not None:
                    left.append((delivery, message.change))
        waiting = {delivery.id for delivery, _ in self._waiting}
        self._waiting.extendleft(reversed([item for item in left if item[0].id not in waiting]))
        self._wake()

    async def stop(self) -> None:
        """Look at nothing more; what waits is on disk, and the next server's."""
        self._stopped = True
        self._background.cancel()
        await self._background.idle()

    @property
    def waiting(self) -> int:
        """How many deliveries are on disk and not looked at yet."""
        return len(self._waiting)

    def put(self, delivery: Delivery, change: Change) -> None:
        """A fresh delivery with the verdict `received`, which is on disk."""
        for heard in self._listeners:
            heard.add((delivery.project_id, change.ref))
        self._waiting.append((delivery, change))
        self._wake()

    @contextmanager
    def listening(self) -> Iterator[set[tuple[int, str]]]:
        """Within the block, of which refs of which projects a delivery has come: what is known otherwise may be older."""
        heard: set[tuple[int, str]] = set()
        self._listeners.append(heard)
        try:
            yield heard
        finally:
            # By identity: two that have heard the same are equal.
            self._listeners = [listener for listener in self._listeners if listener is not heard]

    async def find(self, project: Project, change: Change, heard: set[tuple[int, str]]) -> bool:
        """Build a branch's head of which no delivery has told, unless one has meanwhile; whether that is seen to.

        `heard` is what was heard since before the repository was asked.
        """
        await self._deciding.acquire()
        try:
            told = {(delivery.project_id, other.ref) for delivery, other in self._waiting}
            if (project.id, change.ref) in heard | told:
                return False
            if not await self._store.was_built(project.id, change.ref, change.commit):
                await self._ledger.add(trigger.build_of_find(project, change))
            return True
        finally:
            self._deciding.release()

    async def replay(self, project: Project, delivery_id: int) -> Delivery:
        """Look at a delivery again, with the project's present settings; it never deploys.

        Raises UnknownDelivery, and Conflict when it has made a build, is being looked at, or is too old.
        """
        delivery, stored = await self._store.delivery(project.id, delivery_id)
        if delivery.verdict is Verdict.BUILT:
            raise Conflict(
                "the delivery has been built; rebuild that build to run it again", f"#{delivery.build_number}"
            )
        if delivery.verdict is Verdict.RECEIVED or delivery_id in self._replaying:
            raise Conflict("the delivery is being looked at", delivery.id)
        if delivery.size and not stored.body:
            raise Conflict("the delivery's body was removed because it is old; build its branch by hand", delivery.id)
        self._replaying.add(delivery_id)
        try:
            message = await self._read(delivery, stored)
            if message is None or message.change is None:
                return (await self._store.delivery(project.id, delivery_id))[0]
            return await self._decide(delivery, message.change, replayed=True)
        finally:
            self._replaying.discard(delivery_id)

    def says(self, stored: StoredBody) -> Message | None:
        """What a kept delivery says; None where its body was removed because it is old, or cannot be read."""
        try:
            return self._forge.parse(headers_of(stored), stored.body) if stored.body else None
        except Invalid:
            return None

    # -- one after the other

    def _wake(self) -> None:
        if not self._busy and self._waiting and not self._stopped:
            self._busy = True
            self._background.start(self._work(), "looking at deliveries")

    async def _work(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                await self._deciding.acquire()
                try:
                    await self._look_at(together)
                finally:
                    self._deciding.release()
        finally:
            self._busy = False
            self._wake()

    async def _look_at(self, together: list[tuple[Delivery, Change]]) -> None:
        """All at once, so that they share the store's transactions; those of one branch do not depend on each other."""
        newest = {(delivery.project_id, change.ref): (delivery, change) for delivery, change in together}
        chosen = {delivery.id for delivery, _ in newest.values()}
        overtaken = [delivery for delivery, _ in together if delivery.id not in chosen]
        work = [self._surely(partial(self._decide, delivery, change)) for delivery, change in newest.values()]
        if overtaken:
            work.append(self._surely(partial(self._ledger.supersede, overtaken)))
        await gatherResults([Deferred.fromCoroutine(part) for part in work], consumeErrors=True)

    async def _surely(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do it, however long the database takes no writes; the order of a branch's pushes is kept."""
        while True:
            try:
                await work()
                return
            except Unavailable:
                await deferLater(self._clock, PAUSE)
            except Missing:
                return  # the project was removed in the meantime, with its deliveries

    async def _decide(self, delivery: Delivery, change: Change, *, replayed: bool = False) -> Delivery:
        ignored = trigger.why_ignored(change)
        if ignored:
            return (await self._ledger.settle(delivery.id, Verdict.IGNORED, ignored)).delivery
        project = await self._store.project_by_id(delivery.project_id)
        was_built = await self._store.was_built(project.id, change.ref, change.commit)
        if was_built and not replayed:
            found = await self._store.found_build(project.id, change.ref, change.commit)
            if found is not None and await self._store.is_newest(found):
                words = f"Built already: #{found.number} found the commit by asking the repository."
                return (await self._ledger.settle(delivery.id, Verdict.IGNORED, words)).delivery
        is_new = not replayed and not was_built
        new = trigger.build_of_push(project, change, delivery.id, is_new=is_new)
        return (await self._ledger.settle(delivery.id, Verdict.BUILT, "", new)).delivery

    async def _read(self, delivery: Delivery, stored: StoredBody) -> Message | None:
        """What the stored delivery says; one that cannot be read, or says nothing of ours, gets its verdict here."""
        try:
            message = self._forge.parse(headers_of(stored), stored.body)
        except Invalid as error:
            await self._ledger.settle(delivery.id, Verdict.FAILED, str(error))
            return None
        if message.change is None:
            await self._ledger.settle(delivery.id, Verdict.IGNORED, message.explanation)
        return message
