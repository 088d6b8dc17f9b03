"""The provider's offer: an agreement with one signature, which may become one with both."""

from __future__ import annotations

from typing import Any, Final

from gateway.catalog.register import Published
from gateway.decisions.inputs import KeptDecision, Persons
from gateway.errors import IntegrityError, LimitError
from gateway.exchange.house import House
from gateway.exchange.views import view_id
from gateway.model import limits
from gateway.model.decision import Decision, Outcome
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.model.negotiation import advance
from gateway.model.statements import Agreement, AgreementLimits, DecisionIds, NegotiationRequest, ObligationPart

_DAY_S: Final = 86_400


def signed_offer(
    house: House,
    zone: str,
    request: NegotiationRequest,
    published: Published,
    persons: Persons,
    decided: tuple[Decision, KeptDecision],
    outcome: Outcome,
    now: int,
) -> tuple[str, dict[str, Any]]:
    """The offer, signed by this zone, and the row of the agreement that it may become.

    Args:
        zone: of who asks.
        request: what was asked.
        published: what is offered.
        persons: whom it would export.
        decided: the consumer's zone's decision and ours.
        outcome: what both come to.
        now: Unix seconds.

    Raises:
        LimitError: it does not fit a ledger entry.
    """
    terms = published.terms
    if terms is None:
        raise IntegrityError("an offer needs the owner's terms")
    expiries = [now + (terms.limits.days * _DAY_S if terms.limits.days else house.timing.agreement)]
    expiries += [terms.until] if terms.until else []
    theirs, kept = decided
    expiries += [*house.ends(kept), *(pack.valid_until for pack in theirs.for_peer().packs if pack.valid_until)]
    obligations = tuple(ObligationPart(kind=o.kind, params=dict(o.params)) for o in outcome.obligations)
    body = Agreement(
        id=uuid7(),
        negotiation=request.id,
        resource=request.resource,
        version=published.version,
        view=view_id(published.manifest, outcome.obligations),
        consumer=request.participant,
        provider=published.owner,
        consumer_zone=zone,
        provider_zone=house.zone,
        purpose=request.purpose,
        mechanisms=request.mechanisms,
        obligations=obligations,
        limits=AgreementLimits(
            expires_at=min(expiries),
            pulls=terms.limits.pulls or 0,
            rows=terms.limits.rows or 0,
            bytes=terms.limits.bytes or 0,
            onward=False,
        ),
        decisions=DecisionIds(consumer=theirs.decision_id, provider=kept.decision.decision_id),
        confirm_before=now + house.timing.confirm,
    )
    ttl = max(body.limits.expires_at - now, 1)
    envelope = house.sign(body, to=zone, process=request.id, ttl=ttl)
    if len(envelope) > limits.STATEMENT_MAX:
        raise LimitError("the agreement's obligations do not fit a ledger entry")
    row = {
        "id": body.id,
        "side": "provider",
        "negotiation_id": request.id,
        "peer_zone": zone,
        "consumer": body.consumer,
        "provider": body.provider,
        "resource": body.resource,
        "version": body.version,
        "state": advance(State.REQUESTED, Event.OFFER).value,
        "envelope": envelope,
        "confirm_before": body.confirm_before,
        "expires_at": body.limits.expires_at,
        "persons_non_sensitive": persons.non_sensitive,
        "persons_sensitive": persons.sensitive,
        "created_at": now,
        "updated_at": now,
    }
    return envelope, row
