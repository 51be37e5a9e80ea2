"""inbox.py: from "on disk" to a verdict, in order, once, and bounded."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from sayci.change import Change
from sayci.delivery import Message, Verdict
from sayci.errors import Conflict, Malformed, UnknownDelivery
from sayci.event import DeliveryChanged
from sayci.forges.github import GitHub
from sayci.inbox import Inbox
from tests.factories import NOW, deploying_settings, new_delivery


class FakeForge(GitHub):
    """Reads bodies that say plainly what they mean."""

    def parse(self, headers, body):
        said = json.loads(body)
        if said == "garbage":
            raise Malformed("garbage")
        if said == "ping":
            return Message("ping", explanation="hello")
        return Message("push", Change(**said))


def push(ref="refs/heads/main", commit="4f" * 20, message="x"):
    return {"ref": ref, "commit": commit, "message": message}


@pytest.fixture
def inbox(store, ledger):
    return Inbox(store, ledger, FakeForge(), reactor)


@pytest_twisted.async_yield_fixture
async def project(store):
    yield await store.add_project(deploying_settings(), "s", "", NOW)


@pytest.fixture
def accept(store, project):
    async def keep(said, forge_id="1", verdict=Verdict.RECEIVED):
        body = json.dumps(said).encode()
        return (await store.accept(new_delivery(project.id, forge_id=forge_id, body=body, verdict=verdict))).delivery

    return keep


@pytest.fixture
def settled(bus):
    """A Deferred of the verdicts of so many deliveries, by their id."""

    def wait(count):
        verdicts: dict = {}
        over: Deferred = Deferred()

        def heard(event):
            if isinstance(event, DeliveryChanged):
                verdicts[event.delivery.id] = event.delivery
                if len(verdicts) == count and not over.called:
                    over.callback(verdicts)

        bus.subscribe(heard)
        return over

    return wait


@pytest_twisted.ensureDeferred
async def test_a_push_becomes_a_build(inbox, accept, settled, store, project):
    delivery = await accept(push())
    over = settled(1)
    inbox.put(delivery, Change(**push()))
    verdicts = await over
    assert (verdicts[delivery.id].verdict, verdicts[delivery.id].build_number) == (Verdict.BUILT, 1)
    build = await store.build(project.id, 1)
    assert (build.delivery_id, build.deploys) == (delivery.id, True)


@pytest_twisted.ensureDeferred
async def test_of_many_pushes_at_once_only_the_newest_of_each_branch_is_built(inbox, accept, settled, store, project):
    changes = [Change(**push(commit=f"{number:040x}")) for number in range(1, 31)]
    changes.append(Change(**push("refs/heads/topic")))
    deliveries = [await accept(push(), forge_id=str(number)) for number in range(len(changes))]
    over = settled(len(changes))
    for delivery, change in zip(deliveries, changes, strict=True):
        inbox.put(delivery, change)
    verdicts = await over
    built = [delivery for delivery in verdicts.values() if delivery.verdict is Verdict.BUILT]
    # The first is looked at alone when it comes; what comes in the meantime is looked at together.
    assert {delivery.id for delivery in built} >= {deliveries[29].id, deliveries[30].id}
    assert len(built) <= 3
    assert all(
        delivery.verdict is Verdict.SUPERSEDED and delivery.explanation
        for delivery in verdicts.values()
        if delivery not in built
    )
    newest = next(build for build in (await store.builds(project.id)).items if build.branch == "main")
    assert newest.commit == changes[29].commit


@pytest_twisted.ensureDeferred
async def test_what_a_stopped_server_left_is_looked_at_in_its_order(inbox, accept, settled, store, project):
    for number in range(1, 151):
        await accept(push(commit=f"{number:040x}"), forge_id=str(number))
    await accept("ping", "a ping")
    await accept("garbage", "some garbage")
    over = settled(152)
    await inbox.start()
    verdicts = list((await over).values())
    assert sum(delivery.verdict is Verdict.BUILT for delivery in verdicts) == 1
    assert [delivery.explanation for delivery in verdicts if delivery.verdict is Verdict.IGNORED] == ["hello"]
    assert [delivery.explanation for delivery in verdicts if delivery.verdict is Verdict.FAILED] == ["garbage"]
    (build,) = (await store.builds(project.id)).items
    assert build.commit == f"{150:040x}"
    assert await store.unsettled() == []


@pytest_twisted.ensureDeferred
async def test_a_replayed_delivery_is_built_and_never_deploys(inbox, accept, store, project):
    delivery = await accept(push(), verdict=Verdict.IGNORED)
    again = await inbox.replay(project, delivery.id)
    assert again.verdict is Verdict.BUILT
    assert not (await store.build(project.id, 1)).deploys
    with pytest.raises(Conflict):
        await inbox.replay(project, delivery.id)


@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_built_before_is_tested_and_not_deployed(inbox, accept, settled, store, project):
    for number in (1, 2):
        over = settled(1)
        inbox.put(await accept(push(), str(number)), Change(**push()))
        await over
    first, second = await store.build(project.id, 1), await store.build(project.id, 2)
    assert (first.deploys, second.deploys) == (True, False)


@pytest_twisted.ensureDeferred
async def test_a_replay_says_why_again(inbox, accept, project):
    delivery = await accept(push(message="[skip ci]"), verdict=Verdict.FAILED)
    again = await inbox.replay(project, delivery.id)
    assert (again.verdict, "skip CI" in again.explanation) == (Verdict.IGNORED, True)
    ping = await accept("ping", "2", Verdict.IGNORED)
    assert (await inbox.replay(project, ping.id)).explanation == "hello"


@pytest_twisted.ensureDeferred
async def test_what_is_being_looked_at_is_not_replayed_and_what_is_not_there_neither(inbox, accept, project):
    delivery = await accept(push())
    with pytest.raises(Conflict):
        await inbox.replay(project, delivery.id)
    with pytest.raises(UnknownDelivery):
        await inbox.replay(project, 999)


@pytest_twisted.ensureDeferred
async def test_two_replays_at_once_are_one_build(inbox, accept, store, project):
    delivery = await accept(push(), verdict=Verdict.IGNORED)
    replays = [Deferred.fromCoroutine(inbox.replay(project, delivery.id)) for _ in range(2)]
    outcomes = []
    for replay in replays:
        try:
            outcomes.append(await replay)
        except Conflict as error:
            outcomes.append(error)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert len((await store.builds(project.id)).items) == 1


@pytest_twisted.ensureDeferred
async def test_a_project_that_is_removed_in_the_meantime_holds_nothing_up(inbox, accept, settled, store, project):
    delivery = await accept(push())
    await store.remove_project(project.name)
    other = await store.add_project(deploying_settings("other"), "s", "", NOW)
    second = (await store.accept(new_delivery(other.id))).delivery
    over = settled(1)
    inbox.put(delivery, Change(**push()))
    inbox.put(second, Change(**push()))
    assert (await over)[second.id].verdict is Verdict.BUILT


@pytest_twisted.ensureDeferred
async def test_a_stopped_inbox_looks_at_nothing_more(inbox, accept, store):
    await inbox.stop()
    inbox.put(await accept(push()), Change(**push()))
    assert len(await store.unsettled()) == 1
