"""What may be opened: how many entries and for how long they may be without a cosignature, and with whom."""

from __future__ import annotations

import pytest

from gateway.errors import ForkError, UncosignedError
from gateway.journal import Bounds
from gateway.journal.gate import Gate


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_entries_without_a_cosignature_are_too_many_until_one_comes() -> None:
    gate = Gate(Bounds(entries=3, seconds=60), Clock())
    gate.require_room(10, 10)
    gate.require_room(12, 10)
    for committed in (13, 99):
        with pytest.raises(UncosignedError, match="3 entries or 60 s"):
            gate.require_room(committed, 10)
    gate.require_room(99, 97)


def test_the_oldest_entry_without_a_cosignature_counts_however_fast_others_follow() -> None:
    clock = Clock()
    gate = Gate(Bounds(entries=1_000, seconds=60), clock)
    for size in range(1, 100):  # within a second
        gate.grew(size)
        clock.now += 0.01
    clock.now += 50
    gate.grew(100)
    gate.require_room(100, 0)
    gate.require_room(100, 98)
    clock.now += 9.5
    for witnessed in (0, 98):
        with pytest.raises(UncosignedError, match="the oldest for"):
            gate.require_room(100, witnessed)
    gate.require_room(100, 99)
    clock.now += 60
    gate.require_room(100, 100)
    gate.grew(101, at=clock.now - 61)
    with pytest.raises(UncosignedError):
        gate.require_room(101, 100)


def test_what_a_zone_cosigned_only_grows_and_is_forgotten_with_its_card() -> None:
    gate = Gate(Bounds())
    assert gate.held("lingang") == 0
    for size in (3, 7, 5):
        gate.cosigned("lingang", size)
    assert gate.held("lingang") == 7
    gate.forget("lingang")
    assert gate.held("lingang") == 0


def test_a_zone_that_froze_our_log_is_refused_until_it_cosigns_again() -> None:
    gate = Gate(Bounds())
    gate.require_held_by("lingang")
    gate.refused("lingang", "it signed two histories")
    with pytest.raises(ForkError, match="lingang has frozen our ledger: it signed two histories"):
        gate.require_held_by("lingang")
    gate.require_held_by("cyberjaya")
    gate.cosigned("lingang", 1)
    gate.require_held_by("lingang")
