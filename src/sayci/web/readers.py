"""The readers of open feeds: whoever may not read any more is told so and shown out, and not only at the next request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sayci.account import Access, Actor, Credential, Decision, Ground, decide
from sayci.background import Background
from sayci.bus import Bus
from sayci.errors import SayciError
from sayci.event import AccessChanged, Event, ProjectChanged, ProjectRemoved
from sayci.web.gate import Admission, Gate

#: Seconds between two looks at who reads: sessions and tokens end by time too, and nobody tells.
LOOK = 15.0
#: Why a feed ended: the session or token is not known any more; or what is told is not for this reader any more.
SIGNED_OUT, NO_ACCESS = "signed_out", "no_access"
#: Not at all: the reader has another reach than before, and comes back for a feed that fits it.
CHANGED = ""


@dataclass(eq=False, slots=True)
class Reader:
    """Who reads one feed; `end` ends it, with one of the words above."""

    admission: Admission
    end: Callable[[str], None]
    ground: Ground | None

    @property
    def project_id(self) -> int | None:
        """The project that is read of; None for all of them."""
        return None if self.ground is None else self.ground.project_id

    def judge(self, actor: Actor | None) -> None:
        """End the feed unless `actor`, whose credential it is now, may go on reading it."""
        before, need = self.admission.actor, self.admission.need
        if before is not None and actor is None:
            self.end(SIGNED_OUT)
        elif self.ground is not None and decide(actor, need, self.ground) is not Decision.ALLOWED:
            self.end(NO_ACCESS)
        elif _reach(actor, self.ground) != _reach(before, self.ground):
            self.end(CHANGED)


def _reach(actor: Actor | None, ground: Ground | None) -> object:
    if actor is None:
        return Access.NONE
    return (actor.access, dict(actor.grants)) if ground is None else actor.on(ground.project_id)


class Readers:
    """Looks at readers again when the bus says that access has changed: at those whom it concerns, each credential once."""

    _log = Logger()

    def __init__(self, gate: Gate, bus: Bus, clock: IReactorTime) -> None:
        self._gate = gate
        self._all: set[Reader] = set()
        self._background = Background()
        self._loop = LoopingCall(self._look_at_all)
        self._loop.clock = clock
        self._unsubscribe = bus.subscribe(self._heard)

    def __len__(self) -> int:
        """How many read."""
        return len(self._all)

    @contextmanager
    def reading(self, admission: Admission, end: Callable[[str], None]) -> Iterator[None]:
        """Within the block somebody reads; `end` is called when that is to end."""
        reader = Reader(admission, end, admission.ground)
        self._all.add(reader)
        if not self._loop.running:
            self._loop.start(LOOK, now=False).addErrback(self._failed)
        # What changed between the gate and here was told to nobody.
        self._background.start(self._look_closely(reader), "looking at a reader")
        try:
            yield
        finally:
            self._all.discard(reader)
            if not self._all:
                self._loop.stop()

    def close(self) -> None:
        """End all of it."""
        self._unsubscribe()
        self._background.cancel()
        for reader in list(self._all):
            reader.end(CHANGED)

    # -- when

    def _heard(self, event: Event) -> None:
        match event:
            case AccessChanged():
                concerned = [reader for reader in self._all if _concerns(event, reader.admission)]
                if concerned:
                    self._background.start(self._look(concerned), "looking at readers whose access has changed")
            case ProjectRemoved(project):
                for reader in [each for each in self._all if each.project_id == project.id]:
                    reader.end(NO_ACCESS)
            case ProjectChanged(project):
                for reader in [each for each in self._all if each.project_id == project.id]:
                    reader.ground = project.ground
                    reader.judge(reader.admission.actor)

    async def _look_closely(self, reader: Reader) -> None:
        try:
            if reader.project_id is not None:
                reader.ground = await self._gate.ground_of(reader.project_id)
        except SayciError:  # it was removed, or nobody can say: whoever comes back is asked at the gate
            reader.end(CHANGED)
            return
        await self._look([reader])

    async def _look(self, readers: Iterable[Reader], *, at_worst: bool = True) -> None:
        """`at_worst`: who may be somebody else by now is shown out when nobody can say."""
        by_credential: dict[Credential | None, list[Reader]] = {}
        for reader in readers:
            by_credential.setdefault(reader.admission.credential, []).append(reader)
        for credential, each in by_credential.items():
            try:
                actor = None if credential is None else await self._gate.still(credential)
            except SayciError:
                for reader in each if at_worst else ():
                    reader.end(CHANGED)
                continue
            for reader in each:
                reader.judge(actor)

    def _look_at_all(self) -> Deferred[None]:
        # While the database is away nobody is shown out: two thousand would come back at once.
        return Deferred.fromCoroutine(self._look(list(self._all), at_worst=False))

    def _failed(self, failure: Failure) -> None:
        self._log.failure("readers are not looked at any more", failure)


def _concerns(event: AccessChanged, admission: Admission) -> bool:
    if event.person_id is not None:
        return admission.actor is not None and admission.actor.person_id == event.person_id
    if event.digest:
        return admission.credential is not None and admission.credential.digest == event.digest
    return True
