"""The keeper of the certificates: serves those on the disk at once, and has each renewed in time, whatever happens.

One loop looks after all names.  There is one order at a time, and a certificate stays until the next one is verified,
stored and served.  Nothing that an authority does or leaves undone ends the loop; it is kept in words for people.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sayci.acme.ari import Window, certificate_id
from sayci.acme.bundle import Bundle, check_issued, read_bundle
from sayci.acme.challenge import Responder
from sayci.acme.directory import CertificateDirectory, Signature
from sayci.acme.keys import csr_of, new_certificate_key, pem_of
from sayci.acme.mishap import RehearsalFailed, counts, is_expected, mishap_of, words_of
from sayci.acme.schedule import (
    DAY,
    USUAL_LIFETIME,
    Record,
    after_failure,
    after_issue,
    after_success,
    alarm_pause,
    at_authority,
    next_check,
    next_try,
    order_at,
    renew_at,
    warn_at,
    window_pause,
)
from sayci.background import Background
from sayci.certificate import Certificate
from sayci.errors import Missing, SayciError, TooOften, Unavailable

#: Seconds between two looks at the directory, and at the wall clock, which may jump.
LOOK_EVERY = 60.0
#: Seconds that an authority has for a certificate, and for saying when it wants one renewed; its client has less patience.
ORDER_LIMIT, WINDOW_LIMIT = 600.0, 60.0

_SHORTEST_SLEEP = 0.5
_STOP_LIMIT = 5.0

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Authority(Protocol):
    """What is needed of :class:`sayci.acme.client.AcmeClient`."""

    async def issue(
        self, name: str, csr_der: bytes, responders: Sequence[Responder], *, profile: str = "", replaces: str = ""
    ) -> bytes:
        """A certificate and its chain; raises AcmeError."""
        ...

    async def renewal_window(self, certificate_pem: bytes) -> Window | None:
        """When the authority wants the certificate to be renewed; raises AcmeError."""
        ...


async def at_once(work: Callable[[], Any]) -> Any:
    """An InThread without a thread."""
    return work()


@dataclass(eq=False)
class _Kept:
    """A name and what is served for it; `wanted` is set while its file asks for a new certificate, `trouble` says why."""

    name: str
    signature: Signature | None = None
    bundle: Bundle | None = None
    wanted: bool = True
    trouble: str = ""
    alarmed: tuple[bool, float] | None = None


class Keeper:
    """Keeps the certificates in `directory` fresh; interfaces.Certificates.

    `client` is the authority, and `authority` the URL that it is known by: certificates of another one are replaced.
    Once the authority has refused a name, tries begin at `staging`, where there is one.  `serve` is called with a name and
    key, certificate and chain as PEM, `withdraw` with a name whose file is gone.  `wall` answers seconds since the epoch,
    `random` a number from 0 to 1; `in_thread` calls a function in a thread and answers its result.
    """

    _log = Logger()

    def __init__(
        self,
        directory: CertificateDirectory,
        client: Authority,
        staging: Authority | None,
        responders: Sequence[Responder],
        serve: Callable[[str, bytes], None],
        clock: IReactorTime,
        wall: Callable[[], float],
        random: Callable[[], float],
        *,
        authority: str = "",
        profile: str = "",
        withdraw: Callable[[str], None] = lambda _: None,
        in_thread: InThread = at_once,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._directory = directory
        self._client = client
        self._staging = staging
        self._responders = responders
        self._serve = serve
        self._clock = clock
        self._wall = wall
        self._random = random
        self._authority = authority
        self._profile = profile
        self._withdraw = withdraw
        self._in_thread = in_thread
        self._look_every = look_every
        self._kept: dict[str, _Kept] = {}
        # Of names whose files are gone as well: an authority does not forget what has failed, either.
        self._records: dict[str, Record] = {}
        self._background = Background()
        self._turn = DeferredLock()
        self._order: Deferred[bytes] | None = None
        self._timer: IDelayedCall | None = None
        self._running = False
        self._disk_trouble = ""

    # -- life

    async def start(self) -> None:
        """Serve what there is, and keep it fresh from now on; safe to repeat.  Raises CannotStart where it cannot be ours."""
        if self._running:
            return
        self._directory.take()
        self._running = True
        known: dict[str, Record] = await self._in_thread(self._directory.load)
        self._records = {name: at_authority(record, self._authority) for name, record in known.items()}
        await self._look()
        self._set_timer(0.0)

    async def stop(self) -> None:
        """End within seconds; an order that is under way is broken off, and its responders stop."""
        if not self._running:
            return
        self._running = False
        self._set_timer(None)
        if self._order is not None:
            self._order.cancel()
        self._background.cancel()
        await self._idle().addTimeout(
            _STOP_LIMIT, self._clock, lambda _, __: self._log.error("an order goes on and on")
        )
        self._directory.release()

    def _idle(self) -> Deferred[None]:
        """Fires when nothing is under way; unlike what it waits for, it can be cancelled at any time."""
        idle: Deferred[None] = Deferred()

        def fire(_: object) -> None:
            if not idle.called:
                idle.callback(None)

        Deferred.fromCoroutine(self._over()).addBoth(fire)
        return idle

    async def _over(self) -> None:
        await self._background.idle()
        await self._turn.run(lambda: None)

    def _set_timer(self, pause: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if pause is not None and self._running:
            self._timer = self._clock.callLater(pause, self._wake)

    def _wake(self) -> None:
        self._background.start(self._round(), "looking after the certificates")

    async def _round(self) -> None:
        pause = self._look_every
        try:
            await self._look()
            await self._renew_what_is_due()
            await self._ask_for_windows()
            self._alarm()
            pause = max(next_check(list(self._moments()), self._wall(), self._look_every), _SHORTEST_SLEEP)
        finally:
            self._set_timer(pause)

    # -- for people

    def certificates(self) -> Sequence[Certificate]:
        """See interfaces.Certificates."""
        return [self._certificate(self._kept[name]) for name in sorted(self._kept)]

    def _certificate(self, kept: _Kept) -> Certificate:
        record, bundle = self._record(kept), kept.bundle
        return Certificate(
            name=kept.name,
            issuer=bundle.issuer if bundle else "",
            not_before=bundle.not_before if bundle else 0.0,
            not_after=bundle.not_after if bundle else 0.0,
            renew_at=max(self._due_at(kept), self._wall()),
            error=record.error or kept.trouble,
            tries=record.tries,
        )

    async def renew_now(self, name: str) -> None:
        """Have the certificate renewed, due or not, as soon as no other order is under way.

        Raises Missing for a name that is not kept; TooOften where the authority's limits forbid a try, with the seconds to
        wait; Unavailable when sayci stops; and whatever the try fails with.
        """
        if name not in self._kept:
            raise Missing("no certificate is kept for this name", name)
        await self._turn.run(self._renew_by_hand, name)

    async def _renew_by_hand(self, name: str) -> None:
        kept, now = self._kept.get(name), self._wall()
        if kept is None or not self._running:
            raise Unavailable("the certificate is not kept any more", name)
        until = order_at(self._record(kept), now, self._lifetime(kept), by_hand=True)
        if until:
            raise TooOften("too many tries, for the authority's limits; seconds to wait", math.ceil(until - now))
        error = await self._renew(kept)
        if error is not None:
            raise error

    # -- what is on the disk

    async def _look(self) -> None:
        """Serve what is new on the disk, and forget what is gone; not while somebody else is about to write there."""
        if self._turn.locked:
            return
        try:
            found: dict[str, Signature] = await self._in_thread(self._directory.scan)
        except OSError as error:
            self._say_disk_trouble(error)
            return
        for name in self._kept.keys() - found.keys():
            self._log.info("{name}: its file is gone, and nobody keeps its certificate any more", name=name)
            del self._kept[name]
            self._withdraw(name)
        for name in sorted(found):
            kept = self._kept.setdefault(name, _Kept(name))
            if kept.signature != found[name]:
                await self._read(kept, found[name])

    async def _read(self, kept: _Kept, signature: Signature) -> None:
        try:
            pem: bytes = await self._in_thread(partial(self._directory.get, kept.name))
        except KeyError:
            return  # gone since it was found
        except (SayciError, OSError) as error:
            self._say_trouble(kept, f"its file cannot be read: {words_of(error)}")
            return
        touched, kept.signature = kept.signature is not None, signature
        if kept.bundle is None or pem != kept.bundle.pem:
            if touched:  # somebody wants something of us, and now
                self._records[kept.name] = replace(self._record(kept), retry_at=0.0)
            self._take_from_disk(kept, pem)

    def _take_from_disk(self, kept: _Kept, pem: bytes) -> None:
        """Serve it, if it is any good; else have another one, and go on with what is served."""
        kept.wanted, kept.trouble = True, ""
        if not pem.strip():
            return
        try:
            bundle = read_bundle(pem)
            self._serve(kept.name, pem)
        except Exception as error:  # noqa: BLE001 - whatever somebody has put there, the other names go on; it is said
            self._say_trouble(kept, f"what is in its file cannot be served: {words_of(error)}")
            return
        kept.bundle, kept.wanted = bundle, not bundle.covers(kept.name)
        record = self._record(kept)
        if record.certificate != bundle.fingerprint:
            self._records[kept.name] = self._first_seen(replace(record, authority=""), bundle)

    def _first_seen(self, record: Record, bundle: Bundle) -> Record:
        return replace(record, certificate=bundle.fingerprint, draw=self._random(), window=None, ask_at=0.0)

    def _say_trouble(self, kept: _Kept, words: str) -> None:
        if kept.trouble != words:
            self._log.warn("{name}: {words}", name=kept.name, words=words)
        kept.trouble = words

    def _say_disk_trouble(self, error: OSError | None) -> None:
        words = "" if error is None else error.strerror or str(error)
        if words and words != self._disk_trouble:
            self._log.warn("the directory with the certificates cannot be used: {words}", words=words)
        self._disk_trouble = words

    async def _save(self) -> None:
        try:
            await self._in_thread(partial(self._directory.save, dict(self._records)))
        except OSError as error:
            self._say_disk_trouble(error)
        else:
            self._say_disk_trouble(None)

    # -- when

    def _record(self, kept: _Kept) -> Record:
        return self._records.get(kept.name) or Record(tried=self._authority)

    def _lifetime(self, kept: _Kept) -> float:
        """What pauses are measured by; not by a certificate that another authority has issued."""
        if kept.bundle is not None and self._record(kept).authority == self._authority:
            return kept.bundle.lifetime
        return USUAL_LIFETIME

    def _due_at(self, kept: _Kept) -> float:
        return next_try(self._wanted_at(kept), self._record(kept), self._wall(), self._lifetime(kept))

    def _wanted_at(self, kept: _Kept) -> float:
        record, bundle = self._record(kept), kept.bundle
        foreign = bool(self._authority and record.authority and record.authority != self._authority)
        if bundle is None or kept.wanted or foreign:
            return 0.0
        return renew_at(bundle.not_before, bundle.not_after, record.window, record.draw)

    def _ask_at(self, kept: _Kept) -> float:
        """When to ask the authority about the certificate; never for one that has ended, or is to be renewed anyhow."""
        if kept.bundle is None or kept.bundle.not_after <= self._wall() or self._wanted_at(kept) <= self._wall():
            return math.inf
        ask_at = self._record(kept).ask_at
        return ask_at if ask_at <= self._wall() + DAY else 0.0  # more is asked by nobody: the clock was wrong

    def _moments(self) -> Iterable[float]:
        for kept in self._kept.values():
            yield self._due_at(kept)
            yield self._ask_at(kept)

    # -- orders

    async def _renew_what_is_due(self) -> None:
        """One after the other, those first that nobody can be served with, and then those that end first."""
        for kept in sorted(self._kept.values(), key=lambda kept: kept.bundle.not_after if kept.bundle else 0.0):
            if self._running and self._due_at(kept) <= self._wall():
                await self._turn.run(self._renew_if_due, kept)

    async def _renew_if_due(self, kept: _Kept) -> None:
        if self._running and self._due_at(kept) <= self._wall():  # somebody may have renewed it by hand meanwhile
            await self._renew(kept)

    async def _renew(self, kept: _Kept) -> Exception | None:
        """One try; answers what has gone wrong."""
        error: Exception | None = None
        try:
            bundle = await self._obtain(kept)
            await self._in_thread(partial(self._directory.store, kept.name, bundle.pem))
            self._serve(kept.name, bundle.pem)
        except Exception as caught:
            if not self._running:
                raise
            error = caught
            self._failed(kept, caught)
        else:
            self._succeeded(kept, bundle)
        await self._save()
        return error

    async def _obtain(self, kept: _Kept) -> Bundle:
        """Order a certificate and look at it; nothing is ordered that could not be stored."""
        await self._in_thread(self._directory.ensure_writable)
        if self._staging is not None and self._record(kept).rehearse:
            await self._rehearse(kept, self._staging)
        key = new_certificate_key()
        chain = await self._issued(self._client, kept, csr_of(kept.name, key), self._replaced(kept))
        self._records[kept.name] = after_issue(self._record(kept), self._wall())
        await self._save()
        bundle = read_bundle(pem_of(key) + chain)
        check_issued(bundle, kept.name, self._wall())
        return bundle

    async def _rehearse(self, kept: _Kept, staging: Authority) -> None:
        """See whether the staging authority would issue.  Raises RehearsalFailed.

        Where it cannot say, and the certificate is about to end, the real one is asked all the same.
        """
        try:
            await self._issued(staging, kept, csr_of(kept.name, new_certificate_key()))
        except Exception as error:
            if not self._running:
                raise
            if counts(error) or not self._is_urgent(kept):
                raise RehearsalFailed(error) from error
            self._log.info("{name}: no answer of the staging authority: {why}", name=kept.name, why=str(error))
        self._records[kept.name] = replace(self._record(kept), rehearse=False)

    async def _issued(self, client: Authority, kept: _Kept, request: bytes, replaces: str = "") -> bytes:
        if not self._running:
            raise Unavailable("sayci stops", kept.name)
        issue = client.issue(kept.name, request, self._ways(kept), profile=self._profile, replaces=replaces)
        self._order = Deferred.fromCoroutine(issue).addTimeout(ORDER_LIMIT, self._clock)
        try:
            return await self._order
        finally:
            self._order = None

    def _ways(self, kept: _Kept) -> Sequence[Responder]:
        """After each failure another way is tried first: port 443 may be closed to the authority, and port 80 open."""
        first = self._record(kept).tries % max(len(self._responders), 1)
        return [*self._responders[first:], *self._responders[:first]]

    def _replaced(self, kept: _Kept) -> str:
        """How the authority calls the certificate that is to be replaced, if it knows it (RFC 9773 5)."""
        return certificate_id(kept.bundle.chain) if kept.bundle and self._record(kept).window else ""

    def _is_urgent(self, kept: _Kept) -> bool:
        return kept.bundle is None or self._wall() >= warn_at(kept.bundle.not_before, kept.bundle.not_after)

    def _succeeded(self, kept: _Kept, bundle: Bundle) -> None:
        kept.bundle, kept.wanted, kept.trouble, kept.alarmed = bundle, False, "", None
        self._records[kept.name] = self._first_seen(after_success(self._record(kept), self._authority), bundle)
        self._log.info(
            "{name}: a certificate by {issuer}, good until {end}",
            name=", ".join(sorted(bundle.names)),
            issuer=bundle.issuer,
            end=_date(bundle.not_after),
        )

    def _failed(self, kept: _Kept, error: Exception) -> None:
        """Keep why, in words, and say it where it is not what it was the last time."""
        before = self._record(kept)
        if not is_expected(error):
            self._log.failure("a mistake while a certificate for {name} was renewed", name=kept.name)
        now = self._wall()
        after = after_failure(before, mishap_of(error), now, self._lifetime(kept), self._random())
        self._records[kept.name] = after
        say = self._log.debug if after.error == before.error else self._log.warn
        again = _date(next_try(0.0, after, now, self._lifetime(kept)))
        say("{name}: no certificate: {why}; the next try is at {again}", name=kept.name, why=after.error, again=again)

    # -- what the authority wishes, and what people must know

    async def _ask_for_windows(self) -> None:
        asked = False
        for kept in list(self._kept.values()):
            if self._running and kept.bundle is not None and self._ask_at(kept) <= self._wall():
                await self._ask_for_window(kept, kept.bundle)
                asked = True
        if asked:
            await self._save()

    async def _ask_for_window(self, kept: _Kept, bundle: Bundle) -> None:
        window = self._record(kept).window
        try:
            question = Deferred.fromCoroutine(self._client.renewal_window(bundle.chain))
            window = await question.addTimeout(WINDOW_LIMIT, self._clock)
        except Exception as error:  # it is only a wish: what is known without it holds
            if not self._running:
                raise
            self._log.info("{name}: no answer when to renew it: {why}", name=kept.name, why=words_of(error))
        if kept.bundle is bundle:  # it may have been renewed by hand meanwhile
            pause = window_pause(bundle.lifetime, window.retry_after if window else 0.0)
            self._records[kept.name] = replace(self._record(kept), window=window, ask_at=self._wall() + pause)

    def _alarm(self) -> None:
        """Say which certificates are about to end, and which have ended."""
        now = self._wall()
        for kept in self._kept.values():
            bundle = kept.bundle
            if bundle is not None and now >= warn_at(bundle.not_before, bundle.not_after):
                over = now >= bundle.not_after
                if _is_news(kept.alarmed, over=over, now=now, pause=alarm_pause(bundle.lifetime)):
                    kept.alarmed = over, now
                    self._say_end(kept, bundle, over=over)

    def _say_end(self, kept: _Kept, bundle: Bundle, *, over: bool) -> None:
        say = self._log.error if over else self._log.warn
        say(
            "{name}: the certificate {verb} at {end}, and there is no other: {why}",
            name=kept.name,
            verb="has ended" if over else "ends",
            end=_date(bundle.not_after),
            why=self._record(kept).error or kept.trouble or "it has not been tried yet",
        )


def _is_news(alarmed: tuple[bool, float] | None, *, over: bool, now: float, pause: float) -> bool:
    return alarmed is None or alarmed[0] != over or abs(now - alarmed[1]) >= pause


def _date(when: float) -> str:
    return dt.datetime.fromtimestamp(when, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
