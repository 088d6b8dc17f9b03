"""Contract negotiation: the states and what moves between them, the same table on both sides.

States are those of the Dataspace Protocol (IDSA/Eclipse, contract negotiation). One round trip of ours carries
several of its messages, so some events pass through two of its states at once: the answer to Negotiate is the
offer; Confirm carries acceptance and the consumer's signature; its answer carries agreement, verification and
finalisation.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.errors import ConflictError


class NegotiationState(StrEnum):
    """Where a negotiation stands."""

    REQUESTED = "REQUESTED"
    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    AGREED = "AGREED"
    VERIFIED = "VERIFIED"
    FINALIZED = "FINALIZED"
    TERMINATED = "TERMINATED"


class NegotiationEvent(StrEnum):
    """What happens to a negotiation."""

    DECIDE = "decide"  # this zone's own decision lets it go on
    HOLD = "hold"  # a review: waits for a person
    OFFER = "offer"
    COUNTERSIGN = "countersign"
    CONFIRM = "confirm"  # recorded by the provider: the agreement is in force
    TERMINATE = "terminate"


class AgreementEnd(StrEnum):
    """How an agreement ended before its date; `reason` of its row is for people."""

    REVOKED = "revoked"
    NOT_CONFIRMED = "not_confirmed"


_S, _E = NegotiationState, NegotiationEvent

TRANSITIONS: Final[dict[tuple[NegotiationState, NegotiationEvent], NegotiationState]] = {
    (_S.REQUESTED, _E.DECIDE): _S.REQUESTED,
    (_S.REQUESTED, _E.HOLD): _S.REQUESTED,
    (_S.REQUESTED, _E.OFFER): _S.OFFERED,
    (_S.REQUESTED, _E.COUNTERSIGN): _S.ACCEPTED,  # the consumer hears the offer and countersigns in one step
    (_S.REQUESTED, _E.TERMINATE): _S.TERMINATED,
    (_S.OFFERED, _E.COUNTERSIGN): _S.ACCEPTED,
    (_S.OFFERED, _E.CONFIRM): _S.FINALIZED,  # the provider hears acceptance and signature in one step
    (_S.OFFERED, _E.TERMINATE): _S.TERMINATED,
    (_S.ACCEPTED, _E.CONFIRM): _S.FINALIZED,
    (_S.ACCEPTED, _E.TERMINATE): _S.TERMINATED,
}

FINAL: Final = frozenset({_S.FINALIZED, _S.TERMINATED})


def advance(state: NegotiationState, event: NegotiationEvent) -> NegotiationState:
    """The state after an event.

    Raises:
        ConflictError: the event does not fit the state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ConflictError(f"a negotiation in state {state} cannot {event}") from None
