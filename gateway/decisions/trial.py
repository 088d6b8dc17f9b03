"""What a policy is tried on before it takes effect: the example inputs, with this zone at the right end."""

from __future__ import annotations

from typing import Any, cast, get_args

from gateway.decisions.example import example
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import InputError
from gateway.model.policy_facts import Action, Jurisdiction


def trials(policy: ZonePolicy, now: int) -> list[dict[str, Any]]:
    """One complete input for each action, out of the zone and into it.

    Raises:
        ConfigError: the policy's registry does not know the zone or its jurisdiction.
    """
    own = str(PolicySet(policy.files).registry_of(policy.zone).get("jurisdiction"))
    found = []
    for action in get_args(Action):
        for other in get_args(Jurisdiction):
            if other != own:
                for origin, destination in ((own, other), (other, own)):
                    found.append(_with_zone(_example(action, origin, destination, now), own, policy.zone))
    return found


def _example(action: Action, origin: str, destination: str, now: int) -> dict[str, Any]:
    if origin not in get_args(Jurisdiction) or destination not in get_args(Jurisdiction):
        raise InputError(f"{origin} or {destination} is no jurisdiction that this gateway knows")
    return example(action, cast("Jurisdiction", origin), cast("Jurisdiction", destination), now=now)


def _with_zone(document: dict[str, Any], own: str, zone: str) -> dict[str, Any]:
    for end in document["request"]["flow"].values():
        if end["jurisdiction"] == own:
            end["zone"] = zone
    return document
