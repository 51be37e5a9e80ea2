"""How many descriptors this process may have open, and how they are shared out."""

from __future__ import annotations

import resource

#: More than so many are not asked for: builds and git inherit the number, and some programs go through all of them.
MOST = 16_384
#: At most so many clients are connected at a time, and at least so many where descriptors are few.
MOST_CONNECTIONS, LEAST_CONNECTIONS = 4096, 16
#: What is kept free of clients: for the database, git, logs, bodies in files; and of that for each build that may run.
KEPT, KEPT_FOR_A_BUILD = 160, 8


def raise_limit() -> int:
    """Let this process open as many as the machine lets it, within reason; answers how many these are."""
    soft, hard = (MOST if limit == resource.RLIM_INFINITY else limit for limit in _limits())
    wanted = max(soft, min(hard, MOST))
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, _limits()[1]))
    return wanted


def for_connections(descriptors: int, slots: int) -> int:
    """How many clients may be connected at a time, so that what runs builds always finds descriptors.

    A quarter as many again may be in a handshake of TLS.
    """
    left = descriptors - KEPT - KEPT_FOR_A_BUILD * slots
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, left * 4 // 5))


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
