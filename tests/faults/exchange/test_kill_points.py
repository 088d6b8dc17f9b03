"""A gateway dies before and after each durable operation of one story; restarted, the story comes to one end.

By default one occurrence of every kind of operation on each side; TDZ_FAULTS=all takes every operation.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import TicketError
from gateway.sdk.stream import ChunkStream, Opened, open_transfer
from tests.faults.exchange.invariants import check, no_landing_is_left
from tests.faults.exchange.killing import ALL, Point, killed_at_each
from tests.faults.exchange.killing import points as killed_points
from tests.faults.exchange.stage import DEADLINE_S, Stage, insist, stage

pytestmark = pytest.mark.faults

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
    return {side: killed_points(await stage.gate(side).arm()) for side in ("consumer", "provider")}


def chosen(found: list[Point]) -> list[Point]:
    """One point of every kind of operation that decides what the story comes to: before it and after it in turn."""
    if ALL:
        return found
    kinds = [k for k in dict.fromkeys(label for label, _, _ in found) if not any(word in k for word in _BESIDE)]
    picked = []
    for number, label in enumerate(kinds):
        occurrence = _MIDDLE if label in _STREAMED else 1
        point = label, occurrence, ("before", "after")[number % 2]
        picked.append(point if point in found else (label, 1, "before"))
    return picked


async def told(stage: Stage) -> None:
    """The whole story, on a dataset of its own."""
    resource, table = await stage.offered()
    opened = await story(stage, resource, table)
    await stage.receipts(opened.transfer)
    await no_ticket_works_twice(stage, opened)


@pytest.mark.parametrize("side", ["consumer", "provider"])
async def test_a_gateway_killed_at_any_operation_of_a_story_comes_back_to_one_outcome(
    side: str, tmp_path: Path, record_property: Any
) -> None:
    async with stage(tmp_path) as made:
        taken = chosen((await points(made))[side])
        kills = await killed_at_each(made.gate(side), taken, lambda: told(made))
        await made.a.stop()
        await made.b.stop()
        check(made)
        no_landing_is_left(made.a.layout.chunks.parent)
    record_property("kill_points", len(taken))
    record_property("not_reached", kills.missed)
    assert len(kills.missed) <= len(taken) // 10, f"the story does not come to {kills.missed}"
