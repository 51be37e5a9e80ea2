"""The contract of interfaces.Store: what every store does, on every database."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import hypothesis
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sayci.account import Access, Actor, Origin, digest_of
from sayci.build import Build, BuildState, Cause
from sayci.delivery import Verdict
from sayci.deploying import Deploying
from sayci.errors import (
    IllegalMove,
    Invalid,
    NameTaken,
    NotGreen,
    UnknownBuild,
    UnknownDelivery,
    UnknownProject,
    UnknownStep,
    UnknownToken,
)
from sayci.interfaces import Wanted
from sayci.outlook import LENGTH, Outlook, past_of
from sayci.project import SECRETS_LIMIT, VARIABLES_LIMIT, MirrorState, Scope
from sayci.report import DEPLOY_CONTEXT, TEST_CONTEXT, CommitStatus, statuses_of
from sayci.step import CHECKOUT, DEPLOY, TEST, Result
from sayci.store.sql_store import SqlStore
from sayci.store.statuses import STILL_TOLD
from tests.factories import (
    COMMIT,
    MAIN,
    NOW,
    OTHER_COMMIT,
    a_variable,
    commit,
    new_build,
    new_delivery,
    settings,
)
from tests.postgresql import running_server

HUGE = 10**30


@pytest.fixture(scope="session")
def postgresql():
    with running_server() as server:
        yield server


@pytest.fixture(params=("sqlite", "postgresql"))
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").migrated()
    return f"sqlite:///{tmp_path}/sayci.sqlite"


@pytest_twisted.async_yield_fixture
async def store(url, tmp_path):
    opened = SqlStore.open(url, tmp_path / "key", reactor)
    yield opened
    await opened.close()


@pytest_twisted.async_fixture
async def project(store):
    return await store.add_project(settings(), "webhook secret", "access token", NOW)


@pytest_twisted.async_fixture
async def other(store):
    """A second project."""
    return await store.add_project(settings("docs"), "another secret", "", NOW)


def together(*coroutines):
    """Run them at the same time; the outcomes, exceptions among them, in their order."""
    deferreds = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    return gatherResults([deferred.addErrback(lambda failure: failure.value) for deferred in deferreds])


async def finish(store, build, result=Result.SUCCESS, *, reason=""):
    """Take a queued build to its end; its test ends with `result`, a deploy after it is run if that is a success."""
    build = await store.advance(build.id, lambda old: old.claimed(NOW + 1))
    for step in build.steps:
        ended = result if step.name != CHECKOUT else Result.SUCCESS
        build = await store.advance(
            build.id,
            lambda old, name=step.name: old.with_step(old.step(name).started(NOW + 2, "a handle")),
        )
        build = await store.advance(
            build.id,
            lambda old, name=step.name, ended=ended: old.with_step(
                old.step(name).finished(NOW + 3, ended, reason, exit_code=0, duration=1.5)
            ),
        )
        if ended is not Result.SUCCESS:
            break
    return await store.advance(build.id, lambda old: old.finished(NOW + 4))


# ------------------------------------------------------------------------------------------------ projects


@pytest_twisted.ensureDeferred
async def test_a_project_is_found_by_its_name_in_any_case_and_by_its_id(store):
    given = settings(
        "Web-Shop",
        default_branch="trunk",
        deploy_branch="release/1",
        test_target="check",
        deploy_target="ship",
        time_limit=90.5,
        silence_limit=30.5,
        output_limit=1 << 20,
        ends_at_output_limit=True,
        process_limit=100,
        memory_limit=1 << 40,
        workspace_limit=1 << 41,
        open_files_limit=1000,
        forge_api="https://forge.example/api/v3",
        image="registry.example:5000/ci:1",
    )
    project = await store.add_project(given, "secret", "", NOW + 0.25)
    assert project.settings == given
    assert (project.created_at, project.mirror, project.mirror_error) == (NOW + 0.25, MirrorState.CLONING, "")
    assert not project.has_access_token
    assert await store.project("web-SHOP") == project
    assert await store.project_by_id(project.id) == project


@pytest.mark.parametrize("name", ("nobody", "", "web-shop\0", "w\u212ab", "x" * 300, "' OR 1=1 --", "web%"))
@pytest_twisted.ensureDeferred
async def test_an_unknown_name_is_an_unknown_project(store, project, name):
    with pytest.raises(UnknownProject):
        await store.project(name)
    with pytest.raises(UnknownProject):
        await store.webhook_secret(name)


@pytest_twisted.ensureDeferred
async def test_a_letter_whose_lower_case_is_ascii_is_another_name(store):
    await store.add_project(settings("kiosk"), "secret", "", NOW)
    with pytest.raises(UnknownProject):
        await store.project("\u212aiosk")  # KELVIN SIGN


@pytest_twisted.ensureDeferred
async def test_an_unknown_id_is_an_unknown_project(store):
    for project_id in (0, 1, -1, HUGE):
        with pytest.raises(UnknownProject):
            await store.project_by_id(project_id)
        with pytest.raises(UnknownProject):
            await store.access_token(project_id)
        with pytest.raises(UnknownProject):
            await store.set_mirror(project_id, MirrorState.READY)


@pytest_twisted.ensureDeferred
async def test_a_name_that_differs_only_in_case_is_taken(store, project):
    with pytest.raises(NameTaken):
        await store.add_project(settings("WEB-shop"), "secret", "", NOW)
    assert len((await store.projects()).items) == 1


@pytest_twisted.ensureDeferred
async def test_of_two_projects_of_one_name_at_once_one_is_made(store):
    outcomes = await together(*(store.add_project(settings(name), "secret", "", NOW) for name in ("shop", "SHOP")))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Project", "NameTaken"]


@pytest_twisted.ensureDeferred
async def test_projects_are_listed_by_id_in_pages(store):
    ids = [(await store.add_project(settings(f"p{number}"), "secret", "", NOW)).id for number in range(5)]
    first = await store.projects(limit=2)
    second = await store.projects(after=first.next, limit=2)
    third = await store.projects(after=second.next, limit=2)
    assert [item.id for page in (first, second, third) for item in page.items] == ids
    assert third.next is None
    assert (await store.projects(after=HUGE)).items == []
    assert len((await store.projects(limit=-1)).items) == 1
    assert len((await store.projects(limit=HUGE)).items) == 5


@pytest_twisted.ensureDeferred
async def test_settings_are_changed_by_a_function_of_the_present_ones(store, project):
    changed = await store.change_project(
        "WEB-SHOP", lambda old: dataclasses.replace(old, deploy_branch="main", time_limit=60.0)
    )
    assert changed.settings == dataclasses.replace(project.settings, deploy_branch="main", time_limit=60.0)
    assert await store.project("web-shop") == changed
    with pytest.raises(UnknownProject):
        await store.change_project("nobody", lambda old: old)


@pytest_twisted.ensureDeferred
async def test_what_the_change_of_settings_raises_changes_nothing(store, project):
    with pytest.raises(Invalid):
        await store.change_project("web-shop", lambda old: dataclasses.replace(old, time_limit=-1))
    assert await store.project("web-shop") == project


@pytest_twisted.ensureDeferred
async def test_a_project_takes_another_name_unless_it_is_taken(store, project, other):
    def named(name):
        return lambda old: dataclasses.replace(old, name=name)

    with pytest.raises(NameTaken):
        await store.change_project("web-shop", named("DOCS"))
    assert (await store.change_project("web-shop", named("Web-Shop"))).name == "Web-Shop"
    assert (await store.change_project("web-shop", named("store"))).id == project.id
    with pytest.raises(UnknownProject):
        await store.project("web-shop")


@pytest_twisted.ensureDeferred
async def test_the_state_of_the_mirror_is_kept(store, project):
    failed = await store.set_mirror(project.id, MirrorState.FAILED, "the repository did not answer")
    assert (failed.mirror, failed.mirror_error) == (MirrorState.FAILED, "the repository did not answer")
    ready = await store.set_mirror(project.id, MirrorState.READY)
    assert (ready.mirror, ready.mirror_error) == (MirrorState.READY, "")
    assert await store.project_by_id(project.id) == ready


@pytest_twisted.ensureDeferred
async def test_an_access_token_is_kept_replaced_and_removed(store, project):
    assert project.has_access_token
    assert await store.access_token(project.id) == "access token"
    assert (await store.set_access_token("Web-Shop", "new täken")).has_access_token
    assert await store.access_token(project.id) == "new täken"
    assert not (await store.set_access_token("web-shop", "")).has_access_token
    assert await store.access_token(project.id) == ""
    with pytest.raises(UnknownProject):
        await store.set_access_token("nobody", "token")


@pytest_twisted.ensureDeferred
async def test_the_webhook_secret_follows_each_write_at_once(store, project):
    assert await store.webhook_secret("WEB-shop") == (project, "webhook secret")
    await store.set_webhook_secret("web-shop", "new secret")
    assert await store.webhook_secret("web-shop") == (project, "new secret")
    ready = await store.set_mirror(project.id, MirrorState.READY)
    assert await store.webhook_secret("web-shop") == (ready, "new secret")
    changed = await store.change_project("web-shop", lambda old: dataclasses.replace(old, name="store"))
    assert await store.webhook_secret("store") == (changed, "new secret")
    with pytest.raises(UnknownProject):
        await store.webhook_secret("web-shop")
    without = await store.set_access_token("store", "")
    assert await store.webhook_secret("store") == (without, "new secret")
    await store.remove_project("store")
    with pytest.raises(UnknownProject):
        await store.webhook_secret("store")
    with pytest.raises(UnknownProject):
        await store.set_webhook_secret("store", "secret")


@pytest_twisted.ensureDeferred
async def test_a_removed_project_takes_all_its_rows_with_it_and_its_numbers_are_not_used_again(store, project, other):
    build = (await store.add_build(new_build(project.id), NOW)).build
    await finish(store, build)
    delivery = (await store.accept(new_delivery(project.id))).delivery
    await store.set_variable(project.id, a_variable())
    kept = (await store.add_build(new_build(other.id), NOW)).build
    assert await store.remove_project("WEB-SHOP") == project
    with pytest.raises(UnknownProject):
        await store.project("web-shop")
    with pytest.raises(UnknownBuild):
        await store.build(project.id, 1)
    with pytest.raises(UnknownBuild):
        await store.advance(build.id, lambda old: old)
    with pytest.raises(UnknownDelivery):
        await store.delivery(project.id, delivery.id)
    assert await store.variables(project.id) == []
    assert await store.told_statuses(project.id, COMMIT) == []
    assert await store.due_statuses(NOW) == []
    assert await store.open_builds() == [kept]
    again = await store.add_project(settings(), "secret", "", NOW)
    assert again.id > other.id
    assert (await store.add_build(new_build(again.id), NOW)).build.id > kept.id
    assert (await store.accept(new_delivery(again.id))).delivery.id > delivery.id
    with pytest.raises(UnknownProject):
        await store.remove_project("nobody")


@pytest_twisted.ensureDeferred
async def test_a_project_whose_build_waits_or_runs_is_not_removed(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    with pytest.raises(IllegalMove):
        await store.remove_project("web-shop")
    await store.advance(build.id, lambda old: old.claimed(NOW))
    with pytest.raises(IllegalMove):
        await store.remove_project("web-shop")
    assert await store.project("web-shop") == project


# ------------------------------------------------------------------------------------------------ environment


@pytest_twisted.ensureDeferred
async def test_variables_are_listed_by_name_and_secret_ones_without_their_values(store, project, other):
    plain = a_variable("LEVEL", "debug\nwith ünicode", scope=Scope.TEST)
    secret = a_variable("COVERALLS_TOKEN", "s3cr3t", scope=Scope.DEPLOY, secret=True)
    last = a_variable("a_small_letter", "")
    for variable in (last, plain, secret):
        await store.set_variable(project.id, variable)
    await store.set_variable(other.id, a_variable("OTHER"))
    listed = await store.variables(project.id)
    assert listed == [dataclasses.replace(secret, value=None), plain, last]
    assert await store.variables(project.id, revealed=True) == [secret, plain, last]


@pytest_twisted.ensureDeferred
async def test_a_variable_is_replaced_also_by_a_secret_one_and_back(store, project):
    for variable in (a_variable(), a_variable(value="s3cr3t", secret=True), a_variable(value="plain")):
        await store.set_variable(project.id, variable)
        assert await store.variables(project.id, revealed=True) == [variable]


@pytest_twisted.ensureDeferred
async def test_a_variable_is_removed_once(store, project):
    await store.set_variable(project.id, a_variable())
    assert await store.remove_variable(project.id, "LEVEL")
    assert not await store.remove_variable(project.id, "LEVEL")
    assert await store.variables(project.id) == []


@pytest_twisted.ensureDeferred
async def test_a_project_has_so_many_variables_and_no_more(store, project):
    await together(
        *(store.set_variable(project.id, a_variable(f"V{number}")) for number in range(VARIABLES_LIMIT - 1)),
        store.set_variable(project.id, a_variable("SECRET", secret=True)),
    )
    with pytest.raises(Invalid):
        await store.set_variable(project.id, a_variable("ONE_MORE"))
    await store.set_variable(project.id, a_variable("V0", "replaced"))
    assert len(await store.variables(project.id)) == VARIABLES_LIMIT


@pytest_twisted.ensureDeferred
async def test_a_project_has_so_many_secrets_and_no_more(store, project):
    await together(
        *(store.set_variable(project.id, a_variable(f"S{number}", secret=True)) for number in range(SECRETS_LIMIT))
    )
    with pytest.raises(Invalid):
        await store.set_variable(project.id, a_variable("ONE_MORE", secret=True))
    await store.set_variable(project.id, a_variable("S0", "replaced", secret=True))
    await store.set_variable(project.id, a_variable("PLAIN"))
    assert len(await store.variables(project.id)) == SECRETS_LIMIT + 1


@pytest_twisted.ensureDeferred
async def test_a_variable_needs_a_value_and_a_project(store, project):
    with pytest.raises(Invalid):
        await store.set_variable(project.id, a_variable(value=None))
    with pytest.raises(UnknownProject):
        await store.set_variable(project.id + 1, a_variable())


# ------------------------------------------------------------------------------------------------ deliveries


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_kept_as_it_came(store, project):
    headers = (("x-one", "a"), ("x-one", "b"), ("x-odd", "ü\0\ud800"))
    new = new_delivery(project.id, headers=headers, body=b"\x00\xff{}", received_at=NOW + 0.125)
    accepted = await store.accept(new)
    assert accepted.fresh
    delivery = accepted.delivery
    assert (delivery.project_id, delivery.forge_id, delivery.event) == (project.id, new.forge_id, "push")
    assert (delivery.verdict, delivery.explanation, delivery.build_number) == (Verdict.RECEIVED, "", None)
    assert (delivery.received_at, delivery.size) == (NOW + 0.125, 4)
    kept, stored = await store.delivery(project.id, delivery.id)
    assert kept == delivery
    assert (stored.headers, stored.body) == (headers, b"\x00\xff{}")


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_came_before_is_answered_as_it_is_now(store, project, other):
    first = await store.accept(new_delivery(project.id))
    settled = await store.settle(first.delivery.id, Verdict.IGNORED, "Not ours.", None)
    again = await store.accept(new_delivery(project.id, body=b"something else"))
    assert (again.fresh, again.delivery) == (False, settled.delivery)
    assert (await store.accept(new_delivery(other.id))).fresh


@pytest_twisted.ensureDeferred
async def test_of_deliveries_with_one_id_at_once_one_is_fresh(store, project):
    outcomes = await together(*(store.accept(new_delivery(project.id)) for _ in range(8)))
    assert sorted(outcome.fresh for outcome in outcomes) == [False] * 7 + [True]
    assert len({outcome.delivery.id for outcome in outcomes}) == 1


@pytest_twisted.ensureDeferred
async def test_what_no_database_can_keep_is_kept_in_other_letters(store, project):
    new = new_delivery(project.id, forge_id="a\0\ud800", event="p\0", explanation="\0\udfff")
    accepted = await store.accept(new)
    assert accepted.delivery.forge_id == "a\ufffd?"
    assert (await store.delivery(project.id, accepted.delivery.id))[0] == accepted.delivery
    assert not (await store.accept(new)).fresh


@pytest_twisted.ensureDeferred
async def test_deliveries_are_sifted_by_their_verdicts(store, project, other):
    verdicts = [Verdict.IGNORED, Verdict.FAILED, Verdict.RECEIVED, Verdict.IGNORED]
    for number, verdict in enumerate(verdicts):
        await store.accept(new_delivery(project.id, forge_id=str(number), verdict=verdict))
        await store.accept(new_delivery(other.id, forge_id=str(number), verdict=verdict))
    found = await store.deliveries(project.id, verdicts={Verdict.IGNORED, Verdict.FAILED})
    assert [each.forge_id for each in found.items] == ["3", "1", "0"]
    first = await store.deliveries(project.id, verdicts={Verdict.IGNORED}, limit=1)
    assert [each.forge_id for each in first.items] == ["3"]
    rest = await store.deliveries(project.id, verdicts={Verdict.IGNORED}, before=first.next)
    assert ([each.forge_id for each in rest.items], rest.next) == (["0"], None)
    assert not (await store.deliveries(project.id, verdicts={Verdict.BUILT})).items


@pytest_twisted.ensureDeferred
async def test_of_many_deliveries_a_bounded_number_is_sifted(store, project, monkeypatch):
    monkeypatch.setattr("sayci.store.deliveries.LOOKED_AT", 3)
    for number in range(5):
        verdict = Verdict.FAILED if number == 0 else Verdict.IGNORED
        await store.accept(new_delivery(project.id, forge_id=str(number), verdict=verdict))
    none = await store.deliveries(project.id, verdicts={Verdict.FAILED})
    assert not none.items
    assert none.next is not None
    found = await store.deliveries(project.id, verdicts={Verdict.FAILED}, before=none.next)
    assert ([each.forge_id for each in found.items], found.next) == (["0"], None)


@pytest_twisted.ensureDeferred
async def test_builds_are_found_by_their_numbers(store, project, other):
    added = [(await store.add_build(new_build(project.id), NOW)).build for _ in range(3)]
    await store.add_build(new_build(other.id), NOW)
    found = await store.builds_numbered(project.id, {1, 3, 99})
    assert found == {1: await store.build(project.id, 1), 3: added[2]}
    assert await store.builds_numbered(project.id, ()) == {}


@pytest_twisted.ensureDeferred
async def test_a_delivery_to_no_project_is_refused_and_harms_no_other(store, project):
    outcomes = await together(
        store.accept(new_delivery(project.id, forge_id="1")),
        store.accept(new_delivery(project.id + 1, forge_id="2")),
        store.accept(new_delivery(project.id, forge_id="3")),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Accepted", "UnknownProject", "Accepted"]
    assert len((await store.deliveries(project.id)).items) == 2


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_settled_with_its_build_in_one_step(store, project):
    delivery = (await store.accept(new_delivery(project.id))).delivery
    settled = await store.settle(
        delivery.id, Verdict.BUILT, "", new_build(project.id, delivery_id=delivery.id, deploys=True)
    )
    assert settled.build == await store.build(project.id, 1)
    assert (settled.build.delivery_id, settled.build.state) == (delivery.id, BuildState.QUEUED)
    assert abs(settled.build.created_at - reactor.seconds()) < 60
    assert settled.delivery == dataclasses.replace(delivery, verdict=Verdict.BUILT, build_number=1)
    assert (await store.delivery(project.id, delivery.id))[0] == settled.delivery


@pytest_twisted.ensureDeferred
async def test_a_settled_build_supersedes_queued_ones_of_its_branch(store, project):
    old = (await store.add_build(new_build(project.id), NOW)).build
    delivery = (await store.accept(new_delivery(project.id))).delivery
    settled = await store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id, commit=OTHER_COMMIT))
    assert [build.number for build in settled.superseded] == [old.number]


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_has_made_a_build_makes_no_other(store, project):
    delivery = (await store.accept(new_delivery(project.id))).delivery
    outcomes = await together(
        *(store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id)) for _ in range(3)),
        store.settle(delivery.id, Verdict.IGNORED, "Not ours.", None),
    )
    assert {outcome.build.number for outcome in outcomes} == {1}
    assert {outcome.delivery.verdict for outcome in outcomes} == {Verdict.BUILT}
    assert len((await store.builds(project.id)).items) == 1


@pytest_twisted.ensureDeferred
async def test_settling_what_is_not_there_changes_nothing(store, project):
    with pytest.raises(UnknownDelivery):
        await store.settle(1, Verdict.BUILT, "", new_build(project.id))
    delivery = (await store.accept(new_delivery(project.id))).delivery
    with pytest.raises(UnknownProject):
        await store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id + 1))
    assert (await store.delivery(project.id, delivery.id))[0] == delivery
    assert (await store.builds(project.id)).items == []


@pytest_twisted.ensureDeferred
async def test_a_failed_delivery_can_be_settled_again(store, project):
    delivery = (await store.accept(new_delivery(project.id))).delivery
    failed = await store.settle(delivery.id, Verdict.FAILED, "The body is no JSON.", None)
    assert (failed.delivery.verdict, failed.delivery.explanation) == (Verdict.FAILED, "The body is no JSON.")
    assert failed.build is None
    settled = await store.settle(delivery.id, Verdict.BUILT, "", new_build(project.id))
    assert (settled.delivery.verdict, settled.delivery.build_number) == (Verdict.BUILT, 1)


@pytest_twisted.ensureDeferred
async def test_deliveries_that_nobody_looked_at_are_superseded_together(store, project):
    accepted = [(await store.accept(new_delivery(project.id, forge_id=str(number)))).delivery for number in range(4)]
    ignored = (await store.settle(accepted[1].id, Verdict.IGNORED, "Not ours.", None)).delivery
    await store.supersede([delivery.id for delivery in accepted[:3]] + [HUGE], "A newer push came.")
    expected = [
        dataclasses.replace(accepted[0], verdict=Verdict.SUPERSEDED, explanation="A newer push came."),
        ignored,
        dataclasses.replace(accepted[2], verdict=Verdict.SUPERSEDED, explanation="A newer push came."),
        accepted[3],
    ]
    assert (await store.deliveries(project.id)).items == expected[::-1]
    await store.supersede([], "Nothing.")
    assert (await store.deliveries(project.id)).items == expected[::-1]


@pytest_twisted.ensureDeferred
async def test_what_a_stopped_server_left_is_found_oldest_first(store, project):
    accepted = [
        (await store.accept(new_delivery(project.id, forge_id=str(number), body=b"%d" % number))).delivery
        for number in range(4)
    ]
    await store.accept(new_delivery(project.id, forge_id="ignored", verdict=Verdict.IGNORED))
    await store.settle(accepted[1].id, Verdict.SUPERSEDED, "", None)
    left = await store.unsettled(limit=2)
    assert [(delivery, stored.body) for delivery, stored in left] == [(accepted[0], b"0"), (accepted[2], b"2")]
    assert [delivery for delivery, _ in await store.unsettled(after=accepted[2].id)] == [accepted[3]]
    assert await store.unsettled(after=accepted[3].id) == []


@pytest_twisted.ensureDeferred
async def test_large_bodies_that_a_stopped_server_left_come_a_few_at_a_time_and_all(store, project):
    sizes = (1, 20_000_000, 20_000_000, 1, 1)
    ids = [
        (await store.accept(new_delivery(project.id, forge_id=str(number), body=b" " * size))).delivery.id
        for number, size in enumerate(sizes)
    ]
    seen: list[list[int]] = [[]]
    while page := await store.unsettled(after=(seen[-1] or [0])[-1]):
        seen.append([delivery.id for delivery, _ in page])
    assert seen[1:] == [ids[:2], ids[2:]]


@pytest_twisted.ensureDeferred
async def test_one_body_beyond_all_measure_comes_alone(store, project):
    ids = [
        (await store.accept(new_delivery(project.id, forge_id=str(size), body=b" " * size))).delivery.id
        for size in (40_000_000, 1)
    ]
    assert [delivery.id for delivery, _ in await store.unsettled()] == ids[:1]


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_found_in_its_own_project_alone(store, project, other):
    delivery = (await store.accept(new_delivery(project.id))).delivery
    for project_id, delivery_id in ((other.id, delivery.id), (project.id, delivery.id + 1), (project.id, HUGE)):
        with pytest.raises(UnknownDelivery):
            await store.delivery(project_id, delivery_id)


@pytest_twisted.ensureDeferred
async def test_deliveries_are_listed_newest_first_in_pages(store, project, other):
    ids = [(await store.accept(new_delivery(project.id, forge_id=str(number)))).delivery.id for number in range(5)]
    await store.accept(new_delivery(other.id))
    first = await store.deliveries(project.id, limit=3)
    second = await store.deliveries(project.id, before=first.next, limit=3)
    assert [item.id for page in (first, second) for item in page.items] == ids[::-1]
    assert second.next is None
    assert len((await store.deliveries(project.id, before=HUGE)).items) == 5
    assert (await store.deliveries(project.id, before=-HUGE)).items == []


# ------------------------------------------------------------------------------------------------ builds


@pytest_twisted.ensureDeferred
async def test_a_build_is_kept_as_it_was_asked_for(store, project):
    new = new_build(
        project.id, cause=Cause.REBUILD, deploys=True, source=7, asked_by="ada", message="Ünï\ncode", author="Ada"
    )
    added = await store.add_build(new, NOW + 0.5)
    build = added.build
    assert added.superseded == []
    assert (build.project_id, build.project, build.number, build.attempt) == (project.id, "web-shop", 1, 1)
    assert (build.cause, build.ref, build.commit, build.steps) == (Cause.REBUILD, MAIN, COMMIT, new.steps)
    assert (build.source, build.asked_by, build.message, build.author) == (7, "ada", "Ünï\ncode", "Ada")
    assert (build.state, build.result, build.reason, build.created_at) == (BuildState.QUEUED, None, "", NOW + 0.5)
    assert await store.build(project.id, 1) == build


@pytest_twisted.ensureDeferred
async def test_numbers_count_per_project_and_ids_for_all(store, project, other):
    outcomes = await together(
        *(
            store.add_build(new_build(project_id, ref=f"refs/heads/b{number}"), NOW)
            for number in range(5)
            for project_id in (project.id, other.id)
        )
    )
    builds = [added.build for added in outcomes]
    assert [build.number for build in builds if build.project_id == project.id] == [1, 2, 3, 4, 5]
    assert [build.number for build in builds if build.project_id == other.id] == [1, 2, 3, 4, 5]
    assert len({build.id for build in builds}) == 10


@pytest_twisted.ensureDeferred
async def test_a_number_that_was_not_used_is_not_lost(store, project):
    outcomes = await together(
        store.add_build(new_build(project.id), NOW),
        store.advance(HUGE, lambda old: old),
        store.add_build(new_build(project.id), NOW),
    )
    assert [outcome.build.number for outcome in (outcomes[0], outcomes[2])] == [1, 2]
    with pytest.raises(UnknownProject):
        await store.add_build(new_build(project.id + 1), NOW)


@pytest_twisted.ensureDeferred
async def test_a_newer_push_supersedes_queued_pushes_of_its_branch_and_nothing_else(store, project, other):
    async def add(**fields):
        return (await store.add_build(new_build(**{"project_id": project.id, "supersedes": False} | fields), NOW)).build

    running = await add()
    await store.advance(running.id, lambda old: old.claimed(NOW))
    by_push = [await add(), await add(deploys=True)]
    spared = [
        await add(cause=Cause.MANUAL),
        await add(cause=Cause.REBUILD),
        await add(cause=Cause.DEPLOY),
        await add(ref="refs/heads/other"),
        await add(project_id=other.id),
    ]
    added = await store.add_build(new_build(project.id, commit=OTHER_COMMIT), NOW + 9)
    assert [build.id for build in added.superseded] == [build.id for build in by_push]
    for build in added.superseded:
        assert (build.state, build.result, build.finished_at) == (BuildState.FINISHED, Result.CANCELLED, NOW + 9)
        assert build.reason == f"superseded by #{added.build.number}, a newer push to main"
        assert {step.result for step in build.steps} == {Result.SKIPPED}
        assert await store.build(project.id, build.number) == build
    is_open = {build.id for build in await store.open_builds()}
    assert is_open == {running.id, added.build.id, *(build.id for build in spared)}


@pytest_twisted.ensureDeferred
async def test_a_build_that_supersedes_nothing_leaves_all_alone(store, project):
    await store.add_build(new_build(project.id), NOW)
    assert (await store.add_build(new_build(project.id, supersedes=False), NOW)).superseded == []
    assert len(await store.open_builds()) == 2


@pytest_twisted.ensureDeferred
async def test_every_move_of_a_build_is_kept(store, project):
    build = (await store.add_build(new_build(project.id, deploys=True), NOW)).build
    finished = await finish(store, build, reason="a sentence")
    assert (finished.state, finished.result) == (BuildState.FINISHED, Result.SUCCESS)
    assert (finished.started_at, finished.finished_at) == (NOW + 1, NOW + 4)
    for step in finished.steps:
        assert (step.result, step.reason, step.handle, step.exit_code) == (Result.SUCCESS, "a sentence", "a handle", 0)
        assert (step.started_at, step.finished_at, step.duration) == (NOW + 2, NOW + 3, 1.5)
    assert await store.build(project.id, build.number) == finished


@pytest_twisted.ensureDeferred
async def test_an_interrupted_build_is_queued_as_new(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    await store.advance(build.id, lambda old: old.claimed(NOW + 1))
    await store.advance(build.id, lambda old: old.with_step(old.step(CHECKOUT).started(NOW + 1, "handle")))
    queued = await store.advance(build.id, lambda old: old.requeued("the server was interrupted"))
    assert queued == dataclasses.replace(build, attempt=2, reason="the server was interrupted")
    assert await store.build(project.id, 1) == queued


@pytest_twisted.ensureDeferred
async def test_an_illegal_move_changes_nothing(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    with pytest.raises(IllegalMove):
        await store.advance(build.id, lambda old: old.finished(NOW))
    assert await store.build(project.id, 1) == build
    for build_id in (build.id + 1, HUGE):
        with pytest.raises(UnknownBuild):
            await store.advance(build_id, lambda old: old)


@pytest_twisted.ensureDeferred
async def test_of_two_claims_at_once_one_is_refused(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    outcomes = await together(*(store.advance(build.id, lambda old: old.claimed(NOW)) for _ in range(2)))
    assert outcomes[0].state is BuildState.RUNNING
    assert isinstance(outcomes[1], IllegalMove)


@pytest_twisted.ensureDeferred
async def test_a_defect_in_a_move_reaches_its_caller_and_nobody_else(store, project):
    first = (await store.add_build(new_build(project.id), NOW)).build
    outcomes = await together(
        store.accept(new_delivery(project.id)),
        store.advance(first.id, lambda old: 1 // 0),
        store.advance(first.id, lambda old: old.claimed(NOW)),
    )
    assert outcomes[0].fresh
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert outcomes[2].state is BuildState.RUNNING


@pytest_twisted.ensureDeferred
async def test_a_move_changes_neither_number_nor_commit(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    moved = await store.advance(
        build.id, lambda old: dataclasses.replace(old, number=9, commit=OTHER_COMMIT, reason="moved\0")
    )
    assert moved == dataclasses.replace(build, reason="moved\ufffd")


@pytest_twisted.ensureDeferred
async def test_a_build_is_found_by_its_number_alone(store, project, other):
    await store.add_build(new_build(project.id), NOW)
    for project_id, number in ((project.id, 2), (project.id, 0), (project.id, HUGE), (other.id, 1)):
        with pytest.raises(UnknownBuild):
            await store.build(project_id, number)


@pytest_twisted.ensureDeferred
async def test_builds_are_listed_newest_first_in_pages_by_ref_and_deploys_alone(store, project, other):
    for number in range(1, 7):
        ref = MAIN if number % 2 else "refs/heads/topic"
        await store.add_build(new_build(project.id, ref=ref, deploys=number in (3, 5), supersedes=False), NOW)
    await store.add_build(new_build(other.id), NOW)

    async def numbers(**options):
        page = await store.builds(project.id, **options)
        return [build.number for build in page.items], page.next

    assert await numbers() == ([6, 5, 4, 3, 2, 1], None)
    assert await numbers(limit=4) == ([6, 5, 4, 3], 3)
    assert await numbers(limit=4, before=3) == ([2, 1], None)
    assert await numbers(ref=MAIN) == ([5, 3, 1], None)
    assert await numbers(ref=MAIN, limit=1) == ([5], 5)
    assert await numbers(ref=MAIN, deploys_only=True, before=5) == ([3], None)
    assert await numbers(deploys_only=True) == ([5, 3], None)
    assert await numbers(ref="refs/heads/\0") == ([], None)
    assert await numbers(before=HUGE, limit=HUGE) == ([6, 5, 4, 3, 2, 1], None)
    page = await store.builds(project.id, limit=2)
    assert page.items == [await store.build(project.id, number) for number in (6, 5)]


@pytest_twisted.ensureDeferred
async def test_builds_are_looked_for_by_result_cause_and_words(store, project, other, monkeypatch):
    async def build(result=None, **fields):
        fields = {"supersedes": False} | fields
        made = (await store.add_build(new_build(project.id, **fields), NOW)).build
        return made if result is None else await finish(store, made, result)

    await build(Result.SUCCESS, message="Sell more shoes", commit=commit(1))
    await build(Result.FAILURE, message="50% off\nfor everybody", author="Grace Hopper", commit=commit(2))
    await build(Result.ERROR, message="50 off", cause=Cause.MANUAL, ref="refs/heads/x", commit="abcdef12" * 5)
    await build(message="waits")
    await store.add_build(new_build(other.id, message="50% off"), NOW)

    async def found(*words, ref=None, before=None, limit=50, **fields):
        page = await store.builds(project.id, ref=ref, before=before, limit=limit, wanted=Wanted(words=words, **fields))
        return [build.number for build in page.items], page.next

    assert await found() == ([4, 3, 2, 1], None)
    assert await found(results=frozenset({Result.FAILURE, Result.ERROR})) == ([3, 2], None)
    assert await found(cause=Cause.MANUAL) == ([3], None)
    assert await found("OFF", "50") == ([3, 2], None)
    assert await found("50%") == ([2], None)
    assert await found("_") == ([], None)
    assert await found("hopper", "EVERY") == ([2], None)
    assert await found("ABCDEF12a") == ([3], None)
    assert await found("bcdef") == ([], None)
    assert await found("off", ref="refs/heads/x") == ([3], None)
    assert await found("off", before=3) == ([2], None)
    assert await found("off", limit=1) == ([3], 3)
    monkeypatch.setattr("sayci.store.builds.LOOKED_AT", 2)
    assert await found("shoes") == ([], 3)
    assert await found("shoes", before=3) == ([1], None)
    assert await found("nothing", before=HUGE) == ([], 3)


@pytest_twisted.ensureDeferred
async def test_what_was_built_is_listed_with_the_newest_first(store, project, other):
    assert await store.refs(project.id) == []
    for ref in (MAIN, "refs/heads/x", "refs/heads/X", MAIN, "refs/tags/v1"):
        await store.add_build(new_build(project.id, ref=ref), NOW)
    await store.add_build(new_build(other.id, ref="refs/heads/other"), NOW)
    assert await store.refs(project.id) == [("refs/tags/v1", 5), (MAIN, 4), ("refs/heads/X", 3), ("refs/heads/x", 2)]


@pytest_twisted.ensureDeferred
async def test_how_projects_stand(store, project, other):
    assert [outlook.newest for outlook in await store.outlooks()] == [None, None]
    old = await finish(store, (await store.add_build(new_build(project.id), NOW)).build, Result.FAILURE)
    for number in range(LENGTH + 1):
        await store.add_build(new_build(project.id, ref=f"refs/heads/b{number}", cause=Cause.MANUAL), NOW)
    running = (await store.add_build(new_build(other.id, deploys=True), NOW)).build
    running = await store.advance(running.id, lambda build: build.claimed(NOW + 1))

    mine, others = await store.outlooks()
    assert mine.project == await store.project_by_id(project.id)
    assert mine.newest == await store.build(project.id, LENGTH + 2)
    assert [past.number for past in mine.past] == [*range(LENGTH + 2, 2, -1), 1]
    assert mine.standing == past_of(old)
    assert others == Outlook(other, running, (past_of(running),))
    assert others.standing is None
    assert await store.outlooks([other.id, 10**9]) == [others]
    assert await store.outlooks([]) == []

    await store.advance(running.id, lambda build: build.cancelled(NOW, "by hand").finished(NOW, Result.CANCELLED))
    assert (await store.outlooks([other.id]))[0].standing is None


@pytest_twisted.ensureDeferred
async def test_what_is_live_what_could_be_and_what_is_asked(store, project, other):
    await store.change_project("web-shop", lambda settings: dataclasses.replace(settings, deploy_branch="main"))
    assert await store.deploying([project.id, other.id, HUGE]) == [Deploying(project.id), Deploying(other.id)]

    async def build(result=None, **fields):
        made = (await store.add_build(new_build(project.id, supersedes=False, **fields), NOW)).build
        return made if result is None else await finish(store, made, result)

    first = await build(Result.SUCCESS, deploys=True)
    live = await build(Result.SUCCESS, deploys=True)
    await build(Result.SUCCESS, ref="refs/heads/topic")
    asked = [await build(Result.UNKNOWN, deploys=True) for _ in range(2)]
    green = await build(Result.SUCCESS)
    await build(Result.FAILURE)
    newest = await build(cause=Cause.DEPLOY, deploys=True)
    (found,) = await store.deploying([project.id])
    assert found == Deploying(project.id, newest, live, green, tuple(reversed(asked)))
    assert (found.running, found.next) == (newest, None if green.commit == live.commit else green)
    assert first.number < live.number
    await store.change_project("web-shop", lambda settings: dataclasses.replace(settings, deploy_branch=None))
    (found,) = await store.deploying([project.id])
    assert (found.live, found.green) == (live, None)


@pytest_twisted.ensureDeferred
async def test_open_builds_are_those_that_wait_or_run_by_id(store, project, other):
    waiting, running, cancelling, done = [
        (await store.add_build(new_build(project.id, ref=f"refs/heads/b{number}"), NOW)).build for number in range(4)
    ]
    elsewhere = (await store.add_build(new_build(other.id), NOW)).build
    running = await store.advance(running.id, lambda old: old.claimed(NOW))
    await store.advance(cancelling.id, lambda old: old.claimed(NOW))
    cancelling = await store.advance(cancelling.id, lambda old: old.cancelled(NOW, "by hand"))
    await store.advance(done.id, lambda old: old.cancelled(NOW, "by hand"))
    assert cancelling.state is BuildState.CANCELLING
    assert await store.open_builds() == [waiting, running, cancelling, elsewhere]


@pytest_twisted.ensureDeferred
async def test_a_green_build_is_the_newest_whose_tests_succeeded(store, project, other):
    async def build(result, **fields):
        fields = {"project_id": project.id, "supersedes": False} | fields
        return await finish(store, (await store.add_build(new_build(**fields), NOW)).build, result)

    await build(Result.SUCCESS)
    green = await build(Result.SUCCESS)
    await build(Result.FAILURE)
    await build(Result.SUCCESS, cause=Cause.DEPLOY)
    await build(Result.SUCCESS, commit=OTHER_COMMIT)
    await build(Result.FAILURE, commit=commit(7))
    await build(Result.SUCCESS, project_id=other.id, commit=commit(8))
    await store.add_build(new_build(project.id), NOW)
    assert await store.green_build(project.id, COMMIT) == green
    for not_green in (commit(7), commit(8), commit(9), "\0"):
        with pytest.raises(NotGreen):
            await store.green_build(project.id, not_green)


@pytest_twisted.ensureDeferred
async def test_a_build_is_green_also_when_its_deploy_failed(store, project):
    build = (await store.add_build(new_build(project.id, deploys=True), NOW)).build
    await store.advance(build.id, lambda old: old.claimed(NOW))
    for name, result in ((CHECKOUT, Result.SUCCESS), (TEST, Result.SUCCESS), (DEPLOY, Result.FAILURE)):
        await store.advance(
            build.id, lambda old, name=name, result=result: old.with_step(old.step(name).finished(NOW, result))
        )
    await store.advance(build.id, lambda old: old.finished(NOW))
    assert (await store.green_build(project.id, COMMIT)).result is Result.FAILURE


@pytest_twisted.ensureDeferred
async def test_a_build_is_the_newest_until_another_commit_of_its_ref_is_built(store, project, other):
    async def add(**fields):
        return (await store.add_build(new_build(**{"project_id": project.id} | fields), NOW)).build

    first = await add()
    again = await add()
    await add(ref="refs/heads/other", commit=commit(1))
    await add(project_id=other.id, commit=commit(2))
    assert await store.is_newest(first)
    newer = await add(commit=OTHER_COMMIT)
    assert [await store.is_newest(build) for build in (first, again, newer)] == [False, False, True]


@pytest_twisted.ensureDeferred
async def test_a_commit_was_built_if_there_is_any_build_of_it_on_that_ref(store, project, other):
    await store.add_build(new_build(project.id), NOW)
    assert await store.was_built(project.id, MAIN, COMMIT)
    assert not await store.was_built(project.id, MAIN, OTHER_COMMIT)
    assert not await store.was_built(project.id, "refs/heads/topic", COMMIT)
    assert not await store.was_built(other.id, MAIN, COMMIT)


@pytest_twisted.ensureDeferred
async def test_a_build_that_was_found_by_asking_is_known_as_one(store, project, other):
    await store.add_build(new_build(project.id), NOW)
    assert await store.found_build(project.id, MAIN, COMMIT) is None
    waits = (await store.add_build(new_build(project.id, cause=Cause.CATCH_UP, supersedes=True), NOW)).build
    assert await store.found_build(project.id, MAIN, COMMIT) == waits
    assert await store.found_build(project.id, "refs/heads/topic", COMMIT) is None
    assert await store.found_build(other.id, MAIN, COMMIT) is None
    superseded = (await store.add_build(new_build(project.id, commit=OTHER_COMMIT), NOW)).superseded
    assert [build.number for build in superseded] == [waits.number]


@pytest_twisted.ensureDeferred
async def test_the_heads_of_branches_are_kept_as_they_were_seen_last(store, project, other):
    assert await store.seen_heads(project.id) is None
    await store.see_heads(project.id, {})
    assert await store.seen_heads(project.id) == {}
    await store.see_heads(project.id, {"main": COMMIT, "topic": COMMIT, "gone": COMMIT})
    await store.see_heads(project.id, {"main": OTHER_COMMIT, "topic": COMMIT, "new": COMMIT})
    assert await store.seen_heads(project.id) == {"main": OTHER_COMMIT, "topic": COMMIT, "new": COMMIT}
    assert await store.seen_heads(other.id) is None
    await store.remove_project(project.name)
    await store.see_heads(project.id, {"main": COMMIT})
    assert await store.seen_heads(project.id) is None


# ------------------------------------------------------------------------------------------------ commit statuses


@pytest_twisted.ensureDeferred
async def test_a_status_is_due_from_the_first_moment_with_all_it_takes_to_post_it(store):
    project = await store.add_project(settings(forge_api="https://forge.example/api/v3"), "secret", "access token", NOW)
    build = (await store.add_build(new_build(project.id), NOW)).build
    (due,) = await store.due_statuses(NOW)
    assert due.status == statuses_of(build)[0]
    assert (due.version, due.attempts, due.url) == (1, 0, "")
    assert (due.forge_api, due.repository) == ("https://forge.example/api/v3", project.settings.url)
    assert await store.next_due() <= NOW


@pytest_twisted.ensureDeferred
async def test_statuses_of_a_project_without_a_token_wait_for_one(store, other):
    await store.add_build(new_build(other.id), NOW)
    assert await store.due_statuses(NOW) == []
    assert await store.next_due() is None
    (told,) = await store.told_statuses(other.id, COMMIT)
    assert (told.context, told.state, told.description) == (TEST_CONTEXT, "pending", "#1 waits")
    assert (told.told, told.attempts, told.error, told.retry_at) == (False, 0, "", None)
    await store.set_access_token("docs", "token")
    assert len(await store.due_statuses(NOW)) == 1


@pytest_twisted.ensureDeferred
async def test_a_told_status_is_due_again_when_it_changes_and_not_before(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    (due,) = await store.due_statuses(NOW)
    await store.status_told(due.id, due.version)
    assert await store.due_statuses(NOW + 10**6) == []
    assert await store.next_due() is None
    assert (await store.told_statuses(project.id, COMMIT))[0].told
    await store.advance(build.id, lambda old: old.claimed(NOW))
    (running,) = await store.due_statuses(NOW)
    assert (running.id, running.version, running.status.description) == (due.id, 2, "#1 test is running")
    assert not (await store.told_statuses(project.id, COMMIT))[0].told
    await store.status_told(running.id, running.version)
    await store.advance(build.id, lambda old: old.with_step(old.step(CHECKOUT).started(NOW, "handle")))
    assert await store.due_statuses(NOW) == []


@pytest_twisted.ensureDeferred
async def test_a_post_that_was_overtaken_leaves_the_newer_status_due(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    (posted,) = await store.due_statuses(NOW)
    await store.advance(build.id, lambda old: old.claimed(NOW))
    await store.status_told(posted.id, posted.version)
    await store.status_failed(posted.id, posted.version, "no answer", None)
    (due,) = await store.due_statuses(NOW)
    assert (due.version, due.attempts) == (2, 0)
    told = (await store.told_statuses(project.id, COMMIT))[0]
    assert (told.told, told.error) == (False, "")


@pytest_twisted.ensureDeferred
async def test_tries_that_are_to_come_can_be_moved(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    await store.hasten_statuses(1000.0)
    assert await store.next_due() == 0  # one that was not tried yet stays so
    (due,) = await store.due_statuses(NOW)
    await store.status_failed(due.id, due.version, "no answer", NOW + 5000)
    await store.hasten_statuses(1000.0)
    assert await store.next_due() == NOW + 4000
    await store.hasten_statuses(-500.0)
    assert await store.next_due() == NOW + 4500
    await store.advance(build.id, lambda old: old.claimed(NOW))
    assert await store.next_due() == 0


@pytest_twisted.ensureDeferred
async def test_a_failed_status_is_due_again_at_its_time(store, project):
    await store.add_build(new_build(project.id), NOW)
    (due,) = await store.due_statuses(NOW)
    await store.status_failed(due.id, due.version, "no answer", NOW + 30)
    assert await store.due_statuses(NOW + 29) == []
    assert await store.next_due() == NOW + 30
    (told,) = await store.told_statuses(project.id, COMMIT)
    assert (told.told, told.attempts, told.error, told.retry_at) == (False, 1, "no answer", NOW + 30)
    (again,) = await store.due_statuses(NOW + 30)
    assert (again.id, again.version, again.attempts) == (due.id, due.version, 1)


@pytest_twisted.ensureDeferred
async def test_a_status_that_was_given_up_is_due_when_there_is_something_new_to_say(store, project):
    build = (await store.add_build(new_build(project.id), NOW)).build
    (due,) = await store.due_statuses(NOW)
    await store.status_failed(due.id, due.version, "the token is wrong", None)
    assert await store.due_statuses(NOW + 10**6) == []
    assert await store.next_due() is None
    assert (await store.told_statuses(project.id, COMMIT))[0].error == "the token is wrong"
    await store.advance(build.id, lambda old: old.claimed(NOW))
    (again,) = await store.due_statuses(NOW)
    assert (again.version, again.attempts) == (2, 0)
    assert (await store.told_statuses(project.id, COMMIT))[0].error == ""


@pytest_twisted.ensureDeferred
async def test_what_was_given_up_is_due_again_with_a_new_access_token(store, project, other):
    await store.add_build(new_build(project.id), NOW)
    (due,) = await store.due_statuses(NOW)
    await store.status_failed(due.id, due.version, "the token is wrong", None)
    await store.set_access_token(other.name, "another project's")
    assert await store.due_statuses(NOW) == []
    await store.set_access_token(project.name, "a better token")
    (again,) = await store.due_statuses(NOW)
    assert (again.id, again.attempts) == (due.id, 0)
    await store.status_told(again.id, again.version)
    await store.set_access_token(project.name, "an even better token")
    assert await store.due_statuses(NOW) == []


@pytest_twisted.ensureDeferred
async def test_another_access_token_makes_due_what_was_not_told_and_nothing_else(store, project, other):
    for number in range(3):
        await store.add_build(new_build(project.id, ref=f"refs/heads/b{number}", commit=commit(number)), NOW)
    await store.set_access_token("docs", "token")
    await store.add_build(new_build(other.id), NOW)
    told, given_up, to_be_tried, of_another = await store.due_statuses(NOW)
    await store.status_told(told.id, told.version)
    await store.status_failed(given_up.id, given_up.version, "a wrong token", None)
    await store.status_failed(to_be_tried.id, to_be_tried.version, "no answer", NOW + 900)
    await store.status_failed(of_another.id, of_another.version, "a wrong token", None)
    assert await store.due_statuses(NOW) == []
    await store.set_access_token("web-shop", "another")
    assert await store.due_statuses(NOW) == [given_up, to_be_tried]
    assert {status.error for status in await store.told_statuses(project.id, commit(1))} == {""}
    assert (await store.told_statuses(project.id, commit(0)))[0].told


@pytest_twisted.ensureDeferred
async def test_a_first_access_token_does_not_tell_the_history_of_an_old_project(store, project):
    await store.set_access_token(project.name, "")
    for number in range(STILL_TOLD + 5):
        await store.add_build(new_build(project.id, ref=f"refs/heads/b{number}", commit=commit(number)), NOW)
    await store.set_access_token(project.name, "a first token")
    due = await store.due_statuses(NOW, limit=100)
    assert [status.status.build for status in due] == list(range(6, STILL_TOLD + 6))


@pytest_twisted.ensureDeferred
async def test_statuses_come_oldest_first_and_no_more_than_asked_for(store, project):
    for number in range(4):
        await store.add_build(new_build(project.id, ref=f"refs/heads/b{number}", commit=commit(number)), NOW)
    due = await store.due_statuses(NOW, limit=3)
    assert [status.status.commit for status in due] == [commit(0), commit(1), commit(2)]


@pytest_twisted.ensureDeferred
async def test_what_a_newer_build_says_is_not_overridden_by_an_older_one(store, project):
    old = (await store.add_build(new_build(project.id), NOW)).build
    await store.advance(old.id, lambda build: build.claimed(NOW))
    new = (await store.add_build(new_build(project.id), NOW)).build
    (said,) = await store.told_statuses(project.id, COMMIT)
    assert said.description == "#2 waits"
    await finish_running(store, old)
    assert await store.told_statuses(project.id, COMMIT) == [said]
    await finish(store, new)
    (said,) = await store.told_statuses(project.id, COMMIT)
    assert (said.state, said.description) == ("success", "#2 test succeeded")


async def finish_running(store, build):
    for name in (CHECKOUT, TEST):
        await store.advance(
            build.id, lambda old, name=name: old.with_step(old.step(name).finished(NOW, Result.FAILURE))
        )
    return await store.advance(build.id, lambda old: old.finished(NOW))


@pytest_twisted.ensureDeferred
async def test_test_and_deploy_have_a_status_each_by_context(store, project):
    await finish(store, (await store.add_build(new_build(project.id, deploys=True), NOW)).build)
    said = await store.told_statuses(project.id, COMMIT)
    assert [(status.context, status.state) for status in said] == [
        (DEPLOY_CONTEXT, "success"),
        (TEST_CONTEXT, "success"),
    ]
    assert await store.told_statuses(project.id, OTHER_COMMIT) == []
    assert await store.told_statuses(project.id + 1, COMMIT) == []


@pytest_twisted.ensureDeferred
async def test_a_superseded_build_says_so_of_its_commit(store, project):
    await store.add_build(new_build(project.id), NOW)
    await store.add_build(new_build(project.id, commit=OTHER_COMMIT), NOW)
    (said,) = await store.told_statuses(project.id, COMMIT)
    assert said.state == "error"
    assert said.description == "#1 test cancelled: superseded by #2, a newer push to main"


@pytest_twisted.ensureDeferred
async def test_to_tell_of_a_status_that_is_not_there_is_nothing(store):
    await store.status_told(1, 1)
    await store.status_failed(HUGE, 1, "error", None)


# ------------------------------------------------------------------------------------------------ pushes that come again


@pytest_twisted.ensureDeferred
async def test_only_deliveries_that_nobody_has_looked_at_are_superseded(store, project):
    waiting = [(await store.accept(new_delivery(project.id, forge_id=str(number)))).delivery for number in range(3)]
    built = (await store.settle(waiting[0].id, Verdict.BUILT, "", new_build(project.id))).delivery
    await store.supersede([delivery.id for delivery in waiting], "A newer push came.")
    found = [(await store.delivery(project.id, delivery.id))[0] for delivery in waiting]
    assert found[0] == built
    assert {(delivery.verdict, delivery.explanation) for delivery in found[1:]} == {
        (Verdict.SUPERSEDED, "A newer push came.")
    }
    assert await store.unsettled() == []
    await store.supersede([], "nothing")


@pytest_twisted.ensureDeferred
async def test_a_commit_was_built_where_its_project_has_a_build_of_it_on_that_ref(store, project, other):
    build = (await store.add_build(new_build(project.id), NOW)).build
    assert await store.was_built(project.id, build.ref, build.commit)
    assert not await store.was_built(project.id, "refs/heads/topic", build.commit)
    assert not await store.was_built(project.id, build.ref, commit(7))
    assert not await store.was_built(other.id, build.ref, build.commit)


# ------------------------------------------------------------------------------------------------ people and programs


@pytest_twisted.ensureDeferred
async def test_a_token_is_known_by_its_digest_until_it_is_removed(store):
    digest = digest_of("a token")
    token = await store.add_token("deploy-bot", Access.BUILD, digest, NOW, None)
    assert (token.name, token.access, token.created_at) == ("deploy-bot", Access.BUILD, NOW)
    assert (token.expires_at, token.last_used_at) == (None, None)
    assert await store.actor_of_token(digest, NOW + 10**9) == Actor("deploy-bot", Access.BUILD)
    assert await store.actor_of_token(digest_of("another"), NOW) is None
    await store.remove_token(token.id)
    assert await store.actor_of_token(digest, NOW) is None
    for token_id in (token.id, HUGE):
        with pytest.raises(UnknownToken):
            await store.remove_token(token_id)


@pytest_twisted.ensureDeferred
async def test_a_token_expires_also_when_it_is_answered_from_memory(store):
    digest = digest_of("a token")
    await store.add_token("bot", Access.READ, digest, NOW, NOW + 10)
    assert await store.actor_of_token(digest, NOW + 9) == Actor("bot", Access.READ)
    assert await store.actor_of_token(digest, NOW + 10) is None
    assert await store.actor_of_token(digest, NOW + 11) is None


@pytest_twisted.ensureDeferred
async def test_a_token_that_was_unknown_a_moment_ago_is_known_once_it_is_added(store):
    digest = digest_of("a token")
    assert await store.actor_of_token(digest, NOW) is None
    await store.add_token("bot", Access.ADMIN, digest, NOW, None)
    assert await store.actor_of_token(digest, NOW) == Actor("bot", Access.ADMIN)


@pytest_twisted.ensureDeferred
async def test_tokens_are_listed_by_id_and_ids_are_not_used_again(store):
    tokens = [await store.add_token(name, Access.READ, digest_of(name), NOW, NOW + 5) for name in ("one", "two")]
    assert await store.tokens() == tokens
    await store.remove_token(tokens[1].id)
    assert (await store.add_token("three", Access.READ, digest_of("three"), NOW, None)).id > tokens[1].id


@pytest_twisted.ensureDeferred
async def test_the_last_use_of_a_token_is_noted_once_a_minute(store):
    digest = digest_of("a token")
    await store.add_token("bot", Access.READ, digest, NOW, None)

    async def noted_after(moment):
        await store.actor_of_token(digest, moment)
        await store.remove_session(b"any write")  # the note is on its way to disk: this one comes after it
        return (await store.tokens())[0].last_used_at

    assert await noted_after(NOW + 1) == NOW + 1
    assert await noted_after(NOW + 60) == NOW + 1
    assert await noted_after(NOW + 61) == NOW + 61
    assert await noted_after(NOW + 62) == NOW + 61


@pytest_twisted.ensureDeferred
async def test_a_one_time_code_works_once_and_in_time(store):
    assert not await store.anyone_signed_in()
    await store.add_sign_in_code(digest_of("early"), NOW + 10)
    await store.add_sign_in_code(digest_of("late"), NOW + 10)
    assert not await store.use_sign_in_code(digest_of("wrong"), NOW)
    assert not await store.use_sign_in_code(digest_of("late"), NOW + 10)
    assert not await store.anyone_signed_in()
    assert await store.use_sign_in_code(digest_of("early"), NOW + 9)
    assert not await store.use_sign_in_code(digest_of("early"), NOW + 9)
    assert await store.anyone_signed_in()


@pytest_twisted.ensureDeferred
async def test_one_code_used_twice_at_once_works_once(store):
    await store.add_sign_in_code(digest_of("code"), NOW + 10)
    outcomes = await together(*(store.use_sign_in_code(digest_of("code"), NOW) for _ in range(4)))
    assert sorted(outcomes) == [False, False, False, True]


@pytest_twisted.ensureDeferred
async def test_whoever_signs_in_sweeps_away_what_is_over_and_spares_the_rest(store):
    await store.add_sign_in_code(digest_of("first"), NOW + 10)
    await store.add_sign_in_code(digest_of("second"), NOW + 100)
    await store.add_session(digest_of("over"), Actor("ada", Access.ADMIN), NOW, NOW + 10, Origin())
    await store.add_session(digest_of("open"), Actor("ada", Access.ADMIN), NOW, NOW + 100, Origin())
    assert await store.use_sign_in_code(digest_of("first"), NOW)
    assert await store.use_sign_in_code(digest_of("second"), NOW + 50)
    assert await store.anyone_signed_in()
    assert await store.actor_of_session(digest_of("over"), NOW) is None
    assert await store.actor_of_session(digest_of("open"), NOW) is not None


@pytest_twisted.ensureDeferred
async def test_a_session_is_known_until_it_ends(store):
    digest = digest_of("a session")
    assert await store.actor_of_session(digest, NOW) is None
    await store.add_session(digest, Actor("Ada", Access.ADMIN), NOW, NOW + 10, Origin())
    assert await store.actor_of_session(digest, NOW + 9) == Actor("Ada", Access.ADMIN)
    assert await store.actor_of_session(digest, NOW + 10) is None
    await store.remove_session(digest)
    assert await store.actor_of_session(digest, NOW) is None
    await store.remove_session(digest)


# ------------------------------------------------------------------------------------------------ all of it


@pytest_twisted.ensureDeferred
async def test_everything_is_there_after_a_restart(store, project, url, tmp_path):
    build = await finish(store, (await store.add_build(new_build(project.id), NOW)).build)
    secret = a_variable(secret=True)
    await store.set_variable(project.id, secret)
    delivery = (await store.accept(new_delivery(project.id))).delivery
    digest = digest_of("token")
    await store.add_token("bot", Access.READ, digest, NOW, None)
    await store.close()
    again = SqlStore.open(url, tmp_path / "key", reactor)
    try:
        assert await again.webhook_secret("web-shop") == (project, "webhook secret")
        assert await again.access_token(project.id) == "access token"
        assert await again.build(project.id, 1) == build
        assert await again.variables(project.id, revealed=True) == [secret]
        assert [kept for kept, _ in await again.unsettled()] == [delivery]
        assert await again.actor_of_token(digest, NOW) == Actor("bot", Access.READ)
        assert (await again.add_build(new_build(project.id), NOW)).build.number == 2
    finally:
        await again.close()


RESULTS = st.sampled_from([Result.SUCCESS, Result.FAILURE, Result.TIMED_OUT, Result.ERROR, Result.UNKNOWN])
STEPS = st.sampled_from([CHECKOUT, TEST, DEPLOY])
MOVES = st.one_of(
    st.just(lambda build: build.claimed(NOW)),
    st.builds(lambda name: lambda build: build.with_step(build.step(name).started(NOW, "handle")), STEPS),
    st.builds(
        lambda name, result: lambda build: build.with_step(build.step(name).finished(NOW, result)), STEPS, RESULTS
    ),
    st.just(lambda build: build.cancelled(NOW, "cancelled by ada")),
    st.just(lambda build: build.finished(NOW)),
    st.just(lambda build: build.requeued("interrupted")),
)
NEW_BUILDS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    ref=st.sampled_from([MAIN, "refs/heads/topic"]),
    commit=st.sampled_from([COMMIT, OTHER_COMMIT]),
    cause=st.sampled_from([Cause.PUSH, Cause.PUSH, Cause.MANUAL, Cause.DEPLOY]),
    deploys=st.booleans(),
)


class Model:
    """What the store should have in it, by the domain's own functions."""

    def __init__(self) -> None:
        self.builds: dict[int, Build] = {}
        self.said: dict[tuple[str, str], CommitStatus] = {}
        self.versions: dict[tuple[str, str], int] = {}

    def added(self, added):
        for old in [old for old in self.builds.values() if self._is_superseded(old, added.build)]:
            reason = f"superseded by #{added.build.number}, a newer push to {added.build.branch}"
            self.put(old.cancelled(NOW, reason))
        self.put(added.build)

    def _is_superseded(self, old, new):
        is_push = old.cause is new.cause is Cause.PUSH
        return is_push and old.state is BuildState.QUEUED and old.ref == new.ref

    def put(self, build):
        self.builds[build.number] = build
        for status in statuses_of(build):
            key = (status.commit, status.context)
            before = self.said.get(key)
            if before is None or (build.number >= before.build and before != status):
                self.said[key] = status
                self.versions[key] = self.versions.get(key, 0) + 1


def now(coroutine):
    """What a coroutine of a store without threads has answered already."""
    outcomes: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcomes.append)
    if isinstance(outcomes[0], Failure):
        outcomes[0].raiseException()
    return outcomes[0]


def test_whatever_happens_numbers_are_dense_and_the_newest_build_has_the_say(quiet_store):
    # A function within a test: pytest-twisted cannot run a parametrised test that is hypothesis' own more than once.
    @hypothesis.settings(max_examples=60, deadline=None)
    @given(st.lists(st.one_of(NEW_BUILDS, *[st.tuples(st.integers(1, 4), MOVES)] * 2), min_size=15, max_size=60))
    def holds(happenings):
        model = Model()
        project = now(quiet_store.add_project(settings(f"p{uuid.uuid4().hex}"), "secret", "token", NOW))
        for happening in happenings:
            if isinstance(happening, dict):
                model.added(now(quiet_store.add_build(new_build(project.id, **happening), NOW)))
            elif happening[0] in model.builds:
                move_both(quiet_store, project, model, *happening)
        check(quiet_store, project, model)

    holds()


@pytest_twisted.ensureDeferred
async def test_ended_builds_can_be_forgotten_and_what_they_built_is_remembered(store, project):
    green = (await store.add_build(new_build(project.id), NOW)).build
    waits = (await store.add_build(new_build(project.id, commit=OTHER_COMMIT, cause=Cause.MANUAL), NOW)).build
    await store.advance(green.id, lambda build: build.claimed(NOW).finished(NOW + 5, Result.SUCCESS))
    known = {found.number: found for found in await store.remains(project.id)}
    assert (known[1].id, known[1].ref, known[1].ended_at, known[1].is_green) == (green.id, MAIN, NOW + 5, False)
    assert (known[2].ended_at, known[2].deploy) == (None, None)
    await store.forget_builds([green.id, waits.id, 12345])
    await store.forget_builds([green.id])
    assert [build.number for build in (await store.builds(project.id)).items] == [2]
    assert await store.was_built(project.id, MAIN, COMMIT)
    assert not await store.was_built(project.id, MAIN, commit(99))
    with pytest.raises(UnknownProject):
        await store.remains(project.id + 1000)


@pytest_twisted.ensureDeferred
async def test_old_deliveries_lose_their_bodies_and_go(store, project):
    kept = []
    for number, verdict in enumerate((Verdict.IGNORED, Verdict.BUILT, Verdict.RECEIVED, Verdict.FAILED)):
        new = new_delivery(project.id, forge_id=str(number), received_at=NOW + number)
        kept.append((await store.accept(new)).delivery.id)
        if verdict is not Verdict.RECEIVED:
            await store.settle(kept[-1], verdict, "", new_build(project.id) if verdict is Verdict.BUILT else None)
    assert await store.forget_bodies(NOW + 3, 100) == 2
    assert await store.forget_bodies(NOW + 3, 100) == 0
    bodies = [bool((await store.delivery(project.id, delivery_id))[1].body) for delivery_id in kept]
    assert bodies == [False, False, True, True]
    assert await store.forget_deliveries(NOW + 10, 1) == 1
    assert await store.forget_deliveries(NOW + 10, 100) == 1
    assert sorted(found.id for found in (await store.deliveries(project.id)).items) == kept[1:3]


def move_both(store, project, model, number, move):
    build_id = now(store.build(project.id, number)).id
    try:
        moved = move(model.builds[number])
    except (IllegalMove, UnknownStep) as error:
        with pytest.raises(type(error)):
            now(store.advance(build_id, move))
        return
    assert now(store.advance(build_id, move)) == moved
    model.put(moved)


def check(store, project, model):
    kept = now(store.builds(project.id, limit=1000)).items
    assert [build.number for build in kept] == list(range(len(kept), 0, -1))
    assert {build.number: build for build in kept} == model.builds
    due = [status for status in now(store.due_statuses(NOW, limit=1000)) if status.status.project_id == project.id]
    assert {(status.status.commit, status.status.context): status.status for status in due} == model.said
    assert {(status.status.commit, status.status.context): status.version for status in due} == model.versions
    for status in due:
        now(store.status_told(status.id, status.version))


@pytest.fixture
def quiet_store(url, tmp_path):
    """A store without threads."""
    clock = Clock()
    clock.advance(NOW)
    store = SqlStore.open(url, tmp_path / "key", clock, in_process=True)
    yield store
    now(store.close())
