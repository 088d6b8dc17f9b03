"""The wiring of federated runs in one gateway."""

from __future__ import annotations

import os
from typing import Any

from gateway.compute.runner import Runner
from gateway.config import GatewaySettings
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.federation.federation import Federation
from gateway.federation.zone_trainer import ZoneTrainer
from gateway.identity.signing import SigningIdentity, load_signing


def federation(house: House, settings: GatewaySettings, offers: Offers) -> Federation:
    """A gateway's part in federated runs; its training process starts with the first order."""
    layout = settings.layout
    trainer = ZoneTrainer(house.chunks, house.versions, Runner(environment=dict(os.environ)))

    def signing() -> SigningIdentity:
        return load_signing(layout.signing_key, layout.signing_certificate, layout.ca, now=house.clock())

    same: Any = house  # one house, which its flows see with the peers that they need
    return Federation(same, layout.chunks.parent / "runs", trainer, offers, signing, settings.identity.uri)
