"""A gateway dies before and after each durable operation of one story; restarted, the story comes to one end.

By default one occurrence of every kind of operation on each side; TDZ_FAULTS=all takes every operation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import TicketError
from gateway.sdk.stream import ChunkStream, Opened, open_transfer
from tests.faults.exchange.invariants import check, no_landing_is_left
from tests.faults.exchange.stage import DEADLINE_S, Gate, Stage, insist, stage

_log = logging.getLogger(__name__)
pytestmark = pytest.mark.faults

Point = tuple[str, int, str]  # label, occurrence, before or after

_ALL = os.environ.get("TDZ_FAULTS") == "all"
_STREAMED = ("take frame", "send frame", "put chunk")
_BESIDE = (
    "get_card",
    "hello",
    "keep",
    "mirror begin",
    "mirror receive",
    "take cosignature",
    "Steps._whole",
    "Tickets.issue",
)
_MIDDLE = 4  # of what is done once a chunk: neither the first nor the last


async def story(stage: Stage, resource: str, table: Any) -> Opened:
    """One request and its pull by a partner who repeats what got no answer; the ticket that was used first."""
    request_id = str(uuid.uuid4())
    access = await insist(lambda: stage.um.request(resource, purpose="research", request_id=request_id))
    opened = await insist(lambda: open_transfer(stage.um.session, access.agreement, "", 0))
    assert isinstance(opened, Opened)
    pull = ChunkStream(stage.um.session, opened, stall_s=DEADLINE_S, progress=None)
    batches = [batch async for batch in pull.batches()]
    assert type(table).from_batches(batches).equals(table)
    assert pull.end is not None
    return opened


async def no_ticket_works_twice(stage: Stage, opened: Opened) -> None:
    """The ticket of before the crash works once more at most: where it was never redeemed."""
    works = 0
    for _ in range(2):
        again = ChunkStream(stage.um.session, opened, stall_s=DEADLINE_S, progress=None)
        try:
            works += len([batch async for batch in again.batches()]) > 0
        except TicketError:
            continue
    assert works <= 1


async def points(stage: Stage) -> dict[str, list[Point]]:
    """Every operation of one story on each side."""
    resource, table = await stage.offered()
    for gate in (stage.a, stage.b):
        await gate.arm()
    opened = await story(stage, resource, table)
    await stage.receipts(opened.transfer)
    return {side: list(_points(await stage.gate(side).arm())) for side in ("consumer", "provider")}


def _points(seen: list[tuple[str, str]]) -> Iterator[Point]:
    counts: dict[tuple[str, str], int] = {}
    for label, when in seen:
        counts[label, when] = occurrence = counts.get((label, when), 0) + 1
        yield label, occurrence, when


def chosen(found: list[Point]) -> list[Point]:
    """One point of every kind of operation that decides what the story comes to: before it and after it in turn."""
    if _ALL:
        return found
    kinds = [k for k in dict.fromkeys(label for label, _, _ in found) if not any(word in k for word in _BESIDE)]
    picked = []
    for number, label in enumerate(kinds):
        occurrence = _MIDDLE if label in _STREAMED else 1
        point = label, occurrence, ("before", "after")[number % 2]
        picked.append(point if point in found else (label, 1, "before"))
    return picked


async def dies_and_comes_back(stage: Stage, gate: Gate, point: Point) -> bool:
    """One story during which the gateway dies at the point and is started again; whether it came to the point."""
    resource, table = await stage.offered()
    label, occurrence, when = point
    await gate.arm(label=label, occurrence=occurrence, when=when)
    died = asyncio.Event()
    back = asyncio.create_task(_come_back(gate, died))
    telling = asyncio.create_task(_told(stage, resource, table))
    await asyncio.wait({back, telling}, return_when=asyncio.FIRST_COMPLETED)
    if back.done():
        back.result()
    await telling
    if not died.is_set():  # it did not come to the point, or only just now
        await gate.disarm()
    if not died.is_set() and gate.running:
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        return False
    await back
    return True


async def _told(stage: Stage, resource: str, table: Any) -> None:
    opened = await story(stage, resource, table)
    await stage.receipts(opened.transfer)
    await no_ticket_works_twice(stage, opened)


async def _come_back(gate: Gate, died: asyncio.Event) -> None:
    await gate.ended()
    died.set()
    await gate.start()


@pytest.mark.parametrize("side", ["consumer", "provider"])
async def test_a_gateway_killed_at_any_operation_of_a_story_comes_back_to_one_outcome(
    side: str, tmp_path: Path, record_property: Any
) -> None:
    missed: list[Point] = []
    async with stage(tmp_path) as made:
        everything = (await points(made))[side]
        taken = chosen(everything)
        for point in taken:
            started = time.monotonic()
            try:
                if not await dies_and_comes_back(made, made.gate(side), point):
                    missed.append(point)
            except Exception as error:
                raise AssertionError(f"{side} killed at {point}: {error}\n{made.gate(side).last_words()}") from error
            _log.info("%s killed at %s: %.1f s", side, point, time.monotonic() - started)
        await made.a.stop()
        await made.b.stop()
        check(made)
        no_landing_is_left(made.a.layout.chunks.parent)
    record_property("kill_points", len(taken))
    record_property("not_reached", missed)
    assert len(missed) <= len(taken) // 10, f"the story does not come to {missed}"
