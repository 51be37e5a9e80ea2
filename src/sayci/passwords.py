"""Passwords become hashes (scrypt, RFC 7914), slowly and with much memory, and never more than a few at a time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore

from sayci.errors import Unavailable

T = TypeVar("T")
InThread = Callable[..., Deferred[Any]]

#: How many passwords are hashed at the same time, and how many more may wait for it.
AT_ONCE = 2
MOST_WAITING = 20

_SALT = 16
_LENGTH = 32
_STORED = re.compile(r"scrypt\$(\d{1,9})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a hash takes: 128 * `n` * `r` bytes of memory, and time that grows with `n`, `r` and `p`."""

    n: int = 2**15
    r: int = 8
    p: int = 3


COST = Cost()


def hash_of(password: str, cost: Cost = COST) -> str:
    """What is kept of a password: the cost, a fresh salt and the hash, in one line."""
    salt = os.urandom(_SALT)
    return _line(cost, salt, _hashed(password, salt, cost))


def matches(password: str, stored: str) -> bool:
    """Whether `password` is the one that `stored` was made of; false for what is no hash."""
    found = _STORED.match(stored)
    if found is None:
        return False
    cost = Cost(*(int(part) for part in found.groups()[:3]))
    salt, kept = (base64.b64decode(part) for part in found.groups()[3:])
    return hmac.compare_digest(_hashed(password, salt, cost), kept)


def is_outdated(stored: str, cost: Cost = COST) -> bool:
    """Whether it was made with another cost than is asked for now."""
    return not stored.startswith(f"scrypt${cost.n}${cost.r}${cost.p}$")


def _hashed(password: str, salt: bytes, cost: Cost) -> bytes:
    # NFKC: the same letters can come as different code points from two keyboards.
    plain = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    most = 132 * cost.r * (cost.n + cost.p) + 2**20  # what OpenSSL may take; it refuses without
    return hashlib.scrypt(plain, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=most, dklen=_LENGTH)


def _line(cost: Cost, salt: bytes, kept: bytes) -> str:
    return "$".join(("scrypt", str(cost.n), str(cost.r), str(cost.p), _coded(salt), _coded(kept)))


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Passwords:
    """Hashes in threads, AT_ONCE at a time; raises Unavailable beyond `most_waiting` more.

    `in_thread` runs a function in a thread and answers a Deferred of what it returns.
    """

    def __init__(self, in_thread: InThread, *, cost: Cost = COST, most_waiting: int = MOST_WAITING) -> None:
        self._in_thread = in_thread
        self._cost = cost
        self._room = AT_ONCE + most_waiting
        self._turns = DeferredSemaphore(AT_ONCE)
        self._busy = 0
        # What a password is compared with where there is none: it takes the same time, and never matches.
        self._nobodys = _line(cost, os.urandom(_SALT), os.urandom(_LENGTH))

    async def hash(self, password: str) -> str:
        """What is kept of it."""
        kept: str = await self._slowly(hash_of, password, self._cost)
        return kept

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is the one; false, after the same time, where there is none."""
        is_right: bool = await self._slowly(matches, password, stored or self._nobodys)
        return is_right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether it should be hashed anew at the next occasion."""
        return is_outdated(stored, self._cost)

    async def _slowly(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._busy >= self._room:
            raise Unavailable("too many passwords are being looked at; try again later")
        self._busy += 1
        try:
            return await self._turns.run(self._in_thread, work, *arguments)
        finally:
            self._busy -= 1
