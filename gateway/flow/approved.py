"""What persons approved counts when something is decided again, and what is not covered asks for a new review."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gateway.decisions.inputs import KeptDecision
from gateway.flow import review_rows
from gateway.flow.house import ZoneHouse
from gateway.model.review import Granted, Holder, Process, ReviewKind, basis_of, lift, waits_for


def lifted(kept: KeptDecision, found: Iterable[Granted]) -> tuple[KeptDecision, tuple[str, ...]]:
    """A fresh decision with what was approved, and the reviews that lifted something."""
    decision, used = lift(kept.decision, kept.document, found)
    return replace(kept, decision=decision), used


def named(used: Iterable[str]) -> dict[str, Any]:
    """What an entry says of the approvals that a decision rests on; nothing where it rests on none."""
    listed = list(used)
    return {"approvals": listed} if listed else {}


def review_for(
    house: ZoneHouse[Any],
    kept: KeptDecision,
    *,
    process: Process,
    process_id: str,
    participant: str,
    peer_zone: str,
    resource: str,
    purpose: str,
    owner: str = "",
) -> dict[str, Any]:
    """The review that a decision of this zone asks for.

    Args:
        house: this zone.
        kept: the decision.
        process: what waits for it.
        process_id: its id.
        participant: URI of the institution that would receive.
        peer_zone: the other zone.
        resource: what it is about.
        purpose: what for.
        owner: URI of the publishing institution, where it is of this zone.
    """
    holder = waits_for(kept.decision) if owner else Holder.ADMIN
    now = house.clock()
    return review_rows.new_review(
        kind=ReviewKind.REVIEW,
        process=process,
        process_id=process_id,
        holder=holder,
        owner=owner,
        participant=participant,
        peer_zone=peer_zone,
        resource=resource,
        purpose=purpose,
        decision_id=kept.decision.decision_id,
        basis=basis_of(kept.decision, kept.document, holder),
        needed=house.administrators,
        deadline=now + house.timing.review,
        now=now,
    )
