"""The private event loop behind the synchronous face: one thread, shared, gone with its last user."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, ClassVar, Final, TypeVar

from gateway.errors import ConflictError

T = TypeVar("T")

_START_DEADLINE_S: Final = 10.0
_STOP_DEADLINE_S: Final = 10.0
_HEED_S: Final = 0.5


class Runtime:
    """An event loop in a daemon thread; `acquire` and `release` count its users.

    One loop serves all connections of a process: grpc.aio polls for one loop best.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _shared: ClassVar[Runtime | None] = None

    def __init__(self) -> None:
        self._users = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="tdz-sdk", daemon=True)

    @classmethod
    def acquire(cls) -> Runtime:
        """The shared runtime, started where it does not run; give it back with `release`."""
        with cls._lock:
            if cls._shared is None:
                cls._shared = cls()
            cls._shared.start()
            return cls._shared

    def start(self) -> None:
        """Count one more user; the first one starts the thread. Called under the lock."""
        if not self._users:
            self._thread.start()
            self._started.wait(_START_DEADLINE_S)
        self._users += 1

    def release(self) -> None:
        """Give one use back; the last one ends the thread."""
        cls = type(self)
        with cls._lock:
            self._users -= 1
            if self._users or cls._shared is not self:
                return
            cls._shared = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_DEADLINE_S)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; an interrupt cancels it.

        Every coroutine handed in here has its own deadline.

        Raises:
            ConflictError: called on the loop's own thread, or after the last `release`.
        """
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            coroutine.close()
            raise ConflictError(
                "the connection is closed, or used from inside its own event loop",
                remedy="connect anew, or use gateway.sdk.connect_async in asynchronous code",
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                try:
                    return future.result(_HEED_S)  # a signal that comes just before a wait does not cut it short
                except TimeoutError:
                    if future.done():
                        return future.result()  # it has come now, or the error is its own
        except BaseException:
            if future.cancel():
                concurrent.futures.wait([future], timeout=_STOP_DEADLINE_S)
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._drain())
        finally:
            self._loop.close()

    async def _drain(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
