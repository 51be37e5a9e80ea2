"""Being somebody at an authority: its directory, its nonces, our account, and requests signed by it (RFC 8555 6 and 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from sayci.acme.jose import Binding, Signer
from sayci.acme.transport import Answer, Transport
from sayci.acme.trouble import AcmeError, AuthorityRefused, BadAnswer, clean

#: Seconds after which the directory is read again.
DIRECTORY_AGE = 3600.0
#: How often a request is sent when the authority refuses its nonce: with four in ten refused, all fail once in 10**8.
NONCE_TRIES = 20
# Nonces age: a few that are fresh are better than many.
_NONCES_KEPT = 4


@dataclass(frozen=True, slots=True)
class Directory:
    """What an authority offers, and where (RFC 8555 7.1.1); `renewal_info` is "" where there is no such thing."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str
    profiles: Mapping[str, str]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Directory:
        """The directory as the authority states it; raises BadAnswer."""
        new_nonce, new_account, new_order = (said.get(name) for name in ("newNonce", "newAccount", "newOrder"))
        if not (isinstance(new_nonce, str) and isinstance(new_account, str) and isinstance(new_order, str)):
            raise BadAnswer("this is not the directory of an authority: look at its address", kind="answer")
        renewal_info, meta = said.get("renewalInfo"), said.get("meta")
        offered = meta.get("profiles") if isinstance(meta, dict) else None
        profiles = {name: clean(str(what)) for name, what in offered.items()} if isinstance(offered, dict) else {}
        place = renewal_info if isinstance(renewal_info, str) else ""
        return cls(new_nonce, new_account, new_order, place, profiles)


class Session:
    """Sends signed requests as the account of `signer`, which is made, or found, when it is first needed."""

    def __init__(
        self,
        transport: Transport,
        clock: IReactorTime,
        directory_url: str,
        signer: Signer,
        *,
        email: str = "",
        binding: Binding | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._url = directory_url
        self._signer = signer
        self._email = email
        self._binding = binding
        self._directory: Directory | None = None
        self._read_at = 0.0
        self._nonces: deque[str] = deque(maxlen=_NONCES_KEPT)
        self._account = ""
        self._registering = DeferredLock()

    async def directory(self) -> Directory:
        """What the authority offers, not older than DIRECTORY_AGE."""
        if self._directory is None or self._clock.seconds() - self._read_at > DIRECTORY_AGE:
            answer = await self.get(self._url)
            answer.check()
            self._directory = Directory.of(answer.json())
            self._read_at = self._clock.seconds()
        return self._directory

    async def get(self, url: str) -> Answer:
        """The answer, whatever its code, to an unsigned GET: of directories, and renewal information (RFC 9773 4.1)."""
        return await self._transport.exchange("GET", url)

    async def post(self, url: str, payload: object, accept: str = "") -> Answer:
        """A request signed by our account; `payload` None is a POST-as-GET.  Raises AcmeError."""
        account = await self._our_account()
        try:
            return await self._signed(url, payload, account, accept)
        except AuthorityRefused as refused:
            if refused.kind != "accountDoesNotExist":
                raise
        # The authority has forgotten us, as those for tests do at each start: make ourselves known again, once.
        if self._account == account:
            self._account = ""
        return await self._signed(url, payload, await self._our_account(), accept)

    async def _our_account(self) -> str:
        async with self._registering:
            if not self._account:
                self._account = await self._register()
        return self._account

    async def _register(self) -> str:
        """The URL of our account; one that exists is found by its key (RFC 8555 7.3.1)."""
        url = (await self.directory()).new_account
        wanted: dict[str, object] = {"termsOfServiceAgreed": True}
        if self._email:
            wanted["contact"] = [f"mailto:{self._email}"]
        if self._binding is not None:
            wanted["externalAccountBinding"] = self._signer.bind(self._binding, url)
        return place_of(await self._signed(url, wanted))

    async def _signed(self, url: str, payload: object, account: str = "", accept: str = "") -> Answer:
        for tries_left in reversed(range(NONCE_TRIES)):
            answer = await self._sent(url, self._signer.sign(payload, url, await self._nonce(), account), accept)
            try:
                answer.check()
            except AcmeError as error:
                if error.kind != "badNonce" or not tries_left:
                    raise
            else:
                return answer
        raise AssertionError  # the last try returns or raises

    async def _sent(self, url: str, body: bytes, accept: str) -> Answer:
        answer = await self._transport.exchange("POST", url, body, accept)
        if answer.code >= 400:
            self._nonces.clear()  # where one was bad those of its age may be as well; this answer brings a fresh one
        self._keep_nonce(answer)
        return answer

    async def _nonce(self) -> str:
        if not self._nonces:
            answer = await self._transport.exchange("HEAD", (await self.directory()).new_nonce)
            answer.check()
            self._keep_nonce(answer)
        if not self._nonces:
            raise BadAnswer("the authority gives no nonces", kind="answer")
        return self._nonces.pop()

    def _keep_nonce(self, answer: Answer) -> None:
        nonce = answer.header("Replay-Nonce")
        if nonce:
            self._nonces.append(nonce)


def place_of(answer: Answer) -> str:
    """Where the thing is that the answer speaks of; raises BadAnswer."""
    place = answer.header("Location")
    if not place:
        raise BadAnswer("the authority does not say where it has put what it made", kind="answer")
    return place
