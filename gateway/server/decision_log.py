"""What the gateway keeps of its decisions: the policies that made them, and the decision log."""

from __future__ import annotations

import asyncio
import time

from gateway.config import GatewaySettings
from gateway.decisions.kept_policy import keep_policy
from gateway.decisions.log.follower import LogFollower
from gateway.decisions.log.segments import Segments
from gateway.decisions.point import DecisionPoint
from gateway.state import StateStore


async def decision_log(settings: GatewaySettings, state: StateStore, decisions: DecisionPoint) -> LogFollower:
    """Keep the policy that is in force by its digest, and make the follower of the decision log.

    Raises:
        StorageError: the policy cannot be kept; without it nothing that it decides could be replayed.
    """
    await asyncio.to_thread(keep_policy, settings.layout.policies, decisions.policy)
    return LogFollower(
        state,
        Segments(settings.layout.decisions),
        lambda: decisions.policy,
        days=settings.decisions.days,
        most=settings.decisions.bytes,
        clock=lambda: int(time.time()),
    )
