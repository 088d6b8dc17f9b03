"""What is answered while a gateway starts: it may not record before others have said what they hold of its ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import PeerUnavailableError
from gateway.server.access.roles import EARLY, WATCHED

__all__ = ["Readiness"]


class Readiness:
    """Holds calls back until the gateway is ready; belongs to one event loop.

    Args:
        hold: seconds from now on in which calls wait; later ones are answered at once.
        why: what the gateway waits for, for the error's text.
    """

    def __init__(self, hold: float, why: Callable[[], str]) -> None:
        self._ready = asyncio.Event()
        self._until = asyncio.get_running_loop().time() + hold
        self._why = why

    def set(self) -> None:
        """The gateway is ready."""
        self._ready.set()

    async def require(self, method: str) -> None:
        """Wait for the gateway to be ready where the method needs that.

        Raises:
            PeerUnavailableError: it is not, and the method would record.
        """
        if self._ready.is_set() or method.rpartition("/")[0] in EARLY or method in EARLY:
            return
        left = self._until - asyncio.get_running_loop().time()
        if left > 0:
            try:
                async with asyncio.timeout(left):
                    await self._ready.wait()
            except TimeoutError:
                left = 0.0
        if not self._ready.is_set() and method not in WATCHED:
            raise PeerUnavailableError(
                f"the gateway is starting: {self._why()}",
                remedy="try again; an administrator sees more with `tdz zone status`",
            )
