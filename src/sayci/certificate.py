"""What is known of the certificate for a name, and when it is to be renewed: pure, times in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate that is served for `name`, and how it goes with the next one.

    `issuer` is who has issued it, in words; "" while nobody has, and a self-signed one is served.  `renew_at` is when the
    next try is due.  `error` is why the last try failed, "" when it did not; `tries` is how many have failed in a row.
    """

    name: str
    issuer: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    renew_at: float | None = None
    error: str = ""
    tries: int = 0

    @property
    def lifetime(self) -> float:
        """Seconds from its first to its last moment."""
        return self.not_after - self.not_before

    def left(self, now: float) -> float:
        """Seconds until it ends; not below 0."""
        return max(0.0, self.not_after - now)
