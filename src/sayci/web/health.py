"""For machines that watch the server: whether it is well, and its numbers.

Neither takes a credential, as monitors expect; so neither names a project or a person: only counts, and of names those that
this server has certificates for, which every certificate says itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from klein import Klein
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from sayci.build import Build, BuildState
from sayci.bus import Bus
from sayci.errors import SayciError
from sayci.event import BuildChanged, DeliveryChanged, Event
from sayci.interfaces import Certificates, Reporter, Store
from sayci.report import DueStatus
from sayci.space import NoSpace, Space
from sayci.step import StepState
from sayci.web.answer import JSON, answer
from sayci.web.crowd import Crowd
from sayci.web.tally import Tally

#: Seconds after which a part that has not answered is taken for ill.
PATIENCE = 5.0
#: The first parts of the paths that `Health` answers.
ADDRESSES = (b"healthz", b"metrics")
#: How many commit statuses that are due are counted.
DUE_LIMIT = 100
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds for the seconds that steps take: from a second to the limit of an hour and beyond.
STEP_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

Check = Callable[[], Awaitable[object]]


class Metrics:
    """The server's numbers since its start, in a registry of their own.

    It counts what the bus tells; what no event tells is told by methods: `delivery_refused`, `answered` and so on.
    No label has values that strangers choose, so the number of series is bounded.  `tally` has the same of the last day for
    people; `wall` answers seconds since the epoch.
    """

    def __init__(self, bus: Bus, wall: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self.tally = Tally(wall)
        ProcessCollector(registry=self.registry)
        counter, gauge = self._counter, self._gauge
        self._finished = counter("sayci_builds_finished", "Builds that have ended, by result", "result")
        self._builds = gauge("sayci_builds", "Builds that wait or run now", "state")
        self._deliveries = counter("sayci_deliveries", "Deliveries by what became of them", "verdict")
        self._refused = counter(
            "sayci_deliveries_refused", "Deliveries that were not taken: wrong signature, too large"
        )
        self._statuses = counter("sayci_statuses", "Tries to post a commit status", "outcome")
        self._due = gauge("sayci_statuses_due", f"Commit statuses whose next try is due, up to {DUE_LIMIT}")
        self._requests = counter("sayci_http_answers", "HTTP answers by code", "code")
        self._steps = Histogram(
            "sayci_step_seconds", "How long steps took", ["step"], buckets=STEP_SECONDS, registry=self.registry
        )
        self._open: dict[int, Build] = {}
        self.unsubscribe = bus.subscribe(self._heard)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(name, words, labels, registry=self.registry)

    # -- what is told

    def resume(self, builds: Iterable[Build]) -> None:
        """Builds that an earlier server left waiting or running."""
        for build in builds:
            self._open.setdefault(build.id, build)

    def delivery_refused(self) -> None:
        """A delivery was not taken."""
        self._refused.inc()
        self.tally.refused()

    def status_posted(self, *, told: bool) -> None:
        """A commit status was posted, or could not be."""
        self._statuses.labels("posted" if told else "failed").inc()

    def answered(self, code: int) -> None:
        """An HTTP request was answered."""
        self._requests.labels(str(code)).inc()

    def due(self, count: float) -> None:
        """So many commit statuses could be posted now."""
        self._due.set(count)

    def watch(self, name: str, words: str, count: Callable[[], float]) -> None:
        """Add a gauge that is asked for when somebody looks."""
        self._gauge(name, words).set_function(count)

    def watch_each(self, name: str, words: str, label: str, counts: Callable[[], Mapping[str, float]]) -> None:
        """Add a gauge for each value of a label that there is when somebody looks; strangers must not choose the values."""
        self.registry.register(_Gauges(name, words, label, counts))

    def watch_crowd(self, crowd: Crowd) -> None:
        """Add how many are connected, and how many had to make room."""
        self.watch("sayci_connections", "Clients that are connected now", lambda: len(crowd))
        self.watch("sayci_connections_dropped", "Connections that had to make room", lambda: crowd.dropped)

    def watch_certificates(self, certificates: Certificates) -> None:
        """Add when each certificate ends, and how its renewal goes."""
        listed = certificates.certificates
        self.watch_each(
            "sayci_certificate_not_after_seconds",
            "When the certificate of a name ends, in seconds since the epoch; 0 while nobody has issued one",
            "name",
            lambda: {each.name: each.not_after if each.issuer else 0.0 for each in listed()},
        )
        self.watch_each(
            "sayci_certificate_failures",
            "Tries to get the next certificate of a name that have failed in a row",
            "name",
            lambda: {each.name: each.tries for each in listed()},
        )

    def watch_space(self, space: Space) -> None:
        """Add what is free of each disk that builds need."""
        self.watch_each(
            "sayci_disk_free_bytes",
            "What is free of the disks that builds need",
            "path",
            lambda: {volume.path: volume.free_bytes for volume in space.measure()},
        )

    # -- what the bus tells

    def _heard(self, event: Event) -> None:
        if isinstance(event, BuildChanged):
            self._moved(event.build)
        elif isinstance(event, DeliveryChanged):
            self._deliveries.labels(event.delivery.verdict.value).inc()
            self.tally.decided(event.delivery.verdict)

    def _moved(self, build: Build) -> None:
        before = self._open.pop(build.id, None)
        if build.is_open:
            self._open[build.id] = build
        if before is None:
            return  # new; or it had ended already, and was counted then
        ended_before = {step.name for step in before.steps if step.state is StepState.FINISHED}
        for step in build.steps:
            if step.state is StepState.FINISHED and step.duration is not None and step.name not in ended_before:
                self._steps.labels(step.name).observe(step.duration)
        if build.result is not None:
            self._finished.labels(build.result.value).inc()
            self.tally.ended(build)

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        for state in (BuildState.QUEUED, BuildState.RUNNING, BuildState.CANCELLING):
            self._builds.labels(state.value).set(sum(build.state is state for build in self._open.values()))
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Gauges of one name, made anew each time somebody looks: a label's value that is gone leaves nothing behind."""

    def __init__(self, name: str, words: str, label: str, counts: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._words = words
        self._label = label
        self._counts = counts

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Their name alone, for the registry to see that it is free."""
        return [GaugeMetricFamily(self._name, self._words, labels=[self._label])]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges as they are now."""
        family = GaugeMetricFamily(self._name, self._words, labels=[self._label])
        for value, count in self._counts().items():
            family.add_metric([value], count)
        return [family]


class CountedReporter:
    """A reporter whose posts are counted."""

    def __init__(self, reporter: Reporter, metrics: Metrics) -> None:
        self._reporter = reporter
        self._metrics = metrics

    async def post(self, status: DueStatus, access_token: str) -> None:
        """Tell it once, as the reporter does."""
        try:
            await self._reporter.post(status, access_token)
        except SayciError as error:
            self._metrics.status_posted(told=False)
            about = status.status
            self._metrics.tally.not_told(about.project_id, about.project, about.build, str(error))
            raise
        self._metrics.status_posted(told=True)
        self._metrics.tally.told(status.status.project_id)


class Health:
    """``/healthz`` and ``/metrics`` as a Klein application.

    `checks` has, for each part that must work beside the database, a function that raises when it does not.  `wall`
    answers seconds since the epoch.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        clock: IReactorTime,
        wall: Callable[[], float],
        checks: Mapping[str, Check] | None = None,
    ) -> None:
        self.app = Klein()
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        self._checks: Mapping[str, Check] = {"database": store.check, **(checks or {})}
        self.app.route("/healthz", methods=["GET"])(self.healthz)
        self.app.route("/metrics", methods=["GET"])(self.metrics)

    async def healthz(self, request: Request) -> bytes:
        """200 when every part answers, else 503 that names those which do not; why is in the log, not here."""
        states = await self.states()
        is_well = all(state == "ok" for state in states.values())
        body = {"status": "ok" if is_well else "failing", **states}
        return answer(request, 200 if is_well else 503, JSON, msgspec.json.encode(body))

    async def states(self) -> Mapping[str, str]:
        """How each part is: "ok", "no space" or "failing"."""
        return {name: await self._state(name, check) for name, check in self._checks.items()}

    async def metrics(self, request: Request) -> bytes:
        """The numbers; open to everybody, since they name nothing."""
        self._metrics.due(await self._count_due())
        return answer(request, 200, METRICS_TYPE, self._metrics.text())

    async def _state(self, name: str, check: Check) -> str:
        try:
            await Deferred.fromCoroutine(_awaited(check)).addTimeout(PATIENCE, self._clock)
        except NoSpace:
            return "no space"  # known, and said elsewhere: no news for the log at each look
        except Exception:  # noqa: BLE001 - whatever is wrong with it is the answer
            self._log.failure("the check of {name} failed", name=name)
            return "failing"
        return "ok"

    async def _count_due(self) -> float:
        try:
            return len(await self._store.due_statuses(self._wall(), limit=DUE_LIMIT))
        except SayciError:
            return math.nan


async def _awaited(check: Check) -> None:
    await check()
