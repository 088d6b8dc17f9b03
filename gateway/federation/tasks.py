"""The one task that each run has here, on either side: begun once, ended whole, and not begun again while it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from gateway.errors import ConflictError, PeerUnavailableError

_log = structlog.get_logger()


class RunTasks:
    """Tasks by run. A run is coordinated or taken part in, never both, so its id is the key."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[object]] = {}
        self._ending: Counter[str] = Counter()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the gateway is stopping: what is open goes on after the next start."""
        return self._closed

    def get(self, run: str) -> asyncio.Task[object] | None:
        """The task that goes on with a run."""
        return self._running.get(run)

    def idle(self, run: str) -> bool:
        """Whether a run's task may be begun: none is under way, and nobody ends the run."""
        return run not in self._running and run not in self._ending

    def begin(self, run: str, work: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[object]:
        """The task that goes on with a run: the one under way, or a new one.

        Raises:
            ConflictError: the run is being ended.
            PeerUnavailableError: the gateway is stopping.
        """
        if (task := self._running.get(run)) is not None and not task.done():
            return task
        if self._closed:
            raise PeerUnavailableError("the gateway is stopping", remedy="look again with `tdz run show`")
        if run in self._ending:
            raise ConflictError("the run is being ended", remedy="look again with `tdz run show`")
        task = asyncio.create_task(work(), name=f"run-{run}")
        self._running[run] = task
        task.add_done_callback(lambda done: self._finished(run, done))
        return task

    @asynccontextmanager
    async def stopped(self, run: str) -> AsyncIterator[None]:
        """End the run's task and hold off any other, so that nothing writes what the end of the run removes."""
        self._ending[run] += 1
        try:
            await self._stop(run)
            yield
        finally:
            self._ending[run] -= 1
            if not self._ending[run]:
                del self._ending[run]

    async def close(self) -> None:
        """End every task; none begins after it."""
        self._closed = True
        for run in list(self._running):
            await self._stop(run)

    async def _stop(self, run: str) -> None:
        task = self._running.get(run)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})

    def _finished(self, run: str, task: asyncio.Task[object]) -> None:
        if self._running.get(run) is task:
            del self._running[run]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a run's task stopped", run=run, error=str(error))
