"""A run's one task: begun once, ended whole, held off while the run ends."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import ConflictError, PeerUnavailableError
from gateway.federation.tasks import RunTasks
from gateway.flow.locks import settled

RUN = "runs/1"


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_under_way_is_joined_and_one_that_is_through_is_begun_again():
    tasks = RunTasks()
    first = tasks.begin(RUN, forever)
    assert tasks.begin(RUN, forever) is first
    assert not tasks.idle(RUN)
    async with tasks.stopped(RUN):
        assert first.cancelled()
    assert tasks.begin(RUN, forever) is not first
    await tasks.close()


async def test_no_task_begins_while_a_run_is_ended_by_one_or_by_two():
    tasks = RunTasks()
    async with tasks.stopped(RUN):
        async with tasks.stopped(RUN):
            pass
        assert not tasks.idle(RUN)
        with pytest.raises(ConflictError):
            tasks.begin(RUN, forever)
        other = tasks.begin("runs/2", forever)
        assert not other.done()
    assert tasks.idle(RUN)
    await tasks.close()
    with pytest.raises(PeerUnavailableError):
        tasks.begin(RUN, forever)


async def test_a_task_that_ends_its_own_run_does_not_wait_for_itself():
    tasks = RunTasks()

    async def ends() -> str:
        async with tasks.stopped(RUN):
            return "ended"

    assert await asyncio.wait_for(tasks.begin(RUN, ends), 10) == "ended"


async def test_blocking_work_is_waited_for_however_often_its_caller_is_cancelled():
    work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(settled(work))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task}, timeout=0.05)
    assert not task.done()
    work.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await task
