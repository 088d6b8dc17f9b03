"""Which engine a zone's settings ask for."""

from __future__ import annotations

from gateway.config import EngineSettings
from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.policy_set import ZonePolicy
from gateway.model.limits import DECISION_DEADLINE_S


def engine_for(policy: ZonePolicy, settings: EngineSettings, *, deadline_s: float = DECISION_DEADLINE_S) -> Engine:
    """An engine for one policy, not started yet.

    Args:
        policy: what it evaluates, and nothing else.
        settings: of the zone.
        deadline_s: seconds for one evaluation.
    """
    if settings.opa is not None:
        from gateway.decisions.opa import OpaEngine  # an HTTP client that most zones never need

        return OpaEngine(policy, settings.opa, deadline_s=deadline_s, waiting=settings.waiting)
    return EmbeddedEngine(policy, deadline_s=deadline_s, workers=settings.worker_count, waiting=settings.waiting)
