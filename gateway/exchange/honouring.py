"""What was approved before counts when a request is decided again, and at each pull of what came of it."""

from __future__ import annotations

from gateway.decisions.inputs import KeptDecision
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.flow import review_rows
from gateway.flow.approved import lifted


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
    return lifted(kept, found)


async def for_pull(
    house: House, kept: KeptDecision, agreement: rows.AgreementRow
) -> tuple[KeptDecision, tuple[str, ...]]:
    """A fresh decision of a pull with what the agreement rests on."""
    if kept.decision.effect != "review":
        return kept, ()
    negotiation = await rows.get_negotiation(house.state, agreement.negotiation_id)
    return lifted(kept, await review_rows.granted(house.state, negotiation.document.get("approvals", [])))
