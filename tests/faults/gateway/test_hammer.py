"""Gateways start, stop, freeze and die at random while a partner requests and pulls without end.

The seed is fixed; TDZ_FAULTS=all makes it long, TDZ_SEED another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import PeerUnavailableError
from tests.faults.exchange.invariants import check
from tests.faults.exchange.stage import DEADLINE_S, Gate, Stage, insist, stage

pytestmark = pytest.mark.faults

_log = logging.getLogger(__name__)
_ROUNDS = 60 if os.environ.get("TDZ_FAULTS") == "all" else 5
_PARTNERS = 4
_SEED = int(os.environ.get("TDZ_SEED", "7"))


@dataclass
class Told:
    """What the partner was told and must find again."""

    agreements: list[str] = field(default_factory=list)
    transfers: list[str] = field(default_factory=list)


async def partner(corridor: Stage, resource: str, told: Told, stopping: asyncio.Event) -> None:
    """Request and pull, again and again."""
    while not stopping.is_set():
        request_id = str(uuid.uuid4())
        access = await insist(lambda r=request_id: corridor.um.request(resource, purpose="research", request_id=r))
        told.agreements.append(access.agreement)
        pull = await insist(access.pull)
        try:
            rows = await pull.to_arrow()
        except PeerUnavailableError:
            again = await insist(lambda a=access, t=pull.transfer: a.pull(transfer=t))
            rows = await again.to_arrow()
        assert rows.num_rows == pull.rows
        told.transfers.append(pull.transfer)


async def disturb(dice: random.Random, gate: Gate) -> None:
    """One thing that happens to a gateway."""
    what = dice.choice(["kill", "kill", "reboot", "stop", "freeze"])
    _log.info("%s: %s", gate.zone.name, what)
    if what == "freeze":  # it is there, yet does not answer
        gate.send(signal.SIGSTOP)
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        gate.send(signal.SIGCONT)
        return
    await (gate.stop() if what == "stop" else gate.kill())
    if what == "reboot":
        gate.forget()
    await asyncio.sleep(dice.uniform(0, 0.5))
    await gate.start()


async def test_gateways_that_come_and_go_at_random_lose_nothing_that_was_told(tmp_path: Path) -> None:
    dice = random.Random(_SEED)
    told, stopping = Told(), asyncio.Event()
    async with stage(tmp_path) as made:
        offered = [(await made.offered(chunks=2))[0] for _ in range(_PARTNERS)]
        partners = (partner(made, resource, told, stopping) for resource in offered)
        working: asyncio.Future[Any] = asyncio.gather(*partners)
        for _ in range(_ROUNDS):
            await asyncio.sleep(dice.uniform(0.2, 2.0))
            victims = dice.choice([[made.a], [made.b], [made.a, made.b]])
            await asyncio.gather(*(disturb(dice, gate) for gate in victims))
            if working.done():
                working.result()
        stopping.set()
        await asyncio.wait_for(working, 2 * DEADLINE_S)
        for transfer in told.transfers:
            await made.receipts(transfer)
        await made.quiet()
        check(made)
        in_force = {row[0] for row in made.b.rows("SELECT id FROM agreements WHERE state='FINALIZED'")}
        assert set(told.agreements) <= in_force
        assert told.transfers
        _log.info("%d agreements, %d transfers", len(told.agreements), len(told.transfers))
