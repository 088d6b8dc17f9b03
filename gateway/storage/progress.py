"""How far a landing is, for those who read while it goes on."""

from __future__ import annotations

import asyncio


class Progress:
    """Verified chunks without a gap from the first; lives on one event loop.

    Args:
        total: chunks of the version.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.chunks = 0
        self.rows = 0
        self.bytes = 0
        self._ended = False
        self._ahead: dict[int, tuple[int, int]] = {}
        self._waiters: list[asyncio.Future[None]] = []

    def verified(self, index: int, *, rows: int, size: int) -> None:
        """Count one verified chunk; chunks before it may still be on their way."""
        self._ahead[index] = (rows, size)
        while self.chunks in self._ahead:
            rows, size = self._ahead.pop(self.chunks)
            self.chunks += 1
            self.rows += rows
            self.bytes += size
        self._wake()

    def end(self) -> None:
        """No further chunk will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, index: int) -> bool:
        """Wait until a chunk is verified.

        Returns:
            True once it is; False where the landing ended without it.
        """
        while self.chunks <= index:
            if self._ended:
                return False
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return True
