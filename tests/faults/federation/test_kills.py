"""Gateways and training processes killed by SIGKILL in the middle of a run: it comes to the same outcome."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from ledger.verify import verify_directory
from tests.e2e.material import LINGANG, next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of
from tests.faults.exchange.stage import Gate, Stage, eventually, insist, stage

pytestmark = pytest.mark.faults

ROUNDS = 30


async def ready(made: Stage) -> tuple[str, str]:
    """Both halves of the table, published."""
    ours, theirs = halves(breast_cancer())
    here = (await made.um.publish(ours, open_dataset(next_id("ours"), to=LINGANG, **TRAINING))).name
    return here, (await made.lab.publish(theirs, open_dataset(next_id("theirs"), **TRAINING))).name


async def completed(made: Stage, run: Any) -> str:
    """The outcome, once both sides have it."""
    assert (await run.wait()).state == "RELEASED"

    async def both() -> bool:
        return all(g.rows("SELECT 1 FROM runs WHERE id=? AND state='RELEASED'", run.id) for g in (made.a, made.b))

    await eventually(both, "both zones have released the run")
    return str(run.last.outcome)


async def round_of(gate: Gate, run: str) -> int:
    found = gate.rows("SELECT round FROM runs WHERE id=?", run)
    return int(found[0][0]) if found else 0


def trainers(gate: Gate) -> list[int]:
    """The training processes of a gateway."""
    children = psutil.Process(gate.pid).children(recursive=True)
    return [each.pid for each in children if any("gateway.compute.worker" in word for word in each.cmdline())]


async def test_a_run_outlives_every_kill_and_comes_to_the_outcome_of_an_undisturbed_one(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with stage(tmp_path) as made:
        names = await ready(made)
        undisturbed = await completed(made, await made.um.run(run_of(names, rounds=ROUNDS)))
        run = await insist(lambda: made.um.run(run_of(names, rounds=ROUNDS), request_id="again"))
        killed = {"a": 0, "b": 0, "trainer": 0}
        for at in range(1, ROUNDS - 2, 3):
            who = ("a", "b", "trainer")[at // 3 % 3]
            gate = made.b if who == "b" or (who == "trainer" and chance.random() < 0.5) else made.a

            async def there(at: int = at, gate: Gate = gate) -> bool:
                return await round_of(gate, run.id) >= at

            await eventually(there, f"round {at}")
            await asyncio.sleep(chance.random() * 0.2)  # anywhere within a round, not to wait for something
            if who == "trainer":
                for pid in trainers(gate):
                    os.kill(pid, signal.SIGKILL)
                    killed[who] += 1
            else:
                await gate.kill()
                killed[who] += 1
                await gate.start()
        assert await completed(made, run) == undisturbed
        assert killed["a"] >= 3
        assert killed["b"] >= 3
        assert killed["trainer"] >= 1
        await made.a.stop()
        await made.b.stop()
        for gate in (made.a, made.b):
            assert not verify_directory(gate.layout.ledger).findings
            assert gate.rows("SELECT * FROM pending") == []
            bodies = [e for e in gate.entries() if e["subject"] == f"runs/{run.id}"]
            done = [e["body"]["round"] for e in bodies if e["kind"] == "round.completed"]
            assert done == list(range(1, ROUNDS + 1)), "each round is completed once"
            released: dict[tuple[str, str, int], set[str]] = {}
            for entry in bodies:
                if entry["kind"] == "release":
                    key = (entry["body"]["direction"], entry["body"]["what"], entry["body"]["round"])
                    released.setdefault(key, set()).add(entry["body"]["digest"])
            assert all(len(digests) == 1 for digests in released.values()), "a part of a round has one digest"
            assert not list(gate.layout.root.rglob("*.arrow"))
            outcome = gate.layout.chunks.parent / "runs" / run.id / "outcome"
            assert hashlib.sha256(outcome.read_bytes()).hexdigest() == undisturbed
