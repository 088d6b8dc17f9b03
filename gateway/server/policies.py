"""What decides from a gateway's start on, its log, and the one way to another policy, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from gateway.config import GatewaySettings
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.engines import engines_of
from gateway.decisions.log.follower import LogFollower
from gateway.decisions.log.segments import Segments
from gateway.decisions.point import DecisionPoint
from gateway.exchange.house import House
from gateway.flow import policy_history
from gateway.flow.activation import Activations
from gateway.state import StateStore

_log = structlog.get_logger()


async def policy_at_start(
    settings: GatewaySettings, state: StateStore, stack: AsyncExitStack
) -> tuple[PolicyStore, DecisionPoint]:
    """The kept policies, and what decides until the ledger was read: started, kept, and ended by the stack.

    Raises:
        ConfigError: the policy cannot be loaded, or does not compile.
        DecisionUnavailableError: the engine cannot be started.
        StorageError: the policy folder cannot be written, or the state database failed.
    """
    store = PolicyStore(settings.layout.policy)
    store.prepare()
    policy = await policy_history.policy_at_start(state, store, settings.policy, settings.zone)
    decisions = DecisionPoint(policy, settings.zone, engines=engines_of(settings.engine))
    stack.push_async_callback(decisions.close)
    await decisions.start()
    _log.info("policy engine", kind=settings.engine.kind, state=decisions.engine_state)
    await asyncio.to_thread(store.keep_policy, policy)
    return store, decisions


def decision_log(settings: GatewaySettings, state: StateStore, decisions: DecisionPoint) -> LogFollower:
    """The log of what is decided, beside the state."""
    return LogFollower(
        state,
        Segments(settings.layout.decisions),
        lambda: decisions.policy,
        days=settings.decisions.days,
        most=settings.decisions.bytes,
        clock=lambda: int(time.time()),
    )


def activations(
    house: House,
    settings: GatewaySettings,
    store: PolicyStore,
    decisions: DecisionPoint,
    changed: Sequence[Callable[[], None]],
) -> Activations:
    """How administrators change the policy of a gateway whose flows stand; `changed` hear that they did."""
    made = Activations(
        zone=settings.zone,
        decisions=decisions,
        store=store,
        trust=settings.layout.policy_trust,
        state=house.state,
        registry=house.registry,
        journal=house.journal,
        steps=house.steps,
        needed=settings.policy_administrators,
        clock=lambda: house.clock(),
    )

    def heard() -> None:
        for each in changed:
            each()

    made.on_activated(heard)
    return made
