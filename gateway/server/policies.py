"""What decides from a gateway's start on, and the one way to another policy, put together."""

from __future__ import annotations

from gateway.config import GatewaySettings
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.point import DecisionPoint
from gateway.exchange.house import House
from gateway.flow import policy_history
from gateway.flow.activation import Activations
from gateway.state import StateStore


async def policy_at_start(settings: GatewaySettings, state: StateStore) -> tuple[PolicyStore, DecisionPoint]:
    """The kept policies, and what decides until the ledger was read; not started yet.

    Raises:
        ConfigError: the policy cannot be loaded.
        StorageError: the policy folder cannot be made, or the state database failed.
    """
    store = PolicyStore(settings.layout.policy)
    store.prepare()
    policy = await policy_history.policy_at_start(state, store, settings.policy, settings.zone)
    return store, DecisionPoint(policy, settings.zone)


def activations(house: House, settings: GatewaySettings, store: PolicyStore, decisions: DecisionPoint) -> Activations:
    """How administrators change the policy of a gateway whose house stands."""
    return Activations(
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
