"""The keeper, over simulated weeks and years."""

from __future__ import annotations

import json
import random
import re
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from sayci.acme.ari import Window, certificate_id
from sayci.acme.directory import CertificateDirectory
from sayci.acme.keeper import ORDER_LIMIT, Keeper
from sayci.acme.trouble import AuthorityRefused, AuthorityUnreachable, ValidationFailed
from sayci.errors import CannotStart, Missing, TooOften, Unavailable
from tests.paper_authority import BEGIN, DAY, PaperAuthority, Times, done, pem_of
from tests.pebble import BLOCKED, running_pebble

HOUR = 3600.0
AUTHORITY = "https://authority.example/directory"
DOWN = AuthorityUnreachable("the authority does not answer", kind="unreachable")
NOT_OURS = ValidationFailed("the authority could not reach this server", "a.example at port 443", kind="connection")


class House:
    """A keeper, its directory, and all that it needs; restarted at will."""

    def __init__(self, path, names=("a.example",), lifetime=90 * DAY, staging=False):
        self.path = path
        self.times = Times()
        self.authority = PaperAuthority(self.times, lifetime)
        self.staging = PaperAuthority(self.times, lifetime, "(STAGING) Paper") if staging else None
        self.served = []
        self.withdrawn = []
        self.draw = 0.5
        self.responders: list[Any] = []
        self.keeper: Any = None
        path.mkdir(exist_ok=True)
        for name in names:
            (path / f"{name}.pem").touch()

    def start(self, **more):
        self.keeper = self.make(**more)
        done(self.keeper.start())
        return self.keeper

    def make(self, directory=None, **more):
        settings: dict[str, Any] = {"authority": AUTHORITY, "withdraw": self.withdrawn.append, **more}
        return Keeper(
            directory or CertificateDirectory(self.path),
            self.authority,
            self.staging,
            self.responders,
            lambda name, pem: self.served.append((self.times.wall(), name, pem)),
            self.times,
            self.times.wall,
            lambda: self.draw,
            **settings,
        )

    def stop(self):
        done(self.keeper.stop())
        self.keeper = None

    def restart(self, **more):
        self.stop()
        return self.start(**more)

    def put(self, name, pem):
        (self.path / f"{name}.pem").write_bytes(pem)

    def get(self, name="a.example"):
        return (self.path / f"{name}.pem").read_bytes()

    @property
    def one(self):
        (certificate,) = self.keeper.certificates()
        return certificate


@pytest.fixture
def house(tmp_path):
    made = []

    def make(*arguments, **settings):
        made.append(House(tmp_path / "certs", *arguments, **settings))
        return made[-1]

    yield make
    for each in made:
        if each.keeper is not None:
            each.stop()


@pytest.fixture
def logged():
    """(level, words) of all that is logged at INFO and above."""
    lines = []

    @implementer(ILogObserver)
    def observe(event):
        if event["log_level"] >= LogLevel.info and event.get("log_namespace", "").startswith("sayci"):
            lines.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_each_failure_has_another_way_tried_first(house):
    it = house()
    it.responders = [SimpleNamespace(challenge_type=way) for way in ("http-01", "tls-alpn-01")]
    it.authority.troubles[""] = NOT_OURS
    it.start()
    it.times.run(HOUR)
    first, second, third, *_ = it.authority.ways
    assert first == third == ["http-01", "tls-alpn-01"]
    assert second == ["tls-alpn-01", "http-01"]


def words_at(lines, level):
    return [words for each, words in lines if each is level]


# ------------------------------------------------------------------------------------------------ the usual


def test_an_empty_file_becomes_a_certificate_that_is_stored_before_it_is_served(house, logged):
    it = house()
    it.start()
    assert it.served == []
    it.times.run(0)
    ((when, name, pem),) = it.served
    assert (when, name, pem) == (BEGIN, "a.example", it.get())
    assert (it.path / "a.example.pem").stat().st_mode & 0o777 == 0o600
    assert it.one.issuer == "Paper, P1"
    assert it.one.lifetime == 90 * DAY
    assert it.one.renew_at == BEGIN + 60 * DAY
    assert (it.one.error, it.one.tries) == ("", 0)
    (line,) = words_at(logged, LogLevel.info)
    assert line == "a.example: a certificate by Paper, P1, good until 2027-04-15 08:00:00 UTC"


def test_what_is_stored_is_served_at_once_even_when_it_has_ended(house, logged):
    it = house(("b.example",))
    it.put("a.example", it.authority.bundle("a.example"))
    it.put("z.example", it.authority.bundle("z.example", begin=-2 * DAY, end=-DAY))
    it.authority.troubles[""] = DOWN
    it.start()
    assert [name for _, name, _ in it.served] == ["a.example", "z.example"]
    it.times.run(0)
    assert [line for line in words_at(logged, LogLevel.error) if "z.example: the certificate has ended" in line]
    assert [order[1] for order in it.authority.orders] == ["b.example", "z.example"], "those first that nobody has"


def test_a_certificate_is_renewed_for_years_with_a_third_of_its_time_left(house):
    it = house()
    it.start(look_every=HOUR)
    it.times.run(3 * 365 * DAY)
    gaps = [round((after[0] - before[0]) / DAY, 1) for before, after in pairwise(it.authority.issued)]
    assert len(gaps) == 18
    assert set(gaps) == {60.0}
    assert len({pem for _, _, pem in it.served}) == 19, "each has a key of its own"


@pytest.mark.parametrize("lifetime", (300, 30))
def test_short_lived_certificates_are_renewed_at_half_time(house, lifetime):
    it = house(lifetime=lifetime)
    it.start()
    it.times.run(20 * lifetime)
    assert len(it.served) >= 39
    assert all(after[0] - before[0] <= lifetime / 2 + 1 for before, after in pairwise(it.served))


def test_names_that_appear_later_are_found_within_a_minute_and_those_that_vanish_are_forgotten(house):
    it = house()
    it.start()
    it.times.run(100)
    (it.path / "b.example.pem").touch()
    it.times.run(60)
    assert [each.name for each in it.keeper.certificates()] == ["a.example", "b.example"]
    assert it.served[-1][1] == "b.example"
    (it.path / "a.example.pem").unlink()
    it.times.run(60)
    assert [each.name for each in it.keeper.certificates()] == ["b.example"]
    assert it.withdrawn == ["a.example"]


def test_what_somebody_puts_there_is_served_and_kept(house):
    it = house()
    it.start()
    it.times.run(10)
    by_hand = it.authority.bundle("a.example", end=30 * DAY)
    it.put("a.example", by_hand)
    it.times.run(60)
    assert it.served[-1][2] == by_hand
    assert it.one.lifetime == 30 * DAY
    it.times.run(10 * DAY)
    assert it.get() == by_hand


@pytest.mark.parametrize(
    "junk",
    (b"junk", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", b"\xff" * 99),
    ids=("words", "a key alone", "bytes"),
)
def test_a_file_that_is_no_certificate_is_said_and_replaced(house, logged, junk):
    it = house()
    it.put("a.example", junk)
    it.start()
    assert it.served == []
    assert "a.example: what is in its file cannot be served" in words_at(logged, LogLevel.warn)[0]
    assert "cannot be served" in it.one.error
    it.times.run(1)
    assert len(it.served) == 1
    assert it.one.error == ""


def test_a_certificate_for_another_name_is_served_until_there_is_a_right_one(house):
    it = house()
    it.put("a.example", it.authority.bundle("b.example"))
    it.start()
    assert len(it.served) == 1
    it.times.run(1)
    assert len(it.served) == 2


def test_a_certificate_with_a_wildcard_is_right(house):
    it = house()
    it.put("ci.a.example", it.authority.bundle("*.a.example"))
    it.authority.troubles["a.example"] = DOWN
    it.start()
    it.times.run(1)
    assert [order[1] for order in it.authority.orders] == ["a.example"]


def test_an_authority_takes_over_what_another_one_has_issued(house):
    it = house()
    it.start(authority="https://staging.example/directory")
    it.times.run(1)
    it.restart()
    it.times.run(1)
    assert len(it.authority.issued) == 2
    it.restart()
    it.times.run(DAY)
    assert len(it.authority.issued) == 2


def test_the_profile_is_asked_for(house):
    it = house()
    it.start(profile="shortlived")
    it.times.run(1)
    assert it.authority.orders[0][3] == "shortlived"


# ------------------------------------------------------------------------------------------------ trouble


def test_an_authority_that_is_down_for_days_delays_and_nothing_more(house, logged):
    it = house()
    it.authority.troubles[""] = DOWN
    it.start()
    it.times.run(5 * DAY)
    starts = [when - BEGIN for when, *_ in it.authority.orders]
    assert starts[0] == 0
    assert 60 <= starts[1] <= 60 * 1.25
    assert 600 <= starts[2] - starts[1] <= 600 * 1.25
    assert 6000 <= starts[3] - starts[2] <= 6000 * 1.25
    assert all(DAY <= after - before <= DAY * 1.25 for before, after in pairwise(starts[3:]))
    assert it.one.error == "the authority does not answer"
    assert it.one.tries == len(starts)
    assert len(words_at(logged, LogLevel.warn)) == 1, "the same words are said once"
    it.authority.troubles.clear()
    it.times.run(1.25 * DAY)
    assert len(it.served) == 1
    assert (it.one.error, it.one.tries) == ("", 0)


def test_the_old_certificate_stays_while_renewals_fail_and_people_are_warned_in_time(house, logged):
    it = house()
    it.start(look_every=600)
    it.times.run(1)
    pem = it.get()
    it.authority.troubles[""] = NOT_OURS
    it.times.run(60 * DAY)
    (line,) = words_at(logged, LogLevel.warn)
    assert "no certificate: the authority could not reach this server" in line
    del logged[:]
    it.times.run(30 * DAY + 1200)
    assert it.get() == pem
    assert len(it.served) == 1
    warnings = [line for line in words_at(logged, LogLevel.warn) if "the certificate ends at 2027-04-15" in line]
    assert 21 <= len(warnings) <= 24, "once a day from when a quarter is left"
    (error,) = words_at(logged, LogLevel.error)
    assert "the certificate has ended" in error
    assert "could not reach this server" in error


def test_a_failing_name_does_not_hold_up_the_others(house):
    it = house(("a.example", "b.example", "c.example"))
    it.authority.troubles["a.example"] = NOT_OURS
    it.start(look_every=HOUR)
    it.times.run(365 * DAY)
    issued = [name for _, name, *_ in it.authority.issued]
    assert (issued.count("a.example"), issued.count("b.example"), issued.count("c.example")) == (0, 7, 7)


def test_an_order_without_an_end_is_given_up(house):
    it = house(("a.example", "b.example"))
    it.authority.slow = Deferred()
    it.start()
    it.times.run(1)
    it.authority.slow, _ = None, it.authority.slow
    it.times.run(ORDER_LIMIT)
    assert [name for _, name, _ in it.served] == ["b.example"]
    assert it.keeper.certificates()[0].error == "the authority was not done in time"


def test_back_off_survives_a_restart(house):
    it = house()
    it.authority.troubles[""] = DOWN
    it.start()
    it.times.run(3 * HOUR)
    tries = len(it.authority.orders)
    for _ in range(20):
        it.restart()
        it.times.run(60)
    assert len(it.authority.orders) == tries
    assert it.one.tries == tries
    assert it.one.error == "the authority does not answer"


def test_a_touched_file_is_tried_at_once(house):
    it = house()
    it.authority.troubles[""] = DOWN
    it.start()
    it.times.run(3 * HOUR)
    tries = len(it.authority.orders)
    it.authority.troubles.clear()
    (it.path / "a.example.pem").unlink()
    (it.path / "a.example.pem").touch()
    it.times.run(60)
    assert len(it.authority.orders) == tries + 1
    assert len(it.served) == 1


def test_nothing_is_tried_before_the_authority_wants_it(house):
    it = house()
    it.authority.troubles[""] = AuthorityRefused("too many requests", kind="rateLimited", retry_after=2 * DAY)
    it.start()
    it.times.run(2 * DAY - 1)
    assert len(it.authority.orders) == 1
    with pytest.raises(TooOften):
        done(it.keeper.renew_now("a.example"))
    it.times.run(120)
    assert len(it.authority.orders) == 2


def test_a_full_disk_places_no_order(house):
    it = house()

    class Full(CertificateDirectory):
        full = True

        def ensure_writable(self):
            if self.full:
                raise Unavailable("a certificate could not be stored", self.path, "No space left on device")

    directory = Full(it.path)
    it.start(directory=directory)
    it.times.run(10 * DAY)
    assert it.authority.orders == []
    assert "No space left on device" in it.one.error
    directory.full = False
    it.times.run(1.25 * DAY)
    assert len(it.served) == 1


def test_a_certificate_that_cannot_be_stored_is_not_served(house):
    it = house()

    class Broken(CertificateDirectory):
        def store(self, name, pem):
            raise OSError(5, "Input/output error")

    it.start(directory=Broken(it.path))
    it.times.run(3 * DAY)
    assert it.served == []
    assert it.one.error == "Input/output error"
    assert len(it.authority.issued) == 4, "no more than the authority issues for a name in a week"


def test_a_state_that_cannot_be_kept_is_said_once_and_harms_nothing(house, logged):
    it = house()

    class Forgetful(CertificateDirectory):
        def save(self, records):
            raise OSError(30, "Read-only file system")

    it.start(directory=Forgetful(it.path))
    it.times.run(DAY)
    assert len(it.served) == 1
    assert len(words_at(logged, LogLevel.warn)) == 1


def test_a_second_keeper_is_refused_and_the_next_one_is_not(house):
    it = house()
    it.start()
    with pytest.raises(CannotStart, match="another sayci"):
        done(it.make().start())
    it.restart()


# ------------------------------------------------------------------------------------------------ what is issued


@pytest.mark.parametrize(
    ("flaw", "words"),
    (
        ("name", "for other names"),
        ("key", "another private key"),
        ("expired", "expired already"),
        ("itself", "signed by itself"),
        ("chain", "broken chain"),
    ),
)
def test_what_is_issued_is_looked_at_before_it_replaces_anything(house, flaw, words):
    it = house()
    old = it.authority.bundle("a.example", begin=-80 * DAY, end=10 * DAY)
    it.put("a.example", old)
    stranger = ec.generate_private_key(ec.SECP256R1())
    sign, key = it.authority.sign, it.authority.key
    it.authority.leaf_of = {
        "name": lambda request, name: sign("", request.public_key(), "P1", key, names=["b.example"]),
        "key": lambda request, name: sign("", stranger, "P1", key, names=[name]),
        "expired": lambda request, name: sign(
            "", request.public_key(), "P1", key, names=[name], begin=-9 * DAY, end=-DAY
        ),
        "itself": lambda request, name: sign("P1", request.public_key(), "P1", key, names=[name]),
        "chain": lambda request, name: sign("", request.public_key(), "P1", stranger, names=[name]),
    }[flaw]
    it.start()
    it.times.run(1)
    assert len(it.authority.issued) == 1
    assert words in it.one.error
    assert it.get() == old
    assert [pem for _, _, pem in it.served] == [old]


def test_txacmes_own_files_are_served(house):
    it = house()
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = it.authority.sign("", key, "P1", it.authority.key, names=["a.example"])
    it.put("a.example", pem_of(leaf, it.authority.above, key))
    it.start()
    assert len(it.served) == 1


# ------------------------------------------------------------------------------------------------ windows


def test_the_authority_is_asked_twice_a_day_and_obeyed(house):
    it = house()
    it.authority.windows = lambda pem: Window(
        it.authority.issued[-1][0] + 20 * DAY, it.authority.issued[-1][0] + 22 * DAY, 21600.0
    )
    it.start()
    it.times.run(20 * DAY)
    assert 38 <= len(it.authority.asked) <= 41
    assert it.one.renew_at == BEGIN + 21 * DAY
    it.times.run(1.1 * DAY)
    assert [round((when - BEGIN) / DAY, 2) for when, *_ in it.authority.issued] == [0.0, 21.0]


def test_a_window_that_is_over_renews_at_once_and_says_what_is_replaced(house):
    it = house()
    it.start()
    it.times.run(5 * DAY)
    old = certificate_id(it.get()[it.get().index(b"-----BEGIN CERT") :])
    revoked = it.times.wall()
    it.authority.windows = lambda pem: (
        Window(BEGIN, BEGIN + 1) if certificate_id(pem) == old else Window(BEGIN + 60 * DAY, BEGIN + 61 * DAY)
    )
    it.times.run(DAY)
    assert len(it.authority.issued) == 2
    when, _, replaces, _ = it.authority.issued[1]
    assert when - revoked <= 12 * HOUR + 60
    assert replaces == old


def test_an_authority_that_always_wants_a_new_one_is_not_obeyed_for_ever(house):
    it = house()
    it.authority.windows = lambda pem: Window(BEGIN - DAY, BEGIN)
    it.start(look_every=HOUR)
    it.times.run(70 * DAY)
    assert 35 <= len(it.authority.issued) <= 41
    assert _most_within([when for when, *_ in it.authority.issued], HOUR) == 1
    assert _most_within([when for when, *_ in it.authority.issued], 7 * DAY) <= 4


def test_without_an_answer_the_usual_time_holds_and_so_does_what_was_said_before(house):
    it = house()
    it.authority.windows = lambda pem: DOWN
    it.start(look_every=HOUR)
    it.times.run(59 * DAY)
    assert it.one.renew_at == BEGIN + 60 * DAY
    assert it.one.error == ""
    assert 110 <= len(it.authority.asked) <= 120


def test_the_window_survives_a_restart(house):
    it = house()
    it.authority.windows = lambda pem: Window(BEGIN + 20 * DAY, BEGIN + 22 * DAY, 21600.0)
    it.start()
    it.times.run(60)
    it.draw = 0.9
    for _ in range(10):
        it.restart()
        it.times.run(60)
    assert len(it.authority.asked) == 1
    assert it.one.renew_at == BEGIN + 21 * DAY


# ------------------------------------------------------------------------------------------------ staging


def test_once_refused_tries_begin_at_staging(house):
    it = house(staging=True)
    it.authority.troubles[""] = it.staging.troubles[""] = NOT_OURS
    it.start()
    it.times.run(20 * DAY)
    assert len(it.authority.orders) == 1
    assert len(it.staging.orders) > 15
    assert it.one.error.startswith("a try at the staging authority failed: the authority could not reach this server")
    it.staging.troubles.clear()
    it.times.run(1.25 * DAY)
    assert len(it.staging.issued) == 1
    assert len(it.authority.orders) == 2
    assert it.served == []
    assert not it.one.error.startswith("a try at the staging")
    it.authority.troubles.clear()
    it.times.run(1.25 * DAY)
    assert it.authority.issued[0][0] == it.staging.issued[1][0]
    (_, _, pem) = it.served[0]
    assert pem == it.get()
    assert it.one.issuer == "Paper, P1", "what staging issues is served to nobody"


def test_staging_is_not_asked_about_an_authority_that_was_down(house):
    it = house(staging=True)
    it.authority.troubles[""] = DOWN
    it.start()
    it.times.run(HOUR)
    assert it.staging.orders == []
    assert len(it.authority.orders) == 3


def test_without_an_answer_of_staging_the_authority_is_asked_only_when_time_presses(house):
    it = house(staging=True)
    it.start(look_every=HOUR)
    it.times.run(59 * DAY)
    it.authority.troubles[""] = NOT_OURS
    it.staging.troubles[""] = DOWN
    it.times.run(2 * DAY)
    it.authority.troubles.clear()
    it.times.run(5 * DAY)
    assert len(it.authority.orders) == 2
    it.times.run(5 * DAY)
    assert len(it.authority.issued) == 2
    assert 67.5 * DAY <= it.authority.issued[1][0] - BEGIN <= 69 * DAY


# ------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("lifetime", (90 * DAY, 6.67 * DAY, 300, 30))
@pytest.mark.parametrize("staging", (False, True))
def test_limits_are_never_exceeded_over_weeks_of_failure(house, lifetime, staging):
    it = house(("a.example", "b.example"), lifetime=lifetime, staging=staging)
    it.start(look_every=600)
    it.times.run(lifetime * 0.66)
    failing_from = it.times.wall()
    it.authority.troubles[""] = NOT_OURS
    for day in range(21 if lifetime > DAY else 2):
        it.times.run(DAY / 2)
        if day % 7 == 1:
            it.restart(look_every=600)
        (it.path / "a.example.pem").write_bytes(b"")  # somebody is impatient
        it.times.run(DAY / 2)
    for name in ("a.example", "b.example"):
        failed = [when for when, each, *_ in it.authority.orders if each == name and when >= failing_from]
        assert failed
        assert _most_within(failed, HOUR) <= 4


# ------------------------------------------------------------------------------------------------ by hand, the end, clocks


def test_a_person_may_have_it_renewed_at_once(house):
    it = house()
    it.start()
    it.times.run(1)
    done(it.keeper.renew_now("a.example"))
    assert len(it.served) == 2
    with pytest.raises(Missing):
        done(it.keeper.renew_now("b.example"))


def test_a_person_is_told_what_fails_and_where_the_limits_are(house):
    it = house()
    it.authority.troubles[""] = NOT_OURS
    it.start()
    it.times.run(1)
    for _ in range(3):
        with pytest.raises(ValidationFailed):
            done(it.keeper.renew_now("a.example"))
    with pytest.raises(TooOften) as caught:
        done(it.keeper.renew_now("a.example"))
    assert caught.value.args[1] in {3599, 3600}
    assert len(it.authority.orders) == 4


def test_a_try_by_hand_waits_for_the_order_under_way(house):
    it = house()
    slow = it.authority.slow = Deferred()
    it.start()
    it.times.run(1)
    by_hand = Deferred.fromCoroutine(it.keeper.renew_now("a.example"))
    assert len(it.authority.orders) == 1
    slow.callback(None)
    assert by_hand.called
    assert len(it.served) == 2


def test_the_end_breaks_an_order_off_and_counts_it_for_nothing(house):
    it = house(("a.example", "b.example"))
    it.authority.slow = Deferred()
    it.start()
    it.times.run(1)
    waiting = Deferred.fromCoroutine(it.keeper.renew_now("b.example"))
    failures = []
    waiting.addErrback(lambda failure: failures.append(failure.type))
    it.stop()
    assert failures == [Unavailable]
    assert it.authority.ended == ["a.example"]
    assert it.times.getDelayedCalls() == []
    it.authority.slow = None
    it.start()
    assert [each.tries for each in it.keeper.certificates()] == [0, 0]
    it.times.run(1)
    assert len(it.served) == 2


def test_the_end_breaks_an_order_by_hand_off_as_well(house):
    it = house()
    it.start()
    it.times.run(1)
    it.authority.slow = Deferred()
    failures: list[Any] = []
    Deferred.fromCoroutine(it.keeper.renew_now("a.example")).addErrback(lambda failure: failures.append(failure.type))
    it.stop()
    assert failures == [CancelledError]
    assert it.authority.ended == ["a.example", "a.example"]


def test_an_end_before_anything_has_begun(house):
    it = house()
    it.start()
    it.stop()
    assert it.authority.orders == []


def test_a_clock_that_is_set_forward_is_noticed_within_a_minute(house):
    it = house()
    it.start()
    it.times.run(100)
    it.times.offset += 61 * DAY
    it.times.run(60)
    assert len(it.served) == 2


def test_a_clock_that_was_wrong_does_not_stop_tries_for_years(house):
    it = house()
    it.times.offset += 3 * 365 * DAY
    it.authority.troubles[""] = DOWN
    it.start()
    it.times.run(3 * HOUR)
    it.times.offset -= 3 * 365 * DAY
    it.authority.troubles.clear()
    it.times.run(60)
    assert len(it.served) == 1


def test_a_mistake_of_ours_is_logged_and_ends_nothing(house, logged):
    it = house()
    it.authority.troubles[""] = ZeroDivisionError("oops")
    it.start()
    it.times.run(HOUR)
    assert it.one.error == "sayci made a mistake; its server log says more: ZeroDivisionError"
    assert len(words_at(logged, LogLevel.critical)) == len(it.authority.orders) == 3
    it.authority.troubles.clear()
    it.times.run(DAY)
    assert len(it.served) == 1


def test_the_state_has_no_secrets(house):
    it = house()
    it.start()
    it.times.run(1)
    text = (it.path / "acme.json").read_text()
    assert "PRIVATE" not in text
    assert re.search("a.example", text)
    assert json.loads(text)["a.example"]["authority"] == AUTHORITY


# ------------------------------------------------------------------------------------------------ a real authority


@pytest_twisted.ensureDeferred
async def test_a_real_authority_renews_in_time_while_it_refuses_another_name(
    tmp_path, client_of, serve_http, responder
):
    directory = CertificateDirectory(tmp_path / "certs")
    directory.path.mkdir()
    directory.add("a.example")
    directory.add(BLOCKED)
    served: list[Any] = []
    third: Deferred[None] = Deferred()
    reactor: Any = global_reactor

    def serve(name, pem):
        served.append((name, pem))
        if len(served) == 3:
            third.callback(None)

    with running_pebble(tmp_path, validity=6, nonce_reject=15) as pebble:
        await serve_http(responder, pebble.http_port)
        client = client_of(pebble, directory.account_key(pebble.directory_url))
        keeper = Keeper(
            directory,
            client,
            None,
            [responder],
            serve,
            reactor,
            time.time,
            random.random,
            authority=pebble.directory_url,
            in_thread=lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work),
        )
        await keeper.start()
        await third.addTimeout(50, reactor)
        ours, blocked = keeper.certificates()
        await keeper.stop()
    assert {name for name, _ in served} == {"a.example"}
    assert served[-1][1] == directory.get("a.example")
    assert len({pem for _, pem in served}) == 3
    assert "Pebble Intermediate CA" in ours.issuer
    assert ours.error == ""
    assert (blocked.name, blocked.tries) == (BLOCKED, 1)
    assert "does not issue certificates for this name" in blocked.error


def _most_within(times, span):
    return max(sum(1 for other in times if time <= other < time + span) for time in times)
