"""A client of ACME authorities (RFC 8555): from a name and a request for a certificate to the certificate.

Everything is asynchronous and may be cancelled; nothing here keeps a file, a key of a certificate or a schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from sayci import __version__
from sayci.acme.ari import Window, certificate_id, window_of
from sayci.acme.challenge import Challenge, Responder, Response
from sayci.acme.jose import Binding, Signer, b64
from sayci.acme.keys import AccountKey
from sayci.acme.session import Session, place_of
from sayci.acme.transport import TIME_LIMIT, Answer, Transport
from sayci.acme.trouble import (
    AcmeError,
    AuthorityRefused,
    AuthorityUnreachable,
    BadAnswer,
    UnknownProfile,
    clean,
    failed_order,
    failed_validation,
)

#: Seconds for one certificate, from the order to the chain.
PATIENCE = 300.0
#: Seconds between two looks at what the authority is at: the first pause where it does not say, and the bounds.
FIRST_PAUSE = 0.25
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 15.0
#: How many looks in a row may fail before it is given up: gateways hiccup.
FAILING_LOOKS = 3

_CHAIN = "application/pem-certificate-chain"
# What an authority may say against an order because of the certificate that it replaces (RFC 9773 5).
_OF_REPLACING = frozenset({"alreadyReplaced", "conflict", "malformed", "unauthorized"})


class AcmeClient:
    """The account of `account_key` at the authority whose directory is at `directory_url`.

    `agent` verifies certificates: see :func:`sayci.acme.transport.authority_agent`.  `email` is where the authority may
    write to; `binding` is for authorities that want an account made elsewhere.  `patience` and `request_limit` in seconds.
    Raises Invalid for an address that is not https.
    """

    log = Logger()

    def __init__(
        self,
        agent: IAgent,
        clock: IReactorTime,
        directory_url: str,
        account_key: AccountKey,
        *,
        email: str = "",
        binding: Binding | None = None,
        user_agent: str = f"sayci/{__version__}",
        patience: float = PATIENCE,
        request_limit: float = TIME_LIMIT,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._signer = Signer(account_key)
        transport = Transport(agent, clock, directory_url, user_agent, time_limit=request_limit)
        self._session = Session(transport, clock, directory_url, self._signer, email=email, binding=binding)

    async def profiles(self) -> Mapping[str, str]:
        """The kinds of certificates that the authority offers, with what it says of them; raises AcmeError."""
        return (await self._session.directory()).profiles

    async def renewal_window(self, certificate_pem: bytes) -> Window | None:
        """When the authority wants the certificate to be renewed (RFC 9773).

        None where it does not say: it does not do so at all, or does not know this certificate.
        Raises AcmeError, and Invalid for what is no certificate.
        """
        place = (await self._session.directory()).renewal_info
        name = certificate_id(certificate_pem)
        if not place or not name:
            return None
        answer = await self._session.get(f"{place.rstrip('/')}/{name}")
        if answer.code == 404:
            return None
        answer.check()
        return window_of(answer.json(), answer.retry_after)

    async def issue(
        self, name: str, csr_der: bytes, responders: Sequence[Responder], *, profile: str = "", replaces: str = ""
    ) -> bytes:
        """A certificate for `name` and its chain as PEM, the leaf first; responders in the order of preference.

        `replaces` is what :func:`sayci.acme.ari.certificate_id` says of the certificate that this one comes after.
        Raises AcmeError, and what a responder raises.  Responders are stopped, however it ends.
        """
        await self._check_profile(profile)
        deadline = self._clock.seconds() + self._patience
        answer = await self._order(name, profile, replaces)
        place = place_of(answer)
        for url in _texts(answer.json(), "authorizations"):
            await self._authorize(name, url, responders, deadline)
        order = await self._polled(name, place, {"pending"}, deadline)
        order = await self._finalized(name, place, order, csr_der, deadline)
        if order.get("status") != "valid":
            raise failed_order(name, _mapping(order, "error"))
        chain = await self._session.post(_text(order, "certificate"), None, _CHAIN)
        return checked_chain(chain.body, csr_der)

    async def _check_profile(self, profile: str) -> None:
        profiles = await self.profiles() if profile else {}
        if profile and profile not in profiles:
            known = clean(f"it has {', '.join(sorted(profiles))}") if profiles else "it has none"
            raise UnknownProfile("the authority has no such profile", profile, known, kind="profile")

    async def _order(self, name: str, profile: str, replaces: str) -> Answer:
        directory = await self._session.directory()
        order: dict[str, object] = {"identifiers": [{"type": "dns", "value": name}]}
        if profile:
            order["profile"] = profile
        if not (replaces and directory.renewal_info):
            return await self._session.post(directory.new_order, order)
        try:
            return await self._session.post(directory.new_order, order | {"replaces": replaces})
        except AuthorityRefused as refused:
            if refused.kind not in _OF_REPLACING:
                raise
            self.log.info("{name}: ordering without saying what is replaced: {why}", name=name, why=refused)
        return await self._session.post(directory.new_order, order)

    async def _authorize(self, name: str, url: str, responders: Sequence[Responder], deadline: float) -> None:
        """Show the authority that `name` is ours, if it does not believe it yet."""
        authorization = (await self._session.post(url, None)).json()
        if authorization.get("status") == "valid":
            return
        if str(_mapping(authorization, "identifier").get("value")).lower() != name.lower():
            raise BadAnswer("the authority asks about a name that was not ordered", name, kind="answer")
        challenge, responder = _choice(name, authorization, responders)
        response = Response(self._signer.key_authorization(challenge.token))
        try:
            await maybeDeferred(responder.start_responding, name, challenge, response)
            await self._session.post(challenge.url, {})
            # Authorities look from several places, the last of them late: it is answered until all have decided.
            authorization = await self._polled(name, url, {"pending", "processing"}, deadline)
        finally:
            await self._stopped(responder, name, challenge, response)
        if authorization.get("status") != "valid":
            raise failed_validation(name, challenge.kind, _error_of(authorization))

    async def _stopped(self, responder: Responder, name: str, challenge: Challenge, response: Response) -> None:
        try:
            await maybeDeferred(responder.stop_responding, name, challenge, response)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - what it was for is decided, and is what the caller has to know
            self.log.failure("{name}: the answer to a challenge could not be taken away", name=name)

    async def _finalized(
        self, name: str, place: str, order: Mapping[str, Any], csr_der: bytes, deadline: float
    ) -> Mapping[str, Any]:
        """The order after the authority has had the request for the certificate, if it still waits for one.

        When the answer to that was lost, the certificate may be there all the same: looking is cheaper than ordering again.
        """
        for _ in range(2):
            if order.get("status") != "ready":
                break
            still = {"processing"}
            try:
                await self._session.post(_text(order, "finalize"), {"csr": b64(csr_der)})
                still.add("ready")
            except AuthorityUnreachable as error:
                self.log.info("{name}: no answer to the final request: {why}", name=name, why=error)
            order = await self._polled(name, place, still, deadline)
        return order

    async def _polled(self, name: str, url: str, still: Collection[str], deadline: float) -> Mapping[str, Any]:
        """What is at `url` once its status is not one of `still`; raises AcmeError, also when the deadline has passed."""
        pause, failed = FIRST_PAUSE, 0
        while True:
            wanted = None
            try:
                answer = await self._session.post(url, None)
                failed, wanted, said = 0, answer.retry_after, answer.json()
                if said.get("status") not in still:
                    return said
            except AcmeError as error:
                failed += 1
                if failed >= FAILING_LOOKS or not _passes(error):
                    raise
                wanted = error.retry_after
            await self._pause(name, pause if wanted is None else wanted, deadline)
            pause *= 1.5

    async def _pause(self, name: str, seconds: float, deadline: float) -> None:
        if self._clock.seconds() >= deadline:
            patience = f"{self._patience:g} seconds"
            raise AuthorityUnreachable("the authority has not decided in time", name, patience, kind="timeout")
        await deferLater(self._clock, min(max(seconds, SHORTEST_PAUSE), LONGEST_PAUSE))


def checked_chain(chain: bytes, csr_der: bytes) -> bytes:
    """The certificates in `chain`, the leaf first, and nothing else that may be in it.

    Raises BadAnswer unless the leaf has the key and the names of the request and the next one, if any, has issued it.
    """
    request = x509.load_der_x509_csr(csr_der)
    try:
        found = x509.load_pem_x509_certificates(chain)
        leaf = found[0]
        fits = _key_of(leaf) == _key_of(request) and _names_of(leaf) == _names_of(request)
        for issuer in found[1:2]:
            leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        raise BadAnswer("the authority sent a chain of certificates that is none", kind="answer") from None
    if not fits:
        raise BadAnswer("the authority sent a certificate for another key or name", kind="answer")
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found)


def _key_of(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names_of(signed: x509.Certificate | x509.CertificateSigningRequest) -> set[str]:
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)}


def _choice(
    name: str, authorization: Mapping[str, Any], responders: Sequence[Responder]
) -> tuple[Challenge, Responder]:
    """The first responder that has a challenge to respond to, and that one."""
    listed = authorization.get("challenges")
    offered = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    for responder in responders:
        for said in offered:
            if said.get("type") == responder.challenge_type:
                return Challenge.of(said), responder
    kinds = ", ".join(sorted(clean(str(said.get("type")), 40) for said in offered))
    if authorization.get("status") != "pending":
        raise failed_validation(name, "", _error_of(authorization))
    raise AcmeError("the authority offers no challenge that can be met here", name, kinds or "none", kind="challenge")


def _error_of(authorization: Mapping[str, Any]) -> Mapping[str, Any]:
    """Why it failed: the error of the challenge that did."""
    challenges = authorization.get("challenges")
    errors = (one.get("error") for one in challenges if isinstance(one, dict)) if isinstance(challenges, list) else ()
    return next((error for error in errors if isinstance(error, dict)), {})


def _passes(error: AcmeError) -> bool:
    """Whether it may be different at the next look."""
    return isinstance(error, AuthorityUnreachable) or error.kind in {"serverInternal", "rateLimited"}


def _mapping(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = said.get(name)
    return value if isinstance(value, dict) else {}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise BadAnswer("the authority's answer lacks something", name, kind="answer")
    return value


def _texts(said: Mapping[str, Any], name: str) -> list[str]:
    values = said.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadAnswer("the authority's answer lacks something", name, kind="answer")
    return values
