"""space.py: what must stay free before a build begins, and what is said while it does not."""

from __future__ import annotations

import pytest
import pytest_twisted

from sayci.errors import Invalid
from sayci.space import NoSpace, Reserve, Reserves, Space, Volume, in_units, lack_of, reserve_of

GIB = 1 << 30
RESERVES = Reserves(Reserve(GIB, 0.05), Reserve(10_000, 0.02))


@pytest.mark.parametrize(
    ("text", "reserve"),
    (
        ("0", Reserve(0)),
        ("512", Reserve(512)),
        ("2G", Reserve(2 * GIB)),
        ("500m", Reserve(500 << 20)),
        ("5%", Reserve(None, 0.05)),
        ("2.5%, 1T", Reserve(1 << 40, 0.025)),
    ),
)
def test_what_a_person_writes_is_understood(text, reserve):
    assert reserve_of(text) == reserve


@pytest.mark.parametrize("text", ("", "-1", "1X", "100%", "1G,2G", "1%,2%", "1G,", "1.5G", "%", "1" * 16))
def test_what_cannot_be_meant_is_refused(text):
    with pytest.raises(Invalid):
        reserve_of(text)


def test_of_an_amount_and_a_share_the_lesser_counts():
    assert Reserve(GIB, 0.05).of(100 * GIB) == GIB
    assert Reserve(GIB, 0.05).of(GIB) == GIB // 20
    assert Reserve().of(GIB) == 0


@pytest.mark.parametrize(
    ("number", "words"),
    ((0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (20 * GIB, "20 GiB"), (5000 << 40, "5000 TiB")),
)
def test_bytes_are_said_in_units(number, words):
    assert in_units(number) == words


@pytest.mark.parametrize(
    ("volume", "words"),
    (
        (Volume("/srv", 100 * GIB, GIB, 10**6, 10_000), ""),
        (Volume("/srv", 100 * GIB, GIB, 0, 0), ""),  # a file system that does not count files
        (
            Volume("/srv", 100 * GIB, GIB - (100 << 20), 10**6, 10_000),
            "No space: 924 MiB are free of the disk with /srv, and 1.0 GiB must be.",
        ),
        (
            Volume("/srv", 100 * GIB, GIB, 10**6, 9_999),
            "No space: 9,999 more files fit on the disk with /srv, and 10,000 must.",
        ),
        (Volume("/srv", GIB, 0, 0, 0), "No space: 0 bytes are free of the disk with /srv, and 51 MiB must be."),
    ),
)
def test_what_is_lacking_is_said(volume, words):
    assert lack_of([Volume("/", GIB, GIB), volume], RESERVES) == words


@pytest_twisted.ensureDeferred
async def test_a_check_fails_while_there_is_no_room():
    volumes = [Volume("/srv", 100 * GIB, 0)]
    space = Space(lambda: volumes, RESERVES)
    with pytest.raises(NoSpace, match="No space: 0 bytes are free"):
        await space.check()
    volumes[:] = [Volume("/srv", 100 * GIB, 50 * GIB)]
    await space.check()


def test_without_disks_to_look_at_there_is_room():
    assert Space().lack() == ""
