"""health.py: whether the server is well, and its numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from sayci.build import BuildState
from sayci.certificate import Certificate
from sayci.delivery import Verdict
from sayci.errors import Unavailable
from sayci.event import BuildChanged, DeliveryChanged, StatusesDue
from sayci.space import Space, Volume
from sayci.step import Result
from sayci.web.health import PATIENCE, CountedReporter, Health, Metrics
from tests.factories import NOW, a_build, a_delivery, a_due_status

reactor: Any = global_reactor


@pytest.fixture
def metrics(bus):
    return Metrics(bus)


def value(metrics, sample, /, **labels):
    """The sample of that name and these labels, None when there is none."""
    return metrics.registry.get_sample_value(sample, labels)


async def ask(http, served, path, method="GET"):
    response = await http.request(method, served.url(path))
    return response, await response.content()


# -- /healthz


@pytest_twisted.ensureDeferred
async def test_a_server_whose_parts_answer_is_well(store, metrics, clock, serve, http):
    served = await serve(Health(store, metrics, clock, lambda: NOW).app.resource())
    response, body = await ask(http, served, "/healthz")
    assert (response.code, json.loads(body)) == (200, {"status": "ok", "database": "ok"})
    assert response.headers.getRawHeaders("cache-control") == ["no-store"]
    assert not clock.getDelayedCalls()
    head, body = await ask(http, served, "/healthz", "HEAD")
    assert (head.code, body) == (200, b"")


@pytest_twisted.ensureDeferred
async def test_a_lack_of_space_is_said_and_is_no_news_for_the_log(store, metrics, clock, serve, http):
    space = Space(lambda: [Volume("/srv/sayci", 100 << 30, 7)])
    metrics.watch_space(space)
    checks = {"space": space.check}
    served = await serve(Health(store, metrics, clock, lambda: NOW, checks).app.resource())
    with capturedLogs() as events:
        response, body = await ask(http, served, "/healthz")
    assert (response.code, json.loads(body)) == (503, {"status": "failing", "database": "ok", "space": "no space"})
    assert not [event for event in events if event["log_namespace"].startswith("sayci")]
    assert value(metrics, "sayci_disk_free_bytes", path="/srv/sayci") == 7


@pytest_twisted.ensureDeferred
async def test_a_part_that_fails_is_named_and_why_is_only_in_the_log(store, metrics, clock, serve, http):
    async def disk():
        raise Unavailable("the disk is full", "/srv/sayci")

    served = await serve(Health(store, metrics, clock, lambda: NOW, {"disk": disk}).app.resource())
    with capturedLogs() as logged:
        response, body = await ask(http, served, "/healthz")
    assert (response.code, json.loads(body)) == (503, {"status": "failing", "database": "ok", "disk": "failing"})
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [Unavailable]


@pytest_twisted.ensureDeferred
async def test_a_part_that_does_not_answer_is_not_waited_for(store, metrics, clock, serve, http):
    asked: Deferred[None] = Deferred()

    def silent() -> Deferred[None]:
        asked.callback(None)
        return Deferred()

    served = await serve(Health(store, metrics, clock, lambda: NOW, {"launcher": silent}).app.resource())
    answer = Deferred.fromCoroutine(ask(http, served, "/healthz"))
    await asked
    await deferLater(reactor, 0)  # the limit is set after the part was asked
    clock.advance(PATIENCE)
    response, body = await answer
    assert (response.code, json.loads(body)["launcher"]) == (503, "failing")


# -- /metrics


@pytest_twisted.ensureDeferred
async def test_the_numbers_are_text_that_prometheus_reads_and_name_nothing(store, metrics, bus, clock, serve, http):
    bus.publish(BuildChanged(a_build(project="secret-project", asked_by="ada")))
    metrics.watch("sayci_feeds", "Live feeds that are open now", lambda: 3)
    served = await serve(Health(store, metrics, clock, lambda: NOW).app.resource())
    response, body = await ask(http, served, "/metrics")
    assert response.headers.getRawHeaders("content-type") == ["text/plain; version=0.0.4; charset=utf-8"]
    text = body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {"process_resident_memory_bytes", "process_open_fds", "sayci_builds", "sayci_feeds"} <= set(families)
    assert families["sayci_statuses_due"].samples[0].value == 0
    assert families["sayci_feeds"].samples[0].value == 3
    assert "secret-project" not in text
    assert "ada" not in text


def test_builds_are_counted_where_they_are_and_once_when_they_end(metrics, bus):
    bus.publish(BuildChanged(a_build(id=1)))
    bus.publish(BuildChanged(a_build(id=2)))
    bus.publish(BuildChanged(a_build(BuildState.RUNNING, id=1)))
    metrics.text()
    assert value(metrics, "sayci_builds", state="queued") == 1
    assert value(metrics, "sayci_builds", state="running") == 1
    for _ in range(2):
        bus.publish(BuildChanged(a_build(id=1, result=Result.FAILURE)))
    metrics.text()
    assert value(metrics, "sayci_builds", state="running") == 0
    assert value(metrics, "sayci_builds_finished_total", result="failure") == 1


def test_builds_that_an_earlier_server_left_are_counted(metrics, bus):
    metrics.resume([a_build(BuildState.RUNNING, id=7)])
    metrics.text()
    assert value(metrics, "sayci_builds", state="running") == 1
    bus.publish(BuildChanged(a_build(id=7, result=Result.SUCCESS)))
    assert value(metrics, "sayci_builds_finished_total", result="success") == 1


def test_the_seconds_of_each_step_are_counted_once(metrics, bus):
    bus.publish(BuildChanged(a_build(BuildState.RUNNING, id=1)))
    for _ in range(2):
        bus.publish(BuildChanged(a_build(id=1, result=Result.SUCCESS)))
    assert value(metrics, "sayci_step_seconds_count", step="test") == 1
    assert value(metrics, "sayci_step_seconds_sum", step="test") == 59
    assert value(metrics, "sayci_step_seconds_bucket", step="test", le="60.0") == 1
    assert value(metrics, "sayci_step_seconds_bucket", step="test", le="30.0") == 0


def test_deliveries_and_answers_are_counted(metrics, bus):
    for verdict in (Verdict.RECEIVED, Verdict.BUILT, Verdict.RECEIVED):
        bus.publish(DeliveryChanged(a_delivery(verdict=verdict)))
    bus.publish(StatusesDue())
    metrics.delivery_refused()
    for code in (200, 200, 404):
        metrics.answered(code)
    assert value(metrics, "sayci_deliveries_total", verdict="received") == 2
    assert value(metrics, "sayci_deliveries_total", verdict="built") == 1
    assert value(metrics, "sayci_deliveries_refused_total") == 1
    assert value(metrics, "sayci_http_answers_total", code="200") == 2


def test_certificates_are_watched_as_they_are_when_somebody_looks(metrics):
    class Keeper:
        listed: list[Certificate] = []  # noqa: RUF012 - one test's

        def certificates(self):
            return self.listed

    keeper = Keeper()
    metrics.watch_certificates(keeper)
    assert b"# TYPE sayci_certificate_failures gauge" in metrics.text()
    keeper.listed = [
        Certificate("ci.example", "Good Authority R1", NOW - 9, NOW + 9),
        Certificate("new.example", not_after=NOW + 9, error="no answer", tries=3),
    ]
    names = ("sayci_certificate_not_after_seconds", "sayci_certificate_failures")
    assert [value(metrics, name, name="ci.example") for name in names] == [NOW + 9, 0]
    assert [value(metrics, name, name="new.example") for name in names] == [0, 3]
    families = {family.name for family in text_string_to_metric_families(metrics.text().decode())}
    assert set(names) <= families
    keeper.listed = keeper.listed[:1]
    assert value(metrics, names[1], name="new.example") is None


def test_two_gauges_cannot_have_one_name(metrics):
    metrics.watch_each("sayci_things", "Things", "kind", dict)
    with pytest.raises(ValueError, match="sayci_things"):
        metrics.watch_each("sayci_things", "Things", "kind", dict)


@pytest_twisted.ensureDeferred
async def test_posts_of_commit_statuses_are_counted_by_their_outcome(metrics):
    class Forge:
        error: Exception | None = None
        posted: list[Any] = []  # noqa: RUF012 - one test's

        async def post(self, status, access_token):
            if self.error is not None:
                raise self.error
            self.posted.append((status, access_token))

    forge = Forge()
    reporter = CountedReporter(forge, metrics)
    await reporter.post(a_due_status(), "token")
    forge.error = Unavailable("the forge is down")
    with pytest.raises(Unavailable):
        await reporter.post(a_due_status(), "token")
    assert forge.posted == [(a_due_status(), "token")]
    assert value(metrics, "sayci_statuses_total", outcome="posted") == 1
    assert value(metrics, "sayci_statuses_total", outcome="failed") == 1


def test_two_servers_in_one_process_do_not_share_their_numbers(bus):
    first, second = Metrics(bus), Metrics(bus)
    first.answered(200)
    assert value(second, "sayci_http_answers_total", code="200") is None
