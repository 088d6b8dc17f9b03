"""A policy with the engine that evaluates it, and what is at work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway.decisions.engine import Engine
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import DecisionUnavailableError

_RETIRE_S: Final = 60.0  # a decision has a deadline of its own; this bounds what forgets it


class Borrowed:
    """An engine that is somebody else's to start and end, or none at all, which decides nothing."""

    def __init__(self, engine: Engine | None, why: str = "there is no policy engine") -> None:
        self._engine = engine
        self._why = why

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to end."""

    async def in_force(self, timeout_s: float) -> None:
        """See `Engine.in_force`."""
        if self._engine is None:
            raise DecisionUnavailableError(self._why)
        await self._engine.in_force(timeout_s)

    async def evaluate(self, document: bytes) -> object:
        """See `Engine.evaluate`."""
        if self._engine is None:
            raise DecisionUnavailableError(self._why)
        return await self._engine.evaluate(document)

    @property
    def state(self) -> str:
        """See `Engine.state`."""
        return self._why if self._engine is None else self._engine.state


class LoadedPolicy:
    """A policy, its engine, and the count of decisions that are at work on it.

    Args:
        policy: what is evaluated.
        engine: made for it alone.
    """

    def __init__(self, policy: ZonePolicy, engine: Engine) -> None:
        self.policy: Final = policy
        self.engine: Final = engine
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a decision is made."""
        self._working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self._idle.set()

    async def retire(self) -> None:
        """End the engine once nothing is at work on it any more."""
        with suppress(TimeoutError):  # whoever is still at it hears that the engine is closed, which denies
            async with asyncio.timeout(_RETIRE_S):
                await self._idle.wait()
        await self.engine.close()
