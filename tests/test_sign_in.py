"""sign_in.py: codes become sessions and tokens, and wrong ones count."""

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import Clock, deferLater

from sayci.account import TOKEN_PREFIX, Access, Actor, Origin, Token, digest_of
from sayci.errors import Invalid, TooOften, Unauthenticated
from sayci.sign_in import (
    ADMINISTRATOR,
    CODE_LIFETIME,
    LONGEST_DAYS,
    NAME_LIMIT,
    SESSION_LIFETIME,
    SignIn,
    check_token_name,
)

NOW = 1_000_000.0


class Shelf:
    """The part of a store that signing in needs, in memory; `delay` makes its answers wait for the clock."""

    def __init__(self, clock):
        self.clock = clock
        self.delay = 0
        self.codes = {}
        self.sessions = {}
        self.held = {}
        self.asked = []

    async def _wait(self):
        if self.delay:
            await deferLater(self.clock, self.delay)

    async def add_sign_in_code(self, digest, expires_at):
        self.codes[digest] = expires_at

    async def use_sign_in_code(self, digest, now):
        self.asked.append("use_sign_in_code")
        await self._wait()
        return self.codes.pop(digest, 0) > now

    async def add_session(self, digest, actor, now, expires_at, origin):
        self.sessions[digest] = (actor, expires_at)

    async def actor_of_session(self, digest, now, *, is_use=True):
        self.asked.append("actor_of_session")
        actor, expires_at = self.sessions.get(digest, (None, 0))
        return actor if expires_at > now else None

    async def remove_session(self, digest):
        self.sessions.pop(digest, None)

    async def add_token(self, name, access, digest, now, expires_at):
        token = Token(len(self.held) + 1, name, access, now, expires_at)
        self.held[digest] = token
        return token

    async def actor_of_token(self, digest, now, *, is_use=True):
        self.asked.append("actor_of_token")
        token = self.held.get(digest)
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        return Actor(token.name, token.access)


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(NOW)
    return clock


@pytest.fixture
def shelf(clock):
    return Shelf(clock)


@pytest.fixture
def sign_in(shelf, bus, clock):
    return SignIn(shelf, bus, clock.seconds)


@pytest_twisted.ensureDeferred
async def test_a_code_opens_a_session_of_the_administrator(sign_in):
    secret, actor = await sign_in.session_by_code(await sign_in.new_code())
    assert actor == Actor(ADMINISTRATOR, Access.ADMIN)
    assert await sign_in.actor_of_session(secret) == actor


@pytest_twisted.ensureDeferred
async def test_a_code_works_once(sign_in):
    code = await sign_in.new_code()
    await sign_in.session_by_code(code)
    with pytest.raises(Unauthenticated):
        await sign_in.session_by_code(code)
    with pytest.raises(Unauthenticated):
        await sign_in.token_by_code(code, "laptop")


@pytest_twisted.ensureDeferred
async def test_of_two_uses_of_a_code_at_once_one_wins(sign_in, shelf, clock):
    code = await sign_in.new_code()
    shelf.delay = 1
    uses = DeferredList([Deferred.fromCoroutine(sign_in.session_by_code(code)) for _ in range(2)], consumeErrors=True)
    clock.advance(1)
    assert [succeeded for succeeded, _ in await uses].count(True) == 1


@pytest_twisted.ensureDeferred
async def test_a_code_expires(sign_in, clock):
    code = await sign_in.new_code()
    clock.advance(CODE_LIFETIME)
    with pytest.raises(Unauthenticated):
        await sign_in.session_by_code(code)


@pytest_twisted.ensureDeferred
async def test_a_code_lasts_as_long_as_was_asked(sign_in, clock):
    code = await sign_in.new_code(lifetime=60)
    clock.advance(59)
    await sign_in.session_by_code(code)


@pytest_twisted.ensureDeferred
async def test_a_session_expires_and_ends_when_signed_out(sign_in, clock):
    first, _ = await sign_in.session_by_code(await sign_in.new_code())
    second, _ = await sign_in.session_by_code(await sign_in.new_code())
    await sign_in.sign_out(first)
    assert await sign_in.actor_of_session(first) is None
    assert await sign_in.actor_of_session(second) is not None
    clock.advance(SESSION_LIFETIME)
    assert await sign_in.actor_of_session(second) is None


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_a_session_is_not_looked_up(sign_in, shelf):
    assert await sign_in.actor_of_session("") is None
    assert await sign_in.actor_of_session("x" * 1_000_000) is None
    assert shelf.asked == []


@pytest_twisted.ensureDeferred
async def test_only_digests_reach_the_store(sign_in, shelf):
    code = await sign_in.new_code()
    assert list(shelf.codes) == [digest_of(code)]
    secret, _ = await sign_in.session_by_code(code)
    _, token = await sign_in.new_token("robot", Access.READ, None)
    assert list(shelf.sessions) == [digest_of(secret)]
    assert list(shelf.held) == [digest_of(token)]


@pytest_twisted.ensureDeferred
async def test_the_command_line_client_gets_a_token_for_a_code(sign_in):
    token, secret = await sign_in.token_by_code(await sign_in.new_code(), " laptop ")
    assert (token.name, token.access, token.expires_at) == ("laptop", Access.ADMIN, None)
    assert secret.startswith(TOKEN_PREFIX)
    assert await sign_in.actor_of_token(secret) == Actor("laptop", Access.ADMIN)


@pytest_twisted.ensureDeferred
async def test_a_bad_name_does_not_use_up_the_code(sign_in):
    code = await sign_in.new_code()
    with pytest.raises(Invalid):
        await sign_in.token_by_code(code, "")
    await sign_in.token_by_code(code, "laptop")


@pytest_twisted.ensureDeferred
async def test_a_token_lasts_for_its_days(sign_in, clock):
    token, secret = await sign_in.new_token("robot", Access.BUILD, 2)
    assert token.expires_at == NOW + 2 * 86400
    clock.advance(2 * 86400 - 1)
    assert await sign_in.actor_of_token(secret) == Actor("robot", Access.BUILD)
    clock.advance(1)
    with pytest.raises(Unauthenticated):
        await sign_in.actor_of_token(secret)


@pytest.mark.parametrize("days", (0, -1, LONGEST_DAYS + 1))
@pytest_twisted.ensureDeferred
async def test_a_token_lasts_a_sensible_number_of_days(sign_in, days):
    with pytest.raises(Invalid):
        await sign_in.new_token("robot", Access.READ, days)


@pytest.mark.parametrize(
    "name", ("", "   ", "x" * (NAME_LIMIT + 1), "a\nb", "a\0b", "\u202eevil", "a\u2028b", "\ud800", "a\tb")
)
def test_a_token_s_name_is_short_and_printable(name):
    with pytest.raises(Invalid):
        check_token_name(name)


@given(st.text(max_size=2 * NAME_LIMIT))
def test_a_name_that_passes_is_printable_and_passes_again(name):
    try:
        checked = check_token_name(name)
    except Invalid:
        return
    assert checked.isprintable()
    assert check_token_name(checked) == checked


@pytest.mark.parametrize("secret", ("", "sayci_", "Bearer x", TOKEN_PREFIX + "x" * 43, "x" * 1_000_000, "\ud800"))
@pytest_twisted.ensureDeferred
async def test_an_unknown_token_is_nobody(sign_in, secret):
    with pytest.raises(Unauthenticated):
        await sign_in.actor_of_token(secret)


@pytest_twisted.ensureDeferred
async def test_a_session_is_no_token_and_a_token_no_session(sign_in):
    session, _ = await sign_in.session_by_code(await sign_in.new_code())
    _, token = await sign_in.new_token("robot", Access.READ, None)
    assert await sign_in.actor_of_session(token) is None
    with pytest.raises(Unauthenticated):
        await sign_in.actor_of_token(session)


async def exhaust(attempt):
    """Repeat a wrong try until it is TooOften; answers how many were looked at, and the error."""
    for tries in range(1000):
        try:
            await attempt()
        except TooOften as error:
            return tries, error
        except Unauthenticated:
            pass
    raise AssertionError("never too often")


@pytest_twisted.ensureDeferred
async def test_wrong_codes_from_one_address_are_soon_too_many(sign_in, shelf, clock):
    code = await sign_in.new_code()
    tries, error = await exhaust(lambda: sign_in.session_by_code("wrong", Origin("192.0.2.1")))
    assert tries == 20
    assert error.args[1] == 6
    asked = len(shelf.asked)
    with pytest.raises(TooOften):
        await sign_in.session_by_code(code, Origin("192.0.2.1"))
    assert len(shelf.asked) == asked
    clock.advance(6)
    await sign_in.session_by_code(code, Origin("192.0.2.1"))


@pytest_twisted.ensureDeferred
async def test_wrong_codes_of_one_address_do_not_hinder_another_nor_its_tokens(sign_in):
    code = await sign_in.new_code()
    _, token = await sign_in.new_token("robot", Access.READ, None)
    await exhaust(lambda: sign_in.session_by_code("wrong", Origin("192.0.2.1")))
    await sign_in.actor_of_token(token, address="192.0.2.1")
    await sign_in.session_by_code(code, Origin("192.0.2.2"))


@pytest_twisted.ensureDeferred
async def test_wrong_tokens_from_one_address_are_soon_too_many(sign_in):
    await exhaust(lambda: sign_in.actor_of_token("sayci_wrong", address="192.0.2.1"))


@pytest_twisted.ensureDeferred
async def test_right_credentials_cost_no_tries(sign_in):
    _, token = await sign_in.new_token("robot", Access.READ, None)
    for _ in range(50):
        await sign_in.actor_of_token(token, address="192.0.2.1")
        await sign_in.session_by_code(await sign_in.new_code(), Origin("192.0.2.1"))


@pytest_twisted.ensureDeferred
async def test_many_wrong_codes_at_once_are_many_tries(sign_in, shelf, clock):
    shelf.delay = 1
    tries = [Deferred.fromCoroutine(sign_in.session_by_code("wrong", Origin("::1"))) for _ in range(100)]
    kinds = []
    for attempt in tries:
        attempt.addErrback(lambda failure: kinds.append(failure.type))
    clock.advance(1)
    await gatherResults(tries)
    assert kinds.count(Unauthenticated) == 20
    assert kinds.count(TooOften) == 80
