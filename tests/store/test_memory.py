"""store/memory.py: what was read once, and when it is forgotten."""

from __future__ import annotations

from sayci.store.memory import Memory


def test_what_was_read_is_known():
    memory: Memory[str, int] = Memory()
    memory.put(memory.ticket, "one", 1)
    assert (memory.get("one"), memory.get("two")) == (1, None)


def test_what_was_read_before_a_write_and_came_after_it_is_not_kept():
    memory: Memory[str, int] = Memory()
    ticket = memory.ticket
    memory.forget()
    memory.put(ticket, "one", 1)
    assert memory.get("one") is None


def test_everything_is_forgotten_at_once():
    memory: Memory[str, int] = Memory()
    memory.put(memory.ticket, "one", 1)
    memory.forget()
    assert memory.get("one") is None
    memory.put(memory.ticket, "one", 2)
    assert memory.get("one") == 2


def test_it_does_not_grow_beyond_its_limit():
    memory: Memory[int, int] = Memory(most=3)
    for number in range(10):
        memory.put(memory.ticket, number, number)
    assert [number for number in range(10) if memory.get(number) is not None] == [7, 8, 9]
