"""The policy in force with its engine, and the way to the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from gateway.decisions.engine import Engine
from gateway.decisions.engines import Engines
from gateway.decisions.loaded import Borrowed, LoadedPolicy
from gateway.errors import ConfigError, DecisionUnavailableError, StorageError

_log = structlog.get_logger()


class PolicyInForce:
    """What decides, one policy after the other, without a moment of none.

    1. A switch counts for the next decision; what is at work finishes on the policy before, which is then ended.
    2. Where a server decides, the engine that tried the policy decides until the server was seen to have it.
    3. The server is given a policy once nothing is at work on the one before, and one policy at a time: a further
       switch gives an earlier one's loading up, and waits until nothing of it is written any more.
    4. A server that does not have the policy when its time is over decides all the same: it denies, and says why,
       until it has it.

    Args:
        loaded: the first policy, whose engine is not started yet.
        engines: of this gateway.
    """

    def __init__(self, loaded: LoadedPolicy, engines: Engines) -> None:
        self._loaded = loaded
        self._engines = engines
        self._coming: Engine | None = None
        self._to_server = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def loaded(self) -> LoadedPolicy:
        """What the next decision is made with."""
        return self._loaded

    @property
    def state(self) -> str:
        """How the engine is, in words for an operator."""
        now = self._loaded.engine.state
        return now if self._coming is None else f"{now}, until the server has the policy ({self._coming.state})"

    def switch(self, loaded: LoadedPolicy) -> None:
        """Decide with a policy whose own engine is started, from now on."""
        retired = self._replace(loaded)
        if self._engines.served is not None:
            self._own(self._hand_over(loaded, self._engines.served(loaded.policy), retired), "hand-over-policy")

    def withhold(self, why: str) -> None:
        """Deny everything from now on."""
        self._replace(LoadedPolicy(self._loaded.policy, Borrowed(None, why)))

    async def close(self) -> None:
        """Deny from now on, let what is at work finish, and end all engines."""
        self.withhold("the policy engine is closed")
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _replace(self, loaded: LoadedPolicy) -> asyncio.Task[None]:
        """Decide with another from now on, and end what decided; nothing is loaded any more for its sake."""
        before, self._loaded = self._loaded, loaded
        coming, self._coming = self._coming, None
        if coming is not None and coming is not loaded.engine:
            self._own(coming.close(), "give-up-loading")
        return self._own(before.retire(), "retire-policy")

    async def _hand_over(self, bridge: LoadedPolicy, server: Engine, retired: asyncio.Task[None]) -> None:
        """Steps 2 to 4 of the class's text, unless another policy counts by then."""
        async with self._to_server:
            await asyncio.wait({retired})
            if self._loaded is not bridge:
                return
            self._coming = server
            try:
                await self._loading(server)
            except (ConfigError, DecisionUnavailableError, StorageError) as error:
                if self._coming is server:
                    _log.error("the policy server does not take the policy", why=error.message)
            except BaseException:
                await server.close()
                raise
            if self._coming is server:
                self._replace(LoadedPolicy(bridge.policy, server))

    async def _loading(self, server: Engine) -> None:
        """Return once the server has the policy.

        Raises:
            ConfigError, StorageError: it could not be given it.
            DecisionUnavailableError: it does not have it in time, or was given up.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._engines.loads_s
        await server.start()
        await server.in_force(max(0.0, deadline - clock()))

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a policy's engine did not end as it should", task=task.get_name(), exc_info=error)
