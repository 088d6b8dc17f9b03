"""What the stories of a killed gateway share: where it dies, that it comes back, and what holds whatever died when."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.faults.exchange.stage import Found, Gate

_log = logging.getLogger(__name__)
T = TypeVar("T")

Point = tuple[str, int, str]
"""A label, its occurrence from 1 on, and whether the gateway dies before or after it."""

ALL = os.environ.get("TDZ_FAULTS") == "all"


def points(seen: Iterable[tuple[str, str]]) -> list[Point]:
    """What a gateway counted during a story, each occurrence of its own."""
    counts: dict[tuple[str, str], int] = {}
    found: list[Point] = []
    for label, when in seen:
        counts[label, when] = occurrence = counts.get((label, when), 0) + 1
        found.append((label, occurrence, when))
    return found


def one_of_each_kind(found: list[Point], of: Collection[str]) -> list[Point]:
    """Of each kind of operation whose label holds one of the words: after its first occurrence, or before its last."""
    picked: list[Point] = []
    labels = dict.fromkeys(label for label, _, _ in found if any(word in label for word in of))
    for number, label in enumerate(labels):
        last = max(occurrence for name, occurrence, _ in found if name == label)
        picked.append((label, last, "before") if number % 2 else (label, 1, "after"))
    return [point for point in picked if point in found]


@dataclass
class Kills(Generic[T]):
    """What came of the stories that a gateway was killed in."""

    outcomes: list[T] = field(default_factory=list)
    missed: list[Point] = field(default_factory=list)
    """Points that the story did not come to."""


async def killed_at_each(gate: Gate, taken: Iterable[Point], tale: Callable[[], Awaitable[T]]) -> Kills[T]:
    """Tell the story once for each point, the gateway killed there and started again."""
    kills = Kills[T]()
    for point in taken:
        started = time.monotonic()
        try:
            outcome, died = await _dies_and_comes_back(gate, point, tale)
        except Exception as error:
            raise AssertionError(f"{gate.zone.name} killed at {point}: {error}\n{gate.last_words()}") from error
        kills.outcomes.append(outcome)
        if not died:
            kills.missed.append(point)
        _log.info("%s killed at %s: %.1f s", gate.zone.name, point, time.monotonic() - started)
    return kills


async def _dies_and_comes_back(gate: Gate, point: Point, tale: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
    """The story's outcome, and whether the gateway died of the fault."""
    label, occurrence, when = point
    await gate.arm(label=label, occurrence=occurrence, when=when)
    telling = asyncio.ensure_future(tale())
    died = False
    try:
        while not telling.done():
            await asyncio.wait({telling}, timeout=0.05)
            died |= await _back(gate)
        outcome = await telling
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    if not died and gate.running:
        await gate.disarm()
    died |= await _back(gate)  # only just now
    return outcome, died


async def _back(gate: Gate) -> bool:
    """Start it again where it has died."""
    if gate.running:
        return False
    await gate.ended()
    await gate.start()
    return True


def approved_before_what_rests_on_it(entries: Iterable[Found], zone: str, resting: Collection[str]) -> dict[str, int]:
    """Each person answers a review once, it is approved once, and entries of the kinds that rest on it come after.

    Returns:
        the entry by which each review was approved.
    """
    approved: dict[str, int] = {}
    persons: dict[str, list[str]] = {}
    for entry in entries:
        body = entry["body"]
        if entry["kind"] == "approval" and body.get("what") in {"review", "appeal"}:
            persons.setdefault(body["review"], []).append(body["by"])
            if body["outcome"] == "APPROVED":
                assert body["review"] not in approved, f"{zone} approved {body['review']} twice"
                assert body["approvals"] == body["needed"] == len(persons[body["review"]])
                approved[body["review"]] = entry["seq"]
        for review in body.get("approvals", []) if entry["kind"] in resting else []:
            assert approved[review] < entry["seq"], f"{zone} rests on {review} before it was approved"
    assert all(len(set(by)) == len(by) for by in persons.values())
    return approved
