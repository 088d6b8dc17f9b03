"""Work on files that may lag a little behind what is durable elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

__all__ = ["WriteBehind"]


class WriteBehind:
    """Runs blocking work a little later, once however often it was asked for; belongs to one event loop.

    Args:
        executor: runs the work; one thread, so that it meets no other work of the same kind.
        work: handles its own errors, and does nothing where nothing lags.
        after: seconds from the first call of `ask` to the work.
    """

    def __init__(self, executor: Executor, work: Callable[[], None], after: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = executor
        self._work = work
        self._after = after
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def ask(self) -> None:
        """Have the work done soon."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(self._after, self._start)

    def close(self, *, last: bool) -> None:
        """Do it no more; with `last` once more, before the executor is shut down."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if last:
            self._executor.submit(self._work)

    def _start(self) -> None:
        self._timer = None
        if not self._closed:
            self._executor.submit(self._work)
