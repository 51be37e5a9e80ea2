"""An authority that issues real certificates on paper: no network, and a clock that tests turn."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

#: Where the wall clock of simulations begins, in seconds since the epoch.
BEGIN = 1_800_000_000.0
DAY = 86_400.0


class Times(Clock):
    """A clock and the wall clock beside it, which may be set."""

    def __init__(self):
        super().__init__()
        self.offset = BEGIN

    def wall(self):
        return self.offset + self.seconds()

    def run(self, seconds):
        """Let the time pass, from one delayed call to the next."""
        end = self.seconds() + seconds
        while (calls := self.getDelayedCalls()) and min(call.getTime() for call in calls) <= end:
            self.advance(max(min(call.getTime() for call in calls) - self.seconds(), 0.0))
        if self.seconds() < end:
            self.advance(end - self.seconds())


def done(coroutine):
    """The result of what needs no waiting."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    assert outcome, "it waits"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def pem_of(*parts):
    return b"".join(
        part.public_bytes(serialization.Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for part in parts
    )


class PaperAuthority:
    """Issues for `lifetime` seconds, unless it has a trouble with a name ("" for all): an exception.

    `orders` has (when, name, replaces, profile) of each order, `issued` those of which a certificate came, `asked` when it
    was asked for the window, `ways` the challenges that could have been answered.  While `slow` is set, orders wait for it.
    """

    def __init__(self, times, lifetime=90 * DAY, organisation="Paper"):
        self.times = times
        self.lifetime = lifetime
        self.organisation = organisation
        self.troubles = {}
        self.windows = lambda pem: None
        self.slow = None
        self.orders, self.issued, self.asked, self.ended, self.ways = [], [], [], [], []
        self.root_key, self.key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = self.sign("Root", self.root_key, "Root", self.root_key, ca=True, end=3650 * DAY)
        self.above = self.sign("P1", self.key, "Root", self.root_key, ca=True, end=3650 * DAY)

    def sign(self, subject, key, issuer, issuer_key, *, names=(), ca=False, begin=0.0, end=None):
        """A certificate from `begin` to `end` seconds from now."""
        now = self.times.wall()
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name(subject) if subject else x509.Name([]))
            .issuer_name(self._name(issuer))
            .public_key(key.public_key() if hasattr(key, "public_key") else key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime.fromtimestamp(now + begin, dt.UTC))
            .not_valid_after(dt.datetime.fromtimestamp(now + (self.lifetime if end is None else end), dt.UTC))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256())

    def _name(self, common):
        return x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, self.organisation),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
            ]
        )

    def bundle(self, name, **times):
        """Key, certificate and chain, made by hand."""
        key = ec.generate_private_key(ec.SECP256R1())
        return pem_of(key, self.sign("", key, "P1", self.key, names=[name], **times), self.above)

    def leaf_of(self, request, name):
        """What is issued: replaced by tests."""
        return self.sign("", request.public_key(), "P1", self.key, names=[name])

    async def issue(self, name, csr_der, responders, *, profile="", replaces=""):
        self.orders.append((self.times.wall(), name, replaces, profile))
        self.ways.append([responder.challenge_type for responder in responders])
        try:
            if self.slow is not None:
                await self.slow
            for which in (name, ""):
                if which in self.troubles:
                    raise self.troubles[which]
        finally:
            self.ended.append(name)
        self.issued.append((self.times.wall(), name, replaces, profile))
        request = x509.load_der_x509_csr(csr_der)
        assert request.is_signature_valid
        return pem_of(self.leaf_of(request, name), self.above)

    async def renewal_window(self, certificate_pem):
        self.asked.append(self.times.wall())
        answer = self.windows(certificate_pem)
        if isinstance(answer, Exception):
            raise answer
        return answer
