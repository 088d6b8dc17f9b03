"""Which engines a zone's settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import EngineSettings
from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.policy_set import ZonePolicy
from gateway.model.limits import DECISION_DEADLINE_S, OPA_LOADS_S


@dataclass(frozen=True, slots=True)
class Engines:
    """How one gateway comes by its engines, none of them started; each serves one policy.

    Args:
        own: makes one that holds its policy itself, so that the next policy can be tried beside the one in force.
        served: makes one that asks the server, which holds one policy at a time; None where no server decides.
        loads_s: seconds that the server has to load another policy.
    """

    own: Callable[[ZonePolicy], Engine]
    served: Callable[[ZonePolicy], Engine] | None = None
    loads_s: float = OPA_LOADS_S

    def deciding(self, policy: ZonePolicy) -> Engine:
        """The engine that decides under a policy once it is ready."""
        return (self.served or self.own)(policy)


def engines_of(
    settings: EngineSettings, *, deadline_s: float = DECISION_DEADLINE_S, loads_s: float = OPA_LOADS_S
) -> Engines:
    """The engines of a zone.

    Args:
        settings: of the zone.
        deadline_s: seconds for one evaluation.
        loads_s: seconds that a server has to load another policy.
    """

    def own(policy: ZonePolicy) -> Engine:
        return EmbeddedEngine(policy, deadline_s=deadline_s, workers=settings.worker_count, waiting=settings.waiting)

    opa = settings.opa
    if opa is None:
        return Engines(own)

    def served(policy: ZonePolicy) -> Engine:
        from gateway.decisions.opa import OpaEngine  # an HTTP client that most zones never need

        return OpaEngine(policy, opa, deadline_s=deadline_s, waiting=settings.waiting, loads_s=loads_s)

    return Engines(own, served, loads_s)
