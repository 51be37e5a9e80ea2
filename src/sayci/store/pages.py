"""Parts of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sayci.interfaces import Page

Item = TypeVar("Item")
#: The most that one query answers, whatever is asked for.
MOST = 1000


def clamped(limit: int) -> int:
    """A `limit` that can be answered: from 1 to MOST."""
    return max(1, min(limit, MOST))


def page_of(items: Sequence[Item], limit: int, cursor: Callable[[Item], int]) -> Page[Item]:
    """The page of up to `limit` items, from a query that asked for one more to know whether there is another page."""
    part = items[: clamped(limit)]
    return Page(part, cursor(part[-1]) if len(items) > len(part) else None)
