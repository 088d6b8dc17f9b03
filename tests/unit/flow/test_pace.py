"""How often one caller may have something recorded."""

from __future__ import annotations

import pytest

from gateway.errors import LimitError, PaceError
from gateway.flow.pace import Pace, Paces


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def taken(pace, caller, most=100_000):
    """How many tokens a caller gets in a row."""
    for count in range(most):
        try:
            pace.take(caller)
        except PaceError:
            return count
    return most


def test_a_caller_gets_its_burst_and_then_so_many_a_second(clock):
    pace = Pace("requests", burst=5, per_second=2, clock=clock)
    assert taken(pace, "um") == 5
    clock.now += 0.4
    assert taken(pace, "um") == 0
    clock.now += 0.2
    assert taken(pace, "um") == 1
    clock.now += 3_600
    assert taken(pace, "um") == 5


def test_the_refusal_is_a_limit_that_says_how_long_to_wait(clock):
    pace = Pace("requests", burst=1, per_second=1, clock=clock)
    pace.take("um")
    with pytest.raises(LimitError, match="more than 1 requests at once, or 1 a second") as caught:
        pace.take("um")
    assert caught.value.remedy == "wait 1 s"
    clock.now += 1
    pace.take("um")


def test_who_goes_on_asking_does_not_wait_longer_for_it(clock):
    pace = Pace("requests", burst=1, per_second=1, clock=clock)
    pace.take("um")
    for _ in range(9):
        clock.now += 0.1
        assert taken(pace, "um") == 0
    clock.now += 0.11
    assert taken(pace, "um") == 1


def test_callers_do_not_take_from_each_other(clock):
    pace = Pace("requests", burst=2, per_second=1, clock=clock)
    assert [taken(pace, caller) for caller in ("um", "uitm", "um")] == [2, 2, 0]


def test_a_clock_that_goes_back_gives_and_takes_nothing(clock):
    pace = Pace("requests", burst=2, per_second=1, clock=clock)
    pace.take("um")
    clock.now -= 50
    assert taken(pace, "um") == 1


def test_only_so_many_callers_are_kept_and_the_one_that_asked_longest_ago_is_forgotten(clock):
    pace = Pace("requests", burst=1, per_second=1, callers=3, clock=clock)
    for caller in ("a", "b", "c", "a", "d"):
        taken(pace, caller)
    assert len(pace) == 3
    assert [taken(pace, caller) for caller in ("a", "d", "b")] == [0, 0, 1]


def test_the_gateways_own_paces_let_a_partner_ask_two_hundred_times_at_once_and_a_zone_ten_times_that():
    paces = Paces()
    for pace, burst in ((paces.requests, 200), (paces.tickets, 200), (paces.peers, 2_000)):
        clock = Clock()
        pace.clock = clock
        assert taken(pace, "um") == burst
