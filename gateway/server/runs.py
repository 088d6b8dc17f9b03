"""The wiring of federated runs in one gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import structlog

from gateway.compute.runner import Runner
from gateway.config import ZoneLayout
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.federation import rows
from gateway.federation.federation import Federation
from gateway.federation.zone_trainer import ZoneTrainer

_log = structlog.get_logger()


class KeptOutcomes:
    """Keeps what runs come to in their own directories, where an operator finds it."""

    async def publish(self, row: rows.RunRow, parameters: Path, digest: str) -> str:
        """Say where the outcome lies; nothing is in the catalog."""
        _log.info("the outcome of a run is kept", run=row.id, file=str(parameters), digest=digest)
        return ""


def federation(house: House, layout: ZoneLayout, offers: Offers) -> Federation:
    """A gateway's part in federated runs; its training process starts with the first order."""
    trainer = ZoneTrainer(house.chunks, house.versions, Runner(environment=dict(os.environ)))
    same: Any = house  # one house, which its flows see with the peers that they need
    return Federation(cast("Any", same), layout.chunks.parent / "runs", trainer, offers, KeptOutcomes())
