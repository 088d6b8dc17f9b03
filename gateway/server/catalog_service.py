"""CatalogService: own and peer datasets, each as its terms offer it to the caller."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.catalog.register import Published
from gateway.errors import InputError, IntegrityError, NotFoundError, TdzError
from gateway.exchange.house import House
from gateway.exchange.offers import Offered, Offers
from gateway.model.dataset import DatasetManifest, Description
from gateway.model.participant import Identity, Role
from gateway.model.terms import Terms
from gateway.server.access import caller
from gateway.server.paging import page_of
from gateway.v1 import catalog_pb2, catalog_pb2_grpc

_PROGRESS_EVERY = 16
_QUERY_MAX_CHARS = 200


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, offers: Offers) -> None:
        self._house = house
        self._offers = offers

    async def ListDatasets(
        self, request: catalog_pb2.ListDatasetsRequest, context: Any
    ) -> catalog_pb2.ListDatasetsResponse:
        """List what the caller may see."""
        who = caller(context).identity
        if len(request.query) > _QUERY_MAX_CHARS:
            raise InputError(f"a query has at most {_QUERY_MAX_CHARS} characters")
        if request.scope not in {"", "own", "peer"}:
            raise InputError(f"scope {request.scope[:20]!r} is unknown", remedy="use own, peer or leave it out")
        found: list[catalog_pb2.Dataset] = []
        away: list[str] = []
        if request.scope != "peer":
            found += [message async for message in self._own(who)]
        if request.scope != "own":
            away = await self._refresh()
            found += [message async for message in self._theirs(who)]
        words = request.query.casefold().split()
        found = [message for message in found if all(word in _text(message) for word in words)]
        found.sort(key=lambda message: (message.zone, message.name))
        page, token = page_of(found, request.page, key=lambda message: f"{message.zone}/{message.name}")
        return catalog_pb2.ListDatasetsResponse(datasets=page, next_page_token=token, unreachable_zones=away)

    async def GetDataset(self, request: catalog_pb2.GetDatasetRequest, context: Any) -> catalog_pb2.Dataset:
        """Show one; hidden and unknown answer alike."""
        who = caller(context).identity
        published = await self._known(who, request.name)
        if published is not None:
            return self._message(published)
        if who.role is Role.PARTNER:
            try:
                return _offered(await self._offers.find(request.name, who.uri))
            except NotFoundError:
                pass
        else:
            async for message in self._theirs(who):
                if message.name == request.name:
                    return message
        raise NotFoundError(f"no dataset {request.name[:80]}", remedy="tdz dataset list")

    async def VerifyDataset(
        self, request: catalog_pb2.VerifyDatasetRequest, context: Any
    ) -> AsyncIterator[catalog_pb2.VerifyDatasetProgress]:
        """Hash every stored chunk again."""
        house, who = self._house, caller(context).identity
        published = await self._mine(who, request.name)
        version = await house.chunks.run(lambda: house.versions.open(published.version))
        try:
            done = size = 0
            for index in range(version.manifest.chunks):
                digest = version.chunks[index]
                size += len(await house.chunks.averify(digest))
                done = index + 1
                if done % _PROGRESS_EVERY == 0:
                    yield catalog_pb2.VerifyDatasetProgress(done=done, chunks=version.manifest.chunks, bytes=size)
            root = await house.chunks.run(version.chunks.root)
            if root != version.manifest.root:
                raise IntegrityError(
                    "the chunk list is not the one that the manifest names", remedy="publish the dataset again"
                )
            yield catalog_pb2.VerifyDatasetProgress(done=done, chunks=version.manifest.chunks, bytes=size, root=root)
        finally:
            version.chunks.close()

    async def WithdrawDataset(
        self, request: catalog_pb2.WithdrawDatasetRequest, context: Any
    ) -> catalog_pb2.WithdrawDatasetResponse:
        """Take one out of the catalog."""
        who = caller(context).identity
        await self._house.datasets.withdraw(request.name.removeprefix("datasets/"), who.uri)
        return catalog_pb2.WithdrawDatasetResponse()

    # --- what is seen -----------------------------------------------------------------------------------

    async def _mine(self, who: Identity, name: str) -> Published:
        published = await self._house.datasets.get(name)
        if who.role is Role.PARTNER and published.owner != who.uri:
            raise NotFoundError(f"no dataset {name[:80]} of yours", remedy="tdz dataset list")
        return published

    async def _own(self, who: Identity) -> AsyncIterator[catalog_pb2.Dataset]:
        """Own datasets, page by page."""
        after = ""
        while page := await self._house.datasets.page(after):
            for published in page:
                if self._sees(who, published):
                    yield self._message(published)
            after = page[-1].description.id

    async def _known(self, who: Identity, name: str) -> Published | None:
        """One own dataset by its full name; None where it is hidden as where there is none."""
        try:
            published = await self._house.datasets.get(name)
        except NotFoundError:
            return None
        return published if published.resource == name and self._sees(who, published) else None

    def _sees(self, who: Identity, published: Published) -> bool:
        """The owner sees its own, oversight sees all, others what is offered to them."""
        house = self._house
        return who.role is not Role.PARTNER or published.known_to(who.uri, zone=house.zone, now=house.clock())

    def _message(self, published: Published) -> catalog_pb2.Dataset:
        p = published
        return _dataset(self._house.zone, p.owner, p.manifest, p.description, p.terms, p.published_at)

    async def _theirs(self, who: Identity) -> AsyncIterator[catalog_pb2.Dataset]:
        """Peer datasets: a partner sees what is offered to it, oversight what is offered to the zone."""
        participant = who.uri if who.role is Role.PARTNER else ""
        async for offered in self._offers.visible(participant):
            yield _offered(offered)

    async def _refresh(self) -> list[str]:
        away = []
        for zone in self._house.peers.zones():
            try:
                await self._offers.refresh(zone)
            except TdzError:
                away.append(zone)
        return away


def _offered(offered: Offered) -> catalog_pb2.Dataset:
    card = offered.card
    return _dataset(offered.zone, card.owner, card.manifest, card.description, card.terms, card.published_at)


def _dataset(
    zone: str,
    owner: str,
    manifest: DatasetManifest,
    description: Description,
    terms: Terms | None,
    published_at: int,
) -> catalog_pb2.Dataset:
    return catalog_pb2.Dataset(
        name=f"datasets/{description.id}",
        zone=zone,
        owner=owner,
        title=description.title,
        description=description.description,
        licence=description.licence,
        version=hashlib.sha256(manifest.encode()).hexdigest(),
        rows=manifest.rows,
        bytes=manifest.bytes,
        chunks=manifest.chunks,
        columns=[
            catalog_pb2.Column(name=c.name, arrow_type=c.arrow_type, tags=c.tags) for c in description.dataset.columns
        ],
        purposes=list(terms.purposes) if terms is not None else [],
        published_at=published_at,
        offered_until=terms.until if terms is not None else 0,
        approval=terms.approval if terms is not None else "none",
        obligations=[o.kind for o in terms.obligations] if terms is not None else [],
    )


def _text(message: catalog_pb2.Dataset) -> str:
    columns = " ".join(column.name for column in message.columns)
    return f"{message.name} {message.title} {message.description} {message.owner} {columns}".casefold()
