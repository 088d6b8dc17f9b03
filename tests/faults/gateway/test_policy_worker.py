"""A policy worker that is killed costs at most the decision that it was making."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from gateway.errors import DeniedError
from tests.faults.exchange.stage import Stage, eventually

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

_REQUESTS = 8


def workers(pid: int) -> list[int]:
    """The processes that a gateway started: its policy workers."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


async def test_killed_workers_cost_at_most_their_own_decisions_and_the_gateway_goes_on(corridor: Stage) -> None:
    resource, _ = await corridor.offered(chunks=1)
    killed = 0

    async def request() -> str:
        try:
            return (await corridor.um.request(resource, purpose="research")).agreement
        except DeniedError as refused:
            if [finding[0] for finding in refused.findings] != ["TDZ-DECISION-UNAVAILABLE"]:
                raise
            return ""

    async def kill() -> None:
        nonlocal killed
        while True:
            alive = workers(corridor.a.pid)
            if alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(alive[0], signal.SIGKILL)
                    killed += 1

                async def replaced(before: int = alive[0]) -> bool:
                    return before not in workers(corridor.a.pid) and bool(workers(corridor.a.pid))

                await eventually(replaced, "the worker is replaced")
            await asyncio.sleep(0)

    killing = asyncio.create_task(kill())
    outcomes = await asyncio.gather(*(request() for _ in range(_REQUESTS)))
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    denied = outcomes.count("")
    while not await request():  # the last one killed may not have been asked yet
        denied += 1
        assert denied <= killed
    assert 0 < killed >= denied
    assert corridor.a.running
