"""This zone's datasets: who owns which, its version, description and terms; and the other zones' cards.

A dataset's row names the version; its bytes lie in `gateway.storage`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from gateway.errors import ConflictError, NotFoundError
from gateway.model import canonical, limits
from gateway.model.dataset import DatasetManifest, Description
from gateway.model.terms import Terms
from gateway.state import StateStore
from gateway.state.schema import datasets, peer_cards


@dataclass(frozen=True, slots=True)
class Published:
    """One own dataset.

    Args:
        owner: URI of the publishing institution.
        manifest: the version's manifest; its digest is the version.
        description: the version's descriptive part.
        terms: to whom it is offered; None means to nobody.
        published_at: Unix seconds.
    """

    owner: str
    manifest: DatasetManifest
    description: Description
    terms: Terms | None
    published_at: int

    @property
    def resource(self) -> str:
        """Resource name."""
        return f"datasets/{self.description.id}"

    @property
    def version(self) -> str:
        """Version digest."""
        return self.manifest.version

    def known_to(self, participant: str, *, zone: str, now: int) -> bool:
        """Whether an institution of this zone may know of it: its owner, and to whom its terms offer it.

        Args:
            participant: the institution's URI.
            zone: its zone.
            now: Unix seconds UTC.
        """
        offered = self.terms is not None and self.terms.offers(zone=zone, participant=participant, now=now)
        return self.owner == participant or offered


@dataclass(frozen=True, slots=True)
class StoredCard:
    """Another zone's card as it was received."""

    zone: str
    id: str
    envelope: str
    fetched_at: int
    expires_at: int


class DatasetRegister:
    """The register. Every write is durable on return."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def put(self, published: Published) -> None:
        """Publish a dataset or a new version of an own one.

        Raises:
            ConflictError: the id belongs to another institution of this zone.
        """
        document = canonical.encode(
            {
                "manifest": published.manifest.document(),
                "description": published.description.document(),
                "terms": None if published.terms is None else published.terms.document(),
            }
        ).decode()
        row = {
            "owner": published.owner,
            "version": published.version,
            "description": document,
            "published_at": published.published_at,
        }

        def work(connection: Connection) -> None:
            _check_owner(connection, published.description.id, published.owner)
            connection.execute(
                insert(datasets)
                .values(id=published.description.id, **row)
                .on_conflict_do_update(index_elements=["id"], set_=row)
            )

        await self._state.write(work)

    async def check_owner(self, identifier: str, owner: str) -> None:
        """Refuse early what `put` would refuse.

        Raises:
            ConflictError: the id belongs to another institution of this zone.
        """
        await self._state.read(lambda connection: _check_owner(connection, identifier, owner))

    async def withdraw(self, identifier: str, owner: str) -> None:
        """Take a dataset out of the catalog.

        Raises:
            NotFoundError: the owner has none of this id.
        """
        query = delete(datasets).where(datasets.c.id == identifier, datasets.c.owner == owner)
        if not await self._state.write(lambda connection: connection.execute(query).rowcount):
            raise NotFoundError(f"you own no dataset {identifier[:80]}", remedy="tdz dataset list")

    async def get(self, resource: str) -> Published:
        """One own dataset.

        Raises:
            NotFoundError: there is none.
        """
        identifier = resource.removeprefix("datasets/")
        query = select(datasets).where(datasets.c.id == identifier)
        row = await self._state.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFoundError(f"no dataset {resource[:80]}", remedy="tdz dataset list")
        return _published(row)

    async def page(self, after: str = "", size: int = limits.LIST_PAGE_MAX) -> list[Published]:
        """A page of own datasets, sorted by id."""
        query = select(datasets).where(datasets.c.id > after).order_by(datasets.c.id).limit(size)
        return await self._state.read(lambda connection: [_published(row) for row in connection.execute(query)])

    async def keep_card(self, card: StoredCard) -> None:
        """Keep another zone's card; the newest wins."""
        row = {"envelope": card.envelope, "fetched_at": card.fetched_at, "expires_at": card.expires_at}
        statement = (
            insert(peer_cards)
            .values(zone=card.zone, id=card.id, **row)
            .on_conflict_do_update(index_elements=["zone", "id"], set_=row)
        )
        await self._state.write(lambda connection: connection.execute(statement))

    async def forget_cards(self, zone: str, listed: Collection[str], began: int) -> None:
        """Forget cards of a zone that its full listing did not name, unless they were fetched after it began."""

        def work(connection: Connection) -> None:
            query = select(peer_cards.c.id).where(peer_cards.c.zone == zone, peer_cards.c.fetched_at <= began)
            gone = [id_ for id_ in connection.execute(query).scalars() if id_ not in listed]
            for id_ in gone:
                connection.execute(delete(peer_cards).where(peer_cards.c.zone == zone, peer_cards.c.id == id_))

        await self._state.write(work)

    async def drop_card(self, zone: str, identifier: str) -> None:
        """Forget one card."""
        query = delete(peer_cards).where(peer_cards.c.zone == zone, peer_cards.c.id == identifier)
        await self._state.write(lambda connection: connection.execute(query))

    async def cards(self, *, zone: str = "", identifier: str = "") -> list[StoredCard]:
        """Kept cards, of one zone or one id or all."""
        query = select(peer_cards).order_by(peer_cards.c.zone, peer_cards.c.id)
        if zone:
            query = query.where(peer_cards.c.zone == zone)
        if identifier:
            query = query.where(peer_cards.c.id == identifier)
        return await self._state.read(
            lambda connection: [
                StoredCard(row.zone, row.id, row.envelope, row.fetched_at, row.expires_at)
                for row in connection.execute(query)
            ]
        )


def _check_owner(connection: Connection, identifier: str, owner: str) -> None:
    standing = connection.execute(select(datasets.c.owner).where(datasets.c.id == identifier)).scalar_one_or_none()
    if standing is not None and standing != owner:
        raise ConflictError(f"the id {identifier} belongs to another institution", remedy="choose another id")


def _published(row: object) -> Published:
    document = json.loads(row.description)  # type: ignore[attr-defined]
    return Published(
        owner=row.owner,  # type: ignore[attr-defined]
        manifest=DatasetManifest.model_validate(document["manifest"]),
        description=Description.model_validate(document["description"]),
        terms=None if document["terms"] is None else Terms.model_validate(document["terms"]),
        published_at=row.published_at,  # type: ignore[attr-defined]
    )
