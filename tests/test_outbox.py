"""outbox.py: what is due is told, a few at once, each subject in order; what cannot be told is tried again or given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.web.client import Agent, HTTPConnectionPool

from sayci.build import Cause, NewBuild
from sayci.bus import Bus
from sayci.errors import Unavailable, UnknownProject
from sayci.event import BuildChanged, ProjectChanged, StatusesDue
from sayci.outbox import (
    LONGEST_OBEDIENCE,
    STORE_PAUSE,
    TRIES_LIMIT,
    NotTold,
    Outbox,
    next_try,
)
from sayci.project import Settings
from sayci.report import CommitStatus, DueStatus, StatusState
from sayci.reporters.commit_status import GitHubStatuses
from sayci.step import Result, plan
from tests.factories import a_build, a_project
from tests.forge_server import ForgeServer

EPOCH = 1_800_000_000.0
TOKEN = "the-forge's-token"


def status(build=1, context="sayci/test", project=1, commit="c0de" * 10, state=StatusState.PENDING):
    return CommitStatus(project, f"project-{project}", build, commit, context, state, f"#{build}")


@dataclass
class Row:
    """A line of the fake store's outbox."""

    status: CommitStatus
    version: int = 1
    told: int = 0
    attempts: int = 0
    retry_at: float | None = 0.0


class FakeStore:
    """The store's part in it, in memory, with a transcript; `trouble` is raised by the next calls, one each."""

    def __init__(self):
        self.rows: dict[int, Row] = {}
        self.transcript: list[tuple[object, ...]] = []
        self.trouble: dict[str, list[Exception]] = {}
        self.slow_read: Deferred[None] | None = None
        self.asked = 0

    def put(self, number, status):
        """The build has changed: what is said of it, too."""
        old = self.rows.get(number)
        self.rows[number] = Row(status, version=old.version + 1 if old else 1, told=old.told if old else 0)

    def _stumble(self, method):
        if self.trouble.get(method):
            raise self.trouble[method].pop(0)

    def _waiting(self):
        return {key: row for key, row in self.rows.items() if row.told < row.version and row.retry_at is not None}

    async def due_statuses(self, now, limit=20):
        self.asked += 1
        self._stumble("due_statuses")
        found = [
            DueStatus(
                key,
                row.version,
                row.attempts,
                row.status,
                "",
                f"https://forge-{row.status.project_id}.example",
                "https://x.example/a/b",
            )
            for key, row in sorted(self._waiting().items())
            if (row.retry_at or 0.0) <= now
        ]
        if self.slow_read is not None:
            await self.slow_read
        return found[:limit]

    async def next_due(self):
        return min((row.retry_at or 0.0 for row in self._waiting().values()), default=None)

    async def hasten_statuses(self, by):
        self._stumble("hasten_statuses")
        for row in self.rows.values():
            row.retry_at = row.retry_at - by if row.retry_at else row.retry_at

    async def status_told(self, status_id, version):
        self._stumble("status_told")
        self.transcript.append(("told", status_id, version))
        self.rows[status_id].told = version

    async def status_failed(self, status_id, version, error, retry_at):
        self._stumble("status_failed")
        self.transcript.append(("failed", status_id, version, error))
        row = self.rows[status_id]
        if row.version == version:
            row.attempts += 1
            row.retry_at = retry_at

    async def access_token(self, project_id):
        self._stumble("access_token")
        return TOKEN


class FakeReporter:
    """Keeps every post waiting until the test answers it."""

    def __init__(self):
        self.posts: list[tuple[DueStatus, Deferred[None]]] = []
        self.broken_off = 0
        self.stubborn: Deferred[None] | None = None

    async def post(self, due, access_token):
        assert access_token == TOKEN
        answer: Deferred[None] = Deferred(lambda _: setattr(self, "broken_off", self.broken_off + 1))
        self.posts.append((due, answer))
        try:
            await answer
        finally:
            if self.stubborn is not None:
                await self.stubborn

    @property
    def waiting(self):
        return [due for due, answer in self.posts if not answer.called]

    def answer(self, error=None):
        """Answer the post that waits longest."""
        due, answer = next(post for post in self.posts if not post[1].called)
        if error is None:
            answer.callback(None)
        else:
            answer.errback(error)
        return due


class Scene:
    """An outbox among fakes, at a clock that the test winds."""

    def __init__(self):
        self.clock = Clock()
        self.store = FakeStore()
        self.reporter = FakeReporter()
        self.bus = Bus()
        self.outbox = Outbox(
            self.store,  # type: ignore[arg-type]  # as much of a store as an outbox asks for
            self.reporter,
            self.bus,
            self.clock,
            wall=lambda: EPOCH + self.clock.seconds(),
            page_of=lambda status: f"https://ci.example/{status.project}/{status.build}",
            random=lambda: 0.0,
        )

    def put(self, number, status):
        self.store.put(number, status)
        self.bus.publish(StatusesDue())

    def stopping(self):
        return Deferred.fromCoroutine(self.outbox.stop())


@pytest.fixture
def scene():
    scene = Scene()
    scene.outbox.start()
    yield scene
    stopped = scene.stopping()
    scene.clock.advance(10)
    assert stopped.called
    assert scene.clock.getDelayedCalls() == []


@pytest.fixture
def logged():
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


# -- next_try

rates = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, TRIES_LIMIT - 2), rates)
def test_the_pause_is_from_five_seconds_to_an_hour(attempts, rate):
    then = next_try(attempts, NotTold("no"), EPOCH, lambda: rate)
    assert then is not None
    assert 5 - 1e-3 <= then - EPOCH <= 3600 + 1e-3


@given(st.integers(0, TRIES_LIMIT - 3), rates)
def test_the_pause_never_gets_shorter(attempts, rate):
    first, second = (next_try(tries, NotTold("no"), EPOCH, lambda: rate) for tries in (attempts, attempts + 1))
    assert first is not None
    assert second is not None
    assert second >= first


@given(st.integers(0, TRIES_LIMIT - 2), rates, st.floats(0, 10 * LONGEST_OBEDIENCE))
def test_what_the_forge_asks_for_is_kept_up_to_a_day(attempts, rate, asked):
    then = next_try(attempts, NotTold("later", retry_after=asked), EPOCH, lambda: rate)
    assert then is not None
    assert then - EPOCH >= min(asked, LONGEST_OBEDIENCE) - 1e-3
    assert then - EPOCH <= max(3600, LONGEST_OBEDIENCE) + 1e-3


@given(st.integers(0, 10**6), rates, st.floats(0, 1e9))
def test_a_permanent_answer_is_not_asked_for_again(attempts, rate, asked):
    assert next_try(attempts, NotTold("no", permanent=True, retry_after=asked), EPOCH, lambda: rate) is None


@pytest.mark.parametrize("rate", (0.0, 0.999))
def test_it_is_given_up_after_about_a_day(rate):
    now, tries = EPOCH, 0
    while (then := next_try(tries, NotTold("no"), now, lambda: rate)) is not None:
        now, tries = then, tries + 1
    assert 19 * 3600 <= now - EPOCH <= 26 * 3600


@given(st.integers(TRIES_LIMIT - 1, 10**6), rates)
def test_later_tries_than_the_last_are_given_up_too(attempts, rate):
    assert next_try(attempts, NotTold("no"), EPOCH, lambda: rate) is None


# -- posting


def test_what_was_due_before_the_start_is_told():
    scene = Scene()
    scene.store.put(1, status())
    scene.outbox.start()
    assert scene.reporter.answer().url == "https://ci.example/project-1/1"
    assert scene.store.transcript == [("told", 1, 1)]
    assert scene.clock.getDelayedCalls() == []


def test_starting_twice_posts_once(scene):
    scene.put(1, status())
    scene.outbox.start()
    assert len(scene.reporter.posts) == 1


def test_what_becomes_due_is_told_when_the_bus_says_so(scene):
    scene.put(1, status())
    scene.reporter.answer()
    scene.put(2, status(2))
    scene.reporter.answer()
    assert scene.store.transcript == [("told", 1, 1), ("told", 2, 1)]


@pytest.mark.parametrize("event", (StatusesDue(), BuildChanged(a_build()), ProjectChanged(a_project())))
def test_it_wakes_when_something_may_have_become_due(scene, event):
    scene.store.put(1, status())
    scene.bus.publish(event)
    assert len(scene.reporter.posts) == 1


def test_several_are_posted_at_once_but_not_more_than_fit(scene):
    for number in range(1, 10):
        scene.put(number, status(number, commit=f"{number:040x}"))
    assert [due.id for due in scene.reporter.waiting] == [1, 2, 3, 4]
    scene.reporter.answer()
    assert [due.id for due in scene.reporter.waiting] == [2, 3, 4, 5]
    for _ in range(8):
        scene.reporter.answer()
    assert sorted(entry[1] for entry in scene.store.transcript) == list(range(1, 10))


def test_two_of_the_same_subject_are_never_under_way_at_once(scene):
    scene.put(1, status(1))
    scene.put(2, status(2))
    scene.put(3, status(3, context="sayci/deploy"))
    scene.put(4, status(4, project=2))
    assert [due.id for due in scene.reporter.waiting] == [1, 3, 4]
    scene.reporter.answer()
    assert [due.id for due in scene.reporter.waiting] == [3, 4, 2]


def test_a_version_that_was_overtaken_under_way_is_followed_by_the_newest(scene):
    scene.put(1, status())
    scene.put(1, status(state=StatusState.SUCCESS))
    scene.put(1, status(state=StatusState.FAILURE))
    assert len(scene.reporter.waiting) == 1
    scene.reporter.answer()
    assert scene.reporter.answer().status.state is StatusState.FAILURE
    assert scene.store.transcript == [("told", 1, 1), ("told", 1, 3)]
    assert scene.reporter.waiting == []


def test_an_answer_of_the_store_that_is_older_than_a_post_does_not_repeat_it(scene):
    scene.put(1, status(1))
    read: Deferred[None] = Deferred()
    scene.store.slow_read = read
    scene.put(2, status(2, context="sayci/deploy"))  # the store is asked while 1 is under way, and answers after it
    scene.reporter.answer()
    scene.store.slow_read = None
    read.callback(None)
    assert [due.id for due in scene.reporter.waiting] == [2]
    scene.reporter.answer()
    assert scene.store.transcript == [("told", 1, 1), ("told", 2, 1)]


# -- what fails


def test_what_failed_is_tried_again_when_its_time_comes(scene):
    scene.put(1, status())
    scene.reporter.answer(NotTold("the forge answered", 500))
    assert scene.store.transcript == [("failed", 1, 1, "the forge answered: 500")]
    scene.clock.advance(4.9)
    assert scene.reporter.waiting == []
    scene.clock.advance(0.2)
    scene.reporter.answer()
    assert scene.store.transcript[-1] == ("told", 1, 1)


def test_pauses_grow_until_it_is_given_up_visibly(scene, logged):
    scene.put(1, status())
    while scene.reporter.waiting:
        scene.reporter.answer(NotTold("the forge is down"))
        scene.clock.pump([60.0] * 61)
    assert len(scene.store.transcript) == TRIES_LIMIT
    assert scene.store.rows[1].retry_at is None
    [last] = [event for event in logged if event["log_level"] is LogLevel.error]
    assert "gave up" in last["log_format"]
    assert last["what"] == "sayci/test of project-1 #1"


def test_a_new_version_of_what_was_given_up_is_tried(scene):
    scene.put(1, status())
    scene.reporter.answer(NotTold("wrong token", permanent=True))
    scene.clock.advance(3600 * 24)
    assert scene.reporter.waiting == []
    scene.put(1, status(state=StatusState.SUCCESS))
    assert len(scene.reporter.waiting) == 1


def test_a_forge_that_asks_for_a_pause_has_it_from_the_whole_project_and_from_no_other(scene):
    for number in range(1, 7):
        scene.put(number, status(number, commit=f"{number:040x}"))
    scene.put(7, status(7, project=2))
    for _ in range(4):
        scene.reporter.answer(NotTold("too many requests", retry_after=100.0))
    assert [due.id for due in scene.reporter.waiting] == [7]
    scene.clock.advance(99)
    assert [due.id for due in scene.reporter.waiting] == [7]
    scene.clock.pump([1.0] * 12)
    assert len(scene.reporter.waiting) == 4


def test_a_mistake_of_a_reporter_is_logged_and_tried_again(scene, logged):
    scene.put(1, status())
    scene.reporter.answer(ZeroDivisionError("a defect"))
    assert scene.store.transcript == [
        ("failed", 1, 1, "sayci made a mistake; its server log says more: ZeroDivisionError")
    ]
    assert any(event["log_level"] is LogLevel.critical for event in logged)
    scene.clock.advance(6)
    assert len(scene.reporter.waiting) == 1


def test_a_reporter_that_gives_up_by_itself_is_not_asked_without_end(scene):
    scene.put(1, status())
    scene.reporter.posts[0][1].cancel()
    assert len(scene.reporter.posts) == 1
    assert scene.store.transcript[0][0] == "failed"


def test_the_statuses_of_a_removed_project_are_forgotten(scene):
    scene.store.trouble["access_token"] = [UnknownProject("no such project", 1)]
    scene.store.put(1, status())
    rows, scene.store.rows = scene.store.rows, dict(scene.store.rows)
    scene.store.due_statuses = answers_once(scene.store, rows)
    scene.bus.publish(StatusesDue())
    assert scene.store.transcript == []
    assert scene.reporter.posts == []


def answers_once(store, rows):
    """due_statuses that finds the rows, which are gone the next time."""
    ask = FakeStore.due_statuses

    async def due_statuses(now, limit=20):
        found = await ask(store, now, limit)
        store.rows = {}
        return found

    return due_statuses


def test_a_store_that_cannot_be_read_is_asked_again_later(scene):
    scene.store.trouble["due_statuses"] = [Unavailable("locked"), Unavailable("locked")]
    scene.put(1, status())
    assert scene.reporter.posts == []
    scene.clock.advance(STORE_PAUSE)
    assert scene.reporter.posts == []
    scene.clock.advance(STORE_PAUSE)
    assert len(scene.reporter.posts) == 1


@pytest.mark.parametrize("error", (None, NotTold("no")))
def test_a_store_that_cannot_be_written_does_not_make_it_post_again(scene, error):
    method = "status_failed" if error else "status_told"
    scene.store.trouble[method] = [Unavailable("disk full")] * 3
    scene.put(1, status())
    scene.reporter.answer(error)
    scene.clock.pump([1.0] * int(3 * STORE_PAUSE - 1))
    assert len(scene.reporter.posts) == 1
    assert scene.store.transcript == []
    scene.clock.advance(2)
    assert scene.store.transcript[0][0] == method.removeprefix("status_")


def test_while_nothing_is_due_the_store_is_left_alone(scene):
    before = scene.store.asked
    scene.clock.pump([60.0] * 60)
    assert scene.store.asked == before


def test_while_a_post_is_under_way_the_store_is_asked_rarely(scene):
    scene.put(1, status())
    before = scene.store.asked
    scene.clock.pump([1.0] * 60)
    assert scene.store.asked - before <= 6


def test_a_jump_of_the_wall_clock_is_noticed_within_minutes(scene):
    scene.store.put(1, status())
    scene.store.rows[1].attempts = 20
    scene.bus.publish(StatusesDue())
    scene.reporter.answer(NotTold("no"))
    assert scene.store.rows[1].retry_at == EPOCH + 2880
    scene.outbox._wall = lambda: EPOCH + 4000 + scene.clock.seconds()
    scene.clock.advance(301)
    assert len(scene.reporter.waiting) == 1


def test_a_clock_that_was_set_back_puts_no_try_off(scene):
    scene.put(1, status())
    scene.reporter.answer(NotTold("no"))
    scene.outbox._wall = lambda: EPOCH - 6 * 3600 + scene.clock.seconds()
    scene.clock.advance(301)
    assert len(scene.reporter.waiting) == 1
    assert scene.store.rows[1].retry_at == EPOCH - 6 * 3600 + 5.0


def test_a_clock_that_is_set_back_or_forward_does_not_shorten_or_lengthen_the_pause_that_a_forge_has_asked_for(scene):
    for hours in (-6, 6):
        scene.put(1, status())
        scene.reporter.answer(NotTold("no", retry_after=1000.0))
        scene.outbox._wall = lambda hours=hours: EPOCH + hours * 3600 + scene.clock.seconds()
        scene.put(2, status(2, context="sayci/deploy"))
        scene.clock.pump([250] * 3)
        assert not scene.reporter.waiting
        scene.clock.pump([300] * 2)
        while scene.reporter.waiting:
            scene.reporter.answer(None)


# -- the end


def test_stopping_breaks_off_what_is_under_way_and_leaves_it_due(scene, logged):
    scene.put(1, status())
    scene.put(2, status(2, context="sayci/deploy"))
    assert scene.stopping().called
    assert scene.reporter.broken_off == 2
    assert scene.store.transcript == []
    assert scene.store.rows[1].attempts == 0
    assert logged == []


def test_after_stopping_nothing_is_posted_until_the_next_start(scene):
    scene.stopping()
    scene.put(1, status())
    scene.clock.advance(1000)
    assert scene.reporter.posts == []
    scene.outbox.start()
    assert len(scene.reporter.waiting) == 1


def test_stopping_before_starting_and_stopping_twice_are_fine():
    scene = Scene()
    assert scene.stopping().called
    scene.outbox.start()
    assert scene.stopping().called
    assert scene.stopping().called


def test_a_post_that_cannot_be_broken_off_does_not_hold_up_the_end(scene):
    scene.reporter.stubborn = Deferred()
    scene.put(1, status())
    stopped = scene.stopping()
    assert not stopped.called
    scene.clock.advance(5)
    assert stopped.called
    scene.reporter.stubborn.callback(None)


# -- with a real store, a real reporter and a real server in the forge's place


@pytest.fixture
def forge():
    with ForgeServer(token=TOKEN) as server:
        yield server


class Told:
    """An outbox between a real store and a real server; `later` winds its wall clock."""

    def __init__(self, store, bus, ledger, forge, project):
        self.store, self.bus, self.ledger, self.forge, self.project = store, bus, ledger, forge, project
        self.later = 0.0
        self.pool = HTTPConnectionPool(reactor)
        self.outbox = Outbox(
            store,
            GitHubStatuses(Agent(reactor, pool=self.pool), reactor),
            bus,
            reactor,
            wall=lambda: reactor.seconds() + self.later,
            page_of=lambda status: f"https://ci.example/{status.project}/{status.build}",
            random=lambda: 0.0,
        )

    async def build(self, commit="5ca1ab1e" * 5):
        return await self.ledger.add(
            NewBuild(self.project.id, Cause.MANUAL, "refs/heads/main", commit, plan(tests=True, deploys=False))
        )

    async def finished(self, build, result):
        def end(build):
            for step in build.steps:
                build = build.with_step(step.finished(1.0, result))
            return build.finished(2.0)

        await self.ledger.advance(build.id, lambda build: build.claimed(1.0))
        return await self.ledger.advance(build.id, end)

    async def until(self, condition):
        """Wait until the forge's side of it holds."""
        assert await deferToThread(self.forge.wait, condition)

    async def told(self, build, *, until):
        """What the store says of the commit, as soon as `until` holds for its one line."""
        for _ in range(500):
            [line] = await self.store.told_statuses(self.project.id, build.commit)
            if until(line):
                return line
            await deferLater(reactor, 0.02)
        raise AssertionError(line)


@pytest_twisted.async_yield_fixture
async def told(store, bus, ledger, forge):
    settings = Settings("abacus", "https://forge.example/ada/abacus.git", forge_api=forge.url)
    project = await store.add_project(settings, "a-secret", TOKEN, 1.0)
    told = Told(store, bus, ledger, forge, project)
    told.outbox.start()
    yield told
    await told.outbox.stop()
    told.pool.closeCachedConnections()


@pytest_twisted.ensureDeferred
async def test_what_becomes_of_a_build_arrives_at_the_forge(told):
    build = await told.build()
    await told.until(lambda: told.forge.posts)
    await told.finished(build, Result.SUCCESS)
    await told.until(lambda: told.forge.statuses().get((build.commit, "sayci/test")) == "success")
    assert next(post.state for post in told.forge.posts) == "pending"
    assert told.forge.posts[0].body["target_url"] == "https://ci.example/abacus/1"
    line = await told.told(build, until=lambda line: line.told)
    assert (line.state, line.attempts, line.error) == ("success", 0, "")


@pytest_twisted.ensureDeferred
async def test_a_build_that_overtakes_its_status_under_way_is_what_the_forge_shows_at_last(told):
    told.forge.mood = "hang"
    build = await told.build()
    await told.until(lambda: told.forge.arrived)
    await told.finished(build, Result.FAILURE)
    told.forge.release()
    await told.told(build, until=lambda line: line.told)
    assert [post.state for post in told.forge.posts] == ["pending", "failure"]


@pytest_twisted.ensureDeferred
async def test_a_dead_forge_holds_up_no_build_and_is_told_when_it_is_back(told):
    told.forge.mood = "500"
    build = await told.finished(await told.build(), Result.SUCCESS)
    line = await told.told(build, until=lambda line: line.attempts > 0 and line.state == "success")
    assert not line.told
    assert "500" in line.error
    assert line.retry_at is not None
    told.forge.mood = "ok"
    told.later = 3700.0
    told.bus.publish(StatusesDue())
    await told.until(lambda: told.forge.statuses() == {(build.commit, "sayci/test"): "success"})


@pytest_twisted.ensureDeferred
async def test_a_refused_token_is_given_up_where_people_see_it(told):
    await told.store.set_access_token("abacus", "a-wrong-token")
    build = await told.build()
    line = await told.told(build, until=lambda line: line.error)
    assert line.retry_at is None
    assert "access token" in line.error
    assert "a-wrong-token" not in line.error


@pytest_twisted.ensureDeferred
async def test_many_builds_are_told_a_few_at_once_and_each_one(told):
    builds = [await told.build(f"{number:040x}") for number in range(1, 41)]
    for build in builds:
        await told.finished(build, Result.SUCCESS)
    await told.until(lambda: len([state for state in told.forge.statuses().values() if state == "success"]) == 40)
    assert told.forge.most_at_once <= 4


@pytest_twisted.ensureDeferred
async def test_what_was_under_way_at_the_end_is_told_after_the_next_start(told):
    told.forge.mood = "hang"
    build = await told.build()
    await told.until(lambda: told.forge.arrived)
    before = reactor.seconds()
    await told.outbox.stop()
    assert reactor.seconds() - before < 4
    told.forge.mood = "ok"
    told.outbox.start()
    line = await told.told(build, until=lambda line: line.told)
    assert line.attempts == 0


@pytest_twisted.ensureDeferred
async def test_a_project_that_is_removed_takes_its_statuses_along(told):
    told.forge.mood = "hang"
    build = await told.finished(await told.build(), Result.SUCCESS)
    await told.until(lambda: told.forge.arrived)
    await told.store.remove_project("abacus")
    told.forge.release()
    await told.until(lambda: told.forge.posts)
    told.bus.publish(StatusesDue())
    await told.outbox.stop()
    assert await told.store.next_due() is None
    assert build.commit
