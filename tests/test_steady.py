"""steady.py: timers do not care for the time of day."""

from __future__ import annotations

from twisted.internet.base import ReactorBase

from sayci.steady import make_steady


class Hands(ReactorBase):
    """A reactor that nobody runs but the test."""

    def installWaker(self):  # noqa: N802 - Twisted's name
        pass

    def rings(self):
        """Call what is due."""
        self.runUntilCurrent()


def test_a_jump_of_the_time_of_day_moves_no_timer():
    now = {"wall": 1_800_000_000.0, "steady": 50.0}
    reactor = Hands()
    reactor.seconds = lambda: now["wall"]
    rung: list[str] = []
    reactor.callLater(10, rung.append, "waited before")
    forgotten = reactor.callLater(10, rung.append, "was cancelled before")
    forgotten.cancel()

    def steady():
        return now["steady"]

    make_steady(reactor, steady, lambda: now["wall"])
    make_steady(reactor, steady, lambda: now["wall"])  # again is nothing
    reactor.callLater(10, rung.append, "waits since")
    put_off = reactor.callLater(10, rung.append, "was put off")
    put_off.reset(30)
    assert reactor.timeout() == 10

    now["wall"] += 6 * 3600
    reactor.rings()
    assert rung == []
    now["wall"] -= 12 * 3600
    now["steady"] += 10
    reactor.rings()
    assert rung == ["waited before", "waits since"]
    now["steady"] += 20
    reactor.rings()
    assert rung[2:] == ["was put off"]
