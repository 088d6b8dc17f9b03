"""This zone's datasets and models: who owns which, its version, description and terms; and the other zones' cards.

A row names the version; its bytes lie in `gateway.storage`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from gateway.errors import ConflictError, NotFoundError
from gateway.model import canonical, limits
from gateway.model.dataset import DatasetManifest
from gateway.model.described import AnyDescription, description_of, resource_of
from gateway.model.terms import Terms
from gateway.state import StateStore
from gateway.state.schema import peer_cards, resources


@dataclass(frozen=True, slots=True)
class Published:
    """One own dataset or model.

    Args:
        owner: URI of the publishing institution.
        manifest: the version's manifest; its digest is the version.
        description: the version's descriptive part.
        terms: to whom it is offered; None means to nobody.
        published_at: Unix seconds.
    """

    owner: str
    manifest: DatasetManifest
    description: AnyDescription
    terms: Terms | None
    published_at: int

    @property
    def resource(self) -> str:
        """Resource name."""
        return resource_of(self.description)

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
    name: str
    envelope: str
    fetched_at: int
    expires_at: int


class ResourceRegister:
    """The register. Every write is durable on return."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def put(self, published: Published) -> None:
        """Publish a dataset or model, or a new version of an own one.

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
            _check_owner(connection, published.resource, published.owner)
            connection.execute(
                insert(resources)
                .values(name=published.resource, **row)
                .on_conflict_do_update(index_elements=["name"], set_=row)
            )

        await self._state.write(work)

    async def check_owner(self, resource: str, owner: str) -> None:
        """Refuse early what `put` would refuse.

        Raises:
            ConflictError: the id belongs to another institution of this zone.
        """
        await self._state.read(lambda connection: _check_owner(connection, resource, owner))

    async def withdraw(self, resource: str, owner: str) -> None:
        """Take a dataset or model out of the catalog.

        Raises:
            NotFoundError: the owner has none of this name.
        """
        query = delete(resources).where(resources.c.name == resource, resources.c.owner == owner)
        if not await self._state.write(lambda connection: connection.execute(query).rowcount):
            raise NotFoundError(f"you own no {resource[:80]}", remedy=listed(resource))

    async def get(self, resource: str) -> Published:
        """One own dataset or model.

        Raises:
            NotFoundError: there is none.
        """
        query = select(resources).where(resources.c.name == resource)
        row = await self._state.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFoundError(f"no {resource[:80]}", remedy=listed(resource))
        return _published(row)

    async def page(self, after: str = "", size: int = limits.LIST_PAGE_MAX, *, kind: str = "") -> list[Published]:
        """A page of own datasets and models, sorted by name.

        Args:
            kind: `dataset` or `model`; both where it is empty.
        """
        query = select(resources).where(resources.c.name > after).order_by(resources.c.name).limit(size)
        if kind:
            query = query.where(resources.c.name.startswith(f"{kind}s/"))
        return await self._state.read(lambda connection: [_published(row) for row in connection.execute(query)])

    async def keep_card(self, card: StoredCard) -> None:
        """Keep another zone's card; the newest wins."""
        row = {"envelope": card.envelope, "fetched_at": card.fetched_at, "expires_at": card.expires_at}
        statement = (
            insert(peer_cards)
            .values(zone=card.zone, name=card.name, **row)
            .on_conflict_do_update(index_elements=["zone", "name"], set_=row)
        )
        await self._state.write(lambda connection: connection.execute(statement))

    async def forget_cards(self, zone: str, listed: Collection[str], began: int) -> None:
        """Forget cards of a zone that its full listing did not name, unless they were fetched after it began."""

        def work(connection: Connection) -> None:
            query = select(peer_cards.c.name).where(peer_cards.c.zone == zone, peer_cards.c.fetched_at <= began)
            gone = [name for name in connection.execute(query).scalars() if name not in listed]
            for name in gone:
                connection.execute(delete(peer_cards).where(peer_cards.c.zone == zone, peer_cards.c.name == name))

        await self._state.write(work)

    async def drop_card(self, zone: str, name: str) -> None:
        """Forget one card."""
        query = delete(peer_cards).where(peer_cards.c.zone == zone, peer_cards.c.name == name)
        await self._state.write(lambda connection: connection.execute(query))

    async def cards(self, *, zone: str = "", name: str = "") -> list[StoredCard]:
        """Kept cards, of one zone or one resource or all."""
        query = select(peer_cards).order_by(peer_cards.c.zone, peer_cards.c.name)
        if zone:
            query = query.where(peer_cards.c.zone == zone)
        if name:
            query = query.where(peer_cards.c.name == name)
        return await self._state.read(
            lambda connection: [
                StoredCard(row.zone, row.name, row.envelope, row.fetched_at, row.expires_at)
                for row in connection.execute(query)
            ]
        )


def listed(resource: str) -> str:
    """The command that lists what a resource is one of."""
    return "tdz model list" if resource.startswith("models/") else "tdz dataset list"


def _check_owner(connection: Connection, resource: str, owner: str) -> None:
    standing = connection.execute(select(resources.c.owner).where(resources.c.name == resource)).scalar_one_or_none()
    if standing is not None and standing != owner:
        raise ConflictError(f"{resource} belongs to another institution", remedy="choose another id")


def _published(row: object) -> Published:
    document = json.loads(row.description)  # type: ignore[attr-defined]
    return Published(
        owner=row.owner,  # type: ignore[attr-defined]
        manifest=DatasetManifest.model_validate(document["manifest"]),
        description=description_of(document["description"]),
        terms=None if document["terms"] is None else Terms.model_validate(document["terms"]),
        published_at=row.published_at,  # type: ignore[attr-defined]
    )
