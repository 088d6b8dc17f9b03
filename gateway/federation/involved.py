"""The datasets that a run names: this zone's own, and the other zone's as its signed cards describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from gateway.errors import NotFoundError
from gateway.federation import rows
from gateway.federation.house import House
from gateway.federation.peer import Cards
from gateway.model.run_statements import RunDataset
from gateway.model.statements import ResourceCard

_log = structlog.get_logger()


class Involved(NamedTuple):
    """What was found: the datasets in the run's order, cards by name, and the name of one that is not offered."""

    datasets: list[RunDataset]
    cards: dict[str, ResourceCard]
    missing: str = ""

    def of_zone(self, zone: str) -> list[RunDataset]:
        """The datasets of one zone."""
        return [each for each in self.datasets if each.zone == zone]

    def others(self, zone: str) -> set[str]:
        """The zones that are not this one."""
        return {each.zone for each in self.datasets} - {zone}


class Datasets:
    """Finds datasets for runs that this zone coordinates."""

    def __init__(self, house: House, cards: Cards) -> None:
        self._house = house
        self._cards = cards

    async def find(self, row: rows.RunRow) -> Involved:
        """The datasets that a run names, as far as its institution may know of them.

        Raises:
            PeerUnavailableError: a zone that might have one does not answer.
        """
        datasets: list[RunDataset] = []
        cards: dict[str, ResourceCard] = {}
        for resource in row.spec.datasets:
            try:
                datasets.append(await self._own(row, resource))
                continue
            except NotFoundError:
                pass  # then it is another zone's
            try:
                offered = await self._cards.find(resource, row.participant)
            except NotFoundError:
                return Involved(datasets, cards, resource)
            card = cards[resource] = offered.card
            datasets.append(
                RunDataset(
                    resource=resource,
                    zone=offered.zone,
                    owner=card.owner,
                    version=card.version,
                    rows=card.manifest.rows,
                )
            )
        return Involved(datasets, cards)

    async def own_cards(self, other: str, own: Sequence[RunDataset]) -> list[str]:
        """An own dataset that is offered to nobody of the other zone has no card; the decision on it says so."""
        cards = []
        for dataset in own:
            try:
                cards.append(await self._cards.card_for(other, dataset.resource))
            except NotFoundError:
                _log.info("a dataset of a run is not offered to the other zone", resource=dataset.resource)
        return cards

    async def _own(self, row: rows.RunRow, resource: str) -> RunDataset:
        house = self._house
        published = await house.catalog.get(resource)
        if not published.known_to(row.participant, zone=house.zone, now=house.clock()):
            raise NotFoundError(f"no {resource}", remedy="tdz dataset list")
        return RunDataset(
            resource=resource,
            zone=house.zone,
            owner=published.owner,
            version=published.version,
            rows=published.manifest.rows,
        )
