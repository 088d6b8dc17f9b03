"""What was approved before counts when a request is decided again, and what is not covered asks for a new review."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gateway.decisions.inputs import KeptDecision
from gateway.exchange import review_rows, rows
from gateway.exchange.house import House
from gateway.model.review import Granted, Holder, ReviewKind, basis_of, lift, waits_for


async def for_negotiation(
    house: House, kept: KeptDecision, *, negotiation: str, participant: str, resource: str, earlier: str = ""
) -> tuple[KeptDecision, tuple[str, ...]]:
    """A fresh decision of a negotiation with what was approved for it, and the reviews that lifted something.

    Args:
        earlier: the negotiation that it decides anew, where this zone knows it.
    """
    if kept.decision.effect != "review":
        return kept, ()
    found = await review_rows.granted_to(
        house.state,
        negotiations=[negotiation, earlier] if earlier else [negotiation],
        participant=participant,
        resource=resource,
        since=house.clock() - house.timing.review,
    )
    return _lifted(kept, found)


async def for_pull(
    house: House, kept: KeptDecision, agreement: rows.AgreementRow
) -> tuple[KeptDecision, tuple[str, ...]]:
    """A fresh decision of a pull with what the agreement rests on."""
    if kept.decision.effect != "review":
        return kept, ()
    negotiation = await rows.get_negotiation(house.state, agreement.negotiation_id)
    return _lifted(kept, await review_rows.granted(house.state, negotiation.document.get("approvals", [])))


def named(used: Iterable[str]) -> dict[str, Any]:
    """What an entry says of the approvals that a decision rests on; nothing where it rests on none."""
    listed = list(used)
    return {"approvals": listed} if listed else {}


def review_for(
    house: House,
    kept: KeptDecision,
    *,
    negotiation: str,
    participant: str,
    peer_zone: str,
    resource: str,
    purpose: str,
    owner: str = "",
) -> dict[str, Any]:
    """The review that a decision of this zone asks for.

    Args:
        owner: URI of the publishing institution, where it is of this zone.
    """
    holder = waits_for(kept.decision) if owner else Holder.ADMIN
    now = house.clock()
    return review_rows.new_review(
        kind=ReviewKind.REVIEW,
        negotiation_id=negotiation,
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


def _lifted(kept: KeptDecision, found: Iterable[Granted]) -> tuple[KeptDecision, tuple[str, ...]]:
    decision, used = lift(kept.decision, kept.document, found)
    return replace(kept, decision=decision), used
