"""runner.py: one build through its steps, from wherever it is, to an end that is said in the right words."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sayci.build import BuildState, Cause
from sayci.buildlog import key_of
from sayci.errors import CommitNotFound, RepositoryDenied, RepositoryUnreachable
from sayci.interfaces import Ended
from sayci.limits import Limits
from sayci.project import MirrorState, Scope, Variable
from sayci.runner import ATTEMPTS_LIMIT, SPACE_PAUSE, Runner, stated_environment
from sayci.space import Space, Volume
from sayci.step import CHECKOUT, DEPLOY, TEST, Result, StepState
from tests.factories import NOW, a_build, deploying_settings, new_build

SUCCESS = Ended(0, output=3, duration=1.5)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runner_of(store, ledger, sources, launcher, logs, clock):
    def make(build, **given):
        return Runner(
            build,
            store=store,
            ledger=ledger,
            sources=sources,
            launcher=launcher,
            logs=logs,
            page_of=lambda build: f"https://ci.example/{build.project}/{build.number}",
            limits=Limits(output_limit=1000),
            grace=3,
            clock=clock,
            **given,
        )

    return make


@pytest.fixture
def claimed(store, ledger):
    """A claimed build of a project that deploys main."""

    async def make(**fields):
        project = await store.add_project(deploying_settings(), "s", "the token", NOW)
        build = await ledger.add(new_build(project.id, **fields))
        return await ledger.advance(build.id, lambda build: build.claimed(NOW))

    return make


def results(build):
    return {step.name: step.result for step in build.steps}


@pytest_twisted.ensureDeferred
async def test_a_build_is_checked_out_tested_and_deployed_in_this_order(claimed, runner_of, launcher, sources):
    build = await claimed(deploys=True)
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert runner.build.result is Result.SUCCESS
    assert set(results(runner.build).values()) == {Result.SUCCESS}
    assert [entry for entry in launcher.transcript if entry[0] == "start"] == [
        ("start", key_of(build, TEST)),
        ("start", key_of(build, DEPLOY)),
    ]
    assert [entry[0] for entry in sources.transcript] == ["checkout", "discard"]
    assert launcher.jobs[key_of(build, TEST)].argv == ("make", "test")
    assert launcher.jobs[key_of(build, DEPLOY)].argv == ("make", "deploy")
    assert launcher.jobs[key_of(build, TEST)].workspace.name == "tree"
    assert launcher.jobs[key_of(build, TEST)].grace == 3


@pytest_twisted.ensureDeferred
async def test_a_failed_test_is_not_deployed(claimed, runner_of, launcher):
    build = await claimed(deploys=True)
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), Ended(2))
    await over
    assert runner.build.result is Result.FAILURE
    assert runner.build.reason == "make test, exit 2"
    assert runner.build.step(DEPLOY).result is Result.SKIPPED
    assert key_of(build, DEPLOY) not in launcher.jobs


@pytest_twisted.ensureDeferred
async def test_what_is_for_deploy_never_reaches_a_test(claimed, runner_of, launcher, store):
    build = await claimed(deploys=True)
    for name, scope, secret in (
        ("DEPLOY_KEY", Scope.DEPLOY, True),
        ("COVERAGE", Scope.TEST, True),
        ("LEVEL", Scope.BOTH, False),
    ):
        await store.set_variable(build.project_id, Variable(name, f"value of {name}", scope, secret))
    over = Deferred.fromCoroutine(runner_of(build).run())
    test = await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    deploy = await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert "DEPLOY_KEY" not in test.environment
    assert test.environment["COVERAGE"] == "value of COVERAGE"
    assert test.secrets == ("value of COVERAGE",)
    assert "COVERAGE" not in deploy.environment
    assert deploy.secrets == ("value of DEPLOY_KEY",)
    assert test.environment["LEVEL"] == deploy.environment["LEVEL"] == "value of LEVEL"


def test_the_environment_says_what_is_built_and_cannot_be_bent(tmp_path):
    build = a_build(commit="4f" * 20, number=12, ref="refs/heads/topic/x")
    stated = stated_environment(
        build, tmp_path, {"PATH": "/opt/bin", "CI": "no", "HOME": "/root"}, "https://ci.example/x/12"
    )
    assert stated["CI"] == "true"
    assert stated["HOME"] == str(tmp_path / "home")
    assert stated["PATH"] == "/opt/bin"
    assert stated["SAYCI_PROJECT"] == "web-shop"
    assert stated["SAYCI_BUILD"] == "12"
    assert stated["SAYCI_COMMIT"] == "4f" * 20
    assert stated["SAYCI_REF"] == "refs/heads/topic/x"
    assert stated["SAYCI_BRANCH"] == "topic/x"
    assert stated["SAYCI_URL"] == "https://ci.example/x/12"


@pytest_twisted.ensureDeferred
async def test_debug_makes_the_steps_that_are_given_it_explain_themselves(claimed, runner_of, launcher, store):
    build = await claimed(deploys=True)
    await store.set_variable(build.project_id, Variable("DEBUG", "1", Scope.TEST))
    over = Deferred.fromCoroutine(runner_of(build).run())
    test = await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    deploy = await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert test.argv == ("make", "--trace", "test")
    assert deploy.argv == ("make", "deploy")


@pytest_twisted.ensureDeferred
async def test_a_commit_without_a_makefile_is_a_failure_that_says_so(claimed, runner_of, launcher, sources):
    sources.files = ("README",)
    runner = runner_of(await claimed())
    await runner.run()
    assert runner.build.result is Result.FAILURE
    assert "no Makefile" in runner.build.reason
    assert launcher.jobs == {}


@pytest_twisted.ensureDeferred
async def test_make_that_ran_nothing_is_no_success(claimed, runner_of, launcher):
    build = await claimed()
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS, b"make: Nothing to be done for 'test'.\n")
    await over
    assert runner.build.result is Result.FAILURE
    assert "ran nothing" in runner.build.reason


@pytest_twisted.ensureDeferred
async def test_an_absent_commit_is_an_error_in_checkout(claimed, runner_of, sources, logs):
    sources.problems = [CommitNotFound("the repository does not have that commit", "4f1c9aa")]
    build = await claimed()
    runner = runner_of(build)
    await runner.run()
    assert runner.build.result is Result.ERROR
    assert runner.build.step(CHECKOUT).result is Result.ERROR
    assert "does not have that commit" in runner.build.reason
    assert b"does not have that commit" in logs.files[key_of(build, CHECKOUT)]


@pytest_twisted.ensureDeferred
async def test_nothing_is_copied_of_a_revoked_repository(claimed, runner_of, sources, logs, store):
    build = await claimed()
    await store.set_mirror(build.project_id, MirrorState.REVOKED, "set a new token")
    sources.problems = [RepositoryDenied("the repository does not take the access token: set a new one")]
    runner = runner_of(build)
    await runner.run()
    assert (runner.build.result, runner.build.step(CHECKOUT).result) == (Result.ERROR, Result.ERROR)
    assert runner.build.reason == (
        "sayci has lost the access to the repository, and has removed its clone: the repository does not take the access "
        "token: set a new one"
    )
    assert [entry[0] for entry in sources.transcript] == ["heads", "discard"]


@pytest_twisted.ensureDeferred
async def test_a_build_finds_that_a_revoked_repository_lets_it_in_again(claimed, runner_of, sources, store, launcher):
    build = await claimed()
    await store.set_mirror(build.project_id, MirrorState.REVOKED, "set a new token")
    over = Deferred.fromCoroutine(runner_of(build).run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    await over
    assert [entry[0] for entry in sources.transcript] == ["heads", "checkout", "discard"]


@pytest_twisted.ensureDeferred
async def test_a_repository_that_does_not_answer_is_asked_again(claimed, runner_of, sources, launcher, clock):
    sources.problems = [RepositoryUnreachable("no answer", "git.example")]
    build = await claimed()
    over = Deferred.fromCoroutine(runner_of(build).run())
    while not clock.getDelayedCalls():
        await tick()
    clock.advance(2)
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    await over
    assert [entry[0] for entry in sources.transcript] == ["checkout", "checkout", "discard"]


@pytest_twisted.ensureDeferred
async def test_a_repository_that_never_answers_is_an_error_in_the_end(claimed, runner_of, sources, clock):
    sources.problems = [RepositoryUnreachable("no answer", "git.example") for _ in range(5)]
    runner = runner_of(await claimed())
    over = Deferred.fromCoroutine(runner.run())
    for pause in (2, 10):
        while not clock.getDelayedCalls():
            await tick()
        clock.advance(pause)
    await over
    assert runner.build.result is Result.ERROR


@pytest.mark.parametrize(
    ("ended", "result"),
    (
        (Ended(None, "time_limit"), Result.TIMED_OUT),
        (Ended(None, "silence_limit"), Result.TIMED_OUT),
        (Ended(None, "start_failed", "no such file"), Result.ERROR),
        (Ended(-11), Result.FAILURE),
        (Ended(255), Result.FAILURE),
        (Ended(None), Result.ERROR),
    ),
)
@pytest_twisted.ensureDeferred
async def test_each_end_of_a_command_has_its_result(claimed, runner_of, launcher, ended, result):
    build = await claimed()
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), ended)
    await over
    assert runner.build.result is result
    assert runner.build.reason


@pytest_twisted.ensureDeferred
async def test_a_launcher_that_cannot_start_is_an_error_of_ours(claimed, runner_of, launcher):
    launcher.refuses = "no processes left"
    runner = runner_of(await claimed())
    await runner.run()
    assert runner.build.result is Result.ERROR
    assert "no processes left" in runner.build.reason


@pytest_twisted.ensureDeferred
async def test_cancelling_ends_the_running_step_and_begins_no_other(claimed, runner_of, launcher, ledger):
    build = await claimed(deploys=True)
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    await launcher.started(key_of(build, TEST))
    await ledger.advance(build.id, lambda build: build.cancelled(NOW, "cancelled by ada"))
    runner.cancel()
    await over
    assert runner.build.state is BuildState.FINISHED
    assert runner.build.result is Result.CANCELLED
    assert runner.build.reason == "cancelled by ada"
    assert ("cancel", key_of(build, TEST)) in launcher.transcript
    assert key_of(build, DEPLOY) not in launcher.jobs


@pytest_twisted.ensureDeferred
async def test_cancelling_ends_a_checkout_that_hangs(claimed, runner_of, sources, ledger):
    sources.hangs = Deferred()
    build = await claimed()
    runner = runner_of(build)
    over = Deferred.fromCoroutine(runner.run())
    while ("checkout", build.commit, build.id) not in sources.transcript:
        await tick()
    await ledger.advance(build.id, lambda build: build.cancelled(NOW, "cancelled by ada"))
    runner.cancel()
    await over
    assert runner.build.result is Result.CANCELLED


# -- what another server left


@pytest_twisted.ensureDeferred
async def test_a_running_step_is_taken_up_and_the_build_goes_on(claimed, runner_of, launcher, sources):
    build = await claimed(deploys=True)
    first = runner_of(build)
    gone = Deferred.fromCoroutine(first.run())
    await launcher.started(key_of(build, TEST))
    await tick()  # out of the runner's own stack
    gone.cancel()
    with pytest.raises(CancelledError):
        await gone
    assert ("discard", build.id) not in sources.transcript

    second = runner_of(first.build)
    over = Deferred.fromCoroutine(second.run())
    launcher.end(key_of(build, TEST), SUCCESS)
    await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert second.build.result is Result.SUCCESS
    assert [entry for entry in launcher.transcript if entry[0] == "start"].count(("start", key_of(build, TEST))) == 1


async def left_in(step, claimed, ledger, sources, tmp_path, **fields):
    """A build as a killed server leaves it: `step` is recorded as running, and those before it have succeeded."""
    build = await claimed(**fields)
    workspace = await sources.checkout(1, None, build.commit, build.id, lambda data: None)

    def move(build):
        for name in [step.name for step in build.steps]:
            handle = str(workspace) if name == CHECKOUT else key_of(build, name)
            build = build.with_step(build.step(name).started(NOW, handle))
            if name == step:
                return build
            build = build.with_step(build.step(name).finished(NOW, Result.SUCCESS))
        raise AssertionError(step)

    return await ledger.advance(build.id, move)


@pytest_twisted.ensureDeferred
async def test_a_lost_test_is_queued_again(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await left_in(TEST, claimed, ledger, sources, tmp_path)
    launcher.known[key_of(build, TEST)] = Ended(None, "lost")
    runner = runner_of(build)
    await runner.run()
    assert runner.build.state is BuildState.QUEUED
    assert runner.build.attempt == 2


@pytest_twisted.ensureDeferred
async def test_a_test_that_is_lost_again_and_again_is_an_error(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await left_in(TEST, claimed, ledger, sources, tmp_path)
    for _ in range(ATTEMPTS_LIMIT - 1):
        build = await ledger.advance(build.id, lambda build: build.requeued("again").claimed(NOW))
    workspace = await sources.checkout(1, None, build.commit, build.id, lambda data: None)
    build = await ledger.advance(
        build.id,
        lambda build: build.with_step(
            build.step(CHECKOUT).started(NOW, str(workspace)).finished(NOW, Result.SUCCESS)
        ).with_step(build.step(TEST).started(NOW, key_of(build, TEST))),
    )
    launcher.known[key_of(build, TEST)] = Ended(None, "lost")
    runner = runner_of(build)
    await runner.run()
    assert runner.build.state is BuildState.FINISHED
    assert runner.build.result is Result.ERROR


@pytest_twisted.ensureDeferred
async def test_a_lost_deploy_is_unknown_and_never_repeated(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await left_in(DEPLOY, claimed, ledger, sources, tmp_path, deploys=True)
    launcher.known[key_of(build, DEPLOY)] = Ended(None, "lost")
    runner = runner_of(build)
    await runner.run()
    assert runner.build.state is BuildState.FINISHED
    assert runner.build.result is Result.UNKNOWN
    assert not [entry for entry in launcher.transcript if entry[0] == "start"]


@pytest_twisted.ensureDeferred
async def test_a_deploy_that_never_started_is_started(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await left_in(DEPLOY, claimed, ledger, sources, tmp_path, deploys=True)
    over = Deferred.fromCoroutine((runner := runner_of(build)).run())
    await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert runner.build.result is Result.SUCCESS


@pytest_twisted.ensureDeferred
async def test_a_step_is_ended_before_its_build_is_given_up(
    claimed, runner_of, launcher, ledger, sources, tmp_path, store, monkeypatch
):
    build = await left_in(TEST, claimed, ledger, sources, tmp_path)

    async def broken(*_, **__):
        raise ValueError

    monkeypatch.setattr(store, "variables", broken)
    runner = runner_of(build)
    await runner.run()
    assert runner.build.result is Result.ERROR
    assert ("cancel", key_of(build, TEST)) in launcher.transcript


@pytest_twisted.ensureDeferred
async def test_a_checkout_that_was_interrupted_is_made_again(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await claimed()
    build = await ledger.advance(build.id, lambda build: build.with_step(build.step(CHECKOUT).started(NOW)))
    over = Deferred.fromCoroutine((runner := runner_of(build)).run())
    await launcher.started(key_of(build, TEST))
    launcher.end(key_of(build, TEST), SUCCESS)
    await over
    assert runner.build.result is Result.SUCCESS


@pytest_twisted.ensureDeferred
async def test_a_build_whose_workspace_is_gone_is_queued_again(claimed, runner_of, launcher, ledger, sources, tmp_path):
    build = await claimed()
    build = await ledger.advance(
        build.id,
        lambda build: build.with_step(
            build.step(CHECKOUT).started(NOW, str(tmp_path / "gone")).finished(NOW, Result.SUCCESS)
        ),
    )
    runner = runner_of(build)
    await runner.run()
    assert runner.build.state is BuildState.QUEUED


@pytest_twisted.ensureDeferred
async def test_a_cancelled_build_whose_server_was_killed_ends_as_cancelled(
    claimed, runner_of, launcher, ledger, sources, tmp_path
):
    build = await left_in(TEST, claimed, ledger, sources, tmp_path)
    build = await ledger.advance(build.id, lambda build: build.cancelled(NOW, "cancelled by ada"))
    launcher.known[key_of(build, TEST)] = Ended(None, "lost")
    runner = runner_of(build)
    await runner.run()
    assert runner.build.result is Result.CANCELLED
    assert [step.state for step in runner.build.steps] == [StepState.FINISHED] * 2


@pytest_twisted.ensureDeferred
async def test_a_deploy_by_hand_has_no_test(claimed, runner_of, launcher):
    build = await claimed(cause=Cause.DEPLOY, ref="refs/heads/main")
    over = Deferred.fromCoroutine((runner := runner_of(build)).run())
    await launcher.started(key_of(build, DEPLOY))
    launcher.end(key_of(build, DEPLOY), SUCCESS)
    await over
    assert results(runner.build) == {CHECKOUT: Result.SUCCESS, DEPLOY: Result.SUCCESS}


async def tick():
    """One turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


@pytest_twisted.ensureDeferred
async def test_a_checkout_waits_for_space_says_so_and_can_be_cancelled(runner_of, claimed, store, logs, sources, clock):
    build = await claimed()
    looks: Deferred = Deferred()

    def measure():
        if not looks.called:
            reactor.callLater(0, looks.callback, None)
        return [Volume("/srv", 100 << 30, 0)]

    runner = runner_of(build, space=Space(measure))
    over = Deferred.fromCoroutine(runner.run())
    await looks
    clock.advance(SPACE_PAUSE)
    clock.advance(SPACE_PAUSE)
    assert logs.files[key_of(build, CHECKOUT)].count(b"No space") == 1
    await store.advance(build.id, lambda build: build.cancelled(NOW, "cancelled by ada"))
    runner.cancel()
    await over
    assert (await store.build(build.project_id, build.number)).result is Result.CANCELLED
    assert not [said for said in sources.transcript if said[0] == "checkout"]
