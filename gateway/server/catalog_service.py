"""CatalogService: own and peer datasets and models, each as its terms offer it to the caller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from gateway.catalog.register import Published, listed
from gateway.errors import InputError, IntegrityError, NotFoundError, TdzError
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.flow.house import Described
from gateway.model import canonical
from gateway.model.artifact import ModelDescription
from gateway.model.dataset import DatasetManifest, Description
from gateway.model.participant import Identity, Role
from gateway.model.terms import Terms
from gateway.server.access import caller
from gateway.server.paging import page_of
from gateway.v1 import catalog_pb2, catalog_pb2_grpc, common_pb2

_PROGRESS_EVERY = 16
_QUERY_MAX_CHARS = 200


class _Listed(Described, Protocol):
    """An own row or a peer's card."""

    @property
    def resource(self) -> str:
        """Resource name."""

    @property
    def owner(self) -> str:
        """URI of the owner."""

    @property
    def manifest(self) -> DatasetManifest:
        """The version's manifest."""

    @property
    def terms(self) -> Terms | None:
        """The owner's terms."""


_Entry = tuple[str, _Listed]  # the zone that holds it


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, offers: Offers) -> None:
        self._house = house
        self._offers = offers

    async def ListDatasets(
        self, request: catalog_pb2.ListDatasetsRequest, context: Any
    ) -> catalog_pb2.ListDatasetsResponse:
        """List what the caller may see."""
        found, away = await self._listing(caller(context).identity, "dataset", request.query, request.scope)
        page, token = _page(found, request.query, request.page)
        return catalog_pb2.ListDatasetsResponse(
            datasets=[_dataset(*entry) for entry in page], next_page_token=token, unreachable_zones=away
        )

    async def ListModels(self, request: catalog_pb2.ListModelsRequest, context: Any) -> catalog_pb2.ListModelsResponse:
        """List what the caller may see."""
        found, away = await self._listing(caller(context).identity, "model", request.query, request.scope)
        page, token = _page(found, request.query, request.page)
        models = [await self._model(*entry, whole=False) for entry in page]
        return catalog_pb2.ListModelsResponse(models=models, next_page_token=token, unreachable_zones=away)

    async def GetDataset(self, request: catalog_pb2.GetDatasetRequest, context: Any) -> catalog_pb2.Dataset:
        """Show one; hidden and unknown answer alike."""
        return _dataset(*await self._find(caller(context).identity, request.name, "dataset"))

    async def GetModel(self, request: catalog_pb2.GetModelRequest, context: Any) -> catalog_pb2.Model:
        """Show one; hidden and unknown answer alike."""
        return await self._model(*await self._find(caller(context).identity, request.name, "model"), whole=True)

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
                raise IntegrityError("the chunk list is not the one that the manifest names", remedy="publish it again")
            yield catalog_pb2.VerifyDatasetProgress(done=done, chunks=version.manifest.chunks, bytes=size, root=root)
        finally:
            version.chunks.close()

    async def WithdrawDataset(
        self, request: catalog_pb2.WithdrawDatasetRequest, context: Any
    ) -> catalog_pb2.WithdrawDatasetResponse:
        """Take one out of the catalog."""
        who = caller(context).identity
        await self._house.catalog.withdraw(request.name, who.uri)
        return catalog_pb2.WithdrawDatasetResponse()

    # --- what is seen -----------------------------------------------------------------------------------

    async def _mine(self, who: Identity, name: str) -> Published:
        published = await self._house.catalog.get(name)
        if who.role is Role.PARTNER and published.owner != who.uri:
            raise NotFoundError(f"no {name[:80]} of yours", remedy=listed(name))
        return published

    async def _listing(self, who: Identity, kind: str, query: str, scope: str) -> tuple[list[_Entry], list[str]]:
        """Own and offered ones of a kind that the caller may see, and the zones that did not answer."""
        if len(query) > _QUERY_MAX_CHARS:
            raise InputError(f"a query has at most {_QUERY_MAX_CHARS} characters")
        if scope not in {"", "own", "peer"}:
            raise InputError(f"scope {scope[:20]!r} is unknown", remedy="use own, peer or leave it out")
        found: list[_Entry] = []
        away: list[str] = []
        if scope != "peer":
            found += [(self._house.zone, published) async for published in self._own(who, kind)]
        if scope != "own":
            away = await self._refresh()
            found += [entry async for entry in self._theirs(who) if entry[1].manifest.kind == kind]
        return found, away

    async def _find(self, who: Identity, name: str, kind: str) -> _Entry:
        """One by its full name; hidden and unknown answer alike."""
        if name.startswith(f"{kind}s/"):
            published = await self._known(who, name)
            if published is not None:
                return self._house.zone, published
            if who.role is Role.PARTNER:
                try:
                    offered = await self._offers.find(name, who.uri)
                    return offered.zone, offered.card
                except NotFoundError:
                    pass
            else:
                async for zone, card in self._theirs(who):
                    if card.resource == name:
                        return zone, card
        raise NotFoundError(f"no {kind} {name[:80]}", remedy=f"tdz {kind} list")

    async def _own(self, who: Identity, kind: str) -> AsyncIterator[Published]:
        """Own ones, page by page."""
        after = ""
        while page := await self._house.catalog.page(after, kind=kind):
            for published in page:
                if self._sees(who, published):
                    yield published
            after = page[-1].resource

    async def _known(self, who: Identity, name: str) -> Published | None:
        """One own by its full name; None where it is hidden as where there is none."""
        try:
            published = await self._house.catalog.get(name)
        except NotFoundError:
            return None
        return published if self._sees(who, published) else None

    def _sees(self, who: Identity, published: Published) -> bool:
        """The owner sees its own, oversight sees all, others what is offered to them."""
        house = self._house
        return who.role is not Role.PARTNER or published.known_to(who.uri, zone=house.zone, now=house.clock())

    async def _theirs(self, who: Identity) -> AsyncIterator[_Entry]:
        """What peers offer: a partner sees what is offered to it, oversight what is offered to the zone."""
        participant = who.uri if who.role is Role.PARTNER else ""
        async for offered in self._offers.visible(participant):
            yield offered.zone, offered.card

    async def _refresh(self) -> list[str]:
        away = []
        for zone in self._house.peers.zones():
            try:
                await self._offers.refresh(zone)
            except TdzError:
                away.append(zone)
        return away

    async def _model(self, zone: str, entry: _Listed, *, whole: bool) -> catalog_pb2.Model:
        """A model as this zone sees it: what its provenance is worth is appraised here."""
        description = entry.description
        if not isinstance(description, ModelDescription):
            raise NotFoundError(f"{entry.resource} is no model", remedy="tdz model list")
        facts = await self._house.subject(entry)
        files = description.files if whole else ()
        return catalog_pb2.Model(
            **_common(zone, entry),
            artifact=description.artifact,
            facts=canonical.encode(facts.document()).decode(),
            files=[catalog_pb2.ModelFile(name=f.name, bytes=f.bytes, digest=f.digest) for f in files],
            provenance=description.provenance if whole else (),
        )


def _dataset(zone: str, entry: _Listed) -> catalog_pb2.Dataset:
    description = entry.description
    if not isinstance(description, Description):
        raise NotFoundError(f"{entry.resource} is no dataset", remedy="tdz dataset list")
    columns = description.dataset.columns
    return catalog_pb2.Dataset(
        **_common(zone, entry),
        rows=entry.manifest.rows,
        columns=[catalog_pb2.Column(name=c.name, arrow_type=c.arrow_type, tags=c.tags) for c in columns],
    )


def _common(zone: str, entry: _Listed) -> dict[str, Any]:
    """What both kinds are told by."""
    manifest, description, terms = entry.manifest, entry.description, entry.terms
    return {
        "name": entry.resource,
        "zone": zone,
        "owner": entry.owner,
        "title": description.title,
        "description": description.description,
        "licence": description.licence,
        "version": entry.version,
        "bytes": manifest.bytes,
        "chunks": manifest.chunks,
        "purposes": list(terms.purposes) if terms is not None else [],
        "published_at": entry.published_at,
        "offered_until": terms.until if terms is not None else 0,
        "approval": terms.approval if terms is not None else "none",
        "obligations": [o.kind for o in terms.obligations] if terms is not None else [],
    }


def _page(found: list[_Entry], query: str, page: common_pb2.Page) -> tuple[list[_Entry], str]:
    """A page of those in which all words occur, sorted by zone and name; only these are made into messages."""
    words = query.casefold().split()
    wanted = [entry for entry in found if not words or all(word in _text(entry[1]) for word in words)]
    wanted.sort(key=lambda entry: (entry[0], entry[1].resource))
    return page_of(wanted, page, key=lambda entry: f"{entry[0]}/{entry[1].resource}")


def _text(entry: _Listed) -> str:
    description = entry.description
    columns = [column.name for column in description.dataset.columns] if isinstance(description, Description) else []
    parts = (entry.resource, description.title, description.description, entry.owner, *columns)
    return " ".join(parts).casefold()
