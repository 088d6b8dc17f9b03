"""Decisions: how long one takes on either engine, and how many a second stand on a ledger.

All packs of the zone, a dataset of 200 columns; from the parsed document to the decision, as a gateway makes it.
OPA is a real server on loopback with TLS and a token (`OPA_BIN`, PATH, or beside the checkout); without one its rows
are left out. On a machine that others use, the median of the runs says more than their worst.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import EngineSettings
from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.engines import engines_of
from gateway.decisions.example import example
from gateway.decisions.inputs import KeptDecision
from gateway.decisions.opa import OpaEngine
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.model.policy_input import PolicyInput
from gateway.server.memory import keep_what_is_loaded
from ledger.note import NoteSigner
from ledger.writer import LogWriter
from tests.opa_server import OpaServer, find_opa

COLUMNS = 200
_ZONE = "lingang"
_CALLERS = 32
_LONG_S = 60.0


def document(columns: int) -> dict[str, Any]:
    """The example of a transfer with so many columns."""
    made = example()
    kinds = [(f"column_{n}", ["quasi_identifier"] if n % 3 else []) for n in range(columns)]
    made["dataset"]["columns"] = [{"name": name, "arrow_type": "int64", "tags": tags} for name, tags in kinds]
    return PolicyInput.model_validate(made).document()


def measure(directory: Path, *, decisions: int, seconds: float, runs: int) -> dict[str, Any]:
    """Latency of each engine, and decisions a second of the embedded one with an entry on a ledger for each."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a gateway does
        return runner.run(_measure(directory, decisions, seconds, runs))


async def _measure(directory: Path, decisions: int, seconds: float, runs: int) -> dict[str, Any]:
    policy_set = PolicySet.load()
    policy = policy_set.for_zone(_ZONE)
    made: dict[str, Any] = {"columns": COLUMNS, "decisions": decisions, "runs": runs, "cores": os.cpu_count()}
    found = find_opa()
    server = OpaServer(found, directory / "opa") if found is not None else None
    try:
        if server is not None:
            server.load(policy)
            server.start()
        kinds: dict[str, Callable[[], Engine]] = {
            "embedded": lambda: EmbeddedEngine(policy, deadline_s=_LONG_S),
        }
        if server is not None:
            settings = dataclasses.replace(server.settings, bundle=None)
            kinds["opa"] = lambda: OpaEngine(policy, settings, deadline_s=_LONG_S)
        for name, engine in kinds.items():
            async with _point(policy_set, engine) as point:
                made[name] = {
                    columns: await _latencies(point, document(columns), decisions, runs) for columns in (COLUMNS, 3)
                }
        made["sustained"] = {}
        for name in kinds:
            chosen = EngineSettings() if name == "embedded" else EngineSettings(kind="opa", opa=settings)
            many = partial(engines_of(chosen, deadline_s=_LONG_S).deciding, policy)
            for columns in (COLUMNS, 3):
                rates = []
                async with _point(policy_set, many) as point:
                    for run in range(runs):
                        ledger = directory / f"ledger-{name}-{columns}-{run}"
                        rates.append(await _sustained(point, ledger, document(columns), seconds))
                        shutil.rmtree(ledger)
                made["sustained"][f"{name} {columns}"] = statistics.median(rates)
    finally:
        if server is not None:
            server.stop()
    return made


@asynccontextmanager
async def _point(policy_set: PolicySet, make: Callable[[], Engine]) -> AsyncIterator[DecisionPoint]:
    engine = make()
    await engine.start()
    try:
        await engine.in_force(_LONG_S)
        keep_what_is_loaded()  # as a gateway does
        yield DecisionPoint(policy_set, _ZONE, engine=engine)
    finally:
        await engine.close()


async def _latencies(point: DecisionPoint, asked: dict[str, Any], decisions: int, runs: int) -> dict[str, float]:
    """Milliseconds, one decision after the other; medians over the runs."""
    p50, p99 = [], []
    for _ in range(runs):
        took = []
        for _ in range(decisions):
            start = time.perf_counter()
            decision = await point.decide(asked)
            took.append((time.perf_counter() - start) * 1e3)
            if decision.effect != "allow":
                raise RuntimeError(f"not allowed: {decision.findings}")
        took.sort()
        p50.append(took[len(took) // 2])
        p99.append(took[len(took) * 99 // 100])
    return {"p50_ms": statistics.median(p50), "p99_ms": statistics.median(p99), "best_p99_ms": min(p99)}


async def _sustained(point: DecisionPoint, directory: Path, asked: dict[str, Any], seconds: float) -> float:
    """Decisions a second, each on the ledger before it counts."""
    signer = NoteSigner("tdz/bench/2026-0000", Ed25519PrivateKey.generate())
    LogWriter.create(directory, origin=signer.name, signer=signer)
    writer = await LogWriter.open(directory, signer)
    end = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            decision = await point.decide(asked)
            kept = KeptDecision(decision, asked, int(time.time()))
            await writer.append(id=decision.decision_id, kind="decision", subject="transfers/bench", body=kept.entry())
            done += 1

    start = time.perf_counter()
    try:
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return done / (time.perf_counter() - start)
    finally:
        await writer.close()
