"""Gateways start, stop, freeze and die at random while a partner requests and pulls without end.

Three witnesses of one of them, of which two must cosign, come and go at random too.

The seed is fixed; TDZ_FAULTS=all makes it long, TDZ_SEED another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import uuid
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import PeerUnavailableError
from ledger.tiles import TileReader
from ledger.verify import verify_directory
from tests.conformance.ledger.plain_witness import PlainWitness, plain_witness
from tests.faults.exchange.invariants import check
from tests.faults.exchange.stage import DEADLINE_S, Gate, Stage, eventually, insist, stage

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


def away(status: int, body: bytes) -> tuple[int, bytes]:
    """What a witness says that is not there."""
    return 503, b""


def there(status: int, body: bytes) -> tuple[int, bytes]:
    """What a witness says that is there."""
    return status, body


def witnesses_of(gate: Gate, stack: ExitStack) -> list[PlainWitness]:
    """Three witnesses of a zone's ledger; a running gateway takes them up."""
    made = [stack.enter_context(plain_witness(f"other.example/{n}")) for n in range(3)]
    lines = "".join(f"witness w{n} {each.key.vkey} {each.url}\n" for n, each in enumerate(made))
    gate.layout.witness_policy.write_text(f"{lines}group some 2 w0 w1 w2\nquorum some\n")
    return made


async def witnessed(gate: Gate, witnesses: list[PlainWitness]) -> None:
    """Wait until two of them have cosigned what the ledger holds now."""
    size = int((gate.layout.ledger / "checkpoint").read_bytes().split(b"\n")[1])

    async def look() -> bool:
        newest = (gate.layout.ledger / "checkpoint.witnessed").read_bytes()
        names = [each.key.name.encode() for each in witnesses]
        return int(newest.split(b"\n")[1]) >= size and sum(b" " + name + b" " in newest for name in names) >= 2

    await eventually(look, "the witnesses cosign again", 2 * DEADLINE_S)


def check_witnessed(gate: Gate, witnesses: list[PlainWitness]) -> None:
    """No witness ever saw another history than the one that stands."""
    report = verify_directory(gate.layout.ledger, witness_vkeys=[each.key.vkey for each in witnesses])
    assert report.findings == []
    reader = TileReader(gate.layout.ledger)
    for each in witnesses:
        size, root, _ = each.latest
        assert size > 0
        assert reader.root(size) == root


async def test_gateways_that_come_and_go_at_random_lose_nothing_that_was_told(tmp_path: Path) -> None:
    dice = random.Random(_SEED)
    told, stopping = Told(), asyncio.Event()
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(ExitStack())
        made = await stack.enter_async_context(stage(tmp_path))
        witnesses = witnesses_of(made.b, servers)
        offered = [(await made.offered(chunks=2))[0] for _ in range(_PARTNERS)]
        partners = (partner(made, resource, told, stopping) for resource in offered)
        working: asyncio.Future[Any] = asyncio.gather(*partners)
        for _ in range(_ROUNDS):
            await asyncio.sleep(dice.uniform(0.2, 2.0))
            victims = dice.choice([[made.a], [made.b], [made.a, made.b]])
            for each in witnesses:
                each.answer = dice.choice([there, away])
            await asyncio.gather(*(disturb(dice, gate) for gate in victims))
            if working.done():
                working.result()
        stopping.set()
        await asyncio.wait_for(working, 2 * DEADLINE_S)
        for transfer in told.transfers:
            await made.receipts(transfer)
        for each in witnesses:
            each.answer = there
        await witnessed(made.b, witnesses)
        await made.quiet()
        check(made)
        check_witnessed(made.b, witnesses)
        in_force = {row[0] for row in made.b.rows("SELECT id FROM agreements WHERE state='FINALIZED'")}
        assert set(told.agreements) <= in_force
        assert told.transfers
        _log.info("%d agreements, %d transfers", len(told.agreements), len(told.transfers))
