"""The house as the exchange sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from gateway.decisions import mechanisms
from gateway.exchange import negotiation_effects, review_effects, transfer_effects
from gateway.exchange.peer import PeerGateway
from gateway.flow.house import ZoneHouse, parse_envelope
from gateway.flow.steps import Effect
from gateway.identity.statements import read_unverified
from gateway.model.statements import Agreement

House: TypeAlias = ZoneHouse[PeerGateway]

EFFECTS: Final[Mapping[str, Effect]] = {
    **negotiation_effects.EFFECTS,
    **transfer_effects.EFFECTS,
    **review_effects.EFFECTS,
    **mechanisms.EFFECTS,
}
"""What the exchange's recorded steps do, by name."""


def agreement_body(envelope: str) -> Agreement:
    """The text of a stored agreement; its signatures were verified before it was stored."""
    return Agreement.parse(read_unverified(parse_envelope(envelope)).body)
