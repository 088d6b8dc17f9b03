"""A worker that is gone before it was asked is a crash, on a gateway's event loop too."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from gateway.decisions.process import WorkerProcess
from gateway.errors import DecisionUnavailableError


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_process_that_has_ended_before_it_is_asked_is_a_crash(loop):
    async def asked() -> None:
        worker = await WorkerProcess.spawn("/bin/true")
        try:
            async with asyncio.timeout(30):
                while worker.alive:
                    await asyncio.sleep(0.01)
            with pytest.raises(DecisionUnavailableError, match="crashed"):
                await worker.ask(b"{}")
        finally:
            await worker.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asked())
