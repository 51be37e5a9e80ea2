"""The outbox: empties what the store keeps for the forge, without anybody waiting for it.

The statuses themselves are kept by the store, in the transaction that changed the build; this actor takes those that are
due and tries.  Whatever the forge does, a build goes on, and what could not be told is told later or given up visibly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sayci.background import Background
from sayci.bus import Bus
from sayci.errors import Missing, SayciError
from sayci.event import BuildChanged, Event, ProjectChanged, StatusesDue
from sayci.interfaces import Reporter, Store
from sayci.report import CommitStatus, DueStatus

#: Seconds between the first failed try and the second, doubled with each one after it; and the longest of these pauses.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0
#: A pause is made longer by up to this share of it, so that what failed together is not tried together.
JITTER = 0.25
#: After so many tries, about a day of them, a status is given up.
TRIES_LIMIT = 35
#: The longest pause that a forge may ask for, in seconds; where it wants a longer one it is asked again after this.
LONGEST_OBEDIENCE = 24 * 3600.0

#: Seconds until the store is asked again when it could not answer.
STORE_PAUSE = 30.0
# The wall clock may jump while the timer runs on another clock: look at least this often as long as something is to come.
_LONGEST_SLEEP = 300.0
_SHORTEST_SLEEP = 1.0
_BUSY_SLEEP = 10.0
# By so many seconds at once a clock is set, not corrected.
_SET_BACK = 1.0
_STOP_LIMIT = 5.0


class NotTold(SayciError):
    """Somebody outside could not be told what has become of a build.

    `retry_after` is the number of seconds that the other side asks us to wait, None when it did not say.  `permanent` says
    that the same try again would have the same answer, until a person has changed something.
    """

    def __init__(self, *args: object, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(*args)
        self.retry_after = retry_after
        self.permanent = permanent


def next_try(attempts: int, error: NotTold, now: float, random: Callable[[], float]) -> float | None:
    """When to try again what has now failed with `error`, after `attempts` tries that failed before it.

    None gives up: at once when the answer cannot get better by itself, else after TRIES_LIMIT tries, about a day.  The
    pause doubles from 5 s to an hour, with jitter (`random` answers 0 to 1); a longer one that the other side asks for is
    kept, up to LONGEST_OBEDIENCE.  Times are seconds since the epoch.
    """
    if error.permanent or attempts + 1 >= TRIES_LIMIT:
        return None
    doubled = FIRST_PAUSE * 2.0 ** min(attempts, 30)
    pause = min(doubled, LONGEST_PAUSE / (1 + JITTER)) * (1 + JITTER * random())
    return now + max(pause, _asked_pause(error))


def _asked_pause(error: NotTold) -> float:
    return min(error.retry_after or 0.0, LONGEST_OBEDIENCE)


#: Of each subject (project, commit, context) one post at a time is under way, so that the newest one is the last.
_Subject = tuple[int, str, str]


def _subject_of(due: DueStatus) -> _Subject:
    return due.status.project_id, due.status.commit, due.status.context


class Outbox:
    """Posts what is due, a few at once; wakes when something has changed, and when the next try is due.

    `wall` answers seconds since the epoch; `page_of` the address of the page that a status links to; `random` a number
    from 0 to 1.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        reporter: Reporter,
        bus: Bus,
        clock: IReactorTime,
        *,
        wall: Callable[[], float],
        page_of: Callable[[CommitStatus], str],
        random: Callable[[], float],
        concurrency: int = 4,
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._bus = bus
        self._clock = clock
        self._wall = wall
        self._page_of = page_of
        self._random = random
        self._concurrency = concurrency
        self._background = Background()
        self._posting: set[_Subject] = set()
        # What has ended while the store was being asked: its answer may be older than that.
        self._just_ended: set[tuple[int, int]] = set()
        # When a forge asks for a pause, all of the project's statuses keep it, not only the one that was answered.
        self._quiet_until: dict[tuple[int, str], float] = {}  # by the clock that nobody sets
        self._ahead = wall() - clock.seconds()
        self._looking = False
        self._look_again = False
        self._timer: IDelayedCall | None = None
        self._unsubscribe: Callable[[], None] | None = None

    # -- life

    def start(self) -> None:
        """Begin with what is due; safe to repeat."""
        if not self._running:
            self._unsubscribe = self._bus.subscribe(self._heard)
            self._wake()

    async def stop(self) -> None:
        """End within seconds; what is under way is broken off and stays in the store for the next start."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._set_timer(None)
        self._background.cancel()
        await self._idle().addTimeout(_STOP_LIMIT, self._clock, lambda _, __: self._log.error("a post goes on and on"))

    def _idle(self) -> Deferred[None]:
        """Fires when nothing is under way; unlike what it waits for, it can be cancelled at any time."""
        idle: Deferred[None] = Deferred()

        def fire(_: object) -> None:
            if not idle.called:
                idle.callback(None)

        Deferred.fromCoroutine(self._background.idle()).addBoth(fire)
        return idle

    @property
    def _running(self) -> bool:
        return self._unsubscribe is not None

    def _heard(self, event: Event) -> None:
        # A project that has just been given an access token has statuses to tell that nobody could tell before.
        if isinstance(event, StatusesDue | BuildChanged | ProjectChanged):
            self._wake()

    # -- looking for what is due

    def _wake(self) -> None:
        self._look_again = True
        if self._running and not self._looking:
            self._looking = True
            self._background.start(self._look(), "looking for commit statuses to post")

    async def _look(self) -> None:
        """Look until nobody has woken us while we did."""
        try:
            while self._look_again and self._running:
                self._look_again = False
                self._set_timer(await self._begin_what_is_due())
        except CancelledError:
            raise
        except Exception:
            self._set_timer(self._wall() + STORE_PAUSE)
            raise
        finally:
            self._looking = False

    async def _begin_what_is_due(self) -> float | None:
        """Start posting, as much as fits; answers when to look again, None when something will wake us."""
        await self._follow_the_wall()
        self._just_ended.clear()
        for due in await self._store.due_statuses(self._wall(), limit=20 + self._concurrency):
            if len(self._posting) >= self._concurrency:
                return None
            ended = (due.id, due.version) in self._just_ended
            if self._running and not ended and _subject_of(due) not in self._posting:
                self._posting.add(_subject_of(due))
                self._background.start(self._post(due), "posting a commit status")
        time = await self._store.next_due()
        if time is not None and self._posting:
            return max(time, self._wall() + _BUSY_SLEEP)  # it may be one of those under way, whose end wakes us
        return time

    async def _follow_the_wall(self) -> None:
        """Where the wall clock was set back, the times that were written by it move with it: no try waits for hours."""
        ahead = self._wall() - self._clock.seconds()
        if self._ahead - ahead > _SET_BACK:
            await self._store.hasten_statuses(self._ahead - ahead)
        self._ahead = ahead

    def _set_timer(self, time: float | None) -> None:
        """Wake at `time`, in seconds since the epoch; None: not by a timer."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if time is not None and self._running:
            pause = min(max(time - self._wall(), _SHORTEST_SLEEP), _LONGEST_SLEEP)
            self._timer = self._clock.callLater(pause, self._wake)

    # -- one status

    async def _post(self, due: DueStatus) -> None:
        try:
            await self._tell(due)
        except NotTold as error:
            await self._failed(due, error)
        except Missing:
            pass  # the project has been removed, and its statuses with it
        else:
            await self._keep(lambda: self._store.status_told(due.id, due.version))
        finally:
            self._posting.discard(_subject_of(due))
            self._just_ended.add((due.id, due.version))
            self._wake()

    async def _tell(self, due: DueStatus) -> None:
        """Tell it once.  Raises NotTold; Missing where the project is gone."""
        self._check_quiet(due)
        try:
            token = await self._store.access_token(due.status.project_id)
            await self._reporter.post(replace(due, url=self._page_of(due.status)), token)
        except (NotTold, Missing):
            raise
        except Exception as error:
            if not self._running:
                raise
            self._log.failure("the outbox made a mistake")
            raise NotTold("sayci made a mistake; its server log says more", type(error).__name__) from None

    async def _failed(self, due: DueStatus, error: NotTold) -> None:
        if not self._running:
            return  # we broke it off ourselves
        now = self._wall()
        if error.retry_after and not error.permanent:
            self._quiet_until[_forge_of(due)] = self._clock.seconds() + _asked_pause(error)
        retry_at = next_try(due.attempts, error, now, self._random)
        what = f"{due.status.context} of {due.status.project} #{due.status.build}"
        if retry_at is None:
            self._log.error("gave up telling the forge {what}: {error}", what=what, error=str(error))
        else:
            self._log.warn("could not tell the forge {what}: {error}", what=what, error=str(error), retry_at=retry_at)
        await self._keep(lambda: self._store.status_failed(due.id, due.version, str(error), retry_at))

    def _check_quiet(self, due: DueStatus) -> None:
        """Raises NotTold while the forge wants to be left alone."""
        wait = self._quiet_until.get(_forge_of(due), 0.0) - self._clock.seconds()
        if wait > 0:
            raise NotTold("the forge has asked for a pause", retry_after=wait)
        self._quiet_until.pop(_forge_of(due), None)

    async def _keep(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write until it is written: what seems untold would be posted again and again."""
        while True:
            try:
                return await write()
            except (CancelledError, Missing):
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the status must not be posted without end; it is logged
                self._log.failure("the store could not keep what became of a commit status")
                await deferLater(self._clock, STORE_PAUSE)


def _forge_of(due: DueStatus) -> tuple[int, str]:
    return due.status.project_id, due.forge_api
